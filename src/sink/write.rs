//! Writes the rows of documents: a fixed number of statements, whatever the number of documents.
//!
//! ```text
//!  both      release and claim the keys of remembered rows
//!  replica   prune and erase children ▸ delete roots ▸ upsert, parents first      nothing checks references; values are freed first
//!  enforce   prune and erase children ▸ upsert, parents first ▸ delete roots, children first     so that references hold
//!  copy      as the mode says, and rows of documents never seen before go straight in
//!  swap      as replica, and rows may exchange unique values; where nothing references them
//! ```

use std::collections::BTreeMap;

use super::{
    owner::{self, Released},
    rows::{Parts, Rows},
    statements::TableStatements,
};
use crate::{
    mapping::Row,
    postgres::{
        ConstraintMode, Error, Session,
        params::{self, refs},
    },
    retry::{Class, Classify},
};

/// Rows that were touched, by table: written and removed.
pub(super) type Touched = BTreeMap<String, (u64, u64)>;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Inserted or updated.
    Upsert,
    /// The rows of documents never seen before are copied, on the word of the ledger that no others are there.
    Copy,
    /// Unique values may be exchanged among the rows.
    SwapUnique,
}

/// From how many rows on a `COPY` is cheaper than one more row in the upsert: it costs two round trips.
pub(super) const COPY_FROM: usize = 100;

/// The keys that were given back, by collection and table.
type Freed = BTreeMap<(usize, usize), Released>;

impl<'a> Rows<'a> {
    /// Whether there is a table into which [`Way::Copy`] would copy.
    pub(super) fn may_copy(&self) -> bool {
        self.order().into_iter().any(|(collection, table)| !self.copied(collection, table).is_empty())
    }

    /// Writes everything.
    pub(super) async fn write(&self, session: &Session, way: Way, touched: &mut Touched) -> Result<(), Error> {
        let freed = self.release(session).await?;
        if let Some((statements, _)) = self.claim(session).await?.first() {
            return Err(owner::conflict(format!("write rows of {}", statements.name), &statements.name));
        }
        let early = way == Way::SwapUnique || session.constraint_mode() == ConstraintMode::Replica;
        self.clear(session, &freed, early, touched).await?;
        self.put_rows(session, way, touched).await?;
        if early { Ok(()) } else { self.remove_roots(session, &freed, touched).await }
    }

    /// Removes what may go before the new rows come; `early` removes roots, too.
    pub(super) async fn clear(
        &self,
        session: &Session,
        freed: &Freed,
        early: bool,
        touched: &mut Touched,
    ) -> Result<(), Error> {
        for (collection, table) in self.order().into_iter().rev() {
            let statements = self.statements(collection, table);
            if let (false, Some(parts)) = (statements.root, self.collections.get(&collection)) {
                prune(session, parts, statements, table, touched).await?;
                self.remove_rows(session, collection, table, freed, touched).await?;
            }
        }
        if early { self.remove_roots(session, freed, touched).await } else { Ok(()) }
    }

    /// Takes the keys that the documents no longer want from them, in every table.
    pub(super) async fn release(&self, session: &Session) -> Result<Freed, Error> {
        let mut freed = Freed::new();
        for ((collection, table), owned) in self.owned() {
            let Some(parts) = self.collections.get(&collection).filter(|parts| !parts.known.is_empty()) else {
                continue;
            };
            let released = owned.release(session, &parts.known, &self.wanted(collection, table)).await?;
            if !released.is_empty() {
                freed.insert((collection, table), released);
            }
        }
        Ok(freed)
    }

    /// Gives the keys that the documents want to them; gives back the places of those that cannot have theirs.
    pub(super) async fn claim(&self, session: &Session) -> Result<Vec<(&'a TableStatements, usize)>, Error> {
        let mut rivals = Vec::new();
        for ((collection, table), owned) in self.owned() {
            let wanted = self.wanted(collection, table);
            if !wanted.is_empty() {
                let rows = self.rows(collection, table);
                let lost = owned.claim(session, &wanted).await?.into_iter().filter_map(|at| rows.get(at));
                rivals.extend(lost.map(|wanted| (owned.table, wanted.place)));
            }
        }
        Ok(rivals)
    }

    async fn remove_roots(&self, session: &Session, freed: &Freed, touched: &mut Touched) -> Result<(), Error> {
        for (collection, table) in self.order().into_iter().rev() {
            if self.statements(collection, table).root {
                self.remove_rows(session, collection, table, freed, touched).await?;
            }
        }
        Ok(())
    }

    /// Removes the rows of documents that have left, by their ids, and those whose keys were given back.
    async fn remove_rows(
        &self,
        session: &Session,
        collection: usize,
        table: usize,
        freed: &Freed,
        touched: &mut Touched,
    ) -> Result<(), Error> {
        let statements = self.statements(collection, table);
        let left = self.collections.get(&collection).map(|parts| &parts.leave[statements.of]);
        if let (Some(erase), Some(left)) = (&statements.erase, left.filter(|left| !left.is_empty())) {
            let act = format!("remove rows from {} whose document is gone", statements.name);
            let count = session.execute(&act, erase, &[left]).await?;
            touched.entry(statements.name.clone()).or_default().1 += count;
        }
        if let (Some(released), Some(owned)) = (freed.get(&(collection, table)), self.prepared.owned(collection, table))
        {
            touched.entry(statements.name.clone()).or_default().1 += owned.delete(session, released).await?;
        }
        Ok(())
    }

    /// The rows that may be copied; none when they are too few.
    fn copied(&self, collection: usize, table: usize) -> Vec<&'a Row> {
        let statements = self.statements(collection, table);
        if statements.copy.is_none() || !self.prepared.may_copy(&statements.name) {
            return Vec::new();
        }
        let fresh = self.rows(collection, table).iter().filter(|wanted| wanted.fresh).map(|wanted| wanted.row);
        let fresh = fresh.collect::<Vec<_>>();
        if fresh.len() < COPY_FROM { Vec::new() } else { fresh }
    }

    /// Remembers a refusal. One that is not about a row (row security forbids every `COPY`) spends the session.
    fn copy_refused(&self, statements: &TableStatements, act: String, error: Error) -> Error {
        match (error.refusal(), error.class()) {
            (_, Class::Transient) => error,
            (Some(refusal), class) if class == Class::Halt || !refusal.is_of_a_value() => {
                self.prepared.copy_refused(&statements.name, true);
                Error::CopyRefused { act, refusal: Box::new(refusal.clone()) }
            }
            (Some(_), _) => {
                self.prepared.copy_refused(&statements.name, false);
                error
            }
            (None, _) => error,
        }
    }

    async fn put_rows(&self, session: &Session, way: Way, touched: &mut Touched) -> Result<(), Error> {
        for (collection, table) in self.order() {
            if self.rows(collection, table).is_empty() {
                continue;
            }
            let statements = self.statements(collection, table);
            let copied = if way == Way::Copy { self.copied(collection, table) } else { Vec::new() };
            let mut count = 0;
            if let (Some(copy), false) = (&statements.copy, copied.is_empty()) {
                let act = format!("copy rows into {}", statements.name);
                let pieces = params::copy_pieces(statements.width, copied.iter().copied());
                count += match session.copy(&act, copy, pieces).await {
                    Ok(count) => count,
                    Err(error) => return Err(self.copy_refused(statements, act, error)),
                };
            }
            let rest = self.rows(collection, table).iter().filter(|wanted| copied.is_empty() || !wanted.fresh);
            let rest = rest.map(|wanted| wanted.row).collect::<Vec<_>>();
            let act = format!("write rows of {}", statements.name);
            if way == Way::SwapUnique && statements.uniques && !rest.is_empty() {
                let arrays = params::columns(statements.width, rest.iter().copied());
                count += session.execute(&act, &statements.swap, &refs(&arrays)).await?;
            }
            for part in params::parts(&rest) {
                let arrays = params::columns(statements.width, part.iter().copied());
                count += session.execute(&act, &statements.upsert, &refs(&arrays)).await?;
            }
            touched.entry(statements.name.clone()).or_default().0 += count;
        }
        Ok(())
    }
}

/// Removes the child rows that are no longer in their document.
async fn prune(
    session: &Session,
    parts: &Parts<'_>,
    statements: &TableStatements,
    table: usize,
    touched: &mut Touched,
) -> Result<(), Error> {
    let stay = &parts.stay[statements.of];
    if let (Some(prune), false) = (&statements.prune, stay.is_empty()) {
        let kept = parts.tables[table].iter().map(|wanted| wanted.row);
        let mut arrays = vec![stay.clone()];
        arrays.extend(statements.key.iter().map(|&at| params::column(at, kept.clone())));
        let act = format!("remove rows from {} that are no longer in their document", statements.name);
        let count = session.execute(&act, prune, &refs(&arrays)).await?;
        touched.entry(statements.name.clone()).or_default().1 += count;
    }
    Ok(())
}
