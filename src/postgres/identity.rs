//! The owner of the state in the schema `driftless`: one row per migration, which the prefix of its log names.
//!
//! Every other row of the schema belongs to one of these rows, so two migrations in one database share nothing. A session sees
//! only the state of its own migration (see [`Postgres::new`](super::Postgres::new)). A table that two migrations
//! would write is refused, because neither could identify its own rows.

use super::{Error, Session, fault::TableTaken, schema::LOCK, session::field};
use crate::{
    log::database_of,
    mapping::Plan,
    model::{SourceIdentity, TargetIdentity},
};

/// The condition that a row belongs to the migration of this session; parameter 1 is the prefix of the session.
pub(crate) const OURS: &str = "migration = (SELECT id FROM driftless.identity WHERE prefix = $1)";

/// Stands between the prefix of the log and the schema in the name of a sibling; no prefix has it.
const SIBLING: char = '~';

/// The name under which the state of a migration is kept: the prefix of its log; for a sibling, also the schema of its tables.
pub(crate) fn name(prefix: &str, into: Option<&str>) -> String {
    into.map_or_else(|| prefix.to_owned(), |schema| format!("{prefix}{SIBLING}{schema}"))
}

/// Makes sure that the migration has its row. The first migration adopts the rows that are older than this table.
///
/// # Errors
/// [`Error::NoSuchSibling`], because only `driftless replay` begins one; [`Error::Statement`] by its cause.
pub(crate) async fn ensure(session: &Session) -> Result<(), Error> {
    let act = "record the migration";
    if session.prefix().contains(SIBLING) {
        return is_begun(session).await;
    }
    let sql = "UPDATE driftless.identity SET prefix = $1 \
                WHERE prefix IS NULL AND NOT EXISTS (SELECT FROM driftless.identity WHERE prefix = $1)";
    session.execute(act, sql, &[&session.prefix()]).await?;
    let sql = "INSERT INTO driftless.identity (prefix) SELECT $1 \
                WHERE NOT EXISTS (SELECT FROM driftless.identity WHERE prefix = $1) ON CONFLICT DO NOTHING";
    session.execute(act, sql, &[&session.prefix()]).await?;
    Ok(())
}

/// Returns the number of the migration; `None` before anything was registered, without the schema too.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn number(session: &Session) -> Result<Option<i32>, Error> {
    let act = "find the migration";
    if !session.has_table(act, "driftless.identity").await? {
        return Ok(None);
    }
    let row =
        session.query_opt(act, "SELECT id FROM driftless.identity WHERE prefix = $1", &[&session.prefix()]).await?;
    row.map(|row| field(&row, 0, act)).transpose()
}

/// Makes sure that a sibling has its row; works without the schema too.
///
/// # Errors
/// [`Error::NoSuchSibling`] halts; [`Error::Statement`] by its cause.
pub(crate) async fn is_begun(session: &Session) -> Result<(), Error> {
    let act = "find the replay into a schema";
    let Some((_, schema)) = session.prefix().split_once(SIBLING) else { return Ok(()) };
    let sql = "SELECT FROM driftless.identity WHERE prefix = $1";
    if session.has_table(act, "driftless.identity").await?
        && session.query_opt(act, sql, &[&session.prefix()]).await?.is_some()
    {
        return Ok(());
    }
    Err(Error::NoSuchSibling { schema: schema.to_owned() })
}

/// Compares the source with the recorded source of the migration, and records the facts that are still unknown.
///
/// # Errors
/// Fails with [`Error::Mismatch`], which halts, or with [`Error::Statement`], whose class follows the cause.
pub async fn claim(session: &Session, source: &SourceIdentity) -> Result<(), Error> {
    let act = "record the source of the migration";
    let claimed = async {
        session.execute(act, "SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        ensure(session).await?;
        if let Some(recorded) = recorded(session).await? {
            source.check(&recorded, session.prefix())?;
        }
        failpoint!(IDENTITY_CLAIM);
        let sql =
            "UPDATE driftless.identity SET database = $2, replica_set = coalesce($3, replica_set) WHERE prefix = $1";
        session.execute(act, sql, &[&session.prefix(), &source.database, &source.replica_set]).await
    };
    session.transaction(act, true, claimed).await.map(|_| ())
}

/// Compares the source with the recorded one and records nothing; works without the schema too.
///
/// # Errors
/// Fails like [`claim`].
pub async fn compare(session: &Session, source: &SourceIdentity) -> Result<(), Error> {
    match recorded(session).await? {
        Some(recorded) => Ok(source.check(&recorded, session.prefix())?),
        None => Ok(()),
    }
}

/// Reads the recorded source of the migration. State that is older than this table names it in the topics of its positions.
async fn recorded(session: &Session) -> Result<Option<SourceIdentity>, Error> {
    let act = "read the source of the migration";
    if session.has_table(act, "driftless.identity").await? {
        let sql = "SELECT database, replica_set FROM driftless.identity WHERE prefix = $1 AND database IS NOT NULL";
        if let Some(row) = session.query_opt(act, sql, &[&session.prefix()]).await? {
            let (database, replica_set) = (field(&row, 0, act)?, field(&row, 1, act)?);
            return Ok(Some(SourceIdentity { database, replica_set, ..SourceIdentity::default() }));
        }
    }
    if !session.has_table(act, "driftless.position").await? {
        return Ok(None);
    }
    let sql = "SELECT topic FROM driftless.position WHERE starts_with(topic, $1 || '.')";
    let rows = session.query(act, sql, &[&session.prefix()]).await?;
    for row in &rows {
        if let Some(database) = database_of(session.prefix(), field(row, 0, act)?) {
            return Ok(Some(SourceIdentity { database, ..SourceIdentity::default() }));
        }
    }
    Ok(None)
}

/// Returns the tables of the plan that another migration writes; the list is empty if the schema does not exist.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn tables_taken(session: &Session, plan: &Plan) -> Result<Vec<TableTaken>, Error> {
    let act = "look for tables of other migrations";
    if !session.has_table(act, "driftless.identity").await? {
        return Ok(Vec::new());
    }
    let tables = plan.collections().iter().flat_map(|collection| &collection.tables);
    let tables = tables.map(|table| table.table.to_string()).collect::<Vec<_>>();
    let sql = "SELECT r.name, coalesce(i.prefix, '') FROM driftless.relation AS r \
                 JOIN driftless.identity AS i ON i.id = r.migration \
                WHERE r.written AND i.prefix <> $1 AND r.name = ANY ($2) ORDER BY r.name, i.prefix";
    let rows = session.query(act, sql, &[&session.prefix(), &tables]).await?;
    rows.iter().map(|row| Ok(TableTaken { table: field(row, 0, act)?, prefix: field(row, 1, act)? })).collect()
}

/// Reads the identity of the target, as far as the role may see it.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn target(session: &Session) -> Result<TargetIdentity, Error> {
    let act = "read the identity of the target";
    let row = session.query_one(act, "SELECT current_database()::text", &[]).await?;
    let database = field(&row, 0, act)?;
    // Some providers hide it from ordinary roles; then the name of the database must suffice.
    let sql = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')";
    let may_ask: bool = field(&session.query_one(act, sql, &[]).await?, 0, act)?;
    let system = if may_ask {
        let row = session.query_one(act, "SELECT system_identifier::text FROM pg_control_system()", &[]).await?;
        field(&row, 0, act)?
    } else {
        None
    };
    Ok(TargetIdentity { system, database })
}
