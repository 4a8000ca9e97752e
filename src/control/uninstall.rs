//! Everything that a migration has made in PostgreSQL, and its removal. The application's tables and rows stay.

use crate::postgres::{Error, Session, identity::OURS, session::field};

/// Everything that a migration has made in PostgreSQL, besides the triggers of its guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// The topics of its positions.
    pub(crate) topics: Vec<String>,
    /// Indexes and foreign keys that it has dropped for the load and not built again.
    pub(crate) dropped: Vec<String>,
    /// The schemas of replays beside it.
    pub(crate) siblings: Vec<String>,
    /// Whether the schema `driftless` has the state of other migrations, too.
    pub(crate) shared: bool,
}

/// Finds what the migration has made; `None` if the schema has no such migration.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn find(session: &Session) -> Result<Option<Made>, Error> {
    let act = "find what the migration has made";
    if !session.has_table(act, "driftless.identity").await? {
        return Ok(None);
    }
    let sql = "SELECT EXISTS (SELECT FROM driftless.identity WHERE prefix = $1), EXISTS (SELECT FROM driftless.identity WHERE prefix <> $1)";
    let row = session.query_one(act, sql, &[&session.prefix()]).await?;
    if !field::<bool>(&row, 0, act)? {
        return Ok(None);
    }
    let texts = async |sql: String| {
        let rows = session.query(act, &sql, &[&session.prefix()]).await?;
        rows.iter().map(|row| field(row, 0, act)).collect::<Result<Vec<String>, Error>>()
    };
    Ok(Some(Made {
        topics: texts(format!("SELECT DISTINCT topic FROM driftless.position WHERE {OURS} ORDER BY 1")).await?,
        dropped: texts(format!("SELECT relation || ': ' || name FROM driftless.deferred WHERE {OURS} ORDER BY 1"))
            .await?,
        // By name, because the schema may be of a version before that of the column.
        siblings: texts(
            "SELECT substr(prefix, length($1::text) + 2) FROM driftless.identity WHERE starts_with(prefix, $1::text || '~') ORDER BY 1"
                .to_owned(),
        )
        .await?,
        shared: field(&row, 1, act)?,
    }))
}

/// Removes the state of the migration: its rows where others share the schema, otherwise the schema.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn remove(session: &Session, shared: bool) -> Result<(), Error> {
    let act = "remove the state of the migration";
    let removed = async {
        if !shared {
            return session.batch(act, "DROP SCHEMA driftless CASCADE").await;
        }
        // Only these rows have no foreign key to their migration.
        let sql = format!("DELETE FROM driftless.foreign_write WHERE {OURS}");
        session.execute(act, &sql, &[&session.prefix()]).await?;
        session.execute(act, "DELETE FROM driftless.identity WHERE prefix = $1", &[&session.prefix()]).await?;
        Ok(())
    };
    session.transaction(act, true, removed).await
}
