//! The owner of a row: the document that it belongs to, where nothing in the row says so.
//!
//! A table whose key follows from other fields than `_id`, or that several collections write, is remembered: the owner table
//! holds the key of each row with the document that it belongs to.
//!
//! ```text
//!  release   keys that these documents no longer want ─ each has no owner now
//!  claim     keys that they want ─ held by another document ─▶ a unique conflict, like any other
//!  delete    the rows of released keys that still have no owner
//! ```
//!
//! All releases of a set come before its claims, so documents may exchange keys. A row is deleted only if nobody has claimed its
//! key since, so the document that claimed it may write it before or after. Two documents can never own a row together: the owner
//! table's own key decides, also between workers.

use super::{owner_statements::OwnerStatements, statements::TableStatements};
use crate::{
    mapping::Row,
    postgres::{
        Cause, Error, Refusal, Session,
        params::{self, Column, refs},
        session::{Param, field},
    },
};

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
    /// Releases the keys that the documents no longer want. `rows` are all rows that they want, each with its document.
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

    /// Which of the documents, by their ordinals, own other rows than those that they should have.
    pub(crate) async fn differs(
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
        let rows = session.query(&act, &self.statements.differs, &params).await?;
        rows.iter().map(|row| field(row, 0, &act)).collect()
    }

    /// The rows that the documents own, as texts of all columns, each with the ordinal of its document.
    pub(crate) async fn shown(
        &self,
        session: &Session,
        ordinals: &Vec<i32>,
        documents: &Column,
    ) -> Result<Vec<(i32, Vec<Option<String>>)>, Error> {
        let act = format!("read rows of {}", self.table.name);
        let params: [Param<'_>; 4] = [&self.relation, &self.collection, ordinals, documents];
        let (mut of, mut keys) = (Vec::<i32>::new(), vec![Column::default(); self.table.key.len()]);
        for row in session.query(&act, &self.statements.owned, &params).await? {
            of.push(field(&row, 0, &act)?);
            for (column, value) in keys.iter_mut().zip(params::fields(field(&row, 1, &act)?)) {
                column.push(value);
            }
        }
        let mut params: Vec<Param<'_>> = vec![&of];
        params.extend(refs(&keys));
        let rows = session.query(&act, &self.statements.shown, &params).await?;
        rows.iter().map(|row| Ok((field(row, 0, &act)?, field(row, 1, &act)?))).collect()
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
