//! The mapping of the migration: the one under which its rows are written, recorded beside its state.
//!
//! ```text
//!  first sink ── claim ──▶ number 1      its own file
//!  operator ──── apply ──▶ number + 1    in one transaction: the file, replays, snapshots, void proofs, and every position
//!  batch ─────── its positions have another number ─▶ nothing is written, the plan is made again from the recorded file
//! ```
//! A batch locks its positions, and so does `apply`: each batch is written under the old mapping before the change, or under the
//! new one after it. A process whose file is another one writes and compares nothing until it has the recorded one.

use jiff::Timestamp;

use super::{
    journal::record_action,
    proofs,
    replay::{self, Move, Moved},
    snapshots::{self, SnapshotCommand},
};
use crate::{
    mapping::{MappingFile, Plan},
    postgres::{
        Error, Session,
        identity::{self, OURS},
        session::field,
    },
    sink::key_rule,
};

/// The recorded mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its number, which grows with every change.
    pub number: i64,
    /// The text of the file.
    pub file: String,
    /// The digest of its content.
    pub digest: Vec<u8>,
    /// Who recorded it.
    pub who: String,
    /// The reason; `None` for the first one.
    pub why: Option<String>,
    /// When it was recorded.
    pub at: Timestamp,
}

impl Recorded {
    /// Returns whether a file has the recorded content.
    pub fn is(&self, file: &MappingFile) -> bool {
        self.digest == file.digest()
    }
}

/// Reads the recorded mapping; `None` if no sink has recorded one, or the schema is not there yet.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn recorded(session: &Session) -> Result<Option<Recorded>, Error> {
    let act = "read the recorded mapping";
    if !session.has_table(act, "driftless.mapping").await? {
        return Ok(None);
    }
    let sql = format!(
        "SELECT number, file, digest, who, why, (extract(epoch FROM at) * 1000)::int8 FROM driftless.mapping WHERE {OURS}"
    );
    let Some(row) = session.query_opt(act, &sql, &[&session.prefix()]).await? else { return Ok(None) };
    Ok(Some(Recorded {
        number: field(&row, 0, act)?,
        file: field(&row, 1, act)?,
        digest: field(&row, 2, act)?,
        who: field(&row, 3, act)?,
        why: field(&row, 4, act)?,
        at: Timestamp::from_millisecond(field(&row, 5, act)?).unwrap_or_default(),
    }))
}

/// Reads the digest of the recorded mapping, for a look every second.
///
/// # Errors
/// [`Error::Statement`] by its cause, also if the schema does not exist yet.
pub(crate) async fn digest(session: &Session) -> Result<Option<Vec<u8>>, Error> {
    let act = "read the digest of the mapping";
    let sql = format!("SELECT digest FROM driftless.mapping WHERE {OURS}");
    session.query_opt(act, &sql, &[&session.prefix()]).await?.map(|row| field(&row, 0, act)).transpose()
}

/// Records the file of a sink if the migration has no mapping yet, and returns the recorded one.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn claim(session: &Session, file: &MappingFile) -> Result<Option<Recorded>, Error> {
    let act = "record the mapping";
    let claimed = async {
        identity::ensure(session).await?;
        let sql = "INSERT INTO driftless.mapping (migration, number, file, digest, who) \
                   SELECT id, 1, $2, $3, 'the first sink' FROM driftless.identity WHERE prefix = $1 ON CONFLICT DO NOTHING";
        let text = session.storable(file.text());
        let new = session.execute(act, sql, &[&session.prefix(), &text, &&file.digest()[..]]).await?;
        if new > 0 {
            bind(session, 1).await?;
        }
        recorded(session).await
    };
    session.transaction(act, true, claimed).await
}

/// Has every batch from now on be written under the mapping with this number.
async fn bind(session: &Session, number: i64) -> Result<(), Error> {
    let act = "bind positions to the mapping";
    // Workers lock positions in this order.
    let sql = format!("SELECT FROM driftless.position WHERE {OURS} ORDER BY topic, partition FOR UPDATE");
    session.query(act, &sql, &[&session.prefix()]).await?;
    let sql = format!("UPDATE driftless.position SET mapping = $2 WHERE {OURS}");
    session.execute(act, &sql, &[&session.prefix(), &number]).await?;
    Ok(())
}

/// Another mapping, and all that follows from it.
#[derive(Debug)]
pub struct Change<'a> {
    /// The number of the mapping that it was compared with; `None`: none was recorded.
    pub known: Option<i64>,
    /// The file.
    pub file: &'a MappingFile,
    /// Its plan.
    pub plan: &'a Plan,
    /// Where positions move back to.
    pub replays: &'a [Move],
    /// The collections that are read again.
    pub snapshots: &'a [String],
    /// The collections whose rows would be others: what is proven of them is void.
    pub changed: &'a [String],
    /// Who asks.
    pub who: &'a str,
    /// The reason.
    pub why: &'a str,
}

/// Records another mapping with all that follows from it, in one transaction. Returns the partitions that were moved; `None` if
/// somebody else has recorded one since the comparison, and then nothing is done.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn apply(session: &Session, change: &Change<'_>) -> Result<Option<Vec<Moved>>, Error> {
    session.transaction("record another mapping", true, inside(session, change)).await
}

async fn inside(session: &Session, change: &Change<'_>) -> Result<Option<Vec<Moved>>, Error> {
    let act = "record another mapping";
    let Change { known, file, plan, replays, snapshots, changed, who, why } = change;
    identity::ensure(session).await?;
    // Where there is none, two operators meet at the primary key: the row of the other one has another number.
    let number = known.unwrap_or(0) + 1;
    let sql = "INSERT INTO driftless.mapping AS m (migration, number, file, digest, who, why) \
               SELECT id, $2, $3, $4, $5, $6 FROM driftless.identity WHERE prefix = $1 \
               ON CONFLICT (migration) DO UPDATE SET number = excluded.number, file = excluded.file, digest = excluded.digest, \
                      who = excluded.who, why = excluded.why, at = excluded.at WHERE m.number = $7";
    let (text, who, why) = (session.storable(file.text()), session.storable(who), session.storable(why));
    let digest = file.digest();
    let written =
        session.execute(act, sql, &[&session.prefix(), &number, &text, &&digest[..], &who, &why, known]).await?;
    if written == 0 {
        return Ok(None);
    }
    bind(session, number).await?;
    key_rule::replace(session, plan, changed).await?;
    let moved = replay::inside(session, replays, &who, &why).await?;
    if !snapshots.is_empty() {
        snapshots::inside(session, SnapshotCommand::Start, snapshots, &who, Some(&why)).await?;
    }
    proofs::void_named(session, changed, "the mapping has changed: the rows would be others now").await?;
    let detail = serde_json::json!({ "why": why, "number": number, "collections": changed });
    record_action(session, &who, "mapping apply", &detail).await?;
    Ok(Some(moved))
}
