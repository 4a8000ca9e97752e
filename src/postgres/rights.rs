//! Checks the rights that the roles of the sink and of the reconciler need, and builds the statements that grant the missing ones.
//!
//! The role that creates the schema `driftless` owns it and needs no further rights there. If another role created the schema,
//! the rights on its objects are checked like those on the tables of the application.

use std::collections::BTreeMap;

use super::{Error, Fault, Session, schema, session::field};
use crate::mapping::{Plan, TablePlan, target::TableName};

const ACT: &str = "check the rights of the role";

/// Checks tables of the application, with a flag for those that are written; the others hold ids that are looked up.
const TABLES: &str = "
SELECT 'TABLE', format('%I.%I', n.nspname, c.relname), array_agg(r.name ORDER BY r.place)
  FROM unnest($1::text[], $2::text[], $3::bool[]) AS e(schema, name, written)
  JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name
 CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS r(name, place)
 WHERE (e.written OR r.name = 'SELECT') AND NOT has_table_privilege(c.oid, r.name)
 GROUP BY n.nspname, c.relname ORDER BY n.nspname, c.relname";

/// Checks tables that are only read.
const READ_TABLES: &str = "
SELECT 'TABLE', format('%I.%I', n.nspname, c.relname), ARRAY['SELECT']
  FROM unnest($1::text[], $2::text[]) AS e(schema, name)
  JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name
 WHERE NOT has_table_privilege(c.oid, 'SELECT') ORDER BY n.nspname, c.relname";

const SCHEMAS: &str = "
SELECT 'SCHEMA', quote_ident(nspname), ARRAY['USAGE'] FROM pg_namespace
 WHERE nspname = ANY ($1) AND NOT has_schema_privilege(oid, 'USAGE') ORDER BY nspname";

/// Checks sequences behind columns that no row fills. An identity column needs no right.
const SEQUENCES: &str = "
SELECT DISTINCT 'SEQUENCE', format('%I.%I', m.nspname, s.relname), ARRAY['USAGE']
  FROM unnest($1::text[], $2::text[]) AS e(schema, name)
  JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name
  JOIN pg_attrdef AS d ON d.adrelid = c.oid
  JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  JOIN pg_depend AS p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass
  JOIN pg_class AS s ON s.oid = p.refobjid JOIN pg_namespace AS m ON m.oid = s.relnamespace
 WHERE (n.nspname, c.relname, a.attname) NOT IN (SELECT * FROM unnest($3::text[], $4::text[], $5::text[]))
   AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') ELSE false END
 ORDER BY 2";

const CREATE_SCHEMA: &str = "
SELECT 'DATABASE', quote_ident(current_database()), ARRAY['CREATE']
 WHERE to_regnamespace('driftless') IS NULL AND NOT has_database_privilege(current_database(), 'CREATE')";

const CONTROL: &str = "
SELECT 'TABLE', format('%I.%I', 'driftless', c.relname), array_agg(r.name ORDER BY r.place)
  FROM pg_class AS c
 CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS r(name, place)
 WHERE c.relnamespace = to_regnamespace('driftless') AND c.relkind = 'r'
   AND (c.relname <> 'migration' OR r.name = 'SELECT') AND NOT has_table_privilege(c.oid, r.name)
 GROUP BY c.relname
UNION ALL
SELECT 'FUNCTION', p.oid::regprocedure::text, ARRAY['EXECUTE'] FROM pg_proc AS p
 WHERE p.pronamespace = to_regnamespace('driftless') AND p.prorettype <> 'trigger'::regtype
   AND NOT has_function_privilege(p.oid, 'EXECUTE')
 ORDER BY 1 DESC, 2";

/// The tables of the schema `driftless` in which the reconciler stores what it finds, and takes reads back for it.
const RESULTS: [&str; 13] = [
    "baseline_chunk",
    "baseline_undecided",
    "delta",
    "finding",
    "foreign_write",
    "guard",
    "integrity",
    "orphan",
    "process",
    "proof",
    "read_change",
    "read_unit",
    "undecided",
];

/// Checks the tables of the schema `driftless` for the reconciler, which writes only its results. Only the owner reads `evidence`.
const CONTROL_OF_READER: &str = "
SELECT 'TABLE', format('%I.%I', 'driftless', c.relname), array_agg(r.name ORDER BY r.place)
  FROM pg_class AS c
 CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS r(name, place)
 WHERE c.relnamespace = to_regnamespace('driftless') AND c.relkind = 'r' AND c.relname <> 'evidence'
   AND (c.relname = ANY ($1) OR r.name = 'SELECT') AND NOT has_table_privilege(c.oid, r.name)
 GROUP BY c.relname ORDER BY c.relname";

/// Lists objects of other owners, because a migration changes tables, which only their owner may do.
const OWNED_BY_OTHERS: &str = "
SELECT 'ALTER SCHEMA driftless' FROM pg_namespace WHERE nspname = 'driftless' AND NOT pg_has_role(nspowner, 'USAGE')
UNION ALL
SELECT format('ALTER TABLE driftless.%I', relname) FROM pg_class
 WHERE relnamespace = to_regnamespace('driftless') AND relkind = 'r' AND NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT 'ALTER FUNCTION ' || oid::regprocedure FROM pg_proc
 WHERE pronamespace = to_regnamespace('driftless') AND NOT pg_has_role(proowner, 'USAGE')";

/// Returns one fault for all missing rights, with the GRANT statements as its hint; `None` if no right is missing.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn missing_rights(session: &Session, plan: &Plan) -> Result<Option<Fault>, Error> {
    let wanted = Wanted::of(plan);
    let (schemas, names) =
        wanted.tables.keys().map(|table| (&*table.schema, &*table.name)).unzip::<_, _, Vec<_>, Vec<_>>();
    let written = wanted.tables.values().copied().collect::<Vec<_>>();
    let mut all_schemas = schemas.clone();
    all_schemas.push("driftless");
    let mut lacks = Lacks::default();
    lacks.add(&session.query(ACT, CREATE_SCHEMA, &[]).await?)?;
    lacks.add(&session.query(ACT, SCHEMAS, &[&all_schemas]).await?)?;
    lacks.add(&session.query(ACT, TABLES, &[&schemas, &names, &written]).await?)?;
    let [of, at, columns] = &wanted.columns;
    lacks.add(&session.query(ACT, SEQUENCES, &[&schemas, &names, of, at, columns]).await?)?;
    let mut foreign = Vec::new();
    if schema::is_behind(session).await? {
        let rows = session.query(ACT, OWNED_BY_OTHERS, &[]).await?;
        foreign = rows.iter().map(|row| field(row, 0, ACT)).collect::<Result<Vec<String>, Error>>()?;
    }
    if foreign.is_empty() {
        lacks.add(&session.query(ACT, CONTROL, &[]).await?)?;
    }
    Ok(lacks.fault(&role(session).await?, &foreign))
}

/// Returns one fault for all rights that the reconciler lacks, which reads the tables and stores its results; `None` if it lacks none.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn missing_reading_rights(session: &Session, plan: &Plan) -> Result<Option<Fault>, Error> {
    let wanted = Wanted::of(plan);
    let (mut schemas, names) =
        wanted.tables.keys().map(|table| (&*table.schema, &*table.name)).unzip::<_, _, Vec<_>, Vec<_>>();
    let mut lacks = Lacks::default();
    lacks.add(&session.query(ACT, READ_TABLES, &[&schemas, &names]).await?)?;
    schemas.push("driftless");
    lacks.add(&session.query(ACT, SCHEMAS, &[&schemas]).await?)?;
    lacks.add(&session.query(ACT, CONTROL_OF_READER, &[&RESULTS.as_slice()]).await?)?;
    Ok(lacks.fault(&role(session).await?, &[]))
}

async fn role(session: &Session) -> Result<String, Error> {
    field(&session.query_one(ACT, "SELECT quote_ident(current_user)", &[]).await?, 0, ACT)
}

/// The tables and columns that a plan reads and writes.
struct Wanted<'a> {
    /// Every table, and whether it is written.
    tables: BTreeMap<&'a TableName, bool>,
    /// Schemas, tables and names of the columns that every row fills.
    columns: [Vec<&'a str>; 3],
}

impl<'a> Wanted<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut wanted = Self { tables: BTreeMap::new(), columns: Default::default() };
        for TablePlan { table, columns, .. } in plan.collections().iter().flat_map(|plan| &plan.tables) {
            wanted.tables.insert(table, true);
            for column in columns {
                let [schemas, names, own] = &mut wanted.columns;
                schemas.push(&table.schema);
                names.push(&table.name);
                own.push(&column.name);
                if let Some(lookup) = &column.lookup {
                    wanted.tables.entry(&lookup.table).or_insert(false);
                }
            }
        }
        wanted
    }
}

/// Objects grouped by their missing rights, in the order of discovery.
#[derive(Default)]
struct Lacks(Vec<(String, Vec<String>, Vec<String>)>);

impl Lacks {
    fn add(&mut self, rows: &[tokio_postgres::Row]) -> Result<(), Error> {
        for row in rows {
            let (kind, object, rights): (String, String, Vec<String>) =
                (field(row, 0, ACT)?, field(row, 1, ACT)?, field(row, 2, ACT)?);
            match self.0.iter_mut().find(|(known, same, _)| *known == kind && *same == rights) {
                Some((_, _, objects)) => objects.push(object),
                None => self.0.push((kind, rights, vec![object])),
            }
        }
        Ok(())
    }

    fn fault(self, role: &str, foreign: &[String]) -> Option<Fault> {
        let lists = self.0.iter().map(|(kind, rights, objects)| (kind, rights.join(", "), objects.join(", ")));
        let mut what = Vec::new();
        let mut block = Vec::new();
        for (kind, rights, objects) in lists {
            what.push(match kind.as_str() {
                "TABLE" => format!("{rights} on {objects}"),
                kind => format!("{rights} on {} {objects}", kind.to_lowercase()),
            });
            block.push(format!("GRANT {rights} ON {kind} {objects} TO {role};"));
        }
        if !foreign.is_empty() {
            what.push("ownership of the schema driftless, which this version must migrate".to_owned());
            block.extend(foreign.iter().map(|object| format!("{object} OWNER TO {role};")));
        }
        let hint = format!("let the owner of the tables, or an administrator, run:\n{}", block.join("\n"));
        (!block.is_empty()).then(|| Fault {
            what: format!("the role {role} lacks {}", what.join("; ")),
            hint,
            stops: true,
        })
    }
}
