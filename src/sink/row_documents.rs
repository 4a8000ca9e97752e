//! The SQL that leads from rows of a table, given as texts by column, to their documents.
//!
//! A remembered row has its owner. Any other row has a column with the document's id, in the form that the mapping makes of the
//! `_id`; the same form is made of the `_id`s of the ledger, and both are compared.

use crate::{
    mapping::{Found, target::quote_ident},
    postgres::sql::{Sql, numbered},
};

/// How the documents of rows are found; rows come as one array of texts for each of `columns`.
#[derive(Clone, Debug)]
pub(crate) struct RowDocuments {
    /// The columns that lead to the document.
    pub(crate) columns: Vec<String>,
    /// The statement.
    pub(crate) way: RowWay,
}

/// The way from a row to its document.
#[derive(Clone, Debug)]
pub(crate) enum RowWay {
    /// Relation, then the columns; gives the row's ordinal, from 1, collection, key and `_id` of the owner.
    Owner(String),
    /// The column; gives the row's ordinal, from 1, and the id in the type of the root table's key.
    Id(String),
    /// Different values of the column may be one id, so that their bytes say nothing.
    Unknown,
}

impl RowDocuments {
    pub(super) fn new(sql: &Sql<'_>) -> Self {
        let name = |at: &usize| sql.plan.columns[*at].name.clone();
        match sql.plan.found {
            Found::Remembered => {
                let columns = sql.plan.key.iter().map(name).collect();
                Self { columns, way: RowWay::Owner(owner(sql)) }
            }
            Found::ById { column, .. } => {
                let found = sql.found.column(&sql.plan.columns[column].name);
                let folds = found.is_none_or(|found| found.folds);
                let way = if folds { RowWay::Unknown } else { RowWay::Id(id(sql, column)) };
                Self { columns: vec![name(&column)], way }
            }
        }
    }
}

fn owner(sql: &Sql<'_>) -> String {
    let texts = sql.plan.key.iter().enumerate().map(|(place, at)| (place + 2, "text", format!("c{at}")));
    let hash = sql.key_hash(|at| format!("e.c{at}::{}", sql.plan.columns[at].sql_type));
    format!(
        "SELECT e.n, o.collection, o.key, l.target FROM {}\n  \
         JOIN driftless.owner AS o ON o.relation = $1::int4 AND o.row_hash = {hash}\n  \
         LEFT JOIN driftless.ledger AS l ON l.collection = o.collection AND l.key = o.key",
        numbered("e", texts),
    )
}

fn id(sql: &Sql<'_>, at: usize) -> String {
    let column = &sql.plan.columns[at];
    let rows = numbered("e", [(1, "text", "c".to_owned())]);
    let stored = format!("e.c::{}", column.sql_type);
    match &column.lookup {
        None => format!("SELECT e.n, ({stored})::{} FROM {rows}", sql.root_key()),
        Some(lookup) => format!(
            "SELECT e.n, l.{}::{} FROM {rows} JOIN {} AS l ON l.{} = {stored}",
            quote_ident(&lookup.from.0),
            sql.root_key(),
            lookup.table,
            quote_ident(&lookup.to),
        ),
    }
}
