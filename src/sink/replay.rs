//! Replay: the offset row is moved, and the worker that owns the partition notices in its next transaction.
//!
//! Rows never grow older by it: every change passes the ledger again, and the highest version stays. A change of the same
//! version is applied again, so a mended mapping reaches the rows.

use serde::Serialize;

use super::{Error, Session, session::field};

/// Where a replay starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// At the first record there is.
    Earliest,
    /// At this offset.
    Offset(i64),
}

/// One partition that a replay moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The partition.
    pub partition: i32,
    /// Its next offset before; nothing when it was at the earliest record.
    pub from: Option<i64>,
    /// Its next offset now; nothing for the earliest record.
    pub to: Option<i64>,
}

/// Moves the next offset of the topic's partitions, all or one, and records who did it. With `dry_run` only tells.
///
/// # Errors
/// [`Error::Statement`] by its cause; then nothing was moved.
pub async fn replay(
    session: &Session,
    topic: &str,
    partition: Option<i32>,
    to: To,
    who: &str,
    dry_run: bool,
) -> Result<Vec<Moved>, Error> {
    let target = match to {
        To::Earliest => None,
        To::Offset(offset) => Some(offset),
    };
    session.batch("begin a replay", "BEGIN").await?;
    let act = "lock positions";
    let sql = "SELECT partition, next_offset FROM driftless.position \
                WHERE topic = $1 AND ($2::int4 IS NULL OR partition = $2) ORDER BY partition FOR UPDATE";
    let rows = session.query(act, sql, &[&topic, &partition]).await?;
    let moved: Vec<Moved> = rows
        .iter()
        .map(|row| Ok(Moved { partition: field(row, 0, act)?, from: field(row, 1, act)?, to: target }))
        .collect::<Result<_, Error>>()?;
    if dry_run || moved.is_empty() {
        session.batch("end a replay", "ROLLBACK").await?;
        return Ok(moved);
    }
    // The count since the last frontier starts anew: what is read again was counted before.
    let sql = "UPDATE driftless.position SET next_offset = $3, pending = NULL \
                WHERE topic = $1 AND ($2::int4 IS NULL OR partition = $2)";
    session.execute("move positions", sql, &[&topic, &partition, &target]).await?;
    let detail = serde_json::json!({ "topic": topic, "partitions": moved });
    let sql = "INSERT INTO driftless.action (who, command, detail) VALUES ($1, 'replay', $2)";
    session.execute("record the replay", sql, &[&who, &detail]).await?;
    session.batch("commit a replay", "COMMIT").await?;
    Ok(moved)
}
