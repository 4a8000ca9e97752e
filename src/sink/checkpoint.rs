//! Positions: how far each partition was applied, in the same transaction as the rows.
//!
//! A frontier record says that everything before its bound lies before it in its partition, and how many changes its
//! publisher wrote there since its last one. When the batch that holds it commits, the bound becomes the watermark. The
//! count is checked where it can be: between two frontiers that follow each other directly. Where compaction or a replay
//! removed what lies between, there is nothing to check, and nothing is claimed.

use std::sync::Arc;

use tokio_postgres::Row;

use super::plan::Batch;
use crate::{
    log::{FrontierRecord, Topic, TopicPartition},
    model::{ClusterTime, Frontier},
    postgres::{Error, Session, identity::OURS, session::field},
};

/// Something that counts in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Changes that a publisher will count.
    Changes {
        /// Its generation.
        publisher: u64,
        /// How many, next to each other.
        count: u64,
    },
    /// A frontier.
    Frontier(FrontierRecord),
}

/// How far a partition was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Where to go on; `None` at the earliest record.
    pub next_offset: Option<i64>,
    /// Everything before this is applied.
    pub watermark: Option<Frontier>,
    /// Source wall clock when that held there, milliseconds since 1970.
    pub as_of_ms: Option<i64>,
    /// Generation of the publisher of the last frontier or change.
    pub publisher: Option<u64>,
    /// Number of its last frontier here; 0 before the first.
    pub seq: u64,
    /// Its changes since; `None` when not all of them were seen.
    pub pending: Option<u64>,
    /// Whether the collection's snapshot is applied as well; without it the watermark speaks of the stream only.
    pub complete: bool,
    /// Frontiers whose count was not met, ever.
    pub gaps: u64,
    /// During a replay: what lies before this offset was read before.
    pub reread_to: Option<i64>,
}

impl Position {
    /// Takes a mark into account; `false` when a count was not met.
    pub fn advance(&mut self, mark: &Progress) -> bool {
        match *mark {
            Progress::Changes { publisher, count } => {
                self.succeed(publisher);
                if self.publisher == Some(publisher) {
                    self.pending = self.pending.map(|pending| pending + count);
                }
                true
            }
            Progress::Frontier(frontier) => self.meet(&frontier),
        }
    }

    /// Another publisher: all it wrote here was or will be seen, because it came after everything before. The order in the log
    /// says so, whatever its generation is; only what a replay reads again may be of one before.
    fn succeed(&mut self, publisher: u64) {
        let follows = |known| if self.reread_to.is_some() { known < publisher } else { known != publisher };
        if self.publisher.is_none_or(follows) {
            self.publisher = Some(publisher);
            self.seq = 0;
            self.pending = Some(0);
        }
    }

    fn meet(&mut self, frontier: &FrontierRecord) -> bool {
        self.succeed(frontier.publisher);
        let first = self.seq == 0;
        if self.publisher != Some(frontier.publisher) || frontier.seq < self.seq {
            // Read again after a replay. What was applied stays applied, so the watermark stays.
            return true;
        }
        let follows = frontier.seq == self.seq + 1;
        let met = !follows || self.pending.is_none_or(|pending| pending == frontier.changes);
        if !met {
            self.gaps += 1;
        }
        self.seq = frontier.seq;
        self.complete = frontier.complete;
        self.pending = Some(0);
        // A new publisher may start below the old one's bound (a restored source does); its word is the newer one.
        // A publisher that has not heard of the source yet says 0; what held before it holds still.
        let as_of_ms = Some(frontier.as_of_ms).filter(|ms| *ms > 0);
        if first || self.watermark.is_none_or(|known| known < frontier.before) {
            self.watermark = Some(frontier.before);
            self.as_of_ms = as_of_ms.or(self.as_of_ms);
        } else {
            self.as_of_ms = self.as_of_ms.max(as_of_ms);
        }
        met
    }
}

const COLUMNS: &str = "topic, partition, next_offset, watermark_t, watermark_i, as_of_ms, publisher, seq, pending, gaps, complete, reread_to";

/// Reads the positions of some partitions; a partition without one starts at the earliest record.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn read(session: &Session, partitions: &[TopicPartition]) -> Result<Vec<Position>, Error> {
    let act = "read positions";
    let sql = format!(
        "SELECT {COLUMNS} FROM driftless.position \
         JOIN unnest($1::text[], $2::int4[]) AS e(topic, partition) USING (topic, partition)"
    );
    let (topics, numbers) = split(partitions);
    let found = session.query(act, &sql, &[&topics, &numbers]).await?;
    place(partitions, &found, act)
}

/// Locks the positions of the batch in one order and takes them.
pub(super) async fn lock(
    session: &Session,
    partitions: &[TopicPartition],
    expected: &[Option<i64>],
) -> Result<Vec<Position>, Error> {
    if expected.contains(&None) {
        register(session, partitions).await?;
    }
    let (topics, numbers) = split(partitions);
    let act = "lock positions";
    let sql = format!(
        "SELECT {COLUMNS} FROM driftless.position \
          WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::int4[])) \
          ORDER BY topic, partition FOR UPDATE"
    );
    let found = session.query(act, &sql, &[&topics, &numbers]).await?;
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

/// Moves the positions to the end of the batch and commits; gives them back with the partitions whose counts were not met.
pub(super) async fn store_and_commit(
    session: &Session,
    batch: &Batch,
    mut positions: Vec<Position>,
) -> Result<(Vec<Position>, Vec<TopicPartition>), Error> {
    let mut unmet = Vec::new();
    for ((partition, range), position) in batch.ranges.iter().zip(&mut positions) {
        position.next_offset = Some(range.next_offset);
        for mark in &range.marks {
            if !position.advance(mark) {
                unmet.push(partition.clone());
            }
        }
        position.reread_to = position.reread_to.filter(|end| range.next_offset < *end);
    }
    let sql = "UPDATE driftless.position AS p SET next_offset = e.next_offset, watermark_t = e.watermark_t, \
                 watermark_i = e.watermark_i, as_of_ms = e.as_of_ms, publisher = e.publisher, seq = e.seq, \
                 pending = e.pending, gaps = e.gaps, complete = e.complete, reread_to = e.reread_to \
                FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], \
                            $8::int8[], $9::int8[], $10::int8[], $11::bool[], $12::int8[]) \
                  AS e(topic, partition, next_offset, watermark_t, watermark_i, as_of_ms, publisher, seq, pending, gaps, \
                       complete, reread_to) \
               WHERE p.topic = e.topic AND p.partition = e.partition";
    let topics = batch.ranges.keys().map(|partition| &*partition.topic).collect::<Vec<_>>();
    let numbers = batch.ranges.keys().map(|partition| partition.partition).collect::<Vec<_>>();
    let each = |of: fn(&Position) -> Option<i64>| positions.iter().map(of).collect::<Vec<_>>();
    session
        .execute_and_commit(
            "move positions",
            sql,
            &[
                &topics,
                &numbers,
                &each(|p| p.next_offset),
                &each(|p| p.watermark.map(|bound| i64::from(bound.0.t))),
                &each(|p| p.watermark.map(|bound| i64::from(bound.0.i))),
                &each(|p| p.as_of_ms),
                &each(|p| p.publisher.and_then(|publisher| i64::try_from(publisher).ok())),
                &each(|p| i64::try_from(p.seq).ok()),
                &each(|p| p.pending.and_then(|pending| i64::try_from(pending).ok())),
                &each(|p| i64::try_from(p.gaps).ok()),
                &positions.iter().map(|position| position.complete).collect::<Vec<_>>(),
                &each(|p| p.reread_to),
            ],
        )
        .await?;
    Ok((positions, unmet))
}

/// Makes a position for each of these partitions that has none: it is known from now on that it exists, and that nothing of
/// it is applied.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn register(session: &Session, partitions: &[TopicPartition]) -> Result<(), Error> {
    let sql = "INSERT INTO driftless.position (migration, topic, partition) \
               SELECT i.id, e.* FROM driftless.identity AS i, unnest($1::text[], $2::int4[]) AS e WHERE i.prefix = $3 \
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

/// Ties the positions of each topic to the topic that has its name now.
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
        }
        Ok(())
    };
    session.transaction(act, true, bound).await
}

/// Gives the positions of a topic its id; the id that they had, if it was another one.
async fn take_over(session: &Session, topic: &str, id: &str, act: &str) -> Result<Option<String>, Error> {
    let sql = "WITH old AS (SELECT topic, partition, topic_id FROM driftless.position WHERE topic = $1 \
                            AND topic_id IS DISTINCT FROM $2 ORDER BY topic, partition FOR UPDATE) \
               UPDATE driftless.position AS p SET topic_id = $2 FROM old \
                WHERE p.topic = old.topic AND p.partition = old.partition RETURNING old.topic_id";
    let rows = session.query(act, sql, &[&topic, &id]).await?;
    for row in &rows {
        if let Some(old) = field(row, 0, act)? {
            return Ok(Some(old));
        }
    }
    Ok(None)
}

async fn forget(session: &Session, topic: &Topic, old: &str, act: &str) -> Result<(), Error> {
    let name = &*topic.name;
    let sql = "UPDATE driftless.position SET next_offset = NULL, watermark_t = NULL, watermark_i = NULL, as_of_ms = NULL, \
                      publisher = NULL, seq = NULL, pending = NULL, complete = false, reread_to = NULL WHERE topic = $1";
    session.execute(act, sql, &[&name]).await?;
    // Parked ones are not tried again: the collection is read again, and that settles them.
    let sql = "UPDATE driftless.dead_letter SET topic_id = $2, state = CASE state WHEN 'parked' THEN 'open' ELSE state END \
                WHERE topic = $1 AND topic_id = ''";
    session.execute(act, sql, &[&name, &old]).await?;
    let sql = format!("DELETE FROM driftless.reconcile_result WHERE {OURS} AND collection = $2");
    session.execute(act, &sql, &[&session.prefix(), &&*topic.namespace.collection]).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn frontier(publisher: u64, seq: u64, changes: u64, t: u32) -> Progress {
        let before = Frontier(ClusterTime { t, i: 0 });
        Progress::Frontier(FrontierRecord {
            before,
            as_of_ms: i64::from(t) * 1000,
            seq,
            publisher,
            changes,
            complete: true,
        })
    }

    fn changes(publisher: u64, count: u64) -> Progress {
        Progress::Changes { publisher, count }
    }

    fn run(from: Position, marks: &[Progress]) -> Position {
        let mut position = from;
        for mark in marks {
            position.advance(mark);
        }
        position
    }

    #[test]
    fn counts_that_are_met_make_no_gap() {
        let end = run(
            Position::default(),
            &[changes(1, 3), frontier(1, 1, 3, 10), frontier(1, 2, 0, 11), changes(2, 1), frontier(2, 1, 1, 12)],
        );
        assert_eq!((end.gaps, end.seq, end.publisher, end.pending), (0, 1, Some(2), Some(0)));
        assert_eq!(end.watermark, Some(Frontier(ClusterTime { t: 12, i: 0 })));
    }

    #[test]
    fn a_change_too_few_or_too_many_is_a_gap() {
        for counted in [2, 4] {
            assert_eq!(run(Position::default(), &[changes(1, counted), frontier(1, 1, 3, 10)]).gaps, 1);
        }
    }

    #[test]
    fn what_compaction_removed_is_not_claimed_to_be_missing() {
        let end =
            run(Position::default(), &[changes(1, 1), frontier(1, 57, 9, 10), changes(1, 2), frontier(1, 58, 2, 11)]);
        assert_eq!((end.gaps, end.seq), (0, 58));
    }

    #[test]
    fn a_replay_moves_no_watermark_back_and_counts_nothing_twice() {
        let marks = [changes(1, 3), frontier(1, 1, 3, 10), changes(1, 1), frontier(1, 2, 1, 11)];
        let end = run(Position::default(), &marks);
        let end = Position { reread_to: Some(9), ..end };
        let replayed = run(Position { pending: None, ..end }, &marks);
        assert_eq!(replayed, end);
        assert_eq!(run(replayed, &[changes(1, 2), frontier(1, 3, 3, 12)]).gaps, 1);
        let later = run(replayed, &[frontier(2, 1, 0, 13)]);
        assert_eq!(run(later, &marks), later, "publishers before are read again, too");
    }

    #[test]
    fn a_replay_from_the_middle_counts_from_the_next_frontier_on() {
        let end = run(Position::default(), &[changes(1, 3), frontier(1, 1, 3, 10), changes(1, 2)]);
        let replayed = run(Position { pending: None, ..end }, &[changes(1, 1), frontier(1, 2, 2, 11)]);
        assert_eq!((replayed.gaps, replayed.pending), (0, Some(0)));
    }

    #[test]
    fn a_publisher_that_knows_no_time_yet_takes_none_back() {
        let unheard = |before| {
            let before = Frontier(ClusterTime { t: before, i: 0 });
            let record = FrontierRecord { before, as_of_ms: 0, seq: 1, publisher: 2, changes: 0, complete: true };
            Progress::Frontier(record)
        };
        for before in [9, 10, 11] {
            assert_eq!(run(Position::default(), &[frontier(1, 1, 0, 10), unheard(before)]).as_of_ms, Some(10_000));
        }
        assert_eq!(run(Position::default(), &[unheard(9)]).as_of_ms, None);
    }

    #[test]
    fn a_publisher_that_counts_from_one_again_is_a_new_one() {
        // Its generation came from a state topic that was lost.
        let end = run(Position::default(), &[frontier(17, 40, 0, 10), changes(1, 2), frontier(1, 1, 2, 11)]);
        assert_eq!((end.publisher, end.seq, end.gaps), (Some(1), 1, 0));
        assert_eq!(end.watermark, Some(Frontier(ClusterTime { t: 11, i: 0 })));
    }

    #[test]
    fn a_new_publisher_may_start_lower() {
        let end = run(Position::default(), &[frontier(1, 1, 0, 10), frontier(2, 1, 0, 9)]);
        assert_eq!(end.watermark, Some(Frontier(ClusterTime { t: 9, i: 0 })));
    }
}
