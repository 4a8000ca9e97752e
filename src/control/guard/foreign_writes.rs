//! The writes of others that the triggers have recorded, until everything that they touched has been compared again.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::postgres::{
    Error, Session,
    identity::OURS,
    session::{Param, field},
};

/// How long foreign writes are kept after they were judged: long enough for somebody to ask who it was.
const JUDGED_KEPT: &str = "30 days";
/// Most of them that are removed at a time.
const REMOVED_PER_STEP: i64 = 10_000;

/// A statement of somebody else that wrote a mapped table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ForeignWrite {
    /// Its number.
    pub(crate) id: i64,
    /// The table, as in `driftless.guard`.
    pub(crate) relation: String,
    /// `INSERT`, `UPDATE`, `DELETE` or `TRUNCATE`.
    pub(crate) operation: String,
    /// Number of rows; `None` if they were not counted.
    pub(crate) rows: Option<i64>,
    /// The columns that name the rows, {column: text or null}; `None` where there were too many rows.
    pub(crate) keys: Option<Vec<Map<String, Value>>>,
    /// The role.
    pub(crate) who: String,
    /// The name that its application gave.
    pub(crate) application: Option<String>,
}

impl ForeignWrite {
    /// Returns what happened in words, without a value.
    pub(crate) fn summary(&self) -> String {
        let rows = self.rows.map(|rows| format!(" of {rows} row{}", if rows == 1 { "" } else { "s" }));
        let from = self.application.as_ref().map(|name| format!(" ({name})"));
        let Self { operation, relation, who, .. } = self;
        format!(
            "foreign write to {relation}: {operation}{} by {who}{}",
            rows.unwrap_or_default(),
            from.unwrap_or_default()
        )
    }
}

/// Reads the oldest foreign writes that are not judged, and for which no new baseline was asked.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn open(session: &Session, limit: usize) -> Result<Vec<ForeignWrite>, Error> {
    let act = "read foreign writes";
    let sql = format!(
        "SELECT id, relation, operation, rows, keys, who, application FROM driftless.foreign_write \
          WHERE judged_at IS NULL AND voided_at IS NULL AND {OURS} ORDER BY id LIMIT $2"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = session.query(act, &sql, &[&session.prefix(), &limit]).await?;
    let write = |row: &tokio_postgres::Row| {
        let keys: Option<Value> = field(row, 4, act)?;
        Ok(ForeignWrite {
            id: field(row, 0, act)?,
            relation: field(row, 1, act)?,
            operation: field(row, 2, act)?,
            rows: field(row, 3, act)?,
            keys: keys.and_then(|keys| serde_json::from_value(keys).ok()),
            who: field(row, 5, act)?,
            application: field(row, 6, act)?,
        })
    };
    rows.iter().map(write).collect()
}

/// Counts the foreign writes that are not judged, by table.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn open_counts(session: &Session) -> Result<BTreeMap<String, u64>, Error> {
    let act = "count foreign writes";
    let sql = format!(
        "SELECT relation, count(*) FROM driftless.foreign_write WHERE judged_at IS NULL AND {OURS} GROUP BY relation"
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    rows.iter().map(|row| Ok((field(row, 0, act)?, u64::try_from(field::<i64>(row, 1, act)?).unwrap_or(0)))).collect()
}

/// Records that everything that these foreign writes touched has been compared again.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn judged(session: &Session, ids: &[i64]) -> Result<(), Error> {
    let sql =
        "UPDATE driftless.foreign_write SET judged_at = clock_timestamp() WHERE id = ANY ($1) AND judged_at IS NULL";
    session.execute("record that foreign writes are judged", sql, &[&ids]).await?;
    Ok(())
}

/// Removes some of the foreign writes that were judged long ago.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn forget(session: &Session) -> Result<(), Error> {
    let sql = format!(
        "DELETE FROM driftless.foreign_write WHERE id IN (SELECT id FROM driftless.foreign_write \
          WHERE judged_at < now() - interval '{JUDGED_KEPT}' AND {OURS} LIMIT $2)"
    );
    session.execute("remove old foreign writes", &sql, &[&session.prefix(), &REMOVED_PER_STEP]).await?;
    Ok(())
}

/// Reads how many foreign writes could not be recorded, and for how many of them the proofs of the guarded tables were voided.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn lost(session: &Session) -> Result<(i64, i64), Error> {
    let act = "read how many foreign writes could not be recorded";
    let sql = format!(
        "SELECT driftless.foreign_writes_lost(), coalesce(min(lost), driftless.foreign_writes_lost()) FROM driftless.guard WHERE {OURS}"
    );
    let row = session.query_one(act, &sql, &[&session.prefix()]).await?;
    Ok((field(&row, 0, act)?, field(&row, 1, act)?))
}

/// Records that the proofs were voided for that many lost foreign writes.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn acknowledge_lost(session: &Session, count: i64) -> Result<(), Error> {
    let sql = format!("UPDATE driftless.guard SET lost = $2 WHERE {OURS}");
    session.execute("record the loss of foreign writes", &sql, &[&session.prefix(), &count]).await?;
    Ok(())
}

/// Records that everything of the tables of these foreign writes is to be compared again.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn voided(session: &Session, ids: &[i64]) -> Result<(), Error> {
    let sql =
        "UPDATE driftless.foreign_write SET voided_at = clock_timestamp() WHERE id = ANY ($1) AND voided_at IS NULL";
    session.execute("record that foreign writes void a proof", sql, &[&ids]).await?;
    Ok(())
}

/// Ends foreign writes to a table whose collections were all compared completely since their proofs were voided.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn judge_voided(session: &Session, relation: &str, collections: &[i32]) -> Result<(), Error> {
    let sql = format!(
        "UPDATE driftless.foreign_write AS w SET judged_at = clock_timestamp() \
          WHERE {OURS} AND relation = $2 AND judged_at IS NULL AND voided_at IS NOT NULL \
            AND NOT EXISTS (SELECT FROM unnest($3::int4[]) AS c(id) LEFT JOIN driftless.proof AS p ON p.collection = c.id \
                             WHERE p.void_because IS NOT NULL OR coalesce(p.complete_began_at, '-infinity') <= w.voided_at)"
    );
    let params: [Param<'_>; 3] = [&session.prefix(), &relation, &collections];
    session.execute("record that foreign writes are judged", &sql, &params).await?;
    Ok(())
}

/// Returns those of the collections whose proof began before the guard of one of their tables held; `since` is parallel to them, in
/// microseconds since 1970.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn older_proofs(session: &Session, collections: &[i32], since: &[i64]) -> Result<Vec<i32>, Error> {
    let act = "look for proofs that are older than the guard";
    let sql = "SELECT DISTINCT p.collection \
                 FROM unnest($1::int4[], $2::int8[]) AS g(collection, since) JOIN driftless.proof AS p USING (collection), \
              LATERAL (SELECT 'epoch'::timestamptz + g.since * interval '1 microsecond') AS s(held) \
                WHERE p.began_at < s.held OR (p.began_at IS NULL AND p.complete_began_at < s.held AND p.void_because IS NULL)";
    session.query(act, sql, &[&collections, &since]).await?.iter().map(|row| field(row, 0, act)).collect()
}

/// The transactions that run now, by the id above all of them; and the lowest id that still runs.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn transactions(session: &Session) -> Result<(i64, i64), Error> {
    let act = "look which transactions run";
    let sql = "SELECT pg_snapshot_xmax(s)::text::int8, pg_snapshot_xmin(s)::text::int8 FROM pg_current_snapshot() AS s";
    let row = session.query_one(act, sql, &[]).await?;
    Ok((field(&row, 0, act)?, field(&row, 1, act)?))
}
