//! Where operators and the source's leader meet: what is wanted of each snapshot, and what was last told of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::replay::record_action;
use crate::{
    postgres::{
        Error, Session,
        identity::{self, OURS},
        session::field,
    },
    status::SnapshotStatus,
};

/// What operators want of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The leader reads the collection from its beginning when the run that it knows is lower.
    pub run: u64,
    /// Whether it is to stand still.
    pub paused: bool,
}

/// By collection.
pub type SnapshotRequests = BTreeMap<String, SnapshotRequest>;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotCommand {
    /// Read it from its beginning.
    Start,
    /// Let it stand still.
    Pause,
    /// Let it go on.
    Resume,
}

impl SnapshotCommand {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "snapshot start",
            Self::Pause => "snapshot pause",
            Self::Resume => "snapshot resume",
        }
    }
}

/// A snapshot as both sides left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The collection.
    pub collection: String,
    /// What is wanted.
    pub request: SnapshotRequest,
    /// What the leader told last; `None` when it has told nothing, or nothing that this version can read.
    pub told: Option<SnapshotStatus>,
    /// When it did.
    pub told_at: Option<Timestamp>,
    /// How long ago that was by PostgreSQL's clock, in seconds.
    pub silent: Option<i64>,
}

/// Everything that is wanted.
///
/// # Errors
/// [`Error::Statement`] by its cause, also while the schema has not been made.
pub async fn requests(session: &Session) -> Result<SnapshotRequests, Error> {
    let act = "read requests for snapshots";
    let sql = format!("SELECT collection, run, paused FROM driftless.snapshot WHERE {OURS}");
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let requests = rows.iter().map(|row| Ok((field(row, 0, act)?, request(field(row, 1, act)?, field(row, 2, act)?))));
    requests.collect()
}

/// Tells how snapshots are.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn tell(session: &Session, lines: Vec<(&String, &SnapshotStatus)>) -> Result<(), Error> {
    let (names, lines): (Vec<_>, Vec<_>) =
        lines.into_iter().map(|(name, line)| (name.clone(), serde_json::to_value(line).unwrap_or_default())).unzip();
    let sql = "INSERT INTO driftless.snapshot AS s (migration, collection, told, told_at) \
               SELECT i.id, e.*, now() FROM driftless.identity AS i, unnest($1::text[], $2::jsonb[]) AS e WHERE i.prefix = $3 \
               ON CONFLICT (migration, collection) DO UPDATE SET told = excluded.told, told_at = excluded.told_at";
    session.execute("tell how snapshots are", sql, &[&names, &lines, &session.prefix()]).await?;
    Ok(())
}

/// Asks for something, for all these collections at once, and records who did.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn ask(session: &Session, ask: SnapshotCommand, collections: &[String], who: &str) -> Result<(), Error> {
    let act = "ask for snapshots";
    let asked = async {
        identity::ensure(session).await?;
        // Of a start the run is above all that are known: the request's and the leader's.
        let sql = "INSERT INTO driftless.snapshot AS s (migration, collection, run, paused, who, at) \
                   SELECT i.id, name, CASE WHEN $2 THEN 1 ELSE 0 END, $3, $4, now() \
                     FROM driftless.identity AS i, unnest($1::text[]) AS name WHERE i.prefix = $5 \
                   ON CONFLICT (migration, collection) DO UPDATE SET paused = excluded.paused, who = excluded.who, at = excluded.at, \
                     run = CASE WHEN $2 THEN greatest(s.run, coalesce((s.told->>'run')::int8, 0)) + 1 ELSE s.run END";
        let (start, pause) = (ask == SnapshotCommand::Start, ask == SnapshotCommand::Pause);
        session.execute(act, sql, &[&collections, &start, &pause, &who, &session.prefix()]).await?;
        record_action(session, who, ask.as_str(), &serde_json::json!({ "collections": collections })).await
    };
    session.transaction(act, true, asked).await
}

/// All that was ever wanted or told; nothing before the schema was made.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn list(session: &Session) -> Result<Vec<Listed>, Error> {
    let act = "list snapshots";
    if !session.has_table(act, "driftless.snapshot").await? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT collection, run, paused, told, (extract(epoch FROM told_at) * 1000)::int8, \
                extract(epoch FROM now() - told_at)::int8 FROM driftless.snapshot WHERE {OURS} ORDER BY collection"
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let listed = rows.iter().map(|row| {
        let told: Option<serde_json::Value> = field(row, 3, act)?;
        let at: Option<i64> = field(row, 4, act)?;
        Ok(Listed {
            collection: field(row, 0, act)?,
            request: request(field(row, 1, act)?, field(row, 2, act)?),
            told: told.and_then(|told| serde_json::from_value(told).ok()),
            told_at: at.and_then(|at| Timestamp::from_millisecond(at).ok()),
            silent: field(row, 5, act)?,
        })
    });
    listed.collect()
}

fn request(run: i64, paused: bool) -> SnapshotRequest {
    SnapshotRequest { run: u64::try_from(run).unwrap_or(0), paused }
}
