//! Counts of whole tables, for a person who asks for them. They read every row, and prove nothing.

use crate::{
    mapping::CollectionPlan,
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

/// Estimates the rows of all tables of a collection, from what PostgreSQL knows of them.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn estimated_rows(session: &Session, plan: &CollectionPlan) -> Result<u64, Error> {
    let act = "estimate the number of rows";
    let sql = "WITH mapped AS (
            SELECT c.oid FROM unnest($1::text[], $2::text[]) AS e(schema, name)
              JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name
        ), members AS (
            SELECT oid FROM mapped UNION SELECT p.relid::oid FROM mapped AS m, pg_partition_tree(m.oid) AS p
        )
        SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::int8 FROM members AS m JOIN pg_class AS c ON c.oid = m.oid
         WHERE c.relkind <> 'p'";
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        plan.tables.iter().map(|table| (&*table.table.schema, &*table.table.name)).unzip();
    count(session, act, sql, &[&schemas, &names]).await
}

async fn count(session: &Session, act: &str, sql: &str, params: &[Param<'_>]) -> Result<u64, Error> {
    let row = session.query_one(act, sql, params).await?;
    Ok(u64::try_from(field::<i64>(&row, 0, act)?).unwrap_or(0))
}
