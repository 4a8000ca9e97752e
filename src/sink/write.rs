//! Writes the rows of documents: a fixed number of statements, whatever the number of documents.
//!
//! ```text
//!  replica   prune and erase children ▸ delete roots ▸ upsert, parents first      nothing checks references; values are freed first
//!  enforce   prune and erase children ▸ upsert, parents first ▸ delete roots, children first     so that references hold
//! ```

use std::collections::BTreeMap;

use super::{
    ConstraintMode, Error,
    apply::Prepared,
    ledger::Winner,
    params::{self, Column, refs},
    plan::Content,
    session::Session,
    statements::TableStatements,
};
use crate::mapping::{Row, TablePlan};

/// Rows that were touched, by table: written and removed.
pub(super) type Touched = BTreeMap<String, (u64, u64)>;

/// The rows of some documents, sorted by table.
pub(super) struct Rows<'a> {
    prepared: &'a Prepared,
    collections: BTreeMap<usize, Parts<'a>>,
}

/// What the documents of one collection ask for.
struct Parts<'a> {
    /// By table: the rows, each with the place of its document.
    tables: Vec<Vec<(usize, &'a Row)>>,
    /// Root keys of documents that may have child rows from before.
    known: RootKeys<'a>,
    /// Root keys of documents that are gone.
    gone: RootKeys<'a>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(prepared: &'a Prepared, winners: &[Winner<'a>]) -> Self {
        let mut collections = BTreeMap::new();
        for (place, winner) in winners.iter().enumerate() {
            let collection = winner.document.collection;
            let parts = collections.entry(collection).or_insert_with(|| Parts {
                tables: vec![Vec::new(); prepared.plan(collection).tables.len()],
                known: RootKeys::new(prepared, collection),
                gone: RootKeys::new(prepared, collection),
            });
            match &winner.document.content {
                Content::Rows { tables, .. } => {
                    for (all, rows) in parts.tables.iter_mut().zip(tables) {
                        all.extend(rows.iter().map(|row| (place, row)));
                    }
                    if let (false, Some(root)) = (winner.fresh, tables.first().and_then(|rows| rows.first())) {
                        parts.known.push_root(root.as_bytes());
                    }
                }
                Content::Gone(Some(key)) => parts.gone.push(key),
                Content::Gone(None) | Content::Rejected { .. } => {}
            }
        }
        Self { prepared, collections }
    }

    /// Writes everything; `trade` lets the rows exchange unique values among each other.
    pub(super) async fn write(&self, session: &Session, trade: bool, touched: &mut Touched) -> Result<(), Error> {
        self.clear(session, touched).await?;
        self.upsert(session, trade, touched).await?;
        match session.constraint_mode() {
            ConstraintMode::Replica => Ok(()),
            ConstraintMode::Enforce => self.remove_roots(session, touched).await,
        }
    }

    /// Removes what may go before the new rows come.
    pub(super) async fn clear(&self, session: &Session, touched: &mut Touched) -> Result<(), Error> {
        for (collection, table) in self.order().into_iter().rev() {
            self.remove_children(session, collection, table, touched).await?;
        }
        match session.constraint_mode() {
            ConstraintMode::Replica => self.remove_roots(session, touched).await,
            ConstraintMode::Enforce => Ok(()),
        }
    }

    /// After [`Self::clear`]: the places of documents that lack their parent, or want a unique value that others hold.
    pub(super) async fn blocked(&self, session: &Session, by: Blocker) -> Result<Vec<usize>, Error> {
        let mut places = Vec::new();
        for (collection, table) in self.order() {
            let statements = self.statements(collection, table);
            let queries = match by {
                Blocker::UniqueValue => &statements.contested,
                Blocker::MissingParent => &statements.orphans,
            };
            let rows = self.rows(collection, table);
            if rows.is_empty() || queries.is_empty() {
                continue;
            }
            let arrays = params::columns(statements.width, rows.iter().map(|(_, row)| *row));
            for query in queries {
                let act = format!("find blocked rows of {}", statements.name);
                for row in session.query(&act, query, &refs(&arrays)).await? {
                    let ordinal: i64 = super::session::field(&row, 0, &act)?;
                    let row = usize::try_from(ordinal - 1).ok().and_then(|at| rows.get(at));
                    places.extend(row.map(|(place, _)| *place));
                }
            }
        }
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    /// Whether exchanging unique values by delete and insert is safe for every table concerned.
    pub(super) fn may_trade(&self, mode: ConstraintMode) -> bool {
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

    fn rows(&self, collection: usize, table: usize) -> &[(usize, &'a Row)] {
        self.collections.get(&collection).map_or(&[], |parts| &parts.tables[table])
    }

    async fn remove_children(
        &self,
        session: &Session,
        collection: usize,
        table: usize,
        touched: &mut Touched,
    ) -> Result<(), Error> {
        let Some(parts) = self.collections.get(&collection) else { return Ok(()) };
        let statements = self.statements(collection, table);
        if let (Some(prune), false) = (&statements.prune, parts.known.is_empty()) {
            let plan = &self.prepared.plan(collection).tables[table];
            let kept = self.rows(collection, table).iter().map(|(_, row)| *row);
            let mut arrays = vec![parts.known.first()];
            arrays.extend(key_columns(plan, kept));
            let act = format!("remove rows from {} that are no longer in their document", statements.name);
            let count = session.execute(&act, prune, &refs(&arrays)).await?;
            touched.entry(statements.name.clone()).or_default().1 += count;
        }
        parts.gone.erase(session, table, touched).await
    }

    async fn remove_roots(&self, session: &Session, touched: &mut Touched) -> Result<(), Error> {
        for (collection, _) in self.order().into_iter().rev().filter(|(_, table)| *table == 0) {
            if let Some(parts) = self.collections.get(&collection) {
                parts.gone.delete(session, touched).await?;
            }
        }
        Ok(())
    }

    async fn upsert(&self, session: &Session, trade: bool, touched: &mut Touched) -> Result<(), Error> {
        for (collection, table) in self.order() {
            let rows = self.rows(collection, table);
            if rows.is_empty() {
                continue;
            }
            let statements = self.statements(collection, table);
            let arrays = params::columns(statements.width, rows.iter().map(|(_, row)| *row));
            let act = format!("write rows of {}", statements.name);
            let mut count = 0;
            if trade && statements.uniques {
                count += session.execute(&act, &statements.swap, &refs(&arrays)).await?;
            }
            count += session.execute(&act, &statements.upsert, &refs(&arrays)).await?;
            touched.entry(statements.name.clone()).or_default().0 += count;
        }
        Ok(())
    }
}

/// What stands in the way of a row that may be written later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocker {
    /// Another row holds its unique value.
    UniqueValue,
    /// The row it references is not there.
    MissingParent,
}

/// Root keys of documents of one collection, as arrays.
pub(super) struct RootKeys<'a> {
    prepared: &'a Prepared,
    collection: usize,
    keys: Vec<Column>,
    count: usize,
}

impl<'a> RootKeys<'a> {
    pub(super) fn new(prepared: &'a Prepared, collection: usize) -> Self {
        let width = prepared.root(collection).key.len();
        Self { prepared, collection, keys: vec![Column::default(); width], count: 0 }
    }

    /// Adds a row of key columns.
    pub(super) fn push(&mut self, key: &Row) {
        self.count += 1;
        for (column, value) in self.keys.iter_mut().zip(key.fields()) {
            column.push(value);
        }
    }

    /// Adds the key columns of a whole root row.
    pub(super) fn push_root(&mut self, row: &[u8]) {
        self.count += 1;
        let fields = params::fields(row).collect::<Vec<_>>();
        for (column, &at) in self.keys.iter_mut().zip(&self.prepared.root(self.collection).key) {
            column.push(fields.get(at).copied().flatten());
        }
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The column that children refer to.
    pub(super) fn first(&self) -> Column {
        self.keys.first().cloned().unwrap_or_default()
    }

    async fn erase(&self, session: &Session, table: usize, touched: &mut Touched) -> Result<(), Error> {
        let statements = &self.prepared.statements(self.collection).tables[table];
        if let (Some(erase), false) = (&statements.erase, self.is_empty()) {
            let act = format!("remove rows from {} whose document is gone", statements.name);
            let count = session.execute(&act, erase, &[&self.first()]).await?;
            touched.entry(statements.name.clone()).or_default().1 += count;
        }
        Ok(())
    }

    async fn delete(&self, session: &Session, touched: &mut Touched) -> Result<(), Error> {
        if let (Some(root), false) = (self.prepared.statements(self.collection).tables.first(), self.is_empty()) {
            let act = format!("remove rows from {}", root.name);
            let count = session.execute(&act, &root.delete, &refs(&self.keys)).await?;
            touched.entry(root.name.clone()).or_default().1 += count;
        }
        Ok(())
    }
}

/// Removes documents with all their rows, children first.
pub(super) async fn remove(session: &Session, roots: &RootKeys<'_>) -> Result<(), Error> {
    let mut touched = Touched::new();
    let statements = roots.prepared.statements(roots.collection);
    let mut children = (1..statements.tables.len()).collect::<Vec<_>>();
    children.sort_by_key(|&table| std::cmp::Reverse(statements.tables[table].depth));
    for table in children {
        roots.erase(session, table, &mut touched).await?;
    }
    roots.delete(session, &mut touched).await
}

/// The key columns of rows, as arrays.
pub(super) fn key_columns<'a>(plan: &TablePlan, rows: impl Iterator<Item = &'a Row> + Clone) -> Vec<Column> {
    plan.key.iter().map(|&at| params::column(at, rows.clone())).collect()
}
