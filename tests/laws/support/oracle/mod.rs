//! The independent comparison: reads everything on both sides and compares every column of every row, in both directions.
//!
//! ```text
//!  every document ─▶ application: the rows it must be ─┐
//!                                                      ├─▶ missing, extra, different
//!  every row ──────▶ text of each column ──────────────┘
//! ```
//! The expected rows of a document are written by hand in [`application`], from the demo's schema and the rules of the mapping,
//! with typed documents and the plain drivers: nothing here uses the product's own conversion. All values are compared as
//! canonical text ([`value`]): decimals by their digits, moments by microseconds, JSON by its meaning.
//!
//! Both sides must be at rest. A column of the target that no rule names is a fault of the oracle, which reports it.

mod application;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use tokio_postgres::Client;

use self::application::Table;
pub(crate) use self::application::root_id;
use super::migration::Migration;

/// Number of differences that a failed comparison shows.
const SHOWN: usize = 30;
/// Number of characters that are shown of a value.
const VALUE: usize = 80;

/// One row: canonical text of each column, in the order of the table's columns.
type Row = Vec<Option<String>>;
/// Rows by primary key.
type Rows = BTreeMap<String, Row>;

/// A difference between both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// A document without its row.
    Missing { table: &'static str, key: String },
    /// A row without its document.
    Extra { table: &'static str, key: String },
    /// A column that differs.
    Different { table: &'static str, key: String, column: &'static str, expected: String, found: String },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { table, key } => write!(f, "{table} {key}: missing"),
            Self::Extra { table, key } => write!(f, "{table} {key}: extra"),
            Self::Different { table, key, column, expected, found } => {
                write!(f, "{table} {key}: column {column} should be {expected} and is {found}")
            }
        }
    }
}

/// Result of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) documents: usize,
    pub(crate) rows: usize,
    pub(crate) differences: Vec<Difference>,
}

impl Report {
    /// # Panics
    /// Panics if there is a difference, or nothing to compare.
    pub(crate) fn assert_equal(&self) {
        assert!(self.documents > 0 && self.rows > 0, "nothing was compared: {self:?}");
        let shown: Vec<_> = self.differences.iter().take(SHOWN).map(ToString::to_string).collect();
        let (documents, rows, count) = (self.documents, self.rows, self.differences.len());
        assert!(count == 0, "{documents} documents, {rows} rows, {count} differences:\n{}", shown.join("\n"));
    }
}

/// Compares everything.
pub(crate) async fn compare(migration: &Migration) -> Report {
    let mut report = Report::default();
    let mut documents: BTreeMap<&str, Vec<Document>> = BTreeMap::new();
    for table in application::TABLES {
        if !documents.contains_key(table.collection) {
            let read = read(&migration.collection(table.collection)).await;
            report.documents += read.len();
            documents.insert(table.collection, read);
        }
        let mut expected = Rows::new();
        for (key, row) in documents[table.collection].iter().flat_map(|document| table.expect(document)) {
            assert!(expected.insert(key.clone(), row).is_none(), "two rows of {} are expected as {key}", table.name);
        }
        assert_all_columns(&migration.target, table).await;
        let found = rows(&migration.target, table).await;
        report.rows += found.len();
        difference(table, expected, found, &mut report.differences);
    }
    report
}

/// Compares everything; both sides must be equal.
pub(crate) async fn assert_equal(migration: &Migration) {
    compare(migration).await.assert_equal();
}

async fn read(collection: &mongodb::Collection<Document>) -> Vec<Document> {
    let failed = "read the source";
    collection.find(doc! {}).await.expect(failed).try_collect().await.expect(failed)
}

/// Checks that the table has exactly the columns that the oracle knows, and those that it computes itself.
async fn assert_all_columns(target: &Client, table: &Table) {
    const COLUMNS: &str = "SELECT attname::text FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";
    let names = target.query(COLUMNS, &[&table.name]).await.expect("list the columns");
    let there: BTreeSet<String> = names.iter().map(|row| row.get(0)).collect();
    let known: BTreeSet<String> = table.columns.iter().map(|column| column.name.to_owned()).collect();
    assert_eq!(there, known, "the oracle must know every column of {}", table.name);
}

/// Returns every row of a table; the first column is its key.
async fn rows(target: &Client, table: &Table) -> Rows {
    let list: Vec<_> = table.columns.iter().map(|column| column.kind.select(column.name)).collect();
    let query = format!("SELECT {} FROM {}", list.join(", "), table.name);
    let read = target.query(&query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let row = |row: &tokio_postgres::Row| {
        let values = table.columns.iter().enumerate().map(|(at, column)| {
            let text: Option<String> = row.get(at);
            text.map(|text| column.kind.canonical(&text))
        });
        (row.get::<_, String>(0), values.collect())
    };
    read.iter().map(row).collect()
}

fn difference(table: &Table, expected: Rows, mut found: Rows, differences: &mut Vec<Difference>) {
    let name = table.name;
    for (key, expected) in expected {
        let Some(found) = found.remove(&key) else {
            differences.push(Difference::Missing { table: name, key });
            continue;
        };
        for ((column, expected), found) in table.columns.iter().zip(expected).zip(found) {
            if found != expected {
                let (expected, found) = (show(expected.as_deref()), show(found.as_deref()));
                let (key, column) = (key.clone(), column.name);
                differences.push(Difference::Different { table: name, key, column, expected, found });
            }
        }
    }
    differences.extend(found.into_keys().map(|key| Difference::Extra { table: name, key }));
}

fn show(value: Option<&str>) -> String {
    value.map_or("NULL".to_owned(), |text| format!("{:?}", text.chars().take(VALUE).collect::<String>()))
}
