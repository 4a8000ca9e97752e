//! MongoDB's indexes, as far as PostgreSQL has the like of them.

use super::{
    model::{Child, Column, Root, Statement, Table},
    names::{on_one_line, quoted},
};
use crate::profile::Index;

/// The most bytes of an index entry that are sure to fit: PostgreSQL takes 2,704, and later values may be longer than those seen.
const MAX_ENTRY: u64 = 1_000;

/// Carries the indexes of a collection over.
pub(super) fn carry(root: &mut Root, indexes: &[Index], schema: &str) {
    for index in indexes {
        let paths: Vec<&str> = index.keys.iter().map(|(path, _)| path.as_str()).collect();
        let mut tables = tables(root);
        let home = tables.iter().position(|table| paths.iter().all(|path| column(table, path).is_some()));
        let special =
            index.keys.iter().map(|(_, kind)| kind.as_str()).find(|kind| !matches!(*kind, "1" | "-1" | "hashed"));
        let statements = match (special, home) {
            (Some(kind), _) => {
                vec![comment(index, &format!("a {kind} index: choose an extension or an expression for it"))]
            }
            (None, Some(at)) => statements(tables[at], at > 0, index, schema),
            (None, None) => vec![comment(index, "not all of its paths are columns of one table")],
        };
        if let Some(table) = tables.get_mut(home.unwrap_or(0)) {
            table.indexes.extend(statements);
        }
    }
}

/// Gives each foreign key of a collection's tables an index, if it has none.
pub(super) fn of_foreign_keys(root: &mut Root, schema: &str) {
    for table in tables(root) {
        let demanded = table.foreign_keys.iter().filter(|key| key.instead.is_none() && !key.cascades);
        let columns: Vec<String> = demanded.map(|key| key.column.clone()).collect();
        let place = qualified(schema, &table.name);
        for column in columns {
            let begins = format!("ON {place} ({}", quoted(&column));
            let has = |statement: &Statement| match statement {
                Statement::Sql(sql) => [",", ")", " "].iter().any(|end| sql.contains(&format!("{begins}{end}"))),
                Statement::Comment(_) => false,
            };
            if !table.indexes.iter().any(has) {
                table.indexes.push(Statement::Sql(format!("CREATE INDEX {begins})")));
            }
        }
    }
}

/// A table with its schema, as SQL.
pub(super) fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(table))
}

/// The tables of a collection, the root first.
pub(super) fn tables(root: &mut Root) -> Vec<&mut Table> {
    fn below<'r>(children: &'r mut [Child], all: &mut Vec<&'r mut Table>) {
        for child in children {
            all.push(&mut child.table);
            below(&mut child.children, all);
        }
    }
    let mut all = vec![&mut root.table];
    below(&mut root.children, &mut all);
    all
}

fn column<'t>(table: &'t Table, path: &str) -> Option<&'t Column> {
    table.columns.iter().find(|column| !column.dotted.is_empty() && column.dotted == path)
}

fn statements(table: &Table, is_child: bool, index: &Index, schema: &str) -> Vec<Statement> {
    let columns: Vec<(&Column, &str)> =
        index.keys.iter().filter_map(|(path, kind)| Some((column(table, path)?, kind.as_str()))).collect();
    if columns.iter().any(|(column, _)| column.kind == "jsonb") {
        return vec![comment(index, "a path into JSONB: choose an expression for it")];
    }
    if columns.iter().map(|(column, _)| column.longest).sum::<u64>() > MAX_ENTRY {
        return vec![comment(index, "some values are too long for an entry of a B-tree")];
    }
    let mut statements = Vec::new();
    let place = qualified(schema, &table.name);
    if let [(column, _)] = columns[..]
        && column.kind.ends_with("[]")
    {
        statements.push(Statement::Sql(format!("CREATE INDEX ON {place} USING gin ({})", quoted(&column.name))));
    } else if columns.iter().any(|(column, _)| column.kind.ends_with("[]")) {
        return vec![comment(index, "an array beside other columns")];
    } else {
        let not_unique = why_not_unique(&columns, is_child, index);
        let unique = if index.unique && not_unique.is_none() { "UNIQUE " } else { "" };
        let keys: Vec<String> = columns
            .iter()
            .map(|(column, kind)| format!("{}{}", quoted(&column.name), if *kind == "-1" { " DESC" } else { "" }))
            .collect();
        statements.push(Statement::Sql(format!("CREATE {unique}INDEX ON {place} ({})", keys.join(", "))));
        if let Some(why) = not_unique.filter(|_| index.unique) {
            statements.push(Statement::Comment(format!("{} is unique in MongoDB; not here: {why}", name(index))));
        }
    }
    if let Some(seconds) = index.expires {
        let what =
            format!("{} lets MongoDB delete documents after {seconds} s; their deletes are replicated", name(index));
        statements.push(Statement::Comment(what));
    }
    if let Some(partial) = index.partial.as_ref().filter(|_| !index.unique) {
        statements.push(Statement::Comment(format!(
            "{} is partial in MongoDB: {}",
            name(index),
            on_one_line(&partial.to_string())
        )));
    }
    statements
}

/// Why PostgreSQL could refuse what a unique index of MongoDB allows.
fn why_not_unique(columns: &[(&Column, &str)], is_child: bool, index: &Index) -> Option<&'static str> {
    // NULLs are never equal in PostgreSQL, so documents without one of the fields may be left out or not.
    let leaves_out_the_missing = |partial: &serde_json::Value| {
        partial.as_object().is_some_and(|conditions| {
            conditions.iter().all(|(path, condition)| {
                let only = condition.as_object().filter(|is| is.len() == 1);
                let exists = only.is_some_and(|is| is.get("$exists") == Some(&true.into()) || is.contains_key("$type"));
                exists && index.keys.iter().any(|(key, _)| key == path)
            })
        })
    };
    if is_child {
        Some("an element of another document may have the value")
    } else if index.collation {
        Some("it compares texts by the rules of a language")
    } else if index.partial.as_ref().is_some_and(|partial| !leaves_out_the_missing(partial)) {
        Some("it is partial")
    } else if columns.iter().any(|(column, _)| !column.comparable) {
        Some("values of several types could be equal in PostgreSQL")
    } else {
        None
    }
}

fn comment(index: &Index, why: &str) -> Statement {
    let keys: Vec<String> = index.keys.iter().map(|(path, kind)| format!("{path}: {kind}")).collect();
    let unique = if index.unique { "unique " } else { "" };
    Statement::Comment(on_one_line(&format!("MongoDB's {unique}index {} on {}: {why}", name(index), keys.join(", "))))
}

fn name(index: &Index) -> String {
    on_one_line(&index.name)
}
