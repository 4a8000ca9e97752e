//! Every metric, once: its name, its labels, and the question it answers.
//!
//! Times are exported as timestamps, never as ages, so that a stopped exporter cannot look fresh. Labels are collection
//! and table names or words of closed lists, never contents of documents.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// `{version}` Which build is this? Always 1.
pub const BUILD_INFO: &str = "driftless_build_info";
/// `{role, task}` Does this task of the role wait for something to come back? 1 while it does.
pub const STALLED: &str = "driftless_stalled";
/// `{role, phase}` Is the role starting, standby, running, stalled or halted? 1 for the one that holds.
pub const ROLE_PHASE: &str = "driftless_role_phase";
/// `{role}` How often has this role had to try again?
pub const RETRIES: &str = "driftless_retries_total";
/// `{verdict}` in_sync, drift or unknown: 1 for the one that holds.
pub const VERDICT: &str = "driftless_verdict";

/// Does this process lead the source? 1 or 0.
pub const SOURCE_LEADER: &str = "driftless_source_leader";
/// `{collection, op}` How many events has the change stream given?
pub const SOURCE_EVENTS: &str = "driftless_source_events_total";
/// `{collection}` How many changed documents were looked up?
pub const SOURCE_LOOKUPS: &str = "driftless_source_lookups_total";
/// `{collection}` How many lookups found nothing, because the document was deleted meanwhile?
pub const SOURCE_LOOKUPS_MISSING: &str = "driftless_source_lookups_missing_total";
/// Up to which cluster time has the stream been read?
pub const SOURCE_FRONTIER_TIMESTAMP: &str = "driftless_source_frontier_timestamp_seconds";
/// When did the newest event of the source happen?
pub const SOURCE_EVENT_TIMESTAMP: &str = "driftless_source_event_timestamp_seconds";
/// `{collection}` How many documents has the snapshot read?
pub const SNAPSHOT_DOCUMENTS: &str = "driftless_snapshot_documents_total";
/// `{collection}` How many of them are of the present run? At its start it is 0 again.
pub const SNAPSHOT_RUN_DOCUMENTS: &str = "driftless_snapshot_run_documents";
/// `{collection}` How many bytes has the snapshot read?
pub const SNAPSHOT_BYTES: &str = "driftless_snapshot_bytes_total";
/// `{collection, phase}` Is it waiting, running, held_back, paused or done? 1 for the one that holds.
pub const SNAPSHOT_PHASE: &str = "driftless_snapshot_phase";
/// `{collection}` When will it be finished, at its present rate? 0 while nobody can tell.
pub const SNAPSHOT_END_TIMESTAMP: &str = "driftless_snapshot_end_timestamp_seconds";
/// `{collection}` About how many documents has the snapshot to read?
pub const SNAPSHOT_ESTIMATED_DOCUMENTS: &str = "driftless_snapshot_estimated_documents";
/// `{collection}` Is the snapshot finished? 1 or 0.
pub const SNAPSHOT_COMPLETE: &str = "driftless_snapshot_complete";

/// `{collection, op}` How many changes are in the log?
pub const LOG_CHANGES: &str = "driftless_log_changes_total";
/// `{collection}` How many bytes are that?
pub const LOG_BYTES: &str = "driftless_log_bytes_total";
/// How long does a transaction of the log take, from its first record to its end?
pub const LOG_TRANSACTION_SECONDS: &str = "driftless_log_transaction_seconds";

/// `{collection, outcome}` What became of the changes: applied, superseded, dead_lettered, parked?
pub const SINK_CHANGES: &str = "driftless_sink_changes_total";
/// How many changes of collections that the mapping does not name were passed over?
pub const SINK_UNMAPPED: &str = "driftless_sink_unmapped_changes_total";
/// `{table, act}` How many rows were written (upsert) or removed (delete)?
pub const SINK_ROWS: &str = "driftless_sink_rows_total";
/// How long does a batch take, from its first statement to its commit?
pub const SINK_BATCH_SECONDS: &str = "driftless_sink_batch_seconds";
/// How many changes does a batch hold?
pub const SINK_BATCH_CHANGES: &str = "driftless_sink_batch_changes";
/// `{collection}` Up to which cluster time is everything applied?
pub const SINK_WATERMARK_TIMESTAMP: &str = "driftless_sink_watermark_timestamp_seconds";
/// `{collection}` As of which wall-clock time does the target hold everything the source had? Staleness is now minus this.
pub const SINK_AS_OF_TIMESTAMP: &str = "driftless_sink_as_of_timestamp_seconds";
/// `{collection}` How often did a partition hold fewer or more changes than its publisher counted?
pub const SINK_FRONTIER_MISMATCHES: &str = "driftless_sink_frontier_mismatches_total";
/// `{collection, reason}` How many dead letters are open?
pub const DEAD_LETTERS: &str = "driftless_dead_letters";
/// `{collection, column, kind}` How often did the mapping give something up in a document that was written?
pub const MAPPING_LOSSES: &str = "driftless_mapping_losses_total";
/// `{collection}` How many documents wait for their parent or a unique value?
pub const PARKED: &str = "driftless_parked_documents";

/// `{collection, kind}` How many documents of the last pass were missing, extra or different?
pub const DRIFT_DOCUMENTS: &str = "driftless_drift_documents";
/// `{collection}` How many documents of the last pass could not be judged yet?
pub const UNDECIDED_DOCUMENTS: &str = "driftless_undecided_documents";
/// `{collection}` How many documents have been compared?
pub const RECONCILE_DOCUMENTS: &str = "driftless_reconcile_documents_total";
/// `{collection}` When did the last pass end?
pub const RECONCILE_TIMESTAMP: &str = "driftless_reconcile_timestamp_seconds";
/// `{collection}` How often did drift heal without a repair? Each is a fault of the watermark.
pub const DRIFT_HEALED: &str = "driftless_drift_healed_total";

/// Tells the recorder what each metric means and in which unit it is.
pub fn describe() {
    describe_gauge!(BUILD_INFO, "The running build.");
    describe_gauge!(STALLED, "Whether a task of a role waits for something to come back.");
    describe_gauge!(ROLE_PHASE, "What a role is doing: starting, standby, running, stalled or halted.");
    describe_counter!(RETRIES, "Attempts that had to be repeated.");
    describe_gauge!(VERDICT, "The verdict that holds: in_sync, drift or unknown.");
    describe_gauge!(SOURCE_LEADER, "Whether this process leads the source.");
    describe_counter!(SOURCE_EVENTS, "Events read from the change stream.");
    describe_counter!(SOURCE_LOOKUPS, "Changed documents looked up.");
    describe_counter!(SOURCE_LOOKUPS_MISSING, "Lookups that found nothing.");
    describe_gauge!(SOURCE_FRONTIER_TIMESTAMP, Unit::Seconds, "Cluster time up to which the stream was read.");
    describe_gauge!(SOURCE_EVENT_TIMESTAMP, Unit::Seconds, "Time of the newest event of the source.");
    describe_counter!(SNAPSHOT_DOCUMENTS, "Documents read by the snapshot.");
    describe_gauge!(SNAPSHOT_RUN_DOCUMENTS, "Documents of the snapshot's present run.");
    describe_counter!(SNAPSHOT_BYTES, Unit::Bytes, "Bytes read by the snapshot.");
    describe_gauge!(SNAPSHOT_PHASE, "What the snapshot is doing: waiting, running, held_back, paused or done.");
    describe_gauge!(SNAPSHOT_END_TIMESTAMP, Unit::Seconds, "When the snapshot will be finished at its present rate.");
    describe_gauge!(SNAPSHOT_ESTIMATED_DOCUMENTS, "Estimate of the documents that the snapshot has to read.");
    describe_gauge!(SNAPSHOT_COMPLETE, "Whether the snapshot is finished.");
    describe_counter!(LOG_CHANGES, "Changes written to the log.");
    describe_counter!(LOG_BYTES, Unit::Bytes, "Bytes of changes written to the log.");
    describe_histogram!(LOG_TRANSACTION_SECONDS, Unit::Seconds, "Duration of a transaction of the log.");
    describe_counter!(SINK_CHANGES, "Changes by what became of them.");
    describe_counter!(SINK_UNMAPPED, "Changes of collections that the mapping does not name.");
    describe_counter!(SINK_ROWS, "Rows written and removed.");
    describe_histogram!(SINK_BATCH_SECONDS, Unit::Seconds, "Duration of an applied batch.");
    describe_histogram!(SINK_BATCH_CHANGES, "Changes in an applied batch.");
    describe_gauge!(SINK_WATERMARK_TIMESTAMP, Unit::Seconds, "Cluster time up to which everything is applied.");
    describe_gauge!(SINK_AS_OF_TIMESTAMP, Unit::Seconds, "Wall-clock time as of which the target is complete.");
    describe_counter!(SINK_FRONTIER_MISMATCHES, "Partitions whose changes did not match their publisher's count.");
    describe_gauge!(DEAD_LETTERS, "Open dead letters.");
    describe_counter!(MAPPING_LOSSES, "What the mapping gave up in documents that were written, by kind.");
    describe_gauge!(PARKED, "Documents that wait for their parent or a unique value.");
    describe_gauge!(DRIFT_DOCUMENTS, "Documents found missing, extra or different by the last pass.");
    describe_gauge!(UNDECIDED_DOCUMENTS, "Documents the last pass could not judge yet.");
    describe_counter!(RECONCILE_DOCUMENTS, "Documents compared.");
    describe_gauge!(RECONCILE_TIMESTAMP, Unit::Seconds, "End of the last pass.");
    describe_counter!(DRIFT_HEALED, "Drift that healed without a repair.");
}
