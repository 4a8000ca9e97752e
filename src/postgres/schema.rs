//! Creates and migrates the schema `driftless`, in one process at a time.

use tracing::info;

use super::{Error, Session, session::field};

pub(crate) struct Migration {
    id: i32,
    name: &'static str,
    sql: &'static str,
}

/// All migrations. A released migration is never edited; a change is a new one.
const MIGRATIONS: &[Migration] = &[
    Migration { id: 1, name: "tables", sql: include_str!("migrations/0001_tables.sql") },
    Migration { id: 2, name: "snapshots", sql: include_str!("migrations/0002_snapshots.sql") },
    Migration { id: 3, name: "deferred", sql: include_str!("migrations/0003_deferred.sql") },
    Migration { id: 4, name: "identity", sql: include_str!("migrations/0004_identity.sql") },
    Migration { id: 5, name: "proof_age", sql: include_str!("migrations/0005_proof_age.sql") },
    Migration { id: 6, name: "repair", sql: include_str!("migrations/0006_repair.sql") },
    Migration { id: 7, name: "key_rule", sql: include_str!("migrations/0007_key_rule.sql") },
    Migration { id: 8, name: "no_such_collection", sql: include_str!("migrations/0008_no_such_collection.sql") },
    Migration { id: 9, name: "reconcile_total", sql: include_str!("migrations/0009_reconcile_total.sql") },
    Migration { id: 10, name: "proof", sql: include_str!("migrations/0010_proof.sql") },
    Migration { id: 11, name: "guard", sql: include_str!("migrations/0011_guard.sql") },
    Migration { id: 12, name: "evidence", sql: include_str!("migrations/0012_evidence.sql") },
    Migration { id: 13, name: "results", sql: include_str!("migrations/0013_results.sql") },
    Migration { id: 14, name: "reads", sql: include_str!("migrations/0014_reads.sql") },
    Migration { id: 15, name: "shadow", sql: include_str!("migrations/0015_shadow.sql") },
    Migration { id: 16, name: "applied", sql: include_str!("migrations/0016_applied.sql") },
    Migration { id: 17, name: "pause", sql: include_str!("migrations/0017_pause.sql") },
    Migration { id: 18, name: "reset", sql: include_str!("migrations/0018_reset.sql") },
    Migration { id: 19, name: "mapping", sql: include_str!("migrations/0019_mapping.sql") },
    Migration { id: 20, name: "into", sql: include_str!("migrations/0020_into.sql") },
];

/// Key of the advisory lock: roughly "driftless" as a number.
pub(crate) const LOCK: i64 = 0x6472_6966_746c_6573;

const ACT: &str = "migrate the schema driftless";

/// Runs all missing migrations in one transaction.
///
/// # Errors
/// Fails with [`Error::SchemaNewer`], which halts, or with [`Error::Statement`], whose class follows the cause: for example the
/// right to create a schema is missing.
pub async fn migrate(session: &Session) -> Result<(), Error> {
    for Migration { id, name, .. } in session.transaction(ACT, true, run_missing(session)).await? {
        info!(migration = id, name, "schema driftless migrated");
    }
    Ok(())
}

/// Returns the names of the migrations that [`migrate`] would run, after running them and rolling back.
///
/// # Errors
/// Fails like [`migrate`].
pub async fn rehearse(session: &Session) -> Result<Vec<&'static str>, Error> {
    let run = session.transaction(ACT, false, run_missing(session)).await?;
    Ok(run.into_iter().map(|migration| migration.name).collect())
}

/// Returns whether the schema exists and lacks migrations of this version, as far as the role may see.
pub(crate) async fn is_behind(session: &Session) -> Result<bool, Error> {
    let act = "find migrations";
    let readable = "SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') \
                      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                     WHERE n.nspname = 'driftless' AND c.relname = 'migration'";
    match session.query_opt(act, readable, &[]).await? {
        Some(row) if field(&row, 0, act)? => {}
        _ => return Ok(false),
    }
    let row = session.query_one(act, "SELECT coalesce(max(id), 0) FROM driftless.migration", &[]).await?;
    let found: i32 = field(&row, 0, act)?;
    Ok(MIGRATIONS.last().is_some_and(|last| last.id > found))
}

/// Makes sure that the schema exists and is that of this version; changes nothing.
///
/// # Errors
/// Fails with [`Error::SchemaBehind`] until the sink has made or migrated the schema, with [`Error::SchemaNewer`], which halts, or
/// with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn is_current(session: &Session) -> Result<(), Error> {
    let act = "find migrations";
    let known = MIGRATIONS.last().map_or(0, |last| last.id);
    let row = session.query_one(act, "SELECT max(id) FROM driftless.migration", &[]).await?;
    match field(&row, 0, act)? {
        Some(found) if found > known => Err(Error::SchemaNewer { found, known }),
        Some(found) if found == known => Ok(()),
        found => Err(Error::SchemaBehind { found, known }),
    }
}

/// Makes sure that the schema exists, whatever its version and whatever the role may read in it.
///
/// # Errors
/// Fails with [`Error::SchemaBehind`] until the sink has made the schema, or with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn exists(session: &Session) -> Result<(), Error> {
    let act = "find schema driftless";
    let sql = "SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                               WHERE n.nspname = 'driftless' AND c.relname = 'migration')";
    match field(&session.query_one(act, sql, &[]).await?, 0, act)? {
        true => Ok(()),
        false => Err(Error::SchemaBehind { found: None, known: MIGRATIONS.last().map_or(0, |last| last.id) }),
    }
}

/// Runs the missing migrations inside the transaction of the caller.
pub(crate) async fn run_missing(session: &Session) -> Result<Vec<&'static Migration>, Error> {
    session.execute("lock migrations", "SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let act = "find schema driftless";
    // IF NOT EXISTS needs the right to create even if the schema exists, so its existence is checked first. The check reads the
    // catalog table, because the cache of the session may miss what others created while this session waited for the lock.
    let found = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'driftless')";
    let known = session.query_one(act, found, &[]).await?;
    if !field::<bool>(&known, 0, act)? {
        session.batch("create schema driftless", "CREATE SCHEMA driftless").await?;
    }
    let act = "find migrations";
    if !session.has_table(act, "driftless.migration").await? {
        let sql = "CREATE TABLE driftless.migration (id integer PRIMARY KEY, name text NOT NULL, \
                   at timestamptz NOT NULL DEFAULT now())";
        session.batch("create table driftless.migration", sql).await?;
    }
    let row = session.query_one(act, "SELECT coalesce(max(id), 0) FROM driftless.migration", &[]).await?;
    let found: i32 = field(&row, 0, act)?;
    let known = MIGRATIONS.last().map_or(0, |last| last.id);
    if found > known {
        return Err(Error::SchemaNewer { found, known });
    }
    let missing = MIGRATIONS.iter().filter(|migration| migration.id > found).collect::<Vec<_>>();
    for migration in &missing {
        session.batch(&format!("run migration {} ({})", migration.id, migration.name), migration.sql).await?;
        let sql = "INSERT INTO driftless.migration (id, name) VALUES ($1, $2)";
        session.execute("record a migration", sql, &[&migration.id, &migration.name]).await?;
        failpoint!(SCHEMA_MIGRATION);
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        let ids = MIGRATIONS.iter().map(|migration| migration.id).collect::<Vec<_>>();
        let count = i32::try_from(ids.len()).expect("few");
        assert_eq!(ids, (1..=count).collect::<Vec<_>>());
    }
}
