//! The foreign keys of the mapped tables, and rows that lack their parent.
//!
//! `CHECK`, `NOT NULL` and unique constraints hold in replica mode too; foreign keys do not. A page of a table is joined against
//! the parent in one statement, so child and parent are of one snapshot, and the target compares them with the constraint's own
//! operators.

use serde_json::{Map, Value};

use crate::{
    mapping::{
        Plan,
        target::{TableName, quote_ident},
    },
    postgres::{
        Error, Session,
        session::{Param, field},
        sql::numbered,
    },
};

/// A foreign key of a mapped table, or one that refers to a mapped table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The table that refers.
    pub(crate) table: TableName,
    /// Its [label](TableName::label).
    pub(crate) relation: String,
    /// The name of the constraint.
    pub(crate) constraint: String,
    /// The label of the table that it refers to.
    pub(crate) parent: String,
    parent_table: TableName,
    /// The columns that refer.
    pub(crate) columns: Vec<String>,
    /// The columns that are referred to, each with the operator that compares it.
    parent_columns: Vec<String>,
    operators: Vec<String>,
    /// Whether a reference that is NULL in part is a fault.
    match_full: bool,
    /// The columns and types of the key by which rows are named; none where the table has no key.
    pub(crate) key: Vec<String>,
    key_types: Vec<String>,
    /// Schemas of the operators of these types.
    operator_schemas: Vec<String>,
    /// Whether rows are in partitions, of the table and of the parent.
    partitioned: bool,
    parent_partitioned: bool,
}

/// The key of a row, as texts in the order of [`Reference::key`].
pub(crate) type RowKey = Vec<String>;

/// A page of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Number of rows.
    pub(crate) rows: u64,
    /// Key of the last of them; `None` if there was none.
    pub(crate) last: Option<RowKey>,
    /// Those that lack their parent.
    pub(crate) orphans: Vec<RowKey>,
}

/// A key is the primary key, else a unique index over columns that are never NULL.
const FIND: &str = "
WITH mapped AS (
    SELECT c.oid FROM unnest($1::text[], $2::text[]) AS e(schema, name)
      JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name
), members AS (
    SELECT oid FROM mapped UNION SELECT p.relid::oid FROM mapped AS m, pg_partition_tree(m.oid) AS p
)
SELECT n.nspname::text, c.relname::text, pn.nspname::text, p.relname::text, f.conname::text, f.confmatchtype = 'f', c.relkind = 'p', p.relkind = 'p',
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k(attnum, place)
               JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.attnum ORDER BY k.place),
       ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k(attnum, place)
               JOIN pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.attnum ORDER BY k.place),
       ARRAY(SELECT format('OPERATOR(%I.%s)', o_n.nspname, o.oprname) FROM unnest(f.conpfeqop) WITH ORDINALITY AS k(op, place)
               JOIN pg_operator AS o ON o.oid = k.op JOIN pg_namespace AS o_n ON o_n.oid = o.oprnamespace ORDER BY k.place),
       coalesce(u.columns, '{}'), coalesce(u.types, '{}'), coalesce(u.schemas, '{}')
  FROM pg_constraint AS f
  JOIN pg_class AS c ON c.oid = f.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_class AS p ON p.oid = f.confrelid JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
  LEFT JOIN LATERAL (
      SELECT array_agg(a.attname::text ORDER BY k.place) AS columns,
             array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY k.place) AS types,
             array_agg(DISTINCT quote_ident(o_n.nspname)) AS schemas
        FROM pg_index AS i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
        JOIN pg_attribute AS a ON a.attnum = k.attnum
        JOIN pg_opclass AS o ON true JOIN pg_namespace AS o_n ON o_n.oid = o.opcnamespace
       WHERE i.indrelid = f.conrelid AND a.attrelid = f.conrelid AND k.place <= i.indnkeyatts AND o.oid = i.indclass[k.place - 1]
         AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND NOT 0 = ANY (i.indkey)
       GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attnotnull) ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1
  ) AS u ON true
 WHERE f.contype = 'f' AND f.conparentid = 0
   AND (f.conrelid IN (SELECT oid FROM members) OR f.confrelid IN (SELECT oid FROM members))
 ORDER BY 1, 2, 5";

/// Reads the foreign keys of the mapped tables and those that refer to a mapped table.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn references(session: &Session, plan: &Plan) -> Result<Vec<Reference>, Error> {
    let act = "read the foreign keys of the target";
    let tables = plan.collections().iter().flat_map(|collection| &collection.tables);
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        tables.map(|table| (&*table.table.schema, &*table.table.name)).unzip();
    let rows = session.query(act, FIND, &[&schemas, &names]).await?;
    let reference = |row: &tokio_postgres::Row| {
        let table = TableName::new(field::<String>(row, 0, act)?, field::<String>(row, 1, act)?);
        let parent_table = TableName::new(field::<String>(row, 2, act)?, field::<String>(row, 3, act)?);
        Ok(Reference {
            relation: table.label(),
            table,
            parent: parent_table.label(),
            parent_table,
            constraint: field(row, 4, act)?,
            match_full: field(row, 5, act)?,
            partitioned: field(row, 6, act)?,
            parent_partitioned: field(row, 7, act)?,
            columns: field(row, 8, act)?,
            parent_columns: field(row, 9, act)?,
            operators: field(row, 10, act)?,
            key: field(row, 11, act)?,
            key_types: field(row, 12, act)?,
            operator_schemas: field(row, 13, act)?,
        })
    };
    rows.iter().map(reference).collect()
}

impl Reference {
    /// Looks at the rows behind a key, or from the first on. A table without a key is one page, whose orphans are counted and not
    /// named.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn page(&self, session: &Session, after: Option<&RowKey>, limit: i64) -> Result<Page, Error> {
        let act = format!("look for rows of {} without their parent", self.relation);
        self.find_operators(session).await?;
        let rows = match after {
            Some(after) => session.query(&act, &self.page_sql(true), &[&limit, after]).await?,
            None => session.query(&act, &self.page_sql(false), &[&limit]).await?,
        };
        let mut page = Page::default();
        for row in &rows {
            match field::<Option<RowKey>>(row, 0, &act)? {
                Some(orphan) => page.orphans.push(orphan),
                None => {
                    page.rows = u64::try_from(field::<i64>(row, 1, &act)?).unwrap_or(0);
                    page.last = field(row, 2, &act)?;
                }
            }
        }
        Ok(page)
    }

    /// Returns those of the rows that lack their parent now.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn still_orphans(&self, session: &Session, rows: &[RowKey]) -> Result<Vec<RowKey>, Error> {
        let act = format!("look again for rows of {} without their parent", self.relation);
        self.find_operators(session).await?;
        let texts = self.texts(rows);
        let params: Vec<Param<'_>> = texts.iter().map(|column| column as Param<'_>).collect();
        let sql = format!(
            "SELECT {} FROM (SELECT {}, {} FROM {}) AS c WHERE {}",
            self.key_as_text("c"),
            self.key_columns("t"),
            self.reference_columns("t"),
            self.joined(),
            self.is_orphan(),
        );
        session.query(&act, &sql, &params).await?.iter().map(|row| field(row, 0, &act)).collect()
    }

    /// Reads columns of rows that exist, as texts, beside their keys.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn read(
        &self,
        session: &Session,
        rows: &[RowKey],
        columns: &[String],
    ) -> Result<Vec<Map<String, Value>>, Error> {
        let act = format!("read the keys of rows of {}", self.relation);
        self.find_operators(session).await?;
        let texts = columns.iter().map(|name| format!("t.{}::text", quote_ident(name))).collect::<Vec<_>>();
        let sql = format!("SELECT e.n, ARRAY[{}]::text[] FROM {}", texts.join(", "), self.joined());
        let mut named: Vec<_> = rows.iter().map(|row| self.named(row)).collect();
        let texts = self.texts(rows);
        let params: Vec<Param<'_>> = texts.iter().map(|column| column as Param<'_>).collect();
        for row in session.query(&act, &sql, &params).await? {
            let place = usize::try_from(field::<i64>(&row, 0, &act)? - 1).unwrap_or(usize::MAX);
            let values: Vec<Option<String>> = field(&row, 1, &act)?;
            if let Some(named) = named.get_mut(place) {
                named.extend(columns.iter().cloned().zip(values.into_iter().map(Value::from)));
            }
        }
        Ok(named)
    }

    /// The keys of rows, by column.
    fn texts<'r>(&self, rows: &'r [RowKey]) -> Vec<Vec<&'r String>> {
        (0..self.key.len()).map(|at| rows.iter().filter_map(|row| row.get(at)).collect()).collect()
    }

    /// The rows `t` with the keys that are the parameters, and the ordinal `e.n` of each, from 1.
    fn joined(&self) -> String {
        let texts = (0..self.key.len()).map(|at| (at + 1, "text", format!("k{at}")));
        let same = self.key_terms(|at, name, kind| format!("t.{name} = e.k{at}::{kind}"));
        format!("{} JOIN {} AS t ON {}", numbered("e", texts), self.from(), same.join(" AND "))
    }

    /// The key of a row by column.
    pub(crate) fn named(&self, row: &RowKey) -> Map<String, Value> {
        self.key.iter().zip(row).map(|(name, value)| (name.clone(), value.as_str().into())).collect()
    }

    /// Operators of types outside the system schema are found by name only there.
    async fn find_operators(&self, session: &Session) -> Result<(), Error> {
        let schemas = self.operator_schemas.iter().filter(|schema| *schema != "pg_catalog");
        let path: Vec<&str> = ["pg_catalog"].into_iter().chain(schemas.map(String::as_str)).collect();
        let sql = format!("SET search_path = {}, pg_temp", path.join(", "));
        session.batch("set the search path for the types of a key", &sql).await
    }

    fn page_sql(&self, behind: bool) -> String {
        if self.key.is_empty() {
            return format!(
                "WITH page AS MATERIALIZED (SELECT {} FROM {} AS t)\n\
                 SELECT NULL::text[], (SELECT count(*) FROM page), NULL::text[] FROM (SELECT $1::int8) AS unlimited\n\
                 UNION ALL SELECT '{{}}'::text[], 0, NULL FROM page AS c WHERE {}",
                self.reference_columns("t"),
                self.from(),
                self.is_orphan(),
            );
        }
        let order = self.key_terms(|_, name, _| format!("t.{name}")).join(", ");
        let place = self.key_terms(|at, _, kind| format!("($2::text[])[{}]::{kind}", at + 1)).join(", ");
        let behind = if behind { format!("WHERE ROW({order}) > ROW({place}) ") } else { String::new() };
        let last = (0..self.key.len()).map(|at| format!("k{at} DESC")).collect::<Vec<_>>().join(", ");
        format!(
            "WITH page AS MATERIALIZED (\n  SELECT {}, {} FROM {} AS t {behind}ORDER BY {order} LIMIT $1)\n\
             SELECT NULL::text[], (SELECT count(*) FROM page), (SELECT {} FROM page AS c ORDER BY {last} LIMIT 1)\n\
             UNION ALL SELECT {}, 0, NULL FROM page AS c WHERE {}",
            self.key_columns("t"),
            self.reference_columns("t"),
            self.from(),
            self.key_as_text("c"),
            self.key_as_text("c"),
            self.is_orphan(),
        )
    }

    fn from(&self) -> String {
        format!("{}{}", if self.partitioned { "" } else { "ONLY " }, self.table)
    }

    /// The condition on a row `c` with the columns `r0, r1, …` that refer.
    fn is_orphan(&self) -> String {
        let values = (0..self.columns.len()).map(|at| format!("c.r{at}")).collect::<Vec<_>>().join(", ");
        let same = self.parent_columns.iter().zip(&self.operators).enumerate();
        let same = same.map(|(at, (name, operator))| format!("p.{} {operator} c.r{at}", quote_ident(name)));
        let only = if self.parent_partitioned { "" } else { "ONLY " };
        let lacks = format!(
            "NOT EXISTS (SELECT FROM {only}{} AS p WHERE {})",
            self.parent_table,
            same.collect::<Vec<_>>().join(" AND ")
        );
        match self.match_full {
            true => format!("num_nonnulls({values}) > 0 AND (num_nulls({values}) > 0 OR {lacks})"),
            false => format!("num_nulls({values}) = 0 AND {lacks}"),
        }
    }

    fn key_terms(&self, term: impl Fn(usize, &str, &str) -> String) -> Vec<String> {
        let key = self.key.iter().zip(&self.key_types).enumerate();
        key.map(|(at, (name, kind))| term(at, &quote_ident(name), kind)).collect()
    }

    fn key_columns(&self, table: &str) -> String {
        self.key_terms(|at, name, _| format!("{table}.{name} AS k{at}")).join(", ")
    }

    fn key_as_text(&self, table: &str) -> String {
        format!("ARRAY[{}]", self.key_terms(|at, _, _| format!("{table}.k{at}::text")).join(", "))
    }

    fn reference_columns(&self, table: &str) -> String {
        let columns = self.columns.iter().enumerate();
        columns.map(|(at, name)| format!("{table}.{} AS r{at}", quote_ident(name))).collect::<Vec<_>>().join(", ")
    }
}
