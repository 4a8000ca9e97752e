//! Drops secondary indexes and foreign keys of the mapped tables before a large load, and builds them again after it.
//!
//! ```text
//!  before the load   each definition is recorded, and the object dropped: one transaction
//!  after the load    each object is built again while others write, and its record deleted when it is valid
//! ```
//!
//! Unique constraints are kept, because they decide what is written. Objects whose definition is incomplete are kept, and so is
//! everything of a table that already has rows, because somebody may be reading it. Both commands can be repeated and continue
//! where they were interrupted.

use serde_json::json;
use tokio_postgres::Row;

use super::journal::record_action;
use crate::postgres::{
    Error, Session,
    identity::{self, OURS},
    schema,
    session::{Param, field},
};

/// One index or foreign key, and the statements for it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LoadIndex {
    /// The table.
    pub(crate) table: String,
    /// The name of the index or foreign key.
    pub name: String,
    /// The statements that were executed, or would be.
    pub sql: Vec<String>,
    /// Why the object was kept, or what failed.
    pub problem: Option<String>,
}

const FIND: &str = "
SELECT x.indrelid::regclass::text, x.indexrelid::regclass::text, 'index', pg_get_indexdef(x.indexrelid),
       CASE WHEN i.relkind = 'I' OR i.relispartition THEN 'its table is partitioned'
            WHEN NOT x.indisvalid THEN 'it is not valid'
            WHEN x.indisclustered THEN 'the table is clustered by it'
            WHEN i.reltablespace <> 0 THEN 'it has a tablespace of its own'
            WHEN obj_description(i.oid, 'pg_class') IS NOT NULL THEN 'it has a comment'
            WHEN EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = i.oid AND coalesce(a.attstattarget, -1) >= 0)
            THEN 'it has a statistics target' END
  FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
 WHERE x.indrelid = ANY ($1::text[]::regclass[]) AND NOT (x.indisunique OR x.indisprimary OR x.indisexclusion)
UNION ALL
SELECT f.conrelid::regclass::text, quote_ident(f.conname), 'foreign key', pg_get_constraintdef(f.oid),
       CASE WHEN 'p' IN (c.relkind, p.relkind) OR c.relispartition THEN 'its table is partitioned'
            WHEN obj_description(f.oid, 'pg_constraint') IS NOT NULL THEN 'it has a comment'
            WHEN EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgconstraint = f.oid AND t.tgenabled <> 'O')
            THEN 'its triggers are not as they were made' END
  FROM pg_constraint AS f JOIN pg_class AS c ON c.oid = f.conrelid JOIN pg_class AS p ON p.oid = f.confrelid
 WHERE f.contype = 'f' AND f.conrelid = ANY ($1::text[]::regclass[])
 ORDER BY 3, 1, 2";

/// Records and drops the secondary indexes and foreign keys of these tables, which are named as SQL writes them.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause; then nothing was dropped.
pub async fn drop_before_load(
    session: &Session,
    tables: &[String],
    who: &str,
    dry_run: bool,
) -> Result<Vec<LoadIndex>, Error> {
    let act = "drop indexes and foreign keys before the load";
    session.transaction(act, !dry_run, drop_all(session, tables, who, act)).await
}

async fn drop_all(session: &Session, tables: &[String], who: &str, act: &str) -> Result<Vec<LoadIndex>, Error> {
    session.batch(act, "SET LOCAL lock_timeout = '10s'").await?;
    // A dry run rolls them back with everything else.
    schema::run_missing(session).await?;
    identity::ensure(session).await?;
    let mut all = Vec::new();
    for row in session.query(act, FIND, &[&tables]).await? {
        let Remembered { table, name, kind, definition } = Remembered::read(&row, 0, act)?;
        let mut kept = field::<Option<String>>(&row, 4, act)?;
        if kept.is_none() {
            let rows = session.query(act, &format!("SELECT FROM {table} LIMIT 1"), &[]).await?;
            kept = (!rows.is_empty()).then(|| "its table already has rows".to_owned());
        }
        let sql = match kind.as_str() {
            "index" => format!("DROP INDEX {name}"),
            _ => format!("ALTER TABLE {table} DROP CONSTRAINT {name}"),
        };
        if kept.is_none() {
            let remember = "INSERT INTO driftless.deferred (migration, relation, name, kind, definition) \
                            SELECT id, $2, $3, $4, $5 FROM driftless.identity WHERE prefix = $1";
            session.execute(act, remember, &[&session.prefix(), &table, &name, &kind, &definition]).await?;
            session.batch(act, &sql).await?;
            failpoint!(SCHEMA_BEFORE_LOAD);
        }
        all.push(LoadIndex { table, name, sql: kept.is_none().then_some(sql).into_iter().collect(), problem: kept });
    }
    record_action(session, who, "schema before-load", &json!({ "found": all })).await?;
    Ok(all)
}

/// Builds the recorded indexes and foreign keys. An object that fails is reported and stays recorded; the others are built.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause, if the records themselves cannot be read or written.
pub async fn build_after_load(session: &Session, who: &str, dry_run: bool) -> Result<Vec<LoadIndex>, Error> {
    let act = "build indexes and foreign keys after the load";
    if !session.has_table(act, "driftless.deferred").await? {
        return Ok(Vec::new());
    }
    // Foreign keys come last: validating one is faster with its indexes.
    let sql = format!(
        "SELECT relation, name, kind, definition FROM driftless.deferred WHERE {OURS} ORDER BY kind = 'foreign key', id"
    );
    let mut all = Vec::new();
    for row in session.query(act, &sql, &[&session.prefix()]).await? {
        let remembered = Remembered::read(&row, 0, act)?;
        let sql = remembered.missing(session).await?;
        let mut problem = None;
        for sql in sql.iter().filter(|_| !dry_run) {
            // One by one, because CREATE INDEX CONCURRENTLY cannot run inside a transaction.
            if let Err(error) = session.batch(act, sql).await {
                problem = Some(crate::retry::chain(&error));
                break;
            }
        }
        failpoint!(SCHEMA_AFTER_LOAD);
        let Remembered { table, name, .. } = remembered;
        if problem.is_none() && !dry_run {
            let done = "DELETE FROM driftless.deferred WHERE relation = $1 AND name = $2";
            session.execute(act, done, &[&table, &name]).await?;
        }
        all.push(LoadIndex { table, name, sql, problem });
    }
    if !dry_run {
        record_action(session, who, "schema after-load", &json!({ "built": all })).await?;
    }
    Ok(all)
}

/// An index or foreign key as it is recorded.
struct Remembered {
    table: String,
    name: String,
    kind: String,
    definition: String,
}

impl Remembered {
    fn read(row: &Row, first: usize, act: &str) -> Result<Self, Error> {
        Ok(Self {
            table: field(row, first, act)?,
            name: field(row, first + 1, act)?,
            kind: field(row, first + 2, act)?,
            definition: field(row, first + 3, act)?,
        })
    }

    /// Returns the statements that are still needed, because an earlier attempt may have stopped halfway.
    async fn missing(&self, session: &Session) -> Result<Vec<String>, Error> {
        let Self { table, name, kind, definition } = self;
        if kind == "index" {
            let sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
            let build = definition.replacen("CREATE INDEX ", "CREATE INDEX CONCURRENTLY ", 1);
            return Ok(match self.validity(session, sql, &[name]).await? {
                Some(true) => Vec::new(),
                Some(false) => vec![format!("DROP INDEX CONCURRENTLY {name}"), build],
                None => vec![build],
            });
        }
        let sql =
            "SELECT convalidated FROM pg_constraint WHERE conrelid = to_regclass($1) AND quote_ident(conname) = $2";
        let known = self.validity(session, sql, &[table, name]).await?;
        // Added first and validated later, so that writers do not wait. A constraint that was NOT VALID is not validated.
        let (rule, valid) = match definition.strip_suffix(" NOT VALID") {
            Some(rule) => (rule, false),
            None => (definition.as_str(), true),
        };
        let add = format!("ALTER TABLE {table} ADD CONSTRAINT {name} {rule} NOT VALID");
        let validate = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}");
        let statements = [(known.is_none(), add), (valid && known != Some(true), validate)];
        Ok(statements.into_iter().filter(|(needed, _)| *needed).map(|(_, sql)| sql).collect())
    }

    async fn validity(&self, session: &Session, sql: &str, params: &[Param<'_>]) -> Result<Option<bool>, Error> {
        let act = "look for an index or foreign key";
        session.query_opt(act, sql, params).await?.map(|row| field(&row, 0, act)).transpose()
    }
}
