//! Reasons not to swap: objects that name tables by their identity keep to the old ones, and what stands in the way of the new names.

use serde::Serialize;

use super::{Sibling, running, tables};
use crate::{
    mapping::target::TableName,
    postgres::{Error, Session, identity, session::field},
};

/// Objects that a swap meets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Obstacles {
    /// Makes the swap impossible.
    pub(crate) faults: Vec<String>,
    /// Stays with the old tables or is missing on the new ones; a swap is possible where somebody says that this is meant.
    pub(crate) left_behind: Vec<String>,
}

/// The tables of a side: `$1, $2` of the running one, `$3, $4` of its sibling, `$5` the schema where they belong.
const SIDES: &str = "
WITH old AS (SELECT c.oid, c.relname, c.relacl, c.relowner, format('%I.%I', n.nspname, c.relname) AS label
               FROM unnest($1::text[], $2::text[]) AS e(schema, name)
               JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name),
     new AS (SELECT c.oid, c.relname, c.relacl, c.relowner, format('%I.%I', n.nspname, c.relname) AS label
               FROM unnest($3::text[], $4::text[]) AS e(schema, name)
               JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name)";

const LEFT_BEHIND: &str = "
SELECT DISTINCT format('%s %s reads %s and goes on reading that table',
                       CASE v.relkind WHEN 'm' THEN 'the materialized view' ELSE 'the view' END, v.oid::regclass, old.label)
  FROM old JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = old.oid AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite AS r ON r.oid = d.objid JOIN pg_class AS v ON v.oid = r.ev_class AND v.oid <> old.oid
UNION
SELECT DISTINCT format('the function %s names %s and goes on using that table', p.oid::regprocedure, old.label)
  FROM old JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = old.oid AND d.classid = 'pg_proc'::regclass
  JOIN pg_proc AS p ON p.oid = d.objid
UNION
SELECT format('the foreign key %I of %s refers to %s and goes on referring to that table', k.conname, k.conrelid::regclass, old.label)
  FROM old JOIN pg_constraint AS k ON k.contype = 'f' AND k.confrelid = old.oid
 WHERE k.conrelid NOT IN (SELECT oid FROM old) AND k.conrelid NOT IN (SELECT oid FROM new)
UNION
SELECT format('the publication %I has %s and goes on publishing that table', p.pubname, old.label)
  FROM old JOIN pg_publication_rel AS m ON m.prrelid = old.oid JOIN pg_publication AS p ON p.oid = m.prpubid
UNION
SELECT format('the trigger %I is on %s and not on %s', t.tgname, old.label, new.label)
  FROM old JOIN new USING (relname) JOIN pg_trigger AS t ON t.tgrelid = old.oid AND NOT t.tgisinternal
 WHERE t.tgname::text NOT LIKE 'driftless\\_guard\\_%'
   AND NOT EXISTS (SELECT FROM pg_trigger AS u WHERE u.tgrelid = new.oid AND u.tgname = t.tgname)
UNION
SELECT format('%s may %s %s and not %s', CASE a.grantee WHEN 0 THEN 'everybody' ELSE a.grantee::regrole::text END,
              string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), old.label, new.label)
  FROM old JOIN new USING (relname) CROSS JOIN LATERAL aclexplode(coalesce(old.relacl, acldefault('r', old.relowner))) AS a
 WHERE a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') AND a.grantee <> new.relowner
   AND NOT EXISTS (SELECT FROM aclexplode(coalesce(new.relacl, acldefault('r', new.relowner))) AS b
                    WHERE b.grantee IN (a.grantee, 0) AND b.privilege_type = a.privilege_type)
 GROUP BY a.grantee, old.label, new.label
 ORDER BY 1";

const FAULTS: &str = "
SELECT format('the foreign key %I of %s refers to %s of the running migration, which moves away', k.conname, new.label, old.label)
  FROM new JOIN pg_constraint AS k ON k.contype = 'f' AND k.conrelid = new.oid JOIN old ON old.oid = k.confrelid
UNION
SELECT format('%I.%I is there, and the running migration does not write it', $5::text, new.relname)
  FROM new JOIN pg_namespace AS n ON n.nspname = $5 JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = new.relname
 WHERE c.oid NOT IN (SELECT oid FROM old)
UNION
SELECT format('%I.%I is there, and %s would get that name', $6::text, old.relname, old.label)
  FROM old JOIN pg_namespace AS n ON n.nspname = $6 JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = old.relname
 WHERE c.oid NOT IN (SELECT oid FROM new) AND c.oid NOT IN (SELECT oid FROM old)
UNION
SELECT format('two tables of the running migration are called %I; one schema cannot take both', relname)
  FROM old GROUP BY relname HAVING count(*) > 1
UNION
SELECT format('you do not own %s', t.label) FROM (SELECT oid, relowner, label FROM old UNION SELECT oid, relowner, label FROM new) AS t
 WHERE NOT pg_has_role(t.relowner, 'USAGE')
 ORDER BY 1";

/// Finds what a swap of the sibling would meet: its tables go to the schema `home`, those of the running migration to `aside`.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn obstacles(
    session: &Session,
    sibling: &Sibling,
    home: &str,
    aside: &str,
) -> Result<Obstacles, Error> {
    let act = "look at what a swap would leave behind";
    let old = tables(session, running(session).await?).await?;
    let new = tables(session, sibling.id).await?;
    let (old_schemas, old_names) = split(&old);
    let (new_schemas, new_names) = split(&new);
    let texts = async |sql: String, more: &[&(dyn tokio_postgres::types::ToSql + Sync)]| {
        let mut params: Vec<crate::postgres::session::Param<'_>> =
            vec![&old_schemas, &old_names, &new_schemas, &new_names];
        params.extend(more);
        let rows = session.query(act, &sql, &params).await?;
        rows.iter().map(|row| field(row, 0, act)).collect::<Result<Vec<String>, Error>>()
    };
    let left_behind = texts(format!("{SIDES}{LEFT_BEHIND}"), &[]).await?;
    let mut faults = texts(format!("{SIDES}{FAULTS}"), &[&home, &aside]).await?;
    let sql = "SELECT relation || ': ' || name FROM driftless.deferred AS d JOIN driftless.identity AS i ON i.id = d.migration \
                WHERE i.id = $2 OR i.prefix = $1 ORDER BY 1";
    for row in session.query(act, sql, &[&session.prefix(), &sibling.id]).await? {
        let name: String = field(&row, 0, act)?;
        faults.push(format!(
            "{name} was dropped for the load and is not built again: `driftless schema apply --after-load`"
        ));
    }
    let taken = identity::name(session.prefix(), Some(aside));
    let sql = "SELECT FROM driftless.identity WHERE prefix = $1 AND id <> $2";
    if session.query_opt(act, sql, &[&taken, &sibling.id]).await?.is_some() {
        faults.push(format!("a replay into {aside} is there: name another schema with --aside, or drop it"));
    }
    if new.is_empty() {
        faults.push("its sink has never started, so there is nothing to swap in".to_owned());
    }
    Ok(Obstacles { faults, left_behind })
}

fn split(tables: &[TableName]) -> (Vec<&str>, Vec<&str>) {
    tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).unzip()
}
