//! Whose a row is, where nothing in the row says so.
//!
//! A table whose key follows from other fields than `_id`, or that several collections write, is remembered: the owner table
//! holds the key of each row with the document that it belongs to.
//!
//! ```text
//!  release   what these documents no longer want      ─ each such key is nobody's now
//!  claim     what they want ─ held by another document ─▶ a unique conflict, like any other
//!  delete    the rows of released keys that are still nobody's
//! ```
//!
//! All releases of a set come before its claims, so documents may exchange keys; a row is deleted only if its key has no
//! owner by then, so whoever claimed it may write it before or after. Two documents can never own a row together: the owner
//! table's own key decides, also between workers.

use super::statements::TableStatements;
use crate::{
    mapping::Row,
    postgres::{
        Cause, Error, Refusal, Session,
        params::{self, Column, refs},
        session::{Param, field},
        sql::{Sql, numbered, unnest},
    },
};

/// The statements of a remembered table.
#[derive(Clone, Debug)]
pub struct OwnerStatements {
    /// Columns and types of the key.
    pub key: String,
    /// Relation, collection, documents, then rows: their documents and key columns. Gives hash and key of what was released.
    pub release: String,
    /// Relation, collection, then rows: their documents, keys and key columns.
    pub claim: String,
    /// As [`Self::claim`]; gives the ordinals, from 1, of rows that another document owns.
    pub rivals: String,
    /// Relation, hashes, then key columns.
    pub delete: String,
    /// Relation, collection, ordinals and documents, then rows: their documents and key columns. Gives the ordinals of
    /// documents that own other rows.
    pub extra: String,
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
            extra: format!(
                "SELECT DISTINCT d.n FROM {}\n  JOIN driftless.owner AS o ON {ours}\n WHERE {}",
                unnest("d", [(3, "int4", "n".to_owned()), bytes(4, "key")]),
                wanted(5),
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

/// A remembered table of one collection, and the documents of that collection that are being written.
pub(crate) struct Owned<'a> {
    pub(super) table: &'a TableStatements,
    pub(super) statements: &'a OwnerStatements,
    pub(crate) relation: i32,
    pub(super) collection: i32,
}

/// Keys that documents gave back.
#[derive(Default)]
pub(super) struct Released {
    hashes: Column,
    keys: Vec<Column>,
}

impl Owned<'_> {
    /// Takes from the documents what they no longer want. `rows` are all rows that they want, each with its document.
    pub(super) async fn release(
        &self,
        session: &Session,
        documents: &Column,
        rows: &[(&[u8], &Row)],
    ) -> Result<Released, Error> {
        let act = format!("release rows of {}", self.table.name);
        let wanted = self.wanted(rows);
        let mut params: Vec<Param<'_>> = vec![&self.relation, &self.collection, documents];
        params.extend(refs(&wanted));
        let mut released = Released { hashes: Column::default(), keys: vec![Column::default(); self.table.key.len()] };
        for row in session.query(&act, &self.statements.release, &params).await? {
            released.hashes.push(Some(field(&row, 0, &act)?));
            let fields = params::fields(field(&row, 1, &act)?);
            for (column, value) in released.keys.iter_mut().zip(fields) {
                column.push(value);
            }
        }
        Ok(released)
    }

    /// Gives the rows to their documents; gives back the places of those that belong to others.
    pub(super) async fn claim(&self, session: &Session, rows: &[(&[u8], &Row)]) -> Result<Vec<usize>, Error> {
        let act = format!("claim rows of {}", self.table.name);
        let mut arrays = self.wanted(rows);
        let mut keys = Column::default();
        for (_, row) in rows {
            keys.push(Some(&self.key(row)));
        }
        arrays.insert(1, keys);
        let mut params: Vec<Param<'_>> = vec![&self.relation, &self.collection];
        params.extend(refs(&arrays));
        let claimed = session.execute(&act, &self.statements.claim, &params).await?;
        if usize::try_from(claimed) == Ok(rows.len()) {
            return Ok(Vec::new());
        }
        let rivals = session.query(&act, &self.statements.rivals, &params).await?;
        rivals.iter().map(|row| Ok(usize::try_from(field::<i64>(row, 0, &act)? - 1).unwrap_or(usize::MAX))).collect()
    }

    /// Removes the rows of released keys that nobody has claimed since.
    pub(super) async fn delete(&self, session: &Session, released: &Released) -> Result<u64, Error> {
        let act = format!("remove rows from {} that no document wants", self.table.name);
        let mut params: Vec<Param<'_>> = vec![&self.relation, &released.hashes];
        params.extend(refs(&released.keys));
        session.execute(&act, &self.statements.delete, &params).await
    }

    /// Which of the documents, by their ordinals, own rows beside those that they should have.
    pub(crate) async fn extra(
        &self,
        session: &Session,
        ordinals: &Vec<i32>,
        documents: &Column,
        rows: &[(&[u8], &Row)],
    ) -> Result<Vec<i32>, Error> {
        let act = format!("compare rows of {}", self.table.name);
        let wanted = self.wanted(rows);
        let mut params: Vec<Param<'_>> = vec![&self.relation, &self.collection, ordinals, documents];
        params.extend(refs(&wanted));
        let rows = session.query(&act, &self.statements.extra, &params).await?;
        rows.iter().map(|row| field(row, 0, &act)).collect()
    }

    fn wanted(&self, rows: &[(&[u8], &Row)]) -> Vec<Column> {
        let mut documents = Column::default();
        for (document, _) in rows {
            documents.push(Some(document));
        }
        let keys = self.table.key.iter().map(|&at| params::column(at, rows.iter().map(|(_, row)| *row)));
        std::iter::once(documents).chain(keys).collect()
    }

    /// The key's fields, as the row has them.
    fn key(&self, row: &Row) -> Vec<u8> {
        let fields = row.fields().collect::<Vec<_>>();
        let mut key = Column::default();
        for &at in &self.table.key {
            key.push(fields.get(at).copied().flatten());
        }
        key.into_elements()
    }
}

impl Released {
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// The refusal that a row meets whose key belongs to another document.
pub(super) fn conflict(act: String, table: &str) -> Error {
    Error::Statement { act, source: Cause::Refused(Box::new(Refusal::of_constraint("23505", table, None))) }
}
