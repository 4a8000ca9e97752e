//! Replay: moves positions back, so that running workers read the log again from there.
//!
//! Nothing is told to the workers. Each checks the positions in every transaction; the next one (idle partitions get a
//! frontier record about once a second) finds its position moved, writes nothing, and seeks. By the ledger, what was applied
//! already is applied again only where its version is still the newest.

use tokio_postgres::Row;

use super::status::storable;
use crate::{
    postgres::{Error, Session, identity, session::field},
    sink::checkpoint,
};

/// Where to read again from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The earliest record there is.
    Earliest,
    /// This offset.
    Offset(i64),
}

/// A partition that is, or would be, moved.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Where it stood; `None` is the earliest.
    pub from: Option<i64>,
    /// Where it stands now; likewise.
    pub to: Option<i64>,
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The collection's topic.
    pub topic: &'a str,
    /// Its partition; `None` is all of them.
    pub partition: Option<i32>,
    /// Where to.
    pub to: To,
    /// Who asks, for the record.
    pub who: &'a str,
    /// Only tell what would be moved.
    pub dry_run: bool,
}

const ACT: &str = "move positions for a replay";

/// Moves the positions and records the action, in one transaction. A position is never moved forward: that would lose changes.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn replay(session: &Session, request: &Request<'_>) -> Result<Vec<Moved>, Error> {
    let offset = match request.to {
        To::Earliest => None,
        To::Offset(offset) => Some(offset),
    };
    session.transaction(ACT, !request.dry_run, inside(session, request, offset)).await
}

async fn inside(session: &Session, request: &Request<'_>, offset: Option<i64>) -> Result<Vec<Moved>, Error> {
    // The count since the last frontier no longer reaches back to it.
    let sql = "WITH old AS (SELECT topic, partition, next_offset FROM driftless.position \
                             WHERE topic = $1 AND ($2::int4 IS NULL OR partition = $2) \
                             ORDER BY topic, partition FOR UPDATE) \
               UPDATE driftless.position AS p SET next_offset = $3, pending = NULL, \
                      reread_to = greatest(p.reread_to, old.next_offset) FROM old \
                WHERE p.topic = old.topic AND p.partition = old.partition AND old.next_offset IS NOT NULL \
                  AND ($3::int8 IS NULL OR old.next_offset > $3) \
               RETURNING p.topic, p.partition, old.next_offset, p.next_offset";
    let rows = session.query(ACT, sql, &[&request.topic, &request.partition, &offset]).await?;
    let mut moved = rows.iter().map(read).collect::<Result<Vec<_>, Error>>()?;
    moved.sort_by_key(|moved| moved.partition);
    record_action(session, request.who, "replay", &serde_json::json!({ "positions": moved })).await?;
    Ok(moved)
}

/// Where the partitions of a topic stand, by number; `None` is the earliest. Those of which nothing was applied are not among them.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn positions(session: &Session, topic: &str) -> Result<Vec<(i32, Option<i64>)>, Error> {
    let all = checkpoint::all(session).await?.into_iter();
    let ours = all.filter(|(partition, _)| *partition.topic == *topic);
    let mut positions: Vec<_> = ours.map(|(partition, position)| (partition.partition, position.next_offset)).collect();
    positions.sort_unstable();
    Ok(positions)
}

fn read(row: &Row) -> Result<Moved, Error> {
    Ok(Moved {
        topic: field(row, 0, ACT)?,
        partition: field(row, 1, ACT)?,
        from: field(row, 2, ACT)?,
        to: field(row, 3, ACT)?,
    })
}

/// Records what an operator did.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn record_action(
    session: &Session,
    who: &str,
    command: &str,
    detail: &serde_json::Value,
) -> Result<(), Error> {
    identity::ensure(session).await?;
    let sql = "INSERT INTO driftless.action (migration, who, command, detail) \
               SELECT id, $2, $3, $4 FROM driftless.identity WHERE prefix = $1";
    session
        .execute(
            "record the action",
            sql,
            &[&session.prefix(), &session.storable(who), &command, &storable(session, detail)],
        )
        .await?;
    Ok(())
}
