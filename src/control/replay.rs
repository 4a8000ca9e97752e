//! Replay: moves positions back, so that running workers read the log again from there.
//!
//! The workers need no message. Each checks the positions in every transaction; the next transaction (idle partitions get a
//! frontier record about once a second) finds its position moved, writes nothing, and seeks. The ledger lets a change be
//! applied again only if its version is still the newest.
//!
//! A position moves only back, because going forward would lose changes. It moves only while it belongs to the topic that the new
//! offset was looked up in: offsets of a topic that was deleted mean nothing in a later topic of the same name.

use std::sync::Arc;

use serde::Serialize;
use tokio_postgres::Row;

use super::journal::record_action;
use crate::{
    log::TopicPartition,
    postgres::{Error, Session, identity::OURS, session::field},
};

/// How far a partition is applied, as a replay sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The partition.
    pub partition: TopicPartition,
    /// Kafka's id of the topic that the offsets belong to, if the brokers have ids.
    pub topic_id: Option<String>,
    /// The next offset; `None` is the earliest record.
    pub next_offset: Option<i64>,
    /// During a replay: the offset at which it ends.
    pub reread_to: Option<i64>,
    /// Wall clock of the source as of which the partition is complete, in milliseconds since 1970.
    pub as_of_ms: Option<i64>,
}

/// The new position of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub partition: TopicPartition,
    /// Kafka's id of the topic in which the offset was looked up.
    pub topic_id: Option<String>,
    /// The next offset; `None` is the earliest record.
    pub to: Option<i64>,
}

/// A partition that was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The next offset before.
    pub from: i64,
    /// The next offset now; `None` is the earliest record.
    pub to: Option<i64>,
}

const ACT: &str = "move positions for a replay";

/// Moves the positions that lie behind their new offset and belong to the same topic, all in one transaction, and records who did so
/// and why. Returns the partitions that were moved; nothing is recorded if there are none.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn replay(session: &Session, moves: &[Move], who: &str, why: &str) -> Result<Vec<Moved>, Error> {
    session.transaction(ACT, true, inside(session, moves, who, why)).await
}

/// Does what [`replay`] does, inside a transaction of the caller's.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(super) async fn inside(session: &Session, moves: &[Move], who: &str, why: &str) -> Result<Vec<Moved>, Error> {
    // The count since the last frontier no longer starts at that frontier.
    let sql = format!(
        "WITH old AS (SELECT p.topic, p.partition, p.next_offset, e.next_offset AS wanted FROM driftless.position AS p \
                        JOIN unnest($2::text[], $3::int4[], $4::int8[], $5::text[]) AS e(topic, partition, next_offset, topic_id) \
                          ON e.topic = p.topic AND e.partition = p.partition \
                         AND (e.topic_id IS NULL OR p.topic_id IS NULL OR e.topic_id = p.topic_id) \
                       WHERE p.{OURS} ORDER BY p.topic, p.partition FOR UPDATE OF p) \
         UPDATE driftless.position AS p SET next_offset = old.wanted, pending = NULL, \
                reread_to = greatest(p.reread_to, old.next_offset) FROM old \
          WHERE p.{OURS} AND p.topic = old.topic AND p.partition = old.partition AND old.next_offset IS NOT NULL \
            AND (old.wanted IS NULL OR old.next_offset > old.wanted) \
         RETURNING p.topic, p.partition, old.next_offset, p.next_offset"
    );
    let topics: Vec<&str> = moves.iter().map(|wanted| &*wanted.partition.topic).collect();
    let partitions: Vec<i32> = moves.iter().map(|wanted| wanted.partition.partition).collect();
    let offsets: Vec<Option<i64>> = moves.iter().map(|wanted| wanted.to).collect();
    let ids: Vec<Option<&str>> = moves.iter().map(|wanted| wanted.topic_id.as_deref()).collect();
    let rows = session.query(ACT, &sql, &[&session.prefix(), &topics, &partitions, &offsets, &ids]).await?;
    let mut moved = rows.iter().map(read).collect::<Result<Vec<_>, Error>>()?;
    moved.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
    if !moved.is_empty() {
        record_action(session, who, "replay", &serde_json::json!({ "why": why, "positions": moved })).await?;
    }
    Ok(moved)
}

fn read(row: &Row) -> Result<Moved, Error> {
    Ok(Moved {
        topic: field(row, 0, ACT)?,
        partition: field(row, 1, ACT)?,
        from: field(row, 2, ACT)?,
        to: field(row, 3, ACT)?,
    })
}

/// Reads how far each partition of this migration is applied.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn applied(session: &Session) -> Result<Vec<Applied>, Error> {
    let act = "read positions";
    let sql = format!(
        "SELECT topic, partition, topic_id, next_offset, reread_to, as_of_ms FROM driftless.position \
          WHERE {OURS} ORDER BY topic, partition"
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let applied = rows.iter().map(|row| {
        Ok(Applied {
            partition: TopicPartition { topic: Arc::from(field::<&str>(row, 0, act)?), partition: field(row, 1, act)? },
            topic_id: field(row, 2, act)?,
            next_offset: field(row, 3, act)?,
            reread_to: field(row, 4, act)?,
            as_of_ms: field(row, 5, act)?,
        })
    });
    applied.collect()
}
