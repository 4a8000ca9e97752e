//! Lists every metric once: its name, its labels, and the question it answers.
//!
//! Times are exported as timestamps, never as ages, so that a stopped exporter cannot look fresh. Labels are names of collections
//! and tables, numbers of partitions, or words of closed lists, never contents of documents.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// `{version}` Which build is this? Always 1.
pub(crate) const BUILD_INFO: &str = "driftless_build_info";
/// `{role, task}` Does this task of the role wait for something to come back? 1 if so.
pub(crate) const STALLED: &str = "driftless_stalled";
/// `{role, phase}` Is the role starting, standby, running, stalled, halted or paused? 1 for the current phase.
pub(crate) const ROLE_PHASE: &str = "driftless_role_phase";
/// `{kind, name}` Since when has an operator paused this role, or the application of this collection? 0 while it is not paused.
pub(crate) const PAUSE_TIMESTAMP: &str = "driftless_pause_timestamp_seconds";
/// `{role}` How often was an attempt of this role repeated?
pub(crate) const RETRIES: &str = "driftless_retries_total";
/// `{verdict}` Is the verdict in_sync, drift or unknown? 1 for the current one.
pub(crate) const VERDICT: &str = "driftless_verdict";
/// Does PostgreSQL answer this process? 1 or 0; while it does not, what is known of the target is as old as the last answer.
pub(crate) const TARGET_ANSWERS: &str = "driftless_target_answers";
/// `{unit}` May the reads of the unit be cut over? 1 or 0.
pub(crate) const CUTOVER_READY: &str = "driftless_cutover_ready";
/// `{unit}` Which percentage of keys does this process send to PostgreSQL for their reads?
pub(crate) const READS_SHARE: &str = "driftless_reads_share_percent";
/// `{unit}` Which percentage has an operator asked for?
pub(crate) const READS_WISH: &str = "driftless_reads_wish_percent";
/// `{unit}` Is the unit tripped? 1 or 0.
pub(crate) const READS_TRIPPED: &str = "driftless_reads_tripped";
/// `{unit}` How often has this process tripped the unit?
pub(crate) const READS_TRIPS: &str = "driftless_reads_trips_total";
/// Does this process know the state of the units? 1 or 0; without it all reads go to MongoDB.
pub(crate) const READS_KNOWN: &str = "driftless_reads_known";
/// `{answer}` How many questions of `/api/v1/applied` were answered with yes, no or unknown?
pub(crate) const APPLIED_ANSWERS: &str = "driftless_applied_answers_total";

/// Does this process lead the source? 1 or 0.
pub(crate) const SOURCE_LEADER: &str = "driftless_source_leader";
/// `{collection, op}` How many events were read from the change stream?
pub(crate) const SOURCE_EVENTS: &str = "driftless_source_events_total";
/// `{collection}` How many changed documents were looked up?
pub(crate) const SOURCE_LOOKUPS: &str = "driftless_source_lookups_total";
/// `{collection}` How many lookups found nothing, because the document had been deleted?
pub(crate) const SOURCE_LOOKUPS_MISSING: &str = "driftless_source_lookups_missing_total";
/// Up to which cluster time was the stream read?
pub(crate) const SOURCE_FRONTIER_TIMESTAMP: &str = "driftless_source_frontier_timestamp_seconds";
/// When did the newest event of the source happen?
pub(crate) const SOURCE_EVENT_TIMESTAMP: &str = "driftless_source_event_timestamp_seconds";
/// How many seconds lie between the oldest operation that the source still has and the position of the leader? +Inf while nothing has
/// been removed, NaN in a process that does not lead.
pub(crate) const SOURCE_HISTORY_MARGIN: &str = "driftless_source_history_margin_seconds";
/// `{collection}` How many documents has the snapshot read?
pub(crate) const SNAPSHOT_DOCUMENTS: &str = "driftless_snapshot_documents_total";
/// `{collection}` How many of them belong to the current run? A new run begins at 0.
pub(crate) const SNAPSHOT_RUN_DOCUMENTS: &str = "driftless_snapshot_run_documents";
/// `{collection}` How many bytes has the snapshot read?
pub(crate) const SNAPSHOT_BYTES: &str = "driftless_snapshot_bytes_total";
/// `{collection, phase}` Is the snapshot waiting, running, held_back, paused or done? 1 for the current phase.
pub(crate) const SNAPSHOT_PHASE: &str = "driftless_snapshot_phase";
/// `{collection}` When will the snapshot finish at its current rate? 0 while this is unknown.
pub(crate) const SNAPSHOT_END_TIMESTAMP: &str = "driftless_snapshot_end_timestamp_seconds";
/// `{collection}` About how many documents does the snapshot have to read?
pub(crate) const SNAPSHOT_ESTIMATED_DOCUMENTS: &str = "driftless_snapshot_estimated_documents";
/// `{collection}` Is the snapshot finished? 1 or 0.
pub(crate) const SNAPSHOT_COMPLETE: &str = "driftless_snapshot_complete";

/// `{collection, op}` How many changes are in the log?
pub(crate) const LOG_CHANGES: &str = "driftless_log_changes_total";
/// `{collection}` How many bytes do these changes have?
pub(crate) const LOG_BYTES: &str = "driftless_log_bytes_total";
/// How long does a transaction of the log take, from its first record to its commit?
pub(crate) const LOG_TRANSACTION_SECONDS: &str = "driftless_log_transaction_seconds";

/// `{collection, outcome}` How many changes were applied, superseded, dead_lettered or parked?
pub(crate) const SINK_CHANGES: &str = "driftless_sink_changes_total";
/// How many changes were skipped because the mapping does not name their collection?
pub(crate) const SINK_UNMAPPED: &str = "driftless_sink_unmapped_changes_total";
/// `{table, act}` How many rows were written (upsert) or deleted (delete)?
pub(crate) const SINK_ROWS: &str = "driftless_sink_rows_total";
/// How long does a batch take, from its first statement to its commit?
pub(crate) const SINK_BATCH_SECONDS: &str = "driftless_sink_batch_seconds";
/// How many changes does a batch hold?
pub(crate) const SINK_BATCH_CHANGES: &str = "driftless_sink_batch_changes";
/// `{collection}` Up to which cluster time is everything applied?
pub(crate) const SINK_WATERMARK_TIMESTAMP: &str = "driftless_sink_watermark_timestamp_seconds";
/// `{collection}` As of which wall-clock time is the target complete? Staleness is now minus this.
pub(crate) const SINK_AS_OF_TIMESTAMP: &str = "driftless_sink_as_of_timestamp_seconds";
/// `{collection, partition}` How many records of the log are not applied yet? The ends of transactions between them count too; NaN while
/// the brokers do not say.
pub(crate) const SINK_LAG_RECORDS: &str = "driftless_sink_lag_records";
/// `{collection}` How often did the number of changes in a partition differ from the count of its publisher?
pub(crate) const SINK_FRONTIER_MISMATCHES: &str = "driftless_sink_frontier_mismatches_total";
/// How many dead letters within `sink.breaker_window` halt this sink?
pub(crate) const SINK_BREAKER: &str = "driftless_sink_breaker_dead_letters";
/// `{collection, reason}` How many dead letters are open?
pub(crate) const DEAD_LETTERS: &str = "driftless_dead_letters";
/// `{collection, column, kind}` How often did the mapping lose something in a document that was written?
pub(crate) const MAPPING_LOSSES: &str = "driftless_mapping_losses_total";
/// `{collection}` How many documents wait for a parent or a unique value?
pub(crate) const PARKED: &str = "driftless_parked_documents";

/// `{collection, kind}` How many open findings are there: documents that are missing, extra, different, or of a wrong version?
pub(crate) const DRIFT_DOCUMENTS: &str = "driftless_drift_documents";
/// `{collection}` How many changed documents wait to be judged?
pub(crate) const UNDECIDED_DOCUMENTS: &str = "driftless_undecided_documents";
/// `{collection}` How many documents were undecided, and decided by a later look?
pub(crate) const UNDECIDED_RESOLVED: &str = "driftless_undecided_resolved_total";
/// `{collection}` How many documents have been compared?
pub(crate) const RECONCILE_DOCUMENTS: &str = "driftless_reconcile_documents_total";
/// `{collection}` As of which wall-clock time is every change judged (V)? The age of the proof is now minus this; 0 means never.
pub(crate) const VERIFIED_TIMESTAMP: &str = "driftless_verified_timestamp_seconds";
/// `{collection}` When did the last complete baseline that counts begin? 0 if none counts.
pub(crate) const BASELINE_TIMESTAMP: &str = "driftless_baseline_timestamp_seconds";
/// `{collection}` How many documents has the baseline under way compared? 0 while none is.
pub(crate) const BASELINE_DOCUMENTS: &str = "driftless_baseline_documents";
/// `{collection}` About how many documents has it to compare?
pub(crate) const BASELINE_ESTIMATED_DOCUMENTS: &str = "driftless_baseline_estimated_documents";
/// `{collection}` When will the baseline under way end, all its phases included? 0 while none is, or nobody knows.
pub(crate) const BASELINE_END_TIMESTAMP: &str = "driftless_baseline_end_timestamp_seconds";
/// `{collection}` Can the baseline go on only after a person has acted? 1 or 0; the blockers of the status say what to do.
pub(crate) const BASELINE_HALTED: &str = "driftless_baseline_halted";
/// `{collection}` How often did drift disappear without a cause? Each case is a fault of the watermark.
pub(crate) const DRIFT_HEALED: &str = "driftless_drift_healed_total";
/// `{table}` Is the guard of this table in place and unbroken? 1 or 0; none where no guard was installed.
pub(crate) const GUARD_HOLDS: &str = "driftless_guard_holds";
/// `{collection}` How many tables of the collection have no guard?
pub(crate) const UNGUARDED_TABLES: &str = "driftless_unguarded_tables";
/// `{table, operation}` How many statements of others wrote this table?
pub(crate) const FOREIGN_WRITES: &str = "driftless_foreign_writes_total";
/// `{table}` How many of them have touched what is not compared again yet?
pub(crate) const FOREIGN_WRITES_UNJUDGED: &str = "driftless_foreign_writes_unjudged";
/// `{table, constraint}` How many rows lacked their parent at the last complete look?
pub(crate) const ORPHANS: &str = "driftless_orphans";
/// `{table, constraint}` When did the last complete look at this foreign key begin?
pub(crate) const INTEGRITY_TIMESTAMP: &str = "driftless_integrity_timestamp_seconds";

/// Registers the help text and the unit of each metric.
pub(crate) fn describe() {
    describe_gauge!(BUILD_INFO, "The running build.");
    describe_gauge!(STALLED, "Whether a task of a role waits for something to come back.");
    describe_gauge!(ROLE_PHASE, "Phase of a role: starting, standby, running, stalled, halted or paused.");
    describe_gauge!(
        PAUSE_TIMESTAMP,
        "Since when a role or the application of a collection is paused; 0 while it is not."
    );
    describe_counter!(RETRIES, "Attempts that were repeated.");
    describe_gauge!(VERDICT, "The verdict: in_sync, drift or unknown.");
    describe_gauge!(TARGET_ANSWERS, "Whether PostgreSQL answers this process.");
    describe_gauge!(CUTOVER_READY, "Whether nothing stands against cutting over the reads of a unit.");
    describe_gauge!(READS_SHARE, "Percentage of the keys of a unit whose reads go to PostgreSQL.");
    describe_gauge!(READS_WISH, "Percentage that an operator has asked for.");
    describe_gauge!(READS_TRIPPED, "Whether a unit is tripped, so that all its reads go to MongoDB.");
    describe_counter!(READS_TRIPS, "Units that this process has tripped because the proof broke.");
    describe_gauge!(READS_KNOWN, "Whether this process knows the state of the units.");
    describe_counter!(
        APPLIED_ANSWERS,
        "Questions whether the target holds an operation, by their answer: yes, no or unknown."
    );
    describe_gauge!(SOURCE_LEADER, "Whether this process leads the source.");
    describe_counter!(SOURCE_EVENTS, "Events read from the change stream.");
    describe_counter!(SOURCE_LOOKUPS, "Changed documents looked up.");
    describe_counter!(SOURCE_LOOKUPS_MISSING, "Lookups that found nothing.");
    describe_gauge!(SOURCE_FRONTIER_TIMESTAMP, Unit::Seconds, "Cluster time up to which the stream was read.");
    describe_gauge!(SOURCE_EVENT_TIMESTAMP, Unit::Seconds, "Time of the newest event of the source.");
    describe_gauge!(
        SOURCE_HISTORY_MARGIN,
        Unit::Seconds,
        "Seconds from the oldest operation of the source to the position of the leader."
    );
    describe_counter!(SNAPSHOT_DOCUMENTS, "Documents read by the snapshot.");
    describe_gauge!(SNAPSHOT_RUN_DOCUMENTS, "Documents read by the current run of the snapshot.");
    describe_counter!(SNAPSHOT_BYTES, Unit::Bytes, "Bytes read by the snapshot.");
    describe_gauge!(SNAPSHOT_PHASE, "Phase of the snapshot: waiting, running, held_back, paused or done.");
    describe_gauge!(
        SNAPSHOT_END_TIMESTAMP,
        Unit::Seconds,
        "Time at which the snapshot will finish at its current rate."
    );
    describe_gauge!(SNAPSHOT_ESTIMATED_DOCUMENTS, "Estimated number of documents that the snapshot has to read.");
    describe_gauge!(SNAPSHOT_COMPLETE, "Whether the snapshot is finished.");
    describe_counter!(LOG_CHANGES, "Changes written to the log.");
    describe_counter!(LOG_BYTES, Unit::Bytes, "Bytes of changes written to the log.");
    describe_histogram!(LOG_TRANSACTION_SECONDS, Unit::Seconds, "Duration of a transaction of the log.");
    describe_counter!(SINK_CHANGES, "Changes by outcome.");
    describe_counter!(SINK_UNMAPPED, "Changes skipped because the mapping does not name their collection.");
    describe_counter!(SINK_ROWS, "Rows written and deleted.");
    describe_histogram!(SINK_BATCH_SECONDS, Unit::Seconds, "Duration of an applied batch.");
    describe_histogram!(SINK_BATCH_CHANGES, "Changes in an applied batch.");
    describe_gauge!(SINK_WATERMARK_TIMESTAMP, Unit::Seconds, "Cluster time up to which everything is applied.");
    describe_gauge!(SINK_AS_OF_TIMESTAMP, Unit::Seconds, "Wall-clock time as of which the target is complete.");
    describe_gauge!(SINK_LAG_RECORDS, "Records of the log that are not applied yet.");
    describe_counter!(SINK_FRONTIER_MISMATCHES, "Frontiers whose count did not match the changes in the partition.");
    describe_gauge!(SINK_BREAKER, "Dead letters within the window of the breaker that halt the sink.");
    describe_gauge!(DEAD_LETTERS, "Open dead letters.");
    describe_counter!(MAPPING_LOSSES, "Losses of the mapping in documents that were written, by kind.");
    describe_gauge!(PARKED, "Documents that wait for a parent or a unique value.");
    describe_gauge!(DRIFT_DOCUMENTS, "Open findings by kind.");
    describe_gauge!(UNDECIDED_DOCUMENTS, "Changed documents that wait to be judged.");
    describe_counter!(UNDECIDED_RESOLVED, "Documents that were undecided, and decided by a later look.");
    describe_counter!(RECONCILE_DOCUMENTS, "Documents compared.");
    describe_gauge!(VERIFIED_TIMESTAMP, Unit::Seconds, "Wall-clock time as of which every change is judged.");
    describe_gauge!(BASELINE_TIMESTAMP, Unit::Seconds, "Beginning of the last complete baseline that counts.");
    describe_gauge!(BASELINE_DOCUMENTS, "Documents that the baseline under way has compared.");
    describe_gauge!(BASELINE_ESTIMATED_DOCUMENTS, "Estimated number of documents that it has to compare.");
    describe_gauge!(
        BASELINE_END_TIMESTAMP,
        Unit::Seconds,
        "Time at which the baseline under way will end at its present rate."
    );
    describe_gauge!(BASELINE_HALTED, "Whether the baseline can go on only after a person has acted.");
    describe_counter!(DRIFT_HEALED, "Drift that disappeared without a cause.");
    describe_gauge!(GUARD_HOLDS, "Whether the guard of a table is in place and unbroken.");
    describe_gauge!(UNGUARDED_TABLES, "Tables without a guard.");
    describe_counter!(FOREIGN_WRITES, "Statements of others that wrote a mapped table.");
    describe_gauge!(FOREIGN_WRITES_UNJUDGED, "Statements of others that touched what is not compared again yet.");
    describe_gauge!(ORPHANS, "Rows without their parent at the last complete look.");
    describe_gauge!(INTEGRITY_TIMESTAMP, Unit::Seconds, "Beginning of the last complete look at a foreign key.");
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
