//! Whose state the schema `driftless` holds: one row per migration, which the prefix of its log names.
//!
//! Everything else in the schema belongs to one of these rows, so that two migrations in one database share nothing. A session
//! sees the state of its own migration only (see [`Target::new`](crate::sink::Target::new)). A table that two migrations would write
//! is refused: neither could say whose a row is.

use super::{Error, Session, schema::LOCK, session::field};
use crate::{
    log::database_of,
    mapping::Plan,
    model::{SourceIdentity, TargetIdentity},
};

/// The condition that a row is of this session's migration; parameter 1 is the session's prefix.
pub(crate) const OURS: &str = "migration = (SELECT id FROM driftless.identity WHERE prefix = $1)";

/// Makes sure that the migration has its row; the first one takes rows from before there were identities.
pub(crate) async fn ensure(session: &Session) -> Result<(), Error> {
    let act = "record the migration";
    let sql = "UPDATE driftless.identity SET prefix = $1 \
                WHERE prefix IS NULL AND NOT EXISTS (SELECT FROM driftless.identity WHERE prefix = $1)";
    session.execute(act, sql, &[&session.prefix()]).await?;
    let sql = "INSERT INTO driftless.identity (prefix) SELECT $1 \
                WHERE NOT EXISTS (SELECT FROM driftless.identity WHERE prefix = $1) ON CONFLICT DO NOTHING";
    session.execute(act, sql, &[&session.prefix()]).await?;
    Ok(())
}

/// Compares the source with the one that the migration was recorded with, and records what is not known so far.
///
/// # Errors
/// [`Error::Mismatch`] halts; [`Error::Statement`] by its cause.
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

/// Compares the source with the recorded one and records nothing, not even where the schema has not been made.
///
/// # Errors
/// As [`claim`].
pub async fn compare(session: &Session, source: &SourceIdentity) -> Result<(), Error> {
    match recorded(session).await? {
        Some(recorded) => Ok(source.check(&recorded, session.prefix())?),
        None => Ok(()),
    }
}

/// The source that the migration was recorded with; before there were identities, the topics of its positions name it.
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

/// A mapped table that another migration writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableTaken {
    /// The table.
    pub table: String,
    /// Prefix of the log of the migration that writes it.
    pub prefix: String,
}

/// Which tables of the plan another migration writes; none where the schema has not been made.
///
/// # Errors
/// [`Error::Statement`] by its cause.
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

/// What identifies the target, as far as the role may see it.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn target(session: &Session) -> Result<TargetIdentity, Error> {
    let act = "ask the target what it is";
    let row = session.query_one(act, "SELECT current_database()::text", &[]).await?;
    let database = field(&row, 0, act)?;
    // Some providers keep it from ordinary roles; the name of the database has to do then.
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
