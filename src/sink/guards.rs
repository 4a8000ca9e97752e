//! Checks the constraints that PostgreSQL leaves unchecked in a session whose triggers are off.
//!
//! A deferrable unique or exclusion constraint is checked by a trigger, at the end of the statement or of the transaction, and
//! `session_replication_role = replica` turns that trigger off. So the rows are compared with the whole table after they are
//! written, with the constraint's own operators and on its own index. Values that moved inside the batch are in their final
//! places at that time. Two workers never do this for one table at once, see [`super::locks`].
//!
//! Source: the manual, `CREATE TABLE` ("Non-deferrable uniqueness constraints"), and `unique_key_recheck`.

use std::collections::HashMap;

use crate::postgres::{
    Error, Refusal, Session,
    session::field,
    sql::{Sql, numbered},
};

/// A deferrable unique constraint, or an exclusion constraint, of one planned table.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// The refusal that a row meets at it.
    refusal: Refusal,
    /// Key columns of rows as arrays; gives the ordinals, from 1, of those that may not be there beside rows outside of them or
    /// before them. None where PostgreSQL always checks the constraint itself.
    pub(super) sql: Option<String>,
}

impl Guard {
    pub(super) fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }
}

/// A constraint as the catalog has it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    name: String,
    exclusion: bool,
    deferrable: bool,
    /// Columns or expressions, and the operator for each by which two rows collide.
    parts: Vec<(String, String)>,
    /// Rows that it is about; all without it.
    predicate: Option<String>,
    nulls_collide: bool,
    partitioned: bool,
}

/// The constraints of tables, by their quoted names.
pub(super) type AllFound = HashMap<String, Vec<Found>>;

/// `indnullsnotdistinct` came with PostgreSQL 15.
const FIND: &str = "
SELECT e.name, k.conname::text, k.contype = 'x', k.condeferrable,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, place, true) FROM generate_series(1, i.indnkeyatts) AS place ORDER BY place),
       ARRAY(SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
               FROM unnest(i.indclass) WITH ORDINALITY AS c(class, place) JOIN pg_opclass AS f ON f.oid = c.class
               LEFT JOIN pg_amop AS a ON a.amopfamily = f.opcfamily AND a.amopstrategy = 3
                     AND a.amoplefttype = f.opcintype AND a.amoprighttype = f.opcintype
               JOIN pg_operator AS o ON o.oid = CASE k.contype WHEN 'x' THEN k.conexclop[place] ELSE a.amopopr END
               JOIN pg_namespace AS n ON n.oid = o.oprnamespace
              WHERE c.place <= i.indnkeyatts ORDER BY c.place),
       pg_get_expr(i.indpred, i.indrelid), coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
       t.relkind = 'p'
  FROM unnest($1::text[]) AS e(name) JOIN pg_constraint AS k ON k.conrelid = e.name::regclass
  JOIN pg_index AS i ON i.indexrelid = k.conindid JOIN pg_class AS t ON t.oid = k.conrelid
 WHERE k.contype = 'x' OR (k.contype = 'u' AND k.condeferrable)
 ORDER BY e.name, k.conname";

/// Reads the constraints of these tables, named as SQL writes them.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(super) async fn find(session: &Session, tables: &[String]) -> Result<AllFound, Error> {
    let act = "read constraints that may be left unchecked";
    let mut all = AllFound::new();
    for row in session.query(act, FIND, &[&tables]).await? {
        let expressions: Vec<String> = field(&row, 4, act)?;
        let operators: Vec<String> = field(&row, 5, act)?;
        all.entry(field(&row, 0, act)?).or_default().push(Found {
            name: field(&row, 1, act)?,
            exclusion: field(&row, 2, act)?,
            deferrable: field(&row, 3, act)?,
            parts: expressions.into_iter().zip(operators).collect(),
            predicate: field(&row, 6, act)?,
            nulls_collide: field(&row, 7, act)?,
            partitioned: field(&row, 8, act)?,
        });
    }
    Ok(all)
}

impl Sql<'_> {
    pub(super) fn guards(&self, found: &[Found]) -> Vec<Guard> {
        let table = self.plan.table.label();
        let guard = |found: &Found| {
            let code = if found.exclusion { "23P01" } else { "23505" };
            Guard {
                refusal: Refusal::of_constraint(code, &table, Some(found.name.clone())),
                sql: found.deferrable.then(|| self.guard(found)),
            }
        };
        found.iter().map(guard).collect()
    }

    /// Names with a space, because no column of ours has one.
    fn guard(&self, found: &Found) -> String {
        let places = 1..=found.parts.len();
        let parts = places.clone().zip(&found.parts);
        let values = parts.clone().map(|(place, (value, _))| format!(", ({value}) AS \"driftless {place}\""));
        let values = values.collect::<String>();
        let only = if found.partitioned { "" } else { "ONLY " };
        let rows = found.predicate.as_ref().map_or_else(String::new, |predicate| format!(" WHERE {predicate}"));
        let table = format!(
            "(SELECT s.*, s.tableoid AS \"driftless table\", s.ctid AS \"driftless row\"{values} FROM {only}{} AS s{rows})",
            self.plan.table
        );
        let collide = parts.map(|(place, (_, operator))| {
            let [a, b] = ["a", "b"].map(|side| format!("{side}.\"driftless {place}\""));
            let equal = format!("{a} {operator} {b}");
            if found.nulls_collide { format!("({equal} OR ({a} IS NULL AND {b} IS NULL))") } else { equal }
        });
        format!(
            "SELECT DISTINCT e.n FROM {written}\n  JOIN {table} AS a ON {ours}\n  JOIN {table} AS b ON {collide}\n   \
             AND (a.\"driftless table\", a.\"driftless row\") IS DISTINCT FROM (b.\"driftless table\", b.\"driftless row\")\n  \
             LEFT JOIN {others} ON {theirs}\n WHERE o.n IS NULL OR o.n < e.n",
            written = numbered("e", self.keys_as_params(1)),
            others = numbered("o", self.keys_as_params(1)),
            ours = self.keys_match("a", "e"),
            theirs = self.keys_match("b", "o"),
            collide = collide.collect::<Vec<_>>().join(" AND "),
        )
    }
}
