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

/// Reads the oldest foreign writes that are not judged.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn open(session: &Session, limit: usize) -> Result<Vec<ForeignWrite>, Error> {
    let act = "read foreign writes";
    let sql = format!(
        "SELECT id, relation, operation, rows, keys, who, application FROM driftless.foreign_write \
          WHERE judged_at IS NULL AND {OURS} ORDER BY id LIMIT $2"
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

/// Foreign writes that could not be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Their number so far.
    pub(crate) count: i64,
    /// Those among them that no [`acknowledge_lost`] has covered.
    pub(crate) new: i64,
}

/// Reads how many foreign writes could not be recorded.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn lost(session: &Session) -> Result<Lost, Error> {
    let act = "read how many foreign writes could not be recorded";
    let sql = "SELECT CASE WHEN s.is_called THEN s.last_value + 1 ELSE 0 END, i.foreign_writes_lost \
                 FROM driftless.foreign_write_lost AS s, driftless.identity AS i WHERE i.prefix = $1";
    let row = session.query_one(act, sql, &[&session.prefix()]).await?;
    let (count, known): (i64, i64) = (field(&row, 0, act)?, field(&row, 1, act)?);
    Ok(Lost { count, new: count - known })
}

/// Records that the proofs were voided for that many lost foreign writes.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn acknowledge_lost(session: &Session, count: i64) -> Result<(), Error> {
    let params: [Param<'_>; 2] = [&session.prefix(), &count];
    let sql = "UPDATE driftless.identity SET foreign_writes_lost = $2 WHERE prefix = $1";
    session.execute("record the loss of foreign writes", sql, &params).await?;
    Ok(())
}
