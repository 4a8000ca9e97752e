//! The rows that a reset of a collection deletes. The deletion itself is a record of the log, which the sink carries out.

use crate::{
    mapping::target::TableName,
    postgres::{Error, Session, identity::OURS, session::field},
};

/// Counts the documents of a collection that the target holds.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn documents(session: &Session, collection: &str) -> Result<i64, Error> {
    let act = "count the documents of a collection";
    if !session.has_table(act, "driftless.ledger").await? {
        return Ok(0);
    }
    let sql = format!(
        "SELECT count(*) FROM driftless.ledger AS l JOIN driftless.collection AS c ON c.id = l.collection \
          WHERE c.{OURS} AND c.name = $2 AND NOT l.deleted"
    );
    field(&session.query_one(act, &sql, &[&session.prefix(), &collection]).await?, 0, act)
}

/// Returns whether the ledger has no entry of a collection, not even of a deleted document.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn is_unknown(session: &Session, collection: &str) -> Result<bool, Error> {
    let act = "look for documents of a collection";
    let sql = format!(
        "SELECT NOT EXISTS (SELECT FROM driftless.collection AS c JOIN driftless.ledger AS l ON l.collection = c.id \
                             WHERE c.{OURS} AND c.name = $2)"
    );
    field(&session.query_one(act, &sql, &[&session.prefix(), &collection]).await?, 0, act)
}

/// Reads the number of a collection in the schema `driftless`; `None` if it has no state.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn number(session: &Session, collection: &str) -> Result<Option<i32>, Error> {
    let act = "look up the number of a collection";
    let sql = format!("SELECT id FROM driftless.collection WHERE {OURS} AND name = $2");
    session.query_opt(act, &sql, &[&session.prefix(), &collection]).await?.map(|row| field(&row, 0, act)).transpose()
}

/// Lists other tables that refer to one of these by a foreign key.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn referring(session: &Session, tables: &[TableName]) -> Result<Vec<String>, Error> {
    let act = "find tables that refer to these";
    let sql = "WITH ours AS (SELECT c.oid FROM unnest($1::text[], $2::text[]) AS t(schema, name) \
                               JOIN pg_namespace AS n ON n.nspname = t.schema \
                               JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.name) \
               SELECT DISTINCT k.conrelid::regclass::text FROM pg_constraint AS k \
                WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM ours) AND k.conrelid NOT IN (SELECT oid FROM ours) ORDER BY 1";
    let (schemas, names): (Vec<&str>, Vec<&str>) = tables.iter().map(|table| (&*table.schema, &*table.name)).unzip();
    let rows = session.query(act, sql, &[&schemas, &names]).await?;
    rows.iter().map(|row| field(row, 0, act)).collect()
}
