//! Reads the state of the target for the status page, the metrics and the verdict.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    findings,
    pauses::{self, Pauses},
    processes::{self, Process},
    proven::{self, ForeignWrite, Guarded, ProofRow, Reference},
    shadow::{self, ShadowRun},
    snapshots,
};
use crate::{
    mapping::target::TableName,
    model::ClusterTime,
    postgres::{Error, Session, identity::OURS, session::field},
    sink::checkpoint,
};

/// The state of the target at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// PostgreSQL's clock in milliseconds since 1970; ages are computed by it.
    pub(crate) now_ms: i64,
    /// The position of each partition.
    pub positions: Vec<PartitionStatus>,
    /// Open and parked dead letters.
    pub dead_letters: Vec<Letters>,
    /// The proof of each collection.
    pub(crate) proofs: Vec<ProofRow>,
    /// Open findings by collection and kind.
    pub(crate) findings: Vec<findings::Count>,
    /// The writes of others that are not compared again yet.
    pub(crate) foreign_writes: Vec<ForeignWrite>,
    /// The tables for which a guard was asked for.
    pub(crate) guarded: BTreeMap<TableName, Guarded>,
    /// The foreign keys of the mapped tables.
    pub(crate) references: Vec<Reference>,
    /// Collections whose snapshot an operator has paused.
    pub(crate) paused: BTreeSet<String>,
    /// The paused roles, and the collections whose changes are not applied.
    pub(crate) pauses: Pauses,
    /// The processes that live.
    pub(crate) processes: Vec<Process>,
    /// The last results of shadow reads.
    pub(crate) shadow: Vec<ShadowRun>,
    /// The last actions of operators, newest first.
    pub actions: Vec<Action>,
}

/// The position of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// Topic.
    pub(crate) topic: String,
    /// Partition.
    pub(crate) partition: i32,
    /// The next offset; `None` is the earliest record.
    pub next_offset: Option<i64>,
    /// During a replay: the offset at which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replayed_to: Option<i64>,
    /// The watermark: every change with a lower cluster time is applied.
    pub(crate) watermark: Option<ClusterTime>,
    /// Wall clock of the source as of which the partition is complete, in milliseconds since 1970.
    pub(crate) as_of_ms: Option<i64>,
    /// Whether the snapshot of the collection is applied in this partition.
    pub(crate) complete: bool,
    /// Number of frontiers whose count did not match, since the beginning.
    pub(crate) gaps: u64,
}

/// Open or parked dead letters of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letters {
    /// The collection, or the topic if the record could not be decoded.
    pub(crate) collection: String,
    /// The reason.
    pub(crate) reason: String,
    /// `open` or `parked`.
    pub(crate) state: String,
    /// Number of letters.
    pub(crate) count: i64,
}

/// An action of an operator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Action {
    /// When it happened, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Who did it.
    pub who: String,
    /// The command.
    pub command: String,
    /// The details of the command.
    pub(crate) detail: serde_json::Value,
}

const ACT: &str = "read the status";

/// Reads the status; `actions` bounds the number of actions.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn read(session: &Session, actions: u32) -> Result<Status, Error> {
    // Pipelined, so that all of it costs two round trips.
    let now = session.query_one(ACT, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8", &[]);
    let (now, positions, dead_letters, proofs, findings) = tokio::try_join!(
        now,
        checkpoint::all(session),
        dead_letters(session),
        proven::proofs(session),
        findings::counts(session),
    )?;
    let (foreign_writes, guarded, references, requests, pauses, processes, shadow, actions) = tokio::try_join!(
        proven::foreign_writes(session),
        proven::guarded(session),
        proven::references(session),
        snapshots::requests(session),
        pauses::read(session),
        processes::live(session),
        shadow::latest(session),
        last_actions(session, actions),
    )?;
    let positions = positions.into_iter().map(|(partition, position)| PartitionStatus {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        next_offset: position.next_offset,
        replayed_to: position.reread_to,
        watermark: position.watermark.map(|bound| bound.0),
        as_of_ms: position.as_of_ms,
        complete: position.complete,
        gaps: position.gaps,
    });
    let paused = requests.into_iter().filter(|(_, request)| request.paused).map(|(name, _)| name);
    Ok(Status {
        now_ms: field(&now, 0, ACT)?,
        positions: positions.collect(),
        dead_letters,
        proofs,
        findings,
        foreign_writes,
        guarded,
        references,
        paused: paused.collect(),
        pauses,
        processes,
        shadow,
        actions,
    })
}

/// Counts open and parked dead letters.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn dead_letters(session: &Session) -> Result<Vec<Letters>, Error> {
    let sql = format!(
        "SELECT coalesce(c.name, d.topic), d.reason, d.state, count(*) \
           FROM driftless.dead_letter AS d LEFT JOIN driftless.collection AS c ON c.id = d.collection \
          WHERE d.state IN ('open', 'parked') AND d.{OURS} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    );
    let rows = session.query(ACT, &sql, &[&session.prefix()]).await?;
    let letters = rows.iter().map(|row| {
        Ok(Letters {
            collection: field(row, 0, ACT)?,
            reason: field(row, 1, ACT)?,
            state: field(row, 2, ACT)?,
            count: field(row, 3, ACT)?,
        })
    });
    letters.collect()
}

async fn last_actions(session: &Session, limit: u32) -> Result<Vec<Action>, Error> {
    let sql = format!(
        "SELECT (extract(epoch FROM at) * 1000)::int8, who, command, detail \
           FROM driftless.action WHERE {OURS} ORDER BY id DESC LIMIT $2"
    );
    let rows = session.query(ACT, &sql, &[&session.prefix(), &i64::from(limit)]).await?;
    let actions = rows.iter().map(|row| {
        Ok(Action {
            at_ms: field(row, 0, ACT)?,
            who: field(row, 1, ACT)?,
            command: field(row, 2, ACT)?,
            detail: field(row, 3, ACT)?,
        })
    });
    actions.collect()
}
