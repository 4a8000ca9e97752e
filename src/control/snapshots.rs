//! Snapshot requests and reports: operators write the desired state of each snapshot, the leader reports its progress.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::Row;

use super::{journal::record_action, proofs};
use crate::{
    postgres::{
        Error, Session,
        identity::{self, OURS},
        session::field,
    },
    status::SnapshotStatus,
};

/// The desired state of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The number of the desired run: the leader starts again if the run it knows is lower.
    pub run: u64,
    /// Whether the snapshot should pause.
    pub paused: bool,
    /// The number of the last run that begins by emptying the tables of the collection; 0: none does.
    pub empties: u64,
}

/// Requests by collection.
pub(crate) type SnapshotRequests = BTreeMap<String, SnapshotRequest>;

/// A command of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotCommand {
    /// Read the collection from the beginning.
    Start,
    /// Pause the snapshot.
    Pause,
    /// Resume the snapshot.
    Resume,
    /// Empty the tables of the collection, and read it from the beginning.
    Reset,
}

impl SnapshotCommand {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "snapshot start",
            Self::Pause => "snapshot pause",
            Self::Resume => "snapshot resume",
            Self::Reset => "reset",
        }
    }
}

/// A snapshot with its request and its last report.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    /// The collection.
    pub(crate) collection: String,
    /// The desired state.
    pub(crate) request: SnapshotRequest,
    /// The last report of the leader; `None` if there is none that this version can read.
    pub(crate) reported: Option<SnapshotStatus>,
    /// When the leader reported it.
    pub(crate) reported_at: Option<Timestamp>,
    /// Age of the report in seconds, by PostgreSQL's clock.
    pub(crate) silent: Option<i64>,
}

const ACT: &str = "ask for snapshots";

/// Reads all requests.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause, also if the schema does not exist yet.
pub async fn requests(session: &Session) -> Result<SnapshotRequests, Error> {
    let act = "read requests for snapshots";
    let sql = format!("SELECT collection, run, paused, empties FROM driftless.snapshot WHERE {OURS}");
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let requests = rows.iter().map(|row| Ok((field(row, 0, act)?, request(row, act)?)));
    requests.collect()
}

/// Writes the report of the leader.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn report(session: &Session, lines: Vec<(&String, &SnapshotStatus)>) -> Result<(), Error> {
    let (names, lines): (Vec<_>, Vec<_>) =
        lines.into_iter().map(|(name, line)| (name.clone(), serde_json::to_value(line).unwrap_or_default())).unzip();
    let sql = "INSERT INTO driftless.snapshot AS s (migration, collection, told, told_at) \
               SELECT i.id, e.*, now() FROM driftless.identity AS i, unnest($1::text[], $2::jsonb[]) AS e WHERE i.prefix = $3 \
               ON CONFLICT (migration, collection) DO UPDATE SET told = excluded.told, told_at = excluded.told_at";
    session.execute("report the progress of snapshots", sql, &[&names, &lines, &session.prefix()]).await?;
    Ok(())
}

/// Writes a request for all these collections, and records who asked and why.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn ask(
    session: &Session,
    ask: SnapshotCommand,
    collections: &[String],
    who: &str,
    why: Option<&str>,
) -> Result<(), Error> {
    session.transaction(ACT, true, inside(session, ask, collections, who, why)).await
}

/// Does what [`ask`] does, inside a transaction of the caller's.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(super) async fn inside(
    session: &Session,
    ask: SnapshotCommand,
    collections: &[String],
    who: &str,
    why: Option<&str>,
) -> Result<(), Error> {
    identity::ensure(session).await?;
    // A start takes a run above those of the request and of the leader.
    let sql = "INSERT INTO driftless.snapshot AS s (migration, collection, run, empties, paused, who, at) \
               SELECT i.id, name, CASE WHEN $2 THEN 1 ELSE 0 END, CASE WHEN $6 THEN 1 END, $3, $4, now() \
                 FROM driftless.identity AS i, unnest($1::text[]) AS name WHERE i.prefix = $5 \
               ON CONFLICT (migration, collection) DO UPDATE SET paused = excluded.paused, who = excluded.who, at = excluded.at, \
                 run = CASE WHEN $2 THEN greatest(s.run, coalesce((s.told->>'run')::int8, 0)) + 1 ELSE s.run END, \
                 empties = CASE WHEN $6 THEN greatest(s.run, coalesce((s.told->>'run')::int8, 0)) + 1 ELSE s.empties END";
    let (reset, pause) = (ask == SnapshotCommand::Reset, ask == SnapshotCommand::Pause);
    let start = reset || ask == SnapshotCommand::Start;
    session.execute(ACT, sql, &[&collections, &start, &pause, &who, &session.prefix(), &reset]).await?;
    let mut detail = serde_json::json!({ "collections": collections });
    if let Some(why) = why {
        detail["why"] = why.into();
    }
    if reset {
        proofs::void_named(session, collections, "the collection was reset").await?;
    }
    record_action(session, who, ask.as_str(), &detail).await
}

/// Reads all requests and reports; the list is empty if the schema does not exist yet.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn list(session: &Session) -> Result<Vec<Listed>, Error> {
    let act = "list snapshots";
    if !session.has_table(act, "driftless.snapshot").await? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT collection, run, paused, empties, told, (extract(epoch FROM told_at) * 1000)::int8, \
                extract(epoch FROM now() - told_at)::int8 FROM driftless.snapshot WHERE {OURS} ORDER BY collection"
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let listed = rows.iter().map(|row| {
        let reported: Option<serde_json::Value> = field(row, 4, act)?;
        let at: Option<i64> = field(row, 5, act)?;
        Ok(Listed {
            collection: field(row, 0, act)?,
            request: request(row, act)?,
            reported: reported.and_then(|reported| serde_json::from_value(reported).ok()),
            reported_at: at.and_then(|at| Timestamp::from_millisecond(at).ok()),
            silent: field(row, 6, act)?,
        })
    });
    listed.collect()
}

fn request(row: &Row, act: &str) -> Result<SnapshotRequest, Error> {
    let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
    let (run, paused) = (number(field(row, 1, act)?), field(row, 2, act)?);
    Ok(SnapshotRequest { run, paused, empties: number(field(row, 3, act)?) })
}
