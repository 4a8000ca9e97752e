//! The SQL of each planned table: texts only, decided once, any number of rows per statement.
//!
//! ```text
//!  upsert     rows as arrays ─ INSERT … SELECT … FROM unnest ─ ON CONFLICT (key) DO UPDATE, only where something differs
//!  swap       the same rows, where they exist: deleted and inserted in one statement, so that they may trade unique values
//!  contested  which of the rows want a unique value that a row outside of them holds
//!  delete     root rows by key            erase   child rows by root key        prune   child rows no longer in the set
//!  compare    expected against found      surplus child rows found but not expected       present   root rows by key
//! ```
//!
//! Rows arrive as one array per column ($1 … $n), each of a type that neither truncates nor pads, and are cast to the
//! column's own type. Every name is quoted and has its schema.
//!
//! Two values are the same when PostgreSQL's `=` says so and that is exact (numbers, times, uuid, jsonb, …); everything else
//! is the same when its text is, byte by byte: `citext`, `char(n)`, types without `=`, types whose `=` forgives.

use crate::mapping::{
    CollectionPlan, Found, PlanColumn, TablePlan,
    target::{Catalog, ColumnType, Filled, Table, TableName, quote_ident},
};

use super::Error;

/// The statements of one collection, parallel to its planned tables.
#[derive(Clone, Debug)]
pub struct CollectionStatements {
    /// Root first.
    pub tables: Vec<TableStatements>,
}

/// The statements of one table.
#[derive(Clone, Debug)]
pub struct TableStatements {
    /// `schema.table`, for errors and metrics.
    pub name: String,
    /// Number of columns, so of parameters of [`Self::upsert`].
    pub width: usize,
    /// Rank in foreign-key order.
    pub depth: usize,
    /// Whether it has unique constraints besides its key.
    pub uniques: bool,
    /// Whether foreign keys of the target point at it.
    pub referenced: bool,
    /// Columns as arrays.
    pub upsert: String,
    /// Columns as arrays, like [`Self::upsert`]; touches only rows that exist.
    pub swap: String,
    /// Columns as arrays; gives the ordinals, from 1, of rows that cannot have their unique value. One per constraint.
    pub contested: Vec<String>,
    /// Columns as arrays; gives the ordinals of rows whose parent is not there. One per foreign key.
    pub orphans: Vec<String>,
    /// Key columns as arrays.
    pub delete: String,
    /// Of a child: root keys as array.
    pub erase: Option<String>,
    /// Of a child: root keys as array, then the key columns of the rows that stay.
    pub prune: Option<String>,
    /// Ordinals (`int4[]`), then columns as arrays; gives ordinal, whether the row is missing, names of differing columns.
    pub compare: String,
    /// Of a child: ordinals and root keys, then key columns of the expected rows; gives ordinal and number of other rows.
    pub surplus: Option<String>,
    /// Ordinals, then key columns; gives the ordinals of rows that exist.
    pub present: String,
    /// Number of rows.
    pub count: String,
}

impl CollectionStatements {
    /// Writes the statements of a collection.
    ///
    /// # Errors
    /// [`Error::TableGone`] when the catalog does not hold a table of the plan.
    pub fn new(plan: &CollectionPlan, catalog: &Catalog) -> Result<Self, Error> {
        let root = plan.tables.first();
        let tables = plan.tables.iter().map(|table| {
            let found = catalog.table(&table.table);
            let found = found.ok_or_else(|| Error::TableGone { table: table.table.to_string() })?;
            let mut keys = catalog.tables.iter().flat_map(|other| &other.foreign_keys);
            let referenced = keys.any(|key| key.parent == table.table);
            Ok(TableStatements::new(table, root.unwrap_or(table), found, referenced))
        });
        Ok(Self { tables: tables.collect::<Result<_, Error>>()? })
    }
}

impl TableStatements {
    fn new(plan: &TablePlan, root: &TablePlan, found: &Table, referenced: bool) -> Self {
        let sql = Sql { plan, root, found };
        let parent = match plan.found {
            Found::ById { column, .. } if !plan.root => Some(column),
            Found::ById { .. } | Found::Remembered => None,
        };
        Self {
            name: format!("{}.{}", plan.table.schema, plan.table.name),
            width: plan.columns.len(),
            depth: plan.depth,
            uniques: plan.uniques,
            referenced,
            upsert: sql.upsert(),
            swap: sql.swap(),
            contested: sql.contested(),
            orphans: sql.orphans(),
            delete: sql.delete(),
            erase: parent.map(|parent| sql.erase(parent)),
            prune: parent.map(|parent| sql.prune(parent)),
            compare: sql.compare(),
            surplus: parent.map(|parent| sql.surplus(parent)),
            present: sql.present(),
            count: format!("SELECT count(*) FROM {}", plan.table),
        }
    }
}

struct Sql<'a> {
    plan: &'a TablePlan,
    root: &'a TablePlan,
    found: &'a Table,
}

impl Sql<'_> {
    fn upsert(&self) -> String {
        let written = self.positions().filter(|at| !self.plan.key.contains(at)).collect::<Vec<_>>();
        let action = if written.is_empty() {
            "NOTHING".to_owned()
        } else {
            let set = join(", ", &written, |&at| format!("{0} = excluded.{0}", self.name(at)));
            let differs = join("\n    OR ", &written, |&at| {
                let name = self.name(at);
                differs(self.kind(at), &format!("t.{name}"), &format!("excluded.{name}"))
            });
            format!("UPDATE SET {set}\n WHERE {differs}")
        };
        format!(
            "INSERT INTO {} AS t ({})\nSELECT {}\n  FROM {}\nON CONFLICT ({}) DO {action}",
            self.plan.table,
            self.all_names(),
            self.all_values("e"),
            self.rows(1, "e"),
            self.key_names(),
        )
    }

    /// The count forces every row out before the first goes back in; the rows of the key's columns that we do not write
    /// come along unchanged.
    fn swap(&self) -> String {
        let kept = self.found.columns.iter().filter(|column| {
            column.filled != Filled::Generated && !self.plan.columns.iter().any(|ours| ours.name == column.name)
        });
        let kept = kept.map(|column| quote_ident(&column.name)).collect::<Vec<_>>();
        let keys = join(", ", &self.plan.key, |&at| format!("t.{}", self.name(at)));
        let and_kept = |prefix: &str| kept.iter().map(|name| format!(", {prefix}{name}")).collect::<String>();
        format!(
            "WITH gone AS (\n  DELETE FROM {table} AS t USING {rows} WHERE {on}\n  RETURNING {keys}{kept_t})\n\
             INSERT INTO {table} ({names}{kept}) OVERRIDING SYSTEM VALUE\nSELECT {values}{kept_g}\n  FROM {rows}\n  \
             JOIN gone AS g ON {on_g}\n WHERE (SELECT count(*) FROM gone) > 0",
            table = self.plan.table,
            rows = self.rows(1, "e"),
            on = self.keys_match("t", "e"),
            kept_t = and_kept("t."),
            names = self.all_names(),
            kept = and_kept(""),
            values = self.all_values("e"),
            kept_g = and_kept("g."),
            on_g = self.keys_match("g", "e"),
        )
    }

    /// Columns of a constraint by position; `None` unless all of them are ours.
    fn known(&self, names: &[String]) -> Option<Vec<usize>> {
        let position = |name: &String| self.plan.columns.iter().position(|column| column.name == *name);
        names.iter().map(position).collect::<Option<Vec<usize>>>().filter(|known| !known.is_empty())
    }

    /// A row whose reference is NULL in part has no parent to wait for; a child row comes with its root row.
    fn orphans(&self) -> Vec<String> {
        let own_root = |parent: &TableName| !self.plan.root && *parent == self.root.table;
        let keys = self.found.foreign_keys.iter().filter(|key| !own_root(&key.parent));
        let known = keys.filter_map(|key| Some((key, self.known(&key.columns)?)));
        known
            .map(|(key, columns)| {
                let pairs = columns.iter().zip(&key.parent_columns);
                let same = pairs.map(|(&at, parent)| format!("p.{} = {}", quote_ident(parent), self.value("e", at)));
                format!(
                    "SELECT e.n FROM {}\n WHERE {}\n   AND NOT EXISTS (SELECT FROM {} AS p WHERE {})",
                    self.numbered_rows("e"),
                    join(" AND ", &columns, |&at| format!("{} IS NOT NULL", self.value("e", at))),
                    key.parent,
                    same.collect::<Vec<_>>().join(" AND "),
                )
            })
            .collect()
    }

    fn contested(&self) -> Vec<String> {
        let uniques = self.found.uniques.iter().filter_map(|unique| self.known(unique));
        uniques
            .map(|unique| {
                let same = join(" AND ", &unique, |&at| format!("t.{} = {}", self.name(at), self.value("e", at)));
                let values = join(", ", &unique, |&at| self.value("e", at));
                let present = join(" AND ", &unique, |&at| format!("{} IS NOT NULL", self.value("e", at)));
                format!(
                    "SELECT e.n FROM {rows}\n WHERE EXISTS (SELECT FROM {table} AS t WHERE {same}\n   \
                     AND NOT EXISTS (SELECT FROM {others} WHERE {keys}))\nUNION\n\
                     SELECT d.n FROM (SELECT e.n, row_number() OVER (PARTITION BY {values} ORDER BY e.n) AS place\n  \
                     FROM {rows} WHERE {present}) AS d WHERE d.place > 1",
                    rows = self.numbered_rows("e"),
                    table = self.plan.table,
                    others = self.rows(1, "o"),
                    keys = self.keys_match("t", "o"),
                )
            })
            .collect()
    }

    fn delete(&self) -> String {
        format!(
            "DELETE FROM {} AS t USING {} WHERE {}",
            self.plan.table,
            unnest("e", self.keys_as_params(1)),
            self.keys_match("t", "e")
        )
    }

    fn erase(&self, parent: usize) -> String {
        format!(
            "DELETE FROM {} AS t USING {} WHERE {}",
            self.plan.table,
            unnest("p", [(1, self.root_key(), "p".to_owned())]),
            self.of_parent(parent)
        )
    }

    fn prune(&self, parent: usize) -> String {
        format!(
            "DELETE FROM {} AS t USING {} WHERE {}\n   AND NOT EXISTS (SELECT FROM {} WHERE {})",
            self.plan.table,
            unnest("p", [(1, self.root_key(), "p".to_owned())]),
            self.of_parent(parent),
            unnest("e", self.keys_as_params(2)),
            self.keys_match("t", "e"),
        )
    }

    fn compare(&self) -> String {
        let columns = self.positions().filter(|at| !self.plan.key.contains(at)).collect::<Vec<_>>();
        let mut names = columns
            .iter()
            .map(|&at| {
                let (kind, name) = (self.kind(at), self.name(at));
                let differs = differs_in_meaning(kind, &format!("t.{name}"), &self.value("e", at));
                format!("CASE WHEN {differs} THEN {} END", quote_text(&self.plan.columns[at].name))
            })
            .collect::<Vec<_>>();
        names.insert(0, "NULL::text".to_owned());
        let first_key = self.plan.key.first().map_or_else(String::new, |&at| self.name(at));
        let rows = std::iter::once((1, "int4", "n".to_owned())).chain(self.columns_as_params(2)).collect::<Vec<_>>();
        format!(
            "SELECT * FROM (\n  SELECT e.n, t.{first_key} IS NULL AS missing,\n         \
             array_remove(ARRAY[{names}], NULL) AS columns\n    FROM {rows}\n    \
             LEFT JOIN {table} AS t ON {keys}) AS found\n WHERE missing OR cardinality(columns) > 0",
            names = names.join(",\n           "),
            rows = unnest("e", rows),
            table = self.plan.table,
            keys = self.keys_match("t", "e"),
        )
    }

    fn surplus(&self, parent: usize) -> String {
        format!(
            "SELECT p.n, count(*) FROM {}\n  JOIN {} AS t ON {}\n WHERE NOT EXISTS (SELECT FROM {} WHERE {})\n GROUP BY p.n",
            unnest("p", [(1, "int4", "n".to_owned()), (2, self.root_key(), "p".to_owned())]),
            self.plan.table,
            self.of_parent(parent),
            unnest("e", self.keys_as_params(3)),
            self.keys_match("t", "e"),
        )
    }

    fn present(&self) -> String {
        let rows = std::iter::once((1, "int4", "n".to_owned())).chain(self.keys_as_params(2)).collect::<Vec<_>>();
        format!("SELECT e.n FROM {} JOIN {} AS t ON {}", unnest("e", rows), self.plan.table, self.keys_match("t", "e"))
    }

    fn positions(&self) -> impl Iterator<Item = usize> {
        0..self.plan.columns.len()
    }

    fn name(&self, at: usize) -> String {
        quote_ident(&self.plan.columns[at].name)
    }

    fn kind(&self, at: usize) -> Option<&ColumnType> {
        self.found.column(&self.plan.columns[at].name).map(|column| column.kind.base())
    }

    /// The value of a column in the rows named `rows`, in the column's type.
    fn value(&self, rows: &str, at: usize) -> String {
        format!("{rows}.c{at}::{}", self.plan.columns[at].sql_type)
    }

    fn all_names(&self) -> String {
        join(", ", &self.plan.columns, |column| quote_ident(&column.name))
    }

    fn all_values(&self, rows: &str) -> String {
        self.positions().map(|at| self.value(rows, at)).collect::<Vec<_>>().join(", ")
    }

    fn key_names(&self) -> String {
        join(", ", &self.plan.key, |&at| self.name(at))
    }

    fn keys_match(&self, table: &str, rows: &str) -> String {
        join(" AND ", &self.plan.key, |&at| format!("{table}.{} = {}", self.name(at), self.value(rows, at)))
    }

    /// The root's key travels in the root's type and is compared in the child's.
    fn of_parent(&self, parent: usize) -> String {
        format!("t.{} = p.p::{}", self.name(parent), self.plan.columns[parent].sql_type)
    }

    fn root_key(&self) -> &str {
        self.root.key.first().map_or("text", |&at| param_type(&self.root.columns[at]))
    }

    fn columns_as_params(&self, first: usize) -> impl Iterator<Item = (usize, &str, String)> {
        self.plan.columns.iter().enumerate().map(move |(at, column)| (first + at, param_type(column), format!("c{at}")))
    }

    fn keys_as_params(&self, first: usize) -> impl Iterator<Item = (usize, &str, String)> {
        let keys = self.plan.key.iter().enumerate();
        keys.map(move |(place, &at)| (first + place, param_type(&self.plan.columns[at]), format!("c{at}")))
    }

    fn rows(&self, first: usize, alias: &str) -> String {
        unnest(alias, self.columns_as_params(first))
    }

    fn numbered_rows(&self, alias: &str) -> String {
        let (arrays, names) = arrays_and_names(self.columns_as_params(1));
        format!("unnest({arrays}) WITH ORDINALITY AS {alias}({names}, n)")
    }
}

fn param_type(column: &PlanColumn) -> &str {
    &column.param_type
}

fn unnest<'a>(alias: &str, params: impl IntoIterator<Item = (usize, &'a str, String)>) -> String {
    let (arrays, names) = arrays_and_names(params);
    format!("unnest({arrays}) AS {alias}({names})")
}

fn arrays_and_names<'a>(params: impl IntoIterator<Item = (usize, &'a str, String)>) -> (String, String) {
    let (arrays, names): (Vec<_>, Vec<_>) =
        params.into_iter().map(|(number, kind, name)| (format!("${number}::{kind}[]"), name)).unzip();
    (arrays.join(", "), names.join(", "))
}

fn join<T>(separator: &str, of: &[T], text: impl FnMut(&T) -> String) -> String {
    of.iter().map(text).collect::<Vec<_>>().join(separator)
}

fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Whether the stored bytes would change.
fn differs(kind: Option<&ColumnType>, found: &str, wanted: &str) -> String {
    match kind {
        Some(
            ColumnType::Bool
            | ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Uuid
            | ColumnType::Date
            | ColumnType::Timestamp { .. }
            | ColumnType::Timestamptz { .. }
            | ColumnType::Bytea,
        ) => format!("{found} IS DISTINCT FROM {wanted}"),
        // `=` takes 1.0 for 1.00, -0 for 0, and knows nothing for json.
        _ => format!("{found}::text COLLATE \"C\" IS DISTINCT FROM {wanted}::text COLLATE \"C\""),
    }
}

/// Whether the values mean different things: numbers by value (NaN equals itself, -0 equals 0), JSON by content.
fn differs_in_meaning(kind: Option<&ColumnType>, found: &str, wanted: &str) -> String {
    match kind {
        Some(ColumnType::Float4 | ColumnType::Float8 | ColumnType::Numeric { .. } | ColumnType::Jsonb) => {
            format!("{found} IS DISTINCT FROM {wanted}")
        }
        Some(ColumnType::Json) => format!("{found}::jsonb IS DISTINCT FROM {wanted}::jsonb"),
        other => differs(other, found, wanted),
    }
}

#[cfg(test)]
#[path = "statements_tests.rs"]
mod tests;
