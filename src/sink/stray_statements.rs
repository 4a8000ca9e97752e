//! The SQL about single rows by the key of the mapping, as JSON: {column: text}. See [`super::stray_rows`].

use crate::{
    mapping::{
        Found,
        target::{ColumnType, quote_ident, quote_text},
    },
    postgres::sql::{Sql, unnest},
};

/// The statements about single rows of a table.
#[derive(Clone, Debug)]
pub(crate) struct StrayStatements {
    /// Keys as a JSON array, then ids of documents; gives the places, from 1, of rows that belong to one of these. Only for a table
    /// whose rows hold the document's id.
    pub(crate) explained: Option<String>,
    /// Keys as a JSON array; gives the places, from 1, of rows that exist.
    pub(crate) present: String,
    /// Keys as a JSON array, then a seed; gives the places, from 1, of rows that exist, each with the hash of what leads to its
    /// document, as [`PageStatements`](super::page_statements::PageStatements) has it.
    pub(crate) hashes: String,
    /// Removes the rows below one of a root table, the deepest first.
    pub(crate) children: Vec<StrayChildren>,
    /// A key, and a relation if rows are remembered; removes the row, unless a document owns it, and gives the texts of all columns.
    pub(crate) remove: String,
}

/// The removal of the rows below a row, in one table.
#[derive(Clone, Debug)]
pub(crate) struct StrayChildren {
    /// Its [label](crate::mapping::target::TableName::label).
    pub(crate) table: String,
    /// Names of the columns that are given back.
    pub(crate) columns: Vec<String>,
    /// The key of the root row; gives the texts of these columns.
    pub(crate) remove: String,
}

impl StrayStatements {
    pub(super) fn new(sql: &Sql<'_>) -> Self {
        let table = &sql.plan.table;
        let (by_id, unowned) = match sql.plan.found {
            Found::ById { column, .. } => (Some(column), String::new()),
            Found::Remembered => {
                let hash = sql.key_hash(|at| format!("t.{}", sql.name(at)));
                let owned = format!("o.relation = $2::int4 AND o.row_hash = {hash}");
                (None, format!("\n   AND NOT EXISTS (SELECT FROM driftless.owner AS o WHERE {owned})"))
            }
        };
        let keys = "jsonb_array_elements($1::jsonb) WITH ORDINALITY AS e(k, n)";
        let explained = by_id.map(|column| {
            format!(
                "SELECT e.n FROM {keys}\n  JOIN {table} AS t ON {}\n WHERE EXISTS (SELECT FROM {} WHERE {})",
                key_is(sql, "t", "e.k"),
                unnest("p", [(2, sql.root_key(), "p".to_owned())]),
                sql.of_document(column, "p.p"),
            )
        });
        let stored = |at: usize| format!("t.{}", sql.name(at));
        let hash = sql.record_hash(by_id.as_ref().map_or(&sql.plan.key[..], std::slice::from_ref), stored, "$2::int8");
        let children = if sql.plan.root && by_id.is_some() { children(sql) } else { Vec::new() };
        Self {
            explained,
            present: format!("SELECT e.n FROM {keys}\n  JOIN {table} AS t ON {}", key_is(sql, "t", "e.k")),
            hashes: format!("SELECT e.n, {hash} FROM {keys}\n  JOIN {table} AS t ON {}", key_is(sql, "t", "e.k")),
            children,
            remove: format!(
                "DELETE FROM {table} AS t WHERE {}{unowned}\nRETURNING {}",
                key_is(sql, "t", "$1::jsonb"),
                sql.texts("t")
            ),
        }
    }
}

/// The condition that a row has this key. A value is compared as its column does where that has an index to use.
fn key_is(sql: &Sql<'_>, row: &str, key: &str) -> String {
    let names = sql.plan.key.iter().map(|&at| &sql.plan.columns[at].name);
    let same = names.map(|name| {
        let (column, text) = (format!("{row}.{}", quote_ident(name)), format!("({key} ->> {})", quote_text(name)));
        match sql.found.column(name) {
            Some(found) if !matches!(found.kind.base(), ColumnType::Citext | ColumnType::Jsonb) => {
                format!("{column} = {text}::{}", found.sql_type)
            }
            _ => format!("{column}::text = {text}"),
        }
    });
    same.collect::<Vec<_>>().join(" AND ")
}

fn children(sql: &Sql<'_>) -> Vec<StrayChildren> {
    let Some(root) = sql.plan.key.first().map(|&at| sql.name(at)) else { return Vec::new() };
    let by_id = sql.kin.iter().rev().filter_map(|kin| match kin.found {
        Found::ById { column, .. } if !kin.root => Some((kin, quote_ident(&kin.columns[column].name))),
        _ => None,
    });
    let child = by_id.map(|(kin, column)| {
        let columns: Vec<_> = kin.columns.iter().map(|column| column.name.clone()).collect();
        let texts = columns.iter().map(|name| format!("t.{}::text", quote_ident(name))).collect::<Vec<_>>().join(", ");
        let remove = format!(
            "DELETE FROM {} AS t USING {} AS r WHERE t.{column} = r.{root} AND {}\nRETURNING ARRAY[{texts}]::text[]",
            kin.table,
            sql.plan.table,
            key_is(sql, "r", "$1::jsonb"),
        );
        StrayChildren { table: kin.table.label(), columns, remove }
    });
    child.collect()
}
