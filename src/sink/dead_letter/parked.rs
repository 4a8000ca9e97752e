//! Parked documents: which are tried again, and how many there are.
//!
//! All of a collection are tried together, whichever partition they came in: documents that trade a unique value each wait for
//! the other, and only an attempt with both can end that. The ledger decides by version, so it does not matter which worker
//! tries. Attempts by the clock take the most overdue first. Attempts by an event take the documents that may have waited for it,
//! in the order of their numbers. So none waits behind the bound without end.

use tokio_postgres::Row;

use super::{Error, field, record};
use crate::{
    log::{Fetched, TopicPartition},
    model::{ClusterTime, Frontier},
    postgres::{Session, identity::OURS, session::Param},
    sink::checkpoint,
};

/// Bounds of what is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Documents.
    pub documents: usize,
    /// Bytes of their records; the one that reaches them is the last.
    pub bytes: u64,
}

/// Parked documents, read to be tried.
#[derive(Debug, Default)]
pub struct Parked {
    /// Their records.
    pub records: Vec<Fetched>,
    /// The number of the last one where others of the same kind follow it.
    pub more_after: Option<i64>,
}

const ACT: &str = "read parked documents";

/// Those whose time has come in one of these partitions, with all others of their collections.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn due(session: &Session, partitions: &[TopicPartition], bounds: Bounds) -> Result<Vec<Fetched>, Error> {
    let which = "collection IN (SELECT collection FROM driftless.dead_letter \
                  WHERE migration = (SELECT id FROM driftless.identity WHERE prefix = $5) \
                    AND state = 'parked' AND next_attempt_at <= now() \
                    AND (topic, partition) IN (SELECT * FROM unnest($3::text[], $4::int4[])))";
    let (topics, numbers): (Vec<_>, Vec<_>) =
        partitions.iter().map(|partition| (&*partition.topic, partition.partition)).unzip();
    Ok(read(session, which, "next_attempt_at, id", bounds, &[&topics, &numbers, &session.prefix()]).await?.records)
}

/// Those of these collections that come after that number.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn freed(session: &Session, collections: &[i32], after: i64, bounds: Bounds) -> Result<Parked, Error> {
    read(session, "collection = ANY ($3) AND id > $4", "id", bounds, &[&collections, &after]).await
}

/// The lengths decide before any record is read.
async fn read(
    session: &Session,
    which: &str,
    order: &str,
    bounds: Bounds,
    params: &[Param<'_>],
) -> Result<Parked, Error> {
    let sql = format!(
        "WITH first AS (SELECT id, next_attempt_at, {BYTES} AS bytes FROM driftless.dead_letter \
                         WHERE state = 'parked' AND {which} ORDER BY {order} LIMIT $1::int8 + 1), \
              placed AS (SELECT id, row_number() OVER in_order AS place, sum(bytes) OVER in_order - bytes AS before \
                           FROM first WINDOW in_order AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING)) \
         SELECT d.topic, d.partition, d.log_offset, d.timestamp_ms, d.record_key, d.value, d.headers, d.id, \
                place < (SELECT count(*) FROM first) \
           FROM placed JOIN driftless.dead_letter AS d USING (id) \
          WHERE (before < $2::int8 OR place = 1) AND place <= $1 ORDER BY place"
    );
    let documents = i64::try_from(bounds.documents).unwrap_or(i64::MAX - 1);
    let bytes = i64::try_from(bounds.bytes).unwrap_or(i64::MAX);
    let mut all: Vec<Param<'_>> = vec![&documents, &bytes];
    all.extend(params);
    let rows = session.query(ACT, &sql, &all).await?;
    let records = rows.iter().map(|row| record(row, 0, ACT)).collect::<Result<_, Error>>()?;
    let last = rows.last().map(|row| Ok::<_, Error>((field::<i64>(row, 7, ACT)?, field::<bool>(row, 8, ACT)?)));
    let more_after = last.transpose()?.and_then(|(id, more)| more.then_some(id));
    Ok(Parked { records, more_after })
}

/// The bytes of a record; PostgreSQL knows the length of a value without reading it.
const BYTES: &str = "coalesce(octet_length(record_key), 0)::int8 + coalesce(octet_length(value), 0)";

/// How many documents are parked, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParkedTotals {
    /// Number.
    pub(crate) documents: u64,
    /// Bytes of their records.
    pub(crate) bytes: u64,
    /// Those that were refused again since `since` although `before` covers them.
    pub(crate) in_vain: u64,
    /// Everything before this is applied in every partition, snapshots too; none while that is not so.
    pub(crate) before: Option<Frontier>,
    /// The server's clock, microseconds since 1970.
    pub(crate) now: i64,
}

/// Counts those of these collections, whose topics are these. `since` is the earlier [`ParkedTotals::now`] at which everything up to `before` was known to be applied.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn parked_totals(
    session: &Session,
    collections: &[i32],
    topics: &[&str],
    since: Option<(Frontier, i64)>,
) -> Result<ParkedTotals, Error> {
    // A version begins with its epoch; the cluster time follows. An attempt by the clock was `attempts` seconds before the next.
    let sql = format!(
        "SELECT count(*), coalesce(sum({BYTES}), 0)::int8, \
                count(*) FILTER (WHERE substring(version FROM 5 FOR 8) < $1::bytea \
                  AND next_attempt_at - least(attempts, 30) * interval '1 second' > 'epoch'::timestamptz + $2::int8 * interval '1 microsecond'), \
                (extract(epoch FROM now()) * 1000000)::int8 \
           FROM driftless.dead_letter WHERE state = 'parked' AND collection = ANY ($3)"
    );
    let (before, since) = since.map(|(before, since)| (bytes(before.0), since)).unzip();
    let row = session.query_one(ACT, &sql, &[&before.as_ref().map(<[u8; 8]>::as_slice), &since, &collections]).await?;
    let number = |at: usize| Ok::<_, Error>(u64::try_from(field::<i64>(&row, at, ACT)?).unwrap_or(0));
    let sql = format!(
        "SELECT watermark_t, watermark_i, bool_and(complete) OVER () FROM driftless.position \
          WHERE {OURS} AND topic = ANY ($2) ORDER BY watermark_t NULLS FIRST, watermark_i LIMIT 1"
    );
    let slowest =
        session.query_opt(ACT, &sql, &[&session.prefix(), &topics]).await?.map(|row| watermark(&row)).transpose()?;
    Ok(ParkedTotals {
        documents: number(0)?,
        bytes: number(1)?,
        in_vain: number(2)?,
        now: field(&row, 3, ACT)?,
        before: slowest.flatten(),
    })
}

fn watermark(row: &Row) -> Result<Option<Frontier>, Error> {
    let time = checkpoint::cluster_time(field(row, 0, ACT)?, field(row, 1, ACT)?);
    Ok(time.filter(|_| field(row, 2, ACT).unwrap_or(false)).map(Frontier))
}

fn bytes(ClusterTime { t, i }: ClusterTime) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&t.to_be_bytes());
    bytes[4..].copy_from_slice(&i.to_be_bytes());
    bytes
}
