//! The SQL of each planned table: texts only, decided once, any number of rows per statement.
//!
//! ```text
//!  upsert     rows as arrays ─ INSERT … SELECT … FROM unnest ─ ON CONFLICT (key) DO UPDATE, only where something differs
//!  copy       rows that are new, straight in, where every value is stored as it travels
//!  swap       the same rows, where they exist: deleted and inserted in one statement, so that they may swap unique values
//!  contested  which of the rows want a unique value that a row outside of them holds
//!  orphaned_children    which of the rows lack what they refer to
//!  erase      rows by the document's id     prune   child rows by the document's id that are no longer in the set
//!  compare    expected against found        extra child rows found but not expected       present   root rows by id
//!  shown      the rows of documents, as texts             pages      all rows, to find those without a document
//!  stray      rows that no document stands behind, see `stray_statements`
//! ```
//!
//! Rows arrive as one array per column ($1 … $n), each of a type that neither truncates nor pads, and are cast to the
//! column's own type. Every name is quoted and has its schema. Rows that no column ties to a document are found in the owner
//! table, see `owner`.
//!
//! Two values are the same when PostgreSQL's `=` says so and that is exact (numbers, times, uuid, jsonb, …); everything else
//! is the same when its text is, byte by byte: `citext`, `char(n)`, types without `=`, types whose `=` forgives.

use crate::mapping::{
    CollectionPlan, Found, PlanColumn,
    target::{Catalog, Filled, ForeignKey, TableName, quote_ident, quote_text},
};

use super::{
    guards::{AllFound, Guard},
    owner_statements::OwnerStatements,
    page_statements::PageStatements,
    row_documents::RowDocuments,
    stray_statements::StrayStatements,
};
use crate::postgres::{
    Error,
    sql::{Sql, differs, differs_in_meaning, has_one_form, is_copied, is_long, join, unnest},
};

/// The statements of one collection, parallel to its planned tables.
#[derive(Clone, Debug)]
pub(crate) struct CollectionStatements {
    /// Each root followed by its children.
    pub(crate) tables: Vec<TableStatements>,
}

/// The statements of one table.
#[derive(Clone, Debug)]
pub(crate) struct TableStatements {
    /// Its [label](TableName::label), for errors, metrics and records.
    pub(crate) name: String,
    /// Its name as SQL.
    pub(crate) quoted: String,
    /// Number of columns, so of parameters of [`Self::upsert`].
    pub(crate) width: usize,
    /// Positions of the key's columns.
    pub(crate) key: Vec<usize>,
    /// Their names.
    pub(crate) key_names: Vec<String>,
    /// Rank in foreign-key order.
    pub(crate) depth: usize,
    /// Whether it holds documents, not something embedded in them.
    pub(crate) root: bool,
    /// Which root table it belongs to, itself included: the field of the document's keys.
    pub(crate) of: usize,
    /// Whether it has unique constraints besides its key.
    pub(crate) uniques: bool,
    /// Whether foreign keys of the target point at it.
    pub(crate) referenced: bool,
    /// The tables that its foreign keys point at, and those that its values are looked up in; labels.
    pub(crate) parents: Vec<String>,
    /// Every table that foreign keys lead to from here, directly or not; as SQL.
    pub(crate) above: Vec<String>,
    /// Deferrable unique constraints, and exclusion constraints.
    pub(crate) guards: Vec<Guard>,
    /// Columns as arrays.
    pub(crate) upsert: String,
    /// Rows in the binary form of `COPY`; only for a table where every value is stored as it travels: no cast, no id to look up.
    pub(crate) copy: Option<String>,
    /// Columns as arrays, like [`Self::upsert`]; touches only rows that exist.
    pub(crate) swap: String,
    /// Rows that cannot have their unique value. One per constraint.
    pub(crate) contested: Vec<Obstacle>,
    /// Rows whose parent is not there, or whose id has no entry. One per foreign key and per column that looks its value up.
    pub(crate) orphaned_children: Vec<Obstacle>,
    /// Ids of documents as array; only for a table whose rows hold the document's id.
    pub(crate) erase: Option<String>,
    /// The same ids as array, then the key columns of the rows that stay; only for such a child.
    pub(crate) prune: Option<String>,
    /// The way from a row to its document.
    pub(crate) documents: RowDocuments,
    /// Only for a table whose rows are remembered in the owner table.
    pub(crate) owned: Option<OwnerStatements>,
    /// Ordinals (`int4[]`), then columns as arrays; gives ordinal, whether the row is missing, names of differing columns.
    pub(crate) compare: String,
    /// Most bytes of values, then key columns; gives the columns of these rows, as they travel. Only for a table where equal values mostly
    /// travel as equal bytes.
    pub(crate) read: Option<String>,
    /// Ordinals and ids, then key columns of the expected rows; gives ordinal and number of other rows. Only for a child with the
    /// document's id.
    pub(crate) extra: Option<String>,
    /// Ordinals, then ids; gives the ordinals of rows that exist. Only for a root with the document's id.
    pub(crate) present: Option<String>,
    /// Number of rows.
    pub(crate) count: String,
    /// Names of all columns of the table, in their order.
    pub(crate) columns: Vec<String>,
    /// Ordinals, then ids; gives ordinal and the texts of all columns of each row. Only for a table with the document's id.
    pub(crate) shown: Option<String>,
    /// All rows in pages.
    pub(crate) pages: PageStatements,
    /// About single rows, by primary key.
    pub(crate) stray: StrayStatements,
}

/// A question about rows that were refused: columns as arrays; gives the ordinals, from 1, of those that cannot be written.
#[derive(Clone, Debug)]
pub(crate) struct Obstacle {
    /// The question.
    pub(crate) sql: String,
    /// The table that the refusal names.
    pub(crate) table: String,
    /// The constraint that refuses the row.
    pub(crate) constraint: Constraint,
}

/// A constraint that refuses a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Constraint {
    /// A foreign key, by name; checked in enforce mode only.
    ForeignKey(String),
    /// A unique constraint over these columns.
    Unique(Vec<String>),
    /// An id without an entry in a table of ids.
    Lookup,
}

impl CollectionStatements {
    /// Writes the statements of a collection.
    ///
    /// # Errors
    /// [`Error::TableGone`] when the catalog does not hold a table of the plan.
    pub(super) fn new(plan: &CollectionPlan, catalog: &Catalog, guards: &AllFound) -> Result<Self, Error> {
        let mut tables = Vec::with_capacity(plan.tables.len());
        let families = plan.tables.chunk_by(|_, next| !next.root);
        for (of, kin) in families.enumerate() {
            for table in kin {
                let found = catalog.table(&table.table);
                let found = found.ok_or_else(|| Error::TableGone { table: table.table.to_string() })?;
                let mut keys = catalog.tables.iter().flat_map(|other| &other.foreign_keys);
                let referenced = keys.any(|key| key.parent == table.table);
                let sql = Sql { plan: table, found, root: &kin[0], kin };
                let found = guards.get(&table.table.to_string()).map_or(&[][..], Vec::as_slice);
                let above = above(catalog, &table.table);
                tables.push(TableStatements {
                    referenced,
                    above,
                    guards: sql.guards(found),
                    ..TableStatements::new(&sql, of)
                });
            }
        }
        Ok(Self { tables })
    }
}

impl TableStatements {
    fn new(sql: &Sql<'_>, of: usize) -> Self {
        let plan = sql.plan;
        let (by_id, owned) = match plan.found {
            Found::ById { column, .. } => (Some(column), None),
            Found::Remembered => (None, Some(OwnerStatements::new(sql))),
        };
        let (root, child) = if plan.root { (by_id, None) } else { (None, by_id) };
        Self {
            name: plan.table.label(),
            quoted: plan.table.to_string(),
            width: plan.columns.len(),
            key: plan.key.clone(),
            key_names: plan.key.iter().map(|&at| plan.columns[at].name.clone()).collect(),
            depth: plan.depth,
            root: plan.root,
            of,
            uniques: plan.uniques,
            referenced: false,
            parents: parents(sql),
            above: Vec::new(),
            guards: Vec::new(),
            upsert: sql.upsert(),
            copy: sql.copy(),
            swap: sql.swap(),
            contested: sql.contested(),
            orphaned_children: sql.orphaned_children(),
            erase: by_id.map(|column| sql.erase(column)),
            prune: child.map(|column| sql.prune(column)),
            documents: RowDocuments::new(sql),
            owned,
            compare: sql.compare(),
            read: sql.read(),
            extra: child.map(|column| sql.extra(column)),
            present: root.map(|column| sql.present(column)),
            count: format!("SELECT count(*) FROM {}", plan.table),
            columns: sql.found.columns.iter().map(|column| column.name.clone()).collect(),
            shown: by_id.map(|column| sql.shown(column)),
            pages: PageStatements::new(sql),
            stray: StrayStatements::new(sql),
        }
    }

    /// The key of a row as JSON, of its texts in the order of the key.
    pub(crate) fn row_key(&self, texts: &[String]) -> serde_json::Value {
        let columns = self.key_names.iter().zip(texts).map(|(name, text)| (name.clone(), text.clone().into()));
        serde_json::Value::Object(columns.collect())
    }
}

fn parents(sql: &Sql<'_>) -> Vec<String> {
    let referred = sql.found.foreign_keys.iter().map(|key| &key.parent);
    let looked_up = sql.plan.columns.iter().filter_map(|column| column.lookup.as_ref()).map(|lookup| &lookup.table);
    referred.chain(looked_up).map(TableName::label).collect()
}

/// The tables that foreign keys lead to, directly or through others.
fn above(catalog: &Catalog, table: &TableName) -> Vec<String> {
    let (mut found, mut open) = (Vec::<&TableName>::new(), vec![table]);
    while let Some(table) = open.pop() {
        let keys = catalog.table(table).map_or(&[][..], |table| &table.foreign_keys);
        for parent in keys.iter().map(|key| &key.parent) {
            if !found.contains(&parent) {
                found.push(parent);
                open.push(parent);
            }
        }
    }
    found.into_iter().map(ToString::to_string).collect()
}

impl Sql<'_> {
    fn upsert(&self) -> String {
        let written = self.beside_key();
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
            self.all_written("e"),
            self.rows(1, "e"),
            self.key_names(),
        )
    }

    fn copy(&self) -> Option<String> {
        let as_it_travels = |column: &PlanColumn| {
            let found = self.found.column(&column.name);
            column.lookup.is_none() && found.is_some_and(|found| is_copied(&found.kind))
        };
        let all = self.plan.columns.iter().all(as_it_travels);
        all.then(|| format!("COPY {} ({}) FROM STDIN BINARY", self.plan.table, self.all_names()))
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
            values = self.all_written("e"),
            kept_g = and_kept("g."),
            on_g = self.keys_match("g", "e"),
        )
    }

    /// Columns of a constraint by position; `None` unless all of them are ours.
    fn known(&self, names: &[String]) -> Option<Vec<usize>> {
        let position = |name: &String| self.plan.columns.iter().position(|column| column.name == *name);
        names.iter().map(position).collect::<Option<Vec<usize>>>().filter(|known| !known.is_empty())
    }

    /// A row whose reference is NULL in part has no parent to wait for; a child row comes with the rows of its document.
    fn orphaned_children(&self) -> Vec<Obstacle> {
        let kin = |key: &&ForeignKey| !self.plan.root && self.kin.iter().any(|table| table.table == key.parent);
        let keys = self.found.foreign_keys.iter().filter(|key| !kin(key));
        let known = keys.filter_map(|key| Some((key, self.known(&key.columns)?)));
        let parents = known.map(|(key, columns)| {
            let pairs = columns.iter().zip(&key.parent_columns);
            let same = pairs.map(|(&at, parent)| format!("p.{} = {}", quote_ident(parent), self.value("e", at)));
            let sql = format!(
                "SELECT e.n FROM {}\n WHERE {}\n   AND NOT EXISTS (SELECT FROM {} AS p WHERE {})",
                self.numbered_rows("e"),
                join(" AND ", &columns, |&at| format!("{} IS NOT NULL", self.value("e", at))),
                key.parent,
                same.collect::<Vec<_>>().join(" AND "),
            );
            Obstacle { sql, table: self.plan.table.label(), constraint: Constraint::ForeignKey(key.name.clone()) }
        });
        let lookups = self.positions().filter_map(|at| Some((at, self.plan.columns[at].lookup.as_ref()?)));
        let entries = lookups.map(|(at, lookup)| {
            let rows = self.numbered_rows("e");
            let found = self.value("e", at);
            let sql = format!("SELECT e.n FROM {rows}\n WHERE e.c{at} IS NOT NULL AND {found} IS NULL");
            let table = lookup.table.label();
            Obstacle { sql, table, constraint: Constraint::Lookup }
        });
        parents.chain(entries).collect()
    }

    /// Every unique constraint but the key, whose conflicts are between the documents that claim it.
    fn contested(&self) -> Vec<Obstacle> {
        let mut key = self.plan.key.iter().map(|&at| &self.plan.columns[at].name).collect::<Vec<_>>();
        key.sort();
        let other = |unique: &&Vec<String>| {
            let mut names = unique.iter().collect::<Vec<_>>();
            names.sort();
            names != key
        };
        let uniques = self.found.uniques.iter().chain([&self.found.primary_key]).filter(other);
        let known = uniques.filter_map(|unique| Some((unique, self.known(unique)?)));
        known
            .map(|(names, unique)| {
                let same = self.same(&unique, "t", "e");
                let values = join(", ", &unique, |&at| self.value("e", at));
                let present = join(" AND ", &unique, |&at| format!("{} IS NOT NULL", self.value("e", at)));
                let sql = format!(
                    "SELECT e.n FROM {rows}\n WHERE EXISTS (SELECT FROM {table} AS t WHERE {same}\n   \
                     AND NOT EXISTS (SELECT FROM {others} WHERE {keys}))\nUNION\n\
                     SELECT d.n FROM (SELECT e.n, row_number() OVER (PARTITION BY {values} ORDER BY e.n) AS place\n  \
                     FROM {rows} WHERE {present}) AS d WHERE d.place > 1",
                    rows = self.numbered_rows("e"),
                    table = self.plan.table,
                    others = self.rows(1, "o"),
                    keys = self.keys_match("t", "o"),
                );
                Obstacle { sql, table: self.plan.table.label(), constraint: Constraint::Unique(names.clone()) }
            })
            .collect()
    }

    fn erase(&self, column: usize) -> String {
        format!(
            "DELETE FROM {} AS t USING {} WHERE {}",
            self.plan.table,
            unnest("p", [(1, self.root_key(), "p".to_owned())]),
            self.of_document(column, "p.p")
        )
    }

    fn prune(&self, column: usize) -> String {
        format!(
            "DELETE FROM {} AS t USING {} WHERE {}\n   AND NOT EXISTS (SELECT FROM {} WHERE {})",
            self.plan.table,
            unnest("p", [(1, self.root_key(), "p".to_owned())]),
            self.of_document(column, "p.p"),
            unnest("e", self.keys_as_params(2)),
            self.keys_match("t", "e"),
        )
    }

    fn compare(&self) -> String {
        let columns = self.beside_key();
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

    fn read(&self) -> Option<String> {
        let kind = |column: &PlanColumn| self.found.column(&column.name).map(|found| &found.kind);
        let as_it_travels = |column: &PlanColumn| column.lookup.is_none() && kind(column).is_some_and(has_one_form);
        if !self.plan.columns.iter().all(as_it_travels) {
            return None;
        }
        let all: Vec<usize> = (0..self.plan.columns.len()).collect();
        let columns = join(", ", &all, |&at| format!("t.{}", self.name(at)));
        let long: Vec<usize> = all.into_iter().filter(|&at| self.kind(at).is_some_and(is_long)).collect();
        let size = join("", &long, |&at| format!(" + coalesce(octet_length(t.{}), 0)", self.name(at)));
        let from = match self.plan.key[..] {
            // The index is read once for all keys.
            [at] => {
                let keys = self.keys_as_params(2).map(|(number, kind, _)| format!("${number}::{kind}[]"));
                let (table, name, keys) = (&self.plan.table, self.name(at), keys.collect::<String>());
                format!("{table} AS t WHERE t.{name} {} ANY ({keys})", self.equals(at))
            }
            _ => {
                let (keys, table) = (unnest("e", self.keys_as_params(2)), &self.plan.table);
                format!("{keys} JOIN {table} AS t ON {} WHERE true", self.keys_match("t", "e"))
            }
        };
        Some(format!("SELECT {columns} FROM {from} AND 0{size} <= $1::int8"))
    }

    fn extra(&self, column: usize) -> String {
        format!(
            "SELECT p.n, count(*) FROM {}\n  JOIN {} AS t ON {}\n WHERE NOT EXISTS (SELECT FROM {} WHERE {})\n GROUP BY p.n",
            unnest("p", [(1, "int4", "n".to_owned()), (2, self.root_key(), "p".to_owned())]),
            self.plan.table,
            self.of_document(column, "p.p"),
            unnest("e", self.keys_as_params(3)),
            self.keys_match("t", "e"),
        )
    }

    fn present(&self, column: usize) -> String {
        format!(
            "SELECT p.n FROM {} JOIN {} AS t ON {}",
            unnest("p", [(1, "int4", "n".to_owned()), (2, self.root_key(), "p".to_owned())]),
            self.plan.table,
            self.of_document(column, "p.p"),
        )
    }

    fn shown(&self, column: usize) -> String {
        format!(
            "SELECT p.n, {} FROM {} JOIN {} AS t ON {}",
            self.texts("t"),
            unnest("p", [(1, "int4", "n".to_owned()), (2, self.root_key(), "p".to_owned())]),
            self.plan.table,
            self.of_document(column, "p.p"),
        )
    }
}

#[cfg(test)]
#[path = "statements_tests.rs"]
mod tests;
