//! The SQL about the rows that are remembered in the owner table, see [`super::owner`].

use crate::postgres::sql::{Sql, numbered, unnest};

/// The statements of a remembered table.
#[derive(Clone, Debug)]
pub(crate) struct OwnerStatements {
    /// Columns and types of the key.
    pub(crate) key: String,
    /// Relation, collection, documents, then rows: their documents and key columns. Gives hash and key of what was released.
    pub(crate) release: String,
    /// Relation, collection, then rows: their documents, keys and key columns.
    pub(crate) claim: String,
    /// As [`Self::claim`]; gives the ordinals, from 1, of rows that another document owns.
    pub(crate) rivals: String,
    /// Relation, hashes, then key columns.
    pub(crate) delete: String,
    /// Relation, collection, ordinals and documents, then rows: their documents and key columns. Gives the ordinals of
    /// documents that own other rows, or not all of these.
    pub(crate) differs: String,
    /// Relation, collection, ordinals and documents; gives ordinal and key of each row that they own.
    pub(crate) owned: String,
    /// Ordinals, then key columns; gives ordinal and the texts of all columns of each row.
    pub(crate) shown: String,
}

impl OwnerStatements {
    pub(super) fn new(sql: &Sql<'_>) -> Self {
        let table = &sql.plan.table;
        let hash = sql.key_hash(|at| sql.value("e", at));
        let written = sql.key_hash(|at| sql.written("e", at));
        let bytes = |number: usize, name: &str| (number, "bytea", name.to_owned());
        let wanted = |first: usize| {
            let rows = [bytes(first, "key")].into_iter().chain(sql.keys_as_params(first + 1));
            format!("NOT EXISTS (SELECT FROM {} WHERE e.key = o.key AND {hash} = o.row_hash)", unnest("e", rows))
        };
        let claimed = || [bytes(3, "key"), bytes(4, "row_key")].into_iter().chain(sql.keys_as_params(5));
        let ours = "o.relation = $1::int4 AND o.collection = $2::int4 AND o.key = d.key";
        Self {
            key: key(sql),
            release: format!(
                "DELETE FROM driftless.owner AS o USING {}\n WHERE {ours}\n   AND {}\nRETURNING o.row_hash, o.row_key",
                unnest("d", [bytes(3, "key")]),
                wanted(4),
            ),
            claim: format!(
                "INSERT INTO driftless.owner (relation, row_hash, row_key, collection, key)\n\
                 SELECT $1::int4, {written}, e.row_key, $2::int4, e.key\n  FROM {}\n ORDER BY 2\n\
                 ON CONFLICT (relation, row_hash) DO NOTHING",
                unnest("e", claimed()),
            ),
            rivals: format!(
                "SELECT e.n FROM {}\n  JOIN driftless.owner AS o ON o.relation = $1::int4 AND o.row_hash = {hash}\n \
                 WHERE o.collection <> $2::int4 OR o.key <> e.key",
                numbered("e", claimed()),
            ),
            delete: format!(
                "DELETE FROM {table} AS t USING {}\n WHERE {}\n   AND NOT EXISTS (SELECT FROM driftless.owner AS o \
                 WHERE o.relation = $1::int4 AND o.row_hash = e.row_hash)",
                unnest("e", [bytes(2, "row_hash")].into_iter().chain(sql.keys_as_params(3))),
                sql.keys_match("t", "e"),
            ),
            differs: format!(
                "SELECT d.n FROM {documents}\n  JOIN driftless.owner AS o ON {ours}\n WHERE {}\nUNION\n\
                 SELECT d.n FROM {documents}\n  JOIN {} ON e.key = d.key\n WHERE NOT EXISTS (SELECT FROM driftless.owner AS o \
                 WHERE o.relation = $1::int4 AND o.row_hash = {hash} AND o.collection = $2::int4 AND o.key = e.key)",
                wanted(5),
                unnest("e", [bytes(5, "key")].into_iter().chain(sql.keys_as_params(6))),
                documents = unnest("d", [(3, "int4", "n".to_owned()), bytes(4, "key")]),
            ),
            owned: format!(
                "SELECT d.n, o.row_key FROM {}\n  JOIN driftless.owner AS o ON {ours}",
                unnest("d", [(3, "int4", "n".to_owned()), bytes(4, "key")]),
            ),
            shown: format!(
                "SELECT e.n, {} FROM {}\n  JOIN {table} AS t ON {}",
                sql.texts("t"),
                unnest("e", [(1, "int4", "n".to_owned())].into_iter().chain(sql.keys_as_params(2))),
                sql.keys_match("t", "e"),
            ),
        }
    }
}

/// Names and types: the remembered bytes mean nothing under others.
fn key(sql: &Sql<'_>) -> String {
    let column = |&at: &usize| {
        let column = &sql.plan.columns[at];
        let lookup = column.lookup.as_ref().map(|lookup| format!(" of {}", lookup.table)).unwrap_or_default();
        format!("{} {}{lookup}", sql.name(at), column.param_type)
    };
    sql.plan.key.iter().map(column).collect::<Vec<_>>().join(", ")
}
