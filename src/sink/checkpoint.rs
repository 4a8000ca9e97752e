//! Positions: how far each partition was applied, in the same transaction as the rows.
//!
//! The positions in PostgreSQL are the only truth about what was applied. Every batch locks those of its partitions first, and
//! its last statement moves them.

use std::sync::Arc;

use tokio_postgres::Row;

use super::{
    plan::Batch,
    progress::{Mark, Position},
};
use crate::{
    log::{Topic, TopicPartition},
    model::{ClusterTime, Frontier},
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
};

const COLUMNS: &str = "topic, partition, next_offset, watermark_t, watermark_i, as_of_ms, publisher, seq, pending, gaps, complete, reread_to";
/// The place of the number of the mapping behind these columns.
const MAPPING: usize = 12;

/// Reads the positions of some partitions; a partition without one starts at the earliest record.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn read(session: &Session, partitions: &[TopicPartition]) -> Result<Vec<Position>, Error> {
    let act = "read positions";
    let sql = format!(
        "SELECT {COLUMNS} FROM driftless.position \
         JOIN unnest($2::text[], $3::int4[]) AS e(topic, partition) USING (topic, partition) WHERE {OURS}"
    );
    let (topics, numbers) = split(partitions);
    let found = session.query(act, &sql, &[&session.prefix(), &topics, &numbers]).await?;
    place(partitions, &found, act)
}

/// Locks the positions of the batch in one order and takes them, if the mapping with this number is still that of the migration.
///
/// Nobody records another mapping before the transaction of the caller has ended.
pub(super) async fn lock(
    session: &Session,
    mapping: Option<i64>,
    partitions: &[TopicPartition],
    expected: &[Option<i64>],
) -> Result<Vec<Position>, Error> {
    if partitions.is_empty() {
        return hold(session, mapping).await.map(|()| Vec::new());
    }
    if expected.contains(&None) {
        register(session, partitions).await?;
    }
    let (topics, numbers) = split(partitions);
    let act = "lock positions";
    let sql = format!(
        "SELECT {COLUMNS}, mapping FROM driftless.position \
          WHERE {OURS} AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::int4[])) \
          ORDER BY topic, partition FOR UPDATE"
    );
    let found = session.query(act, &sql, &[&session.prefix(), &topics, &numbers]).await?;
    if found.len() < partitions.len() {
        // A swap has given them to another migration.
        return Err(Error::MappingChanged);
    }
    for row in &found {
        if field::<Option<i64>>(row, MAPPING, act)? != mapping {
            return Err(Error::MappingChanged);
        }
    }
    let positions = place(partitions, &found, act)?;
    for ((partition, expected), position) in partitions.iter().zip(expected).zip(&positions) {
        if *expected != position.next_offset {
            return Err(Error::OffsetMoved {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                expected: *expected,
                found: position.next_offset,
            });
        }
    }
    Ok(positions)
}

/// Holds the recorded mapping for a transaction that moves no position, if it still has this number.
async fn hold(session: &Session, mapping: Option<i64>) -> Result<(), Error> {
    let act = "hold the mapping";
    let sql = format!("SELECT number FROM driftless.mapping WHERE {OURS} FOR SHARE");
    let found = session.query_opt(act, &sql, &[&session.prefix()]).await?;
    let found = found.map(|row| field::<i64>(&row, 0, act)).transpose()?;
    if found == mapping { Ok(()) } else { Err(Error::MappingChanged) }
}

/// Moves the positions to the end of the batch; gives them back with the partitions whose counts were not met. Pure.
pub(super) fn advance(batch: &Batch, mut positions: Vec<Position>) -> (Vec<Position>, Vec<TopicPartition>) {
    let mut unmet = Vec::new();
    for ((partition, range), position) in batch.ranges.iter().zip(&mut positions) {
        let misses_first = position.misses_before(range.first_offset);
        position.next_offset = Some(range.next_offset);
        for (place, mark) in range.marks.iter().enumerate() {
            let whole = mark.whole && !(misses_first && place == 0);
            if !position.advance(&Mark { whole, ..*mark }) {
                unmet.push(partition.clone());
            }
        }
        position.reread_to = position.reread_to.filter(|end| range.next_offset < *end);
    }
    (positions, unmet)
}

/// The parameters of [`Update::SQL`], which writes the positions of a batch. It is the last statement of a batch and travels with
/// its COMMIT, see [`apply()`](super::apply::apply).
pub(super) struct Update<'a> {
    topics: Vec<&'a str>,
    partitions: Vec<i32>,
    numbers: [Vec<Option<i64>>; 9],
    complete: Vec<bool>,
    prefix: &'a str,
}

impl<'a> Update<'a> {
    pub(super) const SQL: &'static str = "\
        UPDATE driftless.position AS p SET next_offset = e.next_offset, watermark_t = e.watermark_t, \
               watermark_i = e.watermark_i, as_of_ms = e.as_of_ms, publisher = e.publisher, seq = e.seq, \
               pending = e.pending, gaps = e.gaps, reread_to = e.reread_to, complete = e.complete \
          FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], \
                      $8::int8[], $9::int8[], $10::int8[], $11::int8[], $12::bool[]) \
            AS e(topic, partition, next_offset, watermark_t, watermark_i, as_of_ms, publisher, seq, pending, gaps, \
                 reread_to, complete) \
         WHERE p.topic = e.topic AND p.partition = e.partition \
           AND p.migration = (SELECT id FROM driftless.identity WHERE prefix = $13)";

    /// `positions` are those of the partitions, in their order; the session is that of the batch.
    pub(super) fn new(session: &'a Session, partitions: &'a [TopicPartition], positions: &[Position]) -> Self {
        let (topics, partitions) = split(partitions);
        let each = |of: fn(&Position) -> Option<i64>| positions.iter().map(of).collect::<Vec<_>>();
        let numbers = [
            each(|p| p.next_offset),
            each(|p| p.watermark.map(|bound| i64::from(bound.0.t))),
            each(|p| p.watermark.map(|bound| i64::from(bound.0.i))),
            each(|p| p.as_of_ms),
            each(|p| p.publisher.and_then(|publisher| i64::try_from(publisher).ok())),
            each(|p| i64::try_from(p.seq).ok()),
            each(|p| p.pending.and_then(|pending| i64::try_from(pending).ok())),
            each(|p| i64::try_from(p.gaps).ok()),
            each(|p| p.reread_to),
        ];
        let complete = positions.iter().map(|position| position.complete).collect();
        Self { topics, partitions, numbers, complete, prefix: session.prefix() }
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let mut params: Vec<Param<'_>> = vec![&self.topics, &self.partitions];
        params.extend(self.numbers.iter().map(|column| column as Param<'_>));
        params.push(&self.complete);
        params.push(&self.prefix);
        params
    }
}

/// Makes a position for each of these partitions that has none: it is known from now on that it exists, and that nothing of
/// it is applied.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn register(session: &Session, partitions: &[TopicPartition]) -> Result<(), Error> {
    // Another mapping that is recorded at this moment comes before or after, and misses no position.
    let sql = "WITH held AS (SELECT m.migration, m.number FROM driftless.mapping AS m \
                               JOIN driftless.identity AS i ON i.id = m.migration WHERE i.prefix = $3 FOR SHARE OF m) \
               INSERT INTO driftless.position (migration, topic, partition, mapping) \
               SELECT i.id, e.*, (SELECT number FROM held) \
                 FROM driftless.identity AS i, unnest($1::text[], $2::int4[]) AS e WHERE i.prefix = $3 \
               ON CONFLICT DO NOTHING";
    let (topics, numbers) = split(partitions);
    session.execute("create positions", sql, &[&topics, &numbers, &session.prefix()]).await?;
    Ok(())
}

/// Every position of this migration.
pub(crate) async fn all(session: &Session) -> Result<Vec<(TopicPartition, Position)>, Error> {
    let act = "read positions";
    let sql = format!("SELECT {COLUMNS} FROM driftless.position WHERE {OURS} ORDER BY topic, partition");
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    rows.iter().map(|row| Ok((partition(row, act)?, position(row, act)?))).collect()
}

/// Ties the positions of each topic to the topic that has its name now, and each collection to its topic.
///
/// Offsets of a topic that was deleted and made again mean nothing in the new one: it is read from its beginning, its watermark
/// and what was proven are void, and dead letters keep the id of the old one. The positions must be [registered](register).
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn bind(session: &Session, topics: &[Topic]) -> Result<(), Error> {
    let act = "tie positions to their topics";
    let bound = async {
        for topic in topics {
            let name = &*topic.name;
            if let Some(id) = &topic.id
                && let Some(old) = take_over(session, name, id, act).await?
            {
                tracing::warn!(topic = name, id, old, "another topic has the name: it is read from its beginning");
                failpoint!(SINK_BIND);
                forget(session, topic, &old, act).await?;
            }
            let sql = format!(
                "UPDATE driftless.collection SET topic = $3 WHERE {OURS} AND name = $2 AND topic IS DISTINCT FROM $3"
            );
            session.execute(act, &sql, &[&session.prefix(), &&*topic.namespace.collection, &name]).await?;
        }
        Ok(())
    };
    session.transaction(act, true, bound).await
}

/// Gives the positions of a topic its id; the id that they had, if it was another one.
async fn take_over(session: &Session, topic: &str, id: &str, act: &str) -> Result<Option<String>, Error> {
    let sql = format!(
        "WITH old AS (SELECT topic, partition, topic_id FROM driftless.position WHERE {OURS} AND topic = $2 \
                         AND topic_id IS DISTINCT FROM $3 ORDER BY topic, partition FOR UPDATE) \
         UPDATE driftless.position AS p SET topic_id = $3 FROM old \
          WHERE p.{OURS} AND p.topic = old.topic AND p.partition = old.partition RETURNING old.topic_id"
    );
    let rows = session.query(act, &sql, &[&session.prefix(), &topic, &id]).await?;
    for row in &rows {
        if let Some(old) = field(row, 0, act)? {
            return Ok(Some(old));
        }
    }
    Ok(None)
}

async fn forget(session: &Session, topic: &Topic, old: &str, act: &str) -> Result<(), Error> {
    let name = &*topic.name;
    let sql = format!(
        "UPDATE driftless.position SET next_offset = NULL, watermark_t = NULL, watermark_i = NULL, as_of_ms = NULL, \
                publisher = NULL, seq = NULL, pending = NULL, complete = false, reread_to = NULL WHERE {OURS} AND topic = $2"
    );
    session.execute(act, &sql, &[&session.prefix(), &name]).await?;
    // Parked ones are not tried again: the collection is read again, and that replaces them.
    let sql = format!(
        "UPDATE driftless.dead_letter SET topic_id = $3, state = CASE state WHEN 'parked' THEN 'open' ELSE state END \
          WHERE {OURS} AND topic = $2 AND topic_id = ''"
    );
    session.execute(act, &sql, &[&session.prefix(), &name, &old]).await?;
    Ok(())
}

fn split(partitions: &[TopicPartition]) -> (Vec<&str>, Vec<i32>) {
    partitions.iter().map(|partition| (&*partition.topic, partition.partition)).unzip()
}

fn place(partitions: &[TopicPartition], found: &[Row], act: &str) -> Result<Vec<Position>, Error> {
    let mut positions = vec![Position::default(); partitions.len()];
    for row in found {
        let owner = partition(row, act)?;
        if let Some(at) = partitions.iter().position(|wanted| *wanted == owner) {
            positions[at] = position(row, act)?;
        }
    }
    Ok(positions)
}

fn partition(row: &Row, act: &str) -> Result<TopicPartition, Error> {
    Ok(TopicPartition { topic: Arc::from(field::<&str>(row, 0, act)?), partition: field(row, 1, act)? })
}

fn position(row: &Row, act: &str) -> Result<Position, Error> {
    let number = |at: usize| field::<Option<i64>>(row, at, act);
    let unsigned = |at: usize| Ok::<_, Error>(number(at)?.and_then(|value| u64::try_from(value).ok()));
    Ok(Position {
        next_offset: number(2)?,
        watermark: cluster_time(number(3)?, number(4)?).map(Frontier),
        as_of_ms: number(5)?,
        publisher: unsigned(6)?,
        seq: unsigned(7)?.unwrap_or(0),
        pending: unsigned(8)?,
        gaps: unsigned(9)?.unwrap_or(0),
        complete: field(row, 10, act)?,
        reread_to: number(11)?,
    })
}

/// A cluster time out of two columns.
pub(crate) fn cluster_time(t: Option<i64>, i: Option<i64>) -> Option<ClusterTime> {
    Some(ClusterTime { t: u32::try_from(t?).ok()?, i: u32::try_from(i?).ok()? })
}
