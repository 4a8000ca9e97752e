//! Lists the triggers of the application on tables that the sink writes.

use super::{ConstraintMode, Error, Session, session::field};
use crate::mapping::{Plan, target::TableName};

/// A trigger on a table of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The table.
    pub table: TableName,
    /// The name of the trigger.
    pub name: String,
    /// The condition of the trigger, such as `BEFORE UPDATE FOR EACH ROW`, and the function it calls.
    pub does: String,
    /// Whether it fires for writes of the sink.
    pub fires: bool,
}

/// `tgenabled`: O fires for what applications write, R for replicated rows, A for both. `tgtype`: see `pg_trigger.h`.
const TRIGGERS: &str = "
SELECT n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled::text,
       CASE WHEN t.tgtype & 2 <> 0 THEN 'BEFORE' WHEN t.tgtype & 64 <> 0 THEN 'INSTEAD OF' ELSE 'AFTER' END || ' '
       || array_to_string(array_remove(ARRAY[
            CASE WHEN t.tgtype & 4 <> 0 THEN 'INSERT' END, CASE WHEN t.tgtype & 16 <> 0 THEN 'UPDATE' END,
            CASE WHEN t.tgtype & 8 <> 0 THEN 'DELETE' END, CASE WHEN t.tgtype & 32 <> 0 THEN 'TRUNCATE' END], NULL), ' OR ')
       || CASE WHEN t.tgtype & 1 <> 0 THEN ' FOR EACH ROW' ELSE ' FOR EACH STATEMENT' END || ', ' || t.tgfoid::regproc::text
  FROM unnest($1::text[], $2::text[]) AS e(schema, name)
  JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name
  JOIN pg_trigger AS t ON t.tgrelid = c.oid
 WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
   AND NOT EXISTS (SELECT FROM pg_proc AS p JOIN pg_namespace AS d ON d.oid = p.pronamespace
                    WHERE p.oid = t.tgfoid AND d.nspname = 'driftless')
 ORDER BY 1, 2, 3";

/// Reads the enabled triggers on the tables of the plan, ordered by table and name. Triggers of foreign keys are left
/// out, and so are those of the guard.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn triggers(session: &Session, plan: &Plan) -> Result<Vec<Trigger>, Error> {
    let act = "read the triggers of the target";
    let mut tables: Vec<_> = plan
        .collections()
        .iter()
        .flat_map(|plan| &plan.tables)
        .map(|plan| (&*plan.table.schema, &*plan.table.name))
        .collect();
    tables.sort_unstable();
    tables.dedup();
    let (schemas, names): (Vec<&str>, Vec<&str>) = tables.into_iter().unzip();
    let replica = session.constraint_mode() == ConstraintMode::Replica;
    let rows = session.query(act, TRIGGERS, &[&schemas, &names]).await?;
    let trigger = |row: &tokio_postgres::Row| {
        let enabled: &str = field(row, 3, act)?;
        Ok(Trigger {
            table: TableName::new(field::<String>(row, 0, act)?, field::<String>(row, 1, act)?),
            name: field(row, 2, act)?,
            does: field(row, 4, act)?,
            fires: enabled == "A" || enabled == if replica { "R" } else { "O" },
        })
    };
    rows.iter().map(trigger).collect()
}
