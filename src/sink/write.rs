//! Writes the rows of documents: a fixed number of statements, whatever the number of documents.
//!
//! ```text
//!  both      release and claim the keys of remembered rows
//!  replica   prune and erase children ▸ delete roots ▸ upsert, parents first      nothing checks references; values are freed first
//!  enforce   prune and erase children ▸ upsert, parents first ▸ delete roots, children first     so that references hold
//!  copy      as the mode says, and rows of documents never seen before go straight in
//!  trade     as replica, and rows may exchange unique values; where nothing references them
//! ```
//!
//! A document's root row is in one root table at most. One that it was in before, by the ledger, and is no longer in is
//! deleted, and what was below it.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    Prepared,
    ledger::{PreviousRoot, Winner},
    owner::{self, Owned, Released},
    plan::Content,
    statements::{Constraint, TableStatements},
};
use crate::{
    mapping::Row,
    postgres::{
        ConstraintMode, Error, Refusal, Session,
        params::{self, Column, refs},
        session::field,
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

/// The rows of some documents, sorted by table.
pub(super) struct Rows<'a> {
    prepared: &'a Prepared,
    collections: BTreeMap<usize, Parts<'a>>,
}

/// A row and the document that wants it.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    /// Place of the document.
    place: usize,
    /// Its key in the ledger.
    document: &'a [u8],
    /// Whether the ledger had never heard of it.
    fresh: bool,
    row: &'a Row,
}

/// What the documents of one collection ask for.
struct Parts<'a> {
    /// By table.
    tables: Vec<Vec<Wanted<'a>>>,
    /// By root table: ids of the documents whose root row was there and stays.
    stay: Vec<Column>,
    /// By root table: ids of the documents whose root row was there and goes.
    leave: Vec<Column>,
    /// Keys of documents that may have remembered rows from before.
    known: Column,
}

/// A table that is written, and how.
pub(super) struct Concern<'a> {
    /// The table.
    pub(super) statements: &'a TableStatements,
    /// Its number.
    pub(super) relation: i32,
    /// Whether rows may leave it.
    pub(super) removes: bool,
    /// The numbers of those of the plan's tables that foreign keys lead to from it.
    pub(super) above: Vec<i32>,
}

/// The keys that were given back, by collection and table.
type Freed = BTreeMap<(usize, usize), Released>;

impl<'a> Rows<'a> {
    /// Of no document yet.
    pub(super) fn none(prepared: &'a Prepared) -> Self {
        Self { prepared, collections: BTreeMap::new() }
    }

    pub(super) fn of(prepared: &'a Prepared, winners: &[Winner<'a>]) -> Self {
        let mut all = Self::none(prepared);
        for (place, winner) in winners.iter().enumerate() {
            let (collection, document) = (winner.document.collection, winner.document.key.as_bytes());
            match &winner.document.content {
                Content::Rows { rows, .. } => {
                    let now = prepared.root_of(collection, rows);
                    let parts = all.parts(collection);
                    for (wanted, rows) in parts.tables.iter_mut().zip(&rows.tables) {
                        wanted.extend(rows.iter().map(|row| Wanted { place, document, fresh: winner.fresh, row }));
                    }
                    parts.follow(winner.had, now, Some(&rows.key));
                    parts.know(winner.fresh, document);
                }
                Content::Gone(keys) => {
                    let parts = all.parts(collection);
                    parts.follow(winner.had, None, keys.as_ref());
                    parts.know(winner.fresh, document);
                }
                Content::Rejected { .. } => {}
            }
        }
        all
    }

    /// Adds a document that is to have no rows: where its root row is, its ids, its key in the ledger.
    pub(super) fn remove(&mut self, collection: usize, had: PreviousRoot, keys: Option<&Row>, document: &[u8]) {
        let parts = self.parts(collection);
        parts.follow(had, None, keys);
        parts.know(false, document);
    }

    fn parts(&mut self, collection: usize) -> &mut Parts<'a> {
        let tables = &self.prepared.statements(collection).tables;
        let roots = tables.iter().filter(|table| table.root).count();
        self.collections.entry(collection).or_insert_with(|| Parts {
            tables: vec![Vec::new(); tables.len()],
            stay: vec![Column::default(); roots],
            leave: vec![Column::default(); roots],
            known: Column::default(),
        })
    }

    /// The tables that are concerned.
    pub(super) fn concerns(&self) -> impl Iterator<Item = Concern<'a>> {
        self.order().into_iter().filter_map(|(collection, table)| {
            let (statements, parts) = (self.statements(collection, table), self.collections.get(&collection)?);
            let of = statements.of;
            let owned = statements.owned.is_some() && !parts.known.is_empty();
            let pruned = !statements.root && !parts.stay[of].is_empty();
            let removes = !parts.leave[of].is_empty() || pruned || owned;
            let relation = self.prepared.relation_of(collection, table);
            let above = self.prepared.relations_named(&statements.above).collect();
            (removes || !parts.tables[table].is_empty()).then_some(Concern { statements, relation, removes, above })
        })
    }

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
        self.put(session, way, touched).await?;
        if early { Ok(()) } else { self.remove_roots(session, &freed, touched).await }
    }

    /// Removes what may go before the new rows come; `early` removes roots, too.
    async fn clear(&self, session: &Session, freed: &Freed, early: bool, touched: &mut Touched) -> Result<(), Error> {
        for (collection, table) in self.order().into_iter().rev() {
            let statements = self.statements(collection, table);
            if let (false, Some(parts)) = (statements.root, self.collections.get(&collection)) {
                prune(session, parts, statements, table, touched).await?;
                self.go(session, collection, table, freed, touched).await?;
            }
        }
        if early { self.remove_roots(session, freed, touched).await } else { Ok(()) }
    }

    /// As in the middle of [`Self::write`]: the places of documents that lack their parent, or want a unique value that
    /// others hold, each with the refusal that it would meet.
    pub(super) async fn blocked(&self, session: &Session, by: Blocker) -> Result<BTreeMap<usize, Refusal>, Error> {
        let mut blocked = BTreeMap::new();
        let freed = self.release(session).await?;
        if by == Blocker::UniqueValue {
            for (statements, place) in self.claim(session).await? {
                if let Entry::Vacant(entry) = blocked.entry(place) {
                    let name = unique_name(session, statements, &statements.key_names).await?;
                    entry.insert(Refusal::of_constraint("23505", &statements.name, name));
                }
            }
        }
        let enforced = session.constraint_mode() == ConstraintMode::Enforce;
        let early = !enforced || (by == Blocker::UniqueValue && self.may_swap_unique(session.constraint_mode()));
        self.clear(session, &freed, early, &mut Touched::new()).await?;
        for (collection, table) in self.order() {
            let statements = self.statements(collection, table);
            let (obstacles, code) = match by {
                Blocker::UniqueValue => (&statements.contested, "23505"),
                Blocker::MissingParent => (&statements.orphaned_children, "23503"),
            };
            let rows = self.rows(collection, table);
            if rows.is_empty() || obstacles.is_empty() {
                continue;
            }
            let arrays = params::columns(statements.width, rows.iter().map(|wanted| wanted.row));
            for obstacle in obstacles {
                let constraint = match &obstacle.constraint {
                    Constraint::ForeignKey(_) if !enforced => continue,
                    Constraint::ForeignKey(name) => Some(name.clone()),
                    Constraint::Unique(columns) => unique_name(session, statements, columns).await?,
                    Constraint::Lookup => None,
                };
                let refusal = Refusal::of_constraint(code, &obstacle.table, constraint);
                let act = format!("find blocked rows of {}", statements.name);
                for place in places(session, &act, &obstacle.sql, &arrays, rows).await? {
                    blocked.entry(place).or_insert_with(|| refusal.clone());
                }
            }
        }
        Ok(blocked)
    }

    /// As after [`Self::write`]: the places of documents whose rows break a constraint that PostgreSQL leaves unchecked, each
    /// with the refusal that it would meet. Of documents that collide with each other only the first is not among them.
    pub(super) async fn unguarded(&self, session: &Session) -> Result<BTreeMap<usize, Refusal>, Error> {
        let mut broken = BTreeMap::new();
        for (collection, table) in self.order() {
            let (statements, rows) = (self.statements(collection, table), self.rows(collection, table));
            for guard in statements.guards.iter().filter(|_| !rows.is_empty()) {
                let Some(sql) = &guard.sql else { continue };
                let keys = statements.key.iter().map(|&at| params::column(at, rows.iter().map(|wanted| wanted.row)));
                let act = format!("check deferrable constraints of {}", statements.name);
                for place in places(session, &act, sql, &keys.collect::<Vec<_>>(), rows).await? {
                    broken.entry(place).or_insert_with(|| guard.refusal());
                }
            }
        }
        Ok(broken)
    }

    /// Whether exchanging unique values by delete and insert is safe for every table concerned.
    pub(super) fn may_swap_unique(&self, mode: ConstraintMode) -> bool {
        mode == ConstraintMode::Replica
            || self.order().iter().all(|&(collection, table)| !self.statements(collection, table).referenced)
    }

    /// Every table that is concerned, parents first.
    fn order(&self) -> Vec<(usize, usize)> {
        let tables = self
            .collections
            .iter()
            .flat_map(|(&collection, parts)| (0..parts.tables.len()).map(move |table| (collection, table)));
        let mut order = tables.collect::<Vec<_>>();
        order.sort_by_key(|&(collection, table)| (self.statements(collection, table).depth, collection, table));
        order
    }

    fn statements(&self, collection: usize, table: usize) -> &'a TableStatements {
        &self.prepared.statements(collection).tables[table]
    }

    fn rows(&self, collection: usize, table: usize) -> &[Wanted<'a>] {
        self.collections.get(&collection).map_or(&[], |parts| &parts.tables[table])
    }

    fn wanted(&self, collection: usize, table: usize) -> Vec<(&'a [u8], &'a Row)> {
        self.rows(collection, table).iter().map(|wanted| (wanted.document, wanted.row)).collect()
    }

    /// The tables whose rows are remembered, parents first.
    fn owned(&self) -> impl Iterator<Item = ((usize, usize), Owned<'a>)> {
        let tables = self.order().into_iter();
        tables.filter_map(|(collection, table)| Some(((collection, table), self.prepared.owned(collection, table)?)))
    }

    /// Takes the keys that the documents no longer want from them, in every table.
    async fn release(&self, session: &Session) -> Result<Freed, Error> {
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
    async fn claim(&self, session: &Session) -> Result<Vec<(&'a TableStatements, usize)>, Error> {
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
                self.go(session, collection, table, freed, touched).await?;
            }
        }
        Ok(())
    }

    /// Removes the rows of documents that have left, by their ids, and those whose keys were given back.
    async fn go(
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

    async fn put(&self, session: &Session, way: Way, touched: &mut Touched) -> Result<(), Error> {
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

impl Parts<'_> {
    /// A document's root row was in `had` and is to be in `now`.
    fn follow(&mut self, had: PreviousRoot, now: Option<usize>, keys: Option<&Row>) {
        for (root, id) in keys.iter().flat_map(|keys| keys.fields()).enumerate() {
            let ids = if now == Some(root) { &mut self.stay } else { &mut self.leave };
            if let (true, Some(ids)) = (had.may_be(root), ids.get_mut(root)) {
                ids.push(id);
            }
        }
    }

    fn know(&mut self, fresh: bool, document: &[u8]) {
        if !fresh {
            self.known.push(Some(document));
        }
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

/// The places of the documents whose rows a question names by their ordinals, from 1.
async fn places(
    session: &Session,
    act: &str,
    sql: &str,
    arrays: &[Column],
    rows: &[Wanted<'_>],
) -> Result<Vec<usize>, Error> {
    let mut places = Vec::new();
    for row in session.query(act, sql, &refs(arrays)).await? {
        let ordinal: i64 = field(&row, 0, act)?;
        places.extend(usize::try_from(ordinal - 1).ok().and_then(|at| rows.get(at)).map(|wanted| wanted.place));
    }
    Ok(places)
}

/// What stands in the way of a row that may be written later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocker {
    /// Another row holds its unique value.
    UniqueValue,
    /// The row it references is not there.
    MissingParent,
}

/// The name of the unique constraint over these columns; the catalog that plans are made from has none.
async fn unique_name(
    session: &Session,
    statements: &TableStatements,
    columns: &[String],
) -> Result<Option<String>, Error> {
    let act = format!("name a constraint of {}", statements.name);
    let sql = "SELECT c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid \
                WHERE i.indrelid = $1::text::regclass AND i.indisunique AND i.indpred IS NULL \
                  AND ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
                              JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
                             WHERE k.place <= i.indnkeyatts ORDER BY a.attname) \
                    = ARRAY(SELECT name FROM unnest($2::text[]) AS e(name) ORDER BY name::name) \
                ORDER BY i.indisprimary DESC, c.relname LIMIT 1";
    let row = session.query_opt(&act, sql, &[&statements.quoted, &columns]).await?;
    row.map(|row| field(&row, 0, &act)).transpose()
}
