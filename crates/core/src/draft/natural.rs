//! Foreign keys by natural key: the values of a column are those of another one, which a unique index keeps unique.

use super::{
    indexes::{qualified, tables},
    model::{ForeignKey, Root, Statement, Table},
    names::quoted,
};

/// Adds the foreign keys, once all tables are drafted; where no unique index of MongoDB was carried over, there can be none.
pub(super) fn foreign_keys(roots: &mut [Root], schema: &str) {
    let unique: Vec<Unique> = roots.iter().flat_map(|root| unique(root, schema)).collect();
    for table in roots.iter_mut().flat_map(tables) {
        let found = table.columns.iter().filter_map(|column| {
            let natural = column.natural.as_ref()?;
            let is_named = |unique: &&Unique| unique.collection == natural.collection && unique.path == natural.path;
            let unique = unique.iter().find(is_named).filter(|unique| unique.kind == column.kind)?;
            Some(ForeignKey {
                column: column.name.clone(),
                table: unique.table.clone(),
                key: unique.column.clone(),
                cascades: false,
                instead: natural.instead.clone(),
            })
        });
        let found: Vec<ForeignKey> = found.collect();
        table.foreign_keys.extend(found);
    }
}

/// A column of a root table with a unique index of its own.
struct Unique {
    collection: String,
    path: String,
    table: String,
    column: String,
    kind: String,
}

fn unique(root: &Root, schema: &str) -> Vec<Unique> {
    let Root { collection, table, .. } = root;
    let has_index = |table: &Table, column: &str| {
        let sql = format!("CREATE UNIQUE INDEX ON {} ({})", qualified(schema, &table.name), quoted(column));
        table.indexes.iter().any(|statement| matches!(statement, Statement::Sql(known) if *known == sql))
    };
    let columns = table.columns.iter().filter(|column| has_index(table, &column.name));
    let unique = columns.map(|column| Unique {
        collection: collection.clone(),
        path: column.dotted.clone(),
        table: table.name.clone(),
        column: column.name.clone(),
        kind: column.kind.clone(),
    });
    unique.collect()
}
