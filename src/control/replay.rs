//! Replay: moves positions back, so that running workers read the log again from there.
//!
//! The workers need no message. Each checks the positions in every transaction; the next transaction (idle partitions get a
//! frontier record about once a second) finds its position moved, writes nothing, and seeks. The ledger lets a change be
//! applied again only if its version is still the newest.

use tokio_postgres::Row;

use crate::{
    postgres::{Error, Session, identity, session::field},
    sink::checkpoint,
};

/// The offset to read again from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The earliest record in the topic.
    Earliest,
    /// This offset.
    Offset(i64),
}

/// A partition that was moved, or would be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// Topic.
    pub(crate) topic: String,
    /// Partition.
    pub(crate) partition: i32,
    /// The next offset before; `None` is the earliest record.
    pub from: Option<i64>,
    /// The next offset now; `None` is the earliest record.
    pub to: Option<i64>,
}

/// A request for a replay.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The topic of the collection.
    pub topic: &'a str,
    /// The partition; `None` means all of them.
    pub partition: Option<i32>,
    /// The new position.
    pub to: To,
    /// Who asks; it is recorded.
    pub who: &'a str,
    /// Whether to report what would be moved and change nothing.
    pub dry_run: bool,
}

const ACT: &str = "move positions for a replay";

/// Moves the positions and records the action, in one transaction. A position is never moved forward: that would lose changes.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn replay(session: &Session, request: &Request<'_>) -> Result<Vec<Moved>, Error> {
    let offset = match request.to {
        To::Earliest => None,
        To::Offset(offset) => Some(offset),
    };
    session.transaction(ACT, !request.dry_run, inside(session, request, offset)).await
}

async fn inside(session: &Session, request: &Request<'_>, offset: Option<i64>) -> Result<Vec<Moved>, Error> {
    // The count since the last frontier no longer starts at that frontier.
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

/// Reads the next offset of each partition of a topic; `None` is the earliest record. Partitions without an applied record are
/// left out.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn positions(session: &Session, topic: &str) -> Result<Vec<(i32, Option<i64>)>, Error> {
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

/// Records an action of an operator.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn record_action(
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
            &[&session.prefix(), &session.storable(who), &command, &session.storable_json(detail)],
        )
        .await?;
    Ok(())
}
