//! The plan: a mapping file checked against the target's catalog, ready to turn documents into rows.

use bson::raw::RawDocument;

use super::{
    ColumnRule, Fault, Location, Lookup, NoRule, OnDrop, Reads, Reject, Rejects, Row, Rows, rows::program::Program,
    target::TableName,
};

pub(crate) mod changes;
mod compile;
mod order;
pub(crate) mod remapped;
pub(crate) mod used_paths;

/// The plans of all mapped collections.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) collections: Vec<CollectionPlan>,
    pub(crate) warnings: Vec<Fault>,
}

impl Plan {
    /// The collections, by name.
    pub fn collections(&self) -> &[CollectionPlan] {
        &self.collections
    }

    /// Warnings, for example an instant that goes into a column without a time zone.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// The collection of that name.
    pub fn collection(&self, name: &str) -> Option<&CollectionPlan> {
        self.collections.iter().find(|plan| plan.collection == name)
    }
}

/// The tables of one collection, and how its documents become their rows.
#[derive(Clone, Debug)]
pub struct CollectionPlan {
    /// Name of the collection.
    pub collection: String,
    /// The reaction to a dropped or renamed collection.
    pub on_drop: OnDrop,
    /// Whether the source may have no such collection (yet): then the missing collection is proven equal to no rows.
    pub may_be_empty: bool,
    /// The tables: each root followed by its children. A collection has one root, or one for each kind of document.
    pub tables: Vec<TablePlan>,
    pub(crate) reads: Reads,
    pub(crate) program: Program,
}

impl CollectionPlan {
    /// The root tables, in the order of the fields of [`Self::keys`].
    pub fn roots(&self) -> impl Iterator<Item = &TablePlan> {
        self.tables.iter().filter(|table| table.root)
    }

    /// The rows of a document; no root row when the mapping leaves the document out.
    ///
    /// # Errors
    /// [`Rejects`]: the document goes to the dead letters under the first reason.
    pub fn map(&self, document: &RawDocument) -> Result<Rows, Rejects> {
        self.program.map(document)
    }

    /// The rows of a document as [`Self::map`] makes them, and for each row, in the same order, the element that it is made of,
    /// such as `items[3]`; empty for the document itself.
    ///
    /// # Errors
    /// [`Rejects`], as of [`Self::map`].
    pub fn map_placed(&self, document: &RawDocument) -> Result<(Rows, Vec<Vec<String>>), Rejects> {
        self.program.map_placed(document)
    }

    /// The key of an `_id` in each root table, in their order: all that a delete carries. NULL for a root table whose rows are
    /// remembered. Each field has the type of the table's id column.
    ///
    /// Takes a document with the `_id`, such as `{_id: …}`, because its text may be invalid UTF-8, which bson's own reader does
    /// not return.
    ///
    /// # Errors
    /// [`Reject`] for an `_id` that cannot be a key of the target (such a document never had a row), and `MALFORMED` for a
    /// document without `_id`.
    pub fn keys(&self, document: &RawDocument) -> Result<Row, Reject> {
        self.program.keys(document)
    }

    /// Changes whenever the same document could become other rows: with the mapping, the target's catalog, or this program.
    ///
    /// It does not change with the layout of the mapping file or with what other collections become, so that a comment does
    /// not invalidate a proof.
    pub fn digest(&self) -> [u8; 16] {
        let mut plan = self.clone();
        for table in &mut plan.tables {
            table.depth = 0;
            table.columns.iter_mut().for_each(|column| column.place = None);
        }
        xxhash_rust::xxh3::xxh3_128(format!("{plan:?}").as_bytes()).to_be_bytes()
    }

    /// The rule that makes the keys of its rows, in words. It may not change while there are rows.
    pub fn key_rule(&self) -> String {
        self.key_rule_of(self.embeds())
    }

    /// The rule that makes the keys of its root rows, and if `embeds` those of the rows below, in words.
    fn key_rule_of(&self, embeds: bool) -> String {
        self.program.id.as_ref().map_or_else(|| "the columns of the key".to_owned(), |rule| rule.in_words(embeds))
    }

    /// Whether embedded values have rows of their own.
    fn embeds(&self) -> bool {
        self.tables.iter().any(|table| !table.root)
    }

    /// The paths that a column of a table takes its value from, by name.
    pub fn paths_of(&self, table: &TableName, column: &str) -> Vec<&str> {
        let at = |table_at: usize| self.tables.get(table_at).is_some_and(|plan| plan.table == *table);
        self.program.paths_of(&at, column)
    }

    /// The conversion of single values as a column of a table does it.
    ///
    /// # Errors
    /// [`NoRule`]: why there is none.
    pub fn rule(&self, table: &TableName, column: &str) -> Result<ColumnRule, NoRule> {
        let at = |table_at: usize| self.tables.get(table_at).is_some_and(|plan| plan.table == *table);
        self.program.rule(&at, column)
    }

    /// The columns of root tables that take their value from a path, with their tables.
    pub fn takers(&self, path: &str) -> Vec<(&TablePlan, &str)> {
        let takers = self.program.takers(path).into_iter();
        takers.filter_map(|(table, column)| Some((self.tables.get(table)?, column))).collect()
    }

    /// Which paths of a document are read.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }
}

/// One table that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePlan {
    /// Its name.
    pub table: TableName,
    /// The columns that are written, in the order of a row's fields.
    pub columns: Vec<PlanColumn>,
    /// Positions in `columns` of the columns by which a row is found again: the primary key, or a unique constraint over
    /// columns that are all NOT NULL. In the constraint's order; never empty.
    pub key: Vec<usize>,
    /// Whether it holds the documents themselves, not something embedded in them.
    pub root: bool,
    /// How the rows of a document are found again when only its `_id` is known.
    pub found: Found,
    /// Whether the table has unique constraints besides the key.
    pub uniques: bool,
    /// Rank in foreign-key order over the whole plan: a table comes after those it references, which have smaller ranks.
    pub depth: usize,
}

/// How the rows of a document are found again when only its `_id` is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A column of each row holds what the `_id` becomes in a root table, and no other document has rows with that value.
    ById {
        /// Which root table: the field of [`CollectionPlan::keys`] to look for.
        key: usize,
        /// Position of the column.
        column: usize,
    },
    /// The sink remembers the key of each row with the document: it follows from other fields, which may change, or other
    /// collections write the table too.
    Remembered,
}

/// One column that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanColumn {
    /// Its name.
    pub name: String,
    /// Its type as SQL, to which the element of the parameter is cast.
    pub sql_type: String,
    /// Type of the parameter's element, unqualified (`uuid`, `text`, …); the parameter is an array of it.
    pub param_type: String,
    /// Oid of `param_type`.
    pub param_oid: Option<u32>,
    /// The table in which the value of the parameter is looked up; `None` when the parameter is the value.
    pub lookup: Option<Lookup>,
    /// Whether the mapping coerces its values.
    pub coerced: bool,
    /// The line of the mapping file that declares it, or its table.
    pub place: Option<Location>,
}
