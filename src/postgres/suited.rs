//! Checks that the target can be written safely. Some properties of its tables cause no error in a statement, and would lose rows
//! or stop the sink later.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;

use super::{
    Error, Fault, Session,
    rights::{missing_reading_rights, missing_rights},
    session::field,
};
use crate::mapping::{Plan, TablePlan, target::TableName};

const ACT: &str = "check the tables of the target";

/// The flags of [`FLAGS`], each with its fault and its remedy; `{t}` is the table and `{r}` the role.
const FLAWS: [(&str, &str); 4] = [
    (
        "row-level security of {t} applies to the role {r}: rows that a policy hides are neither found nor deleted",
        "ALTER ROLE {r} BYPASSRLS, or make it the owner of the table without FORCE ROW LEVEL SECURITY",
    ),
    (
        "{t} is unlogged: a crash of the server empties it, and the ledger would still claim that its rows exist",
        "ALTER TABLE {t} SET LOGGED; after a crash, replay the collection: `driftless replay --collection … --to-earliest --execute --why …`",
    ),
    (
        "other tables inherit from {t}: their rows are read and deleted with its own, and its key does not cover them",
        "ALTER TABLE … NO INHERIT {t}, or partition the table instead",
    ),
    (
        "a rule rewrites writes to {t}, and PostgreSQL does not support ON CONFLICT there",
        "DROP RULE, and use a trigger instead",
    ),
];

/// The place of the flaw in [`FLAWS`] that keeps a reader from seeing all rows.
const HIDES_ROWS: usize = 0;

const FLAGS: &str = "
SELECT n.nspname::text, c.relname::text, quote_ident(current_user), row_security_active(c.oid),
       c.relpersistence = 'u' OR EXISTS (SELECT FROM pg_partition_tree(c.oid) AS p JOIN pg_class AS l ON l.oid = p.relid
                                          WHERE l.relpersistence = 'u'),
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = c.oid),
       EXISTS (SELECT FROM pg_rewrite AS w WHERE w.ev_class = c.oid AND w.ev_type IN ('2', '3', '4') AND w.ev_enabled <> 'D')
  FROM unnest($1::text[], $2::text[]) AS e(schema, name)
  JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name
 ORDER BY 1, 2";

/// Lists every index with its flags, and the columns of an index that covers all rows. An index under construction is not valid yet.
const INDEXES: &str = "
SELECT n.nspname::text, c.relname::text, format('%I.%I', n.nspname, x.relname), i.indisvalid, i.indimmediate,
       EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid),
       CASE WHEN NOT i.indisunique OR i.indpred IS NOT NULL OR 0 = ANY (i.indkey) THEN ARRAY[]::text[]
            ELSE ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
                         JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                        WHERE k.place <= i.indnkeyatts) END
  FROM unnest($1::text[], $2::text[]) AS e(schema, name)
  JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name
  JOIN pg_index AS i ON i.indrelid = c.oid JOIN pg_class AS x ON x.oid = i.indexrelid
 ORDER BY 1, 2, 3";

/// Checks that this session can write.
///
/// # Errors
/// Fails with [`Error::Standby`], which waits until the server is promoted, or with [`Error::ReadOnly`], which halts.
pub async fn writable(session: &Session) -> Result<(), Error> {
    let act = "check that the server accepts writes";
    let sql = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::bool, quote_ident(current_user), \
                      quote_ident(current_database())";
    let row = session.query_one(act, sql, &[]).await?;
    match (field(&row, 0, act)?, field(&row, 1, act)?) {
        (true, _) => Err(Error::Standby),
        (false, true) => Err(Error::ReadOnly { role: field(&row, 2, act)?, database: field(&row, 3, act)? }),
        (false, false) => Ok(()),
    }
}

/// Returns all missing rights of the role and all faults of the tables that the plan writes.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn faults(session: &Session, plan: &Plan) -> Result<Vec<Fault>, Error> {
    let mut faults = of_tables(session, plan).await?;
    faults.extend(missing_rights(session, plan).await?);
    Ok(faults)
}

/// Returns what keeps a role that only reads the tables of the plan from seeing all of their rows, or from storing its own results.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn faults_of_reader(session: &Session, plan: &Plan) -> Result<Vec<Fault>, Error> {
    let tables = plan.collections().iter().flat_map(|plan| &plan.tables).map(|plan| &plan.table);
    let (schemas, names): (Vec<&str>, Vec<&str>) = tables.map(|table| (&*table.schema, &*table.name)).unzip();
    let mut faults = Vec::new();
    for row in session.query(ACT, FLAGS, &[&schemas, &names]).await? {
        faults.extend(flaw(&row, HIDES_ROWS)?);
    }
    faults.dedup();
    faults.extend(missing_reading_rights(session, plan).await?);
    Ok(faults)
}

/// The fault of that place in [`FLAWS`], if the table of a row of [`FLAGS`] has it.
fn flaw(row: &Row, at: usize) -> Result<Option<Fault>, Error> {
    if !field::<bool>(row, 3 + at, ACT)? {
        return Ok(None);
    }
    let table = TableName::new(field::<String>(row, 0, ACT)?, field::<String>(row, 1, ACT)?);
    let role: String = field(row, 2, ACT)?;
    let fill = |text: &str| text.replace("{t}", &table.to_string()).replace("{r}", &role);
    let (what, hint) = FLAWS[at];
    Ok(Some(Fault { what: fill(what), hint: fill(hint), stops: true }))
}

async fn of_tables(session: &Session, plan: &Plan) -> Result<Vec<Fault>, Error> {
    let plans = plan.collections().iter().flat_map(|plan| &plan.tables).map(|plan| (&plan.table, plan));
    let plans = plans.collect::<BTreeMap<_, _>>();
    let (schemas, names): (Vec<&str>, Vec<&str>) = plans.keys().map(|table| (&*table.schema, &*table.name)).unzip();
    let mut faults = Vec::new();
    for row in session.query(ACT, FLAGS, &[&schemas, &names]).await? {
        for at in 0..FLAWS.len() {
            faults.extend(flaw(&row, at)?);
        }
    }
    let mut indexes: BTreeMap<TableName, Vec<Index>> = BTreeMap::new();
    for row in session.query(ACT, INDEXES, &[&schemas, &names]).await? {
        let table = TableName::new(field::<String>(&row, 0, ACT)?, field::<String>(&row, 1, ACT)?);
        indexes.entry(table).or_default().push(Index {
            name: field(&row, 2, ACT)?,
            valid: field(&row, 3, ACT)?,
            immediate: field(&row, 4, ACT)?,
            in_the_making: field(&row, 5, ACT)?,
            columns: field::<Vec<String>>(&row, 6, ACT)?.into_iter().collect(),
        });
    }
    for (table, indexes) in &indexes {
        faults.extend(plans.get(table).and_then(|plan| unusable_key(plan, indexes)));
        faults.extend(
            indexes.iter().filter(|index| !index.valid && !index.in_the_making).map(|index| left_behind(table, index)),
        );
    }
    Ok(faults)
}

struct Index {
    name: String,
    valid: bool,
    immediate: bool,
    in_the_making: bool,
    /// Empty if the index is not a key.
    columns: BTreeSet<String>,
}

/// Checks the key: `ON CONFLICT` needs a unique index that is valid and not deferrable.
fn unusable_key(plan: &TablePlan, indexes: &[Index]) -> Option<Fault> {
    let key = plan.key.iter().map(|&at| plan.columns[at].name.clone()).collect::<BTreeSet<_>>();
    let mut candidates = indexes.iter().filter(|index| index.columns == key).peekable();
    candidates.peek()?;
    if candidates.clone().any(|index| index.valid && index.immediate) {
        return None;
    }
    let (table, first) = (&plan.table, candidates.next()?);
    Some(if first.immediate {
        Fault {
            what: format!("the index {} behind the key of {table} is not valid", first.name),
            hint: format!("REINDEX INDEX CONCURRENTLY {}", first.name),
            stops: true,
        }
    } else {
        Fault {
            what: format!(
                "the key of {table} is DEFERRABLE ({}), and PostgreSQL does not support ON CONFLICT for it",
                first.name
            ),
            hint: "make it NOT DEFERRABLE, or name another unique constraint in `key`".to_owned(),
            stops: true,
        }
    })
}

fn left_behind(table: &TableName, index: &Index) -> Fault {
    Fault {
        what: format!("the index {} of {table} is not valid: its build was interrupted", index.name),
        hint: format!("REINDEX INDEX CONCURRENTLY {0}, or DROP INDEX CONCURRENTLY {0}", index.name),
        stops: false,
    }
}
