//! How far the sink has come, for those who wait for it.

use tokio_postgres::Row;

use crate::{
    log::TopicPartition,
    model::{ClusterTime, Frontier, Key, Version},
    postgres::{
        Error, Session,
        session::{Param, field},
    },
    sink::checkpoint,
};

/// Whether everything before the frontier is applied in all of these partitions, as published by this generation of the publisher
/// or a later one.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn reaches(
    session: &Session,
    partitions: &[TopicPartition],
    generation: u64,
    frontier: Frontier,
) -> Result<bool, Error> {
    let positions = checkpoint::read(session, partitions).await?;
    Ok(positions.iter().all(|position| {
        let current = position.publisher >= Some(generation) && position.seq > 0;
        current && position.watermark.is_some_and(|known| known >= frontier)
    }))
}

/// Asks whether the target holds every change up to a cluster time.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The collection.
    pub(crate) collection: String,
    /// The document; `None` asks for all of them.
    pub(crate) key: Option<Key>,
    /// The time.
    pub(crate) at: ClusterTime,
}

/// Where the target is with the document or the collection of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether it holds every change up to the time.
    pub(crate) applied: bool,
    /// Whether the sink has registered the collection.
    pub(crate) known: bool,
    /// Whether the snapshot of the collection is applied.
    pub(crate) complete: bool,
    /// Whether a dead letter or a parked record keeps a change from its rows.
    pub(crate) held: bool,
    /// The watermark of the collection.
    pub(crate) watermark: Option<Frontier>,
    /// The version of the document.
    pub(crate) version: Option<Version>,
}

const ACT: &str = "ask what is applied";

/// Answers all questions by one statement, in their order. The rule is that of `driftless.applied_to`.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn standings<'a>(
    session: &Session,
    questions: impl IntoIterator<Item = &'a Question>,
) -> Result<Vec<Standing>, Error> {
    let (mut collections, mut keys, mut times) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for Question { collection, key, at } in questions {
        collections.push(collection.as_str());
        keys.push(key.as_ref().map(Key::as_bytes));
        times[0].push(i64::from(at.t));
        times[1].push(i64::from(at.i));
    }
    let sql = "SELECT s.applied, s.known, s.complete, s.held, s.watermark_t, s.watermark_i, s.version \
                 FROM unnest($2::text[], $3::bytea[], $4::int8[], $5::int8[]) WITH ORDINALITY AS q(collection, key, t, i, place) \
                CROSS JOIN LATERAL driftless.applied_to((SELECT id FROM driftless.identity WHERE prefix = $1), \
                                                        q.collection, q.key, q.t, q.i) AS s \
                ORDER BY q.place";
    let params: [Param<'_>; 5] = [&session.prefix(), &collections, &keys, &times[0], &times[1]];
    session.query(ACT, sql, &params).await?.iter().map(standing).collect()
}

fn standing(row: &Row) -> Result<Standing, Error> {
    Ok(Standing {
        applied: field(row, 0, ACT)?,
        known: field(row, 1, ACT)?,
        complete: field(row, 2, ACT)?,
        held: field(row, 3, ACT)?,
        watermark: checkpoint::cluster_time(field(row, 4, ACT)?, field(row, 5, ACT)?).map(Frontier),
        version: field::<Option<&[u8]>>(row, 6, ACT)?.and_then(Version::from_bytes),
    })
}
