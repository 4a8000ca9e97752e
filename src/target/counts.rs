//! Counts of whole tables, for a person who asks for them. They read every row, and prove nothing.

use crate::{
    postgres::{
        Error, Session,
        session::{Param, field},
    },
    sink::Prepared,
};

/// Counts the live ledger entries of a collection.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn live_entries(session: &Session, prepared: &Prepared, collection: usize) -> Result<u64, Error> {
    let sql = "SELECT count(*) FROM driftless.ledger WHERE collection = $1 AND NOT deleted";
    count(session, "count the ledger", sql, &[&prepared.id(collection)]).await
}

/// Counts the rows of a table by its statement.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn rows(session: &Session, table: &str, sql: &str) -> Result<u64, Error> {
    count(session, &format!("count rows of {table}"), sql, &[]).await
}

async fn count(session: &Session, act: &str, sql: &str, params: &[Param<'_>]) -> Result<u64, Error> {
    let row = session.query_one(act, sql, params).await?;
    Ok(u64::try_from(field::<i64>(&row, 0, act)?).unwrap_or(0))
}
