//! The rows of some documents, sorted by the table that they belong to. Pure.
//!
//! A document's root row is in one root table at most. One that it was in before, by the ledger, and is no longer in is
//! deleted, with its children.

use std::collections::BTreeMap;

use super::{
    Prepared,
    owner::Owned,
    plan::Content,
    statements::TableStatements,
    winner::{PreviousRoot, Winner},
};
use crate::{mapping::Row, postgres::params::Column};

/// The rows of some documents, sorted by table.
pub(super) struct Rows<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) collections: BTreeMap<usize, Parts<'a>>,
}

/// A row and the document that wants it.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Place of the document.
    pub(super) place: usize,
    /// Its key in the ledger.
    pub(super) document: &'a [u8],
    /// Whether the ledger did not know it.
    pub(super) fresh: bool,
    pub(super) row: &'a Row,
}

/// The rows that the documents of one collection want, and those that they had.
pub(super) struct Parts<'a> {
    /// By table.
    pub(super) tables: Vec<Vec<Wanted<'a>>>,
    /// By root table: ids of the documents whose root row was there and stays.
    pub(super) stay: Vec<Column>,
    /// By root table: ids of the documents whose root row was there and goes.
    pub(super) leave: Vec<Column>,
    /// Keys of documents that may have remembered rows from before.
    pub(super) known: Column,
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

impl<'a> Rows<'a> {
    /// Rows of no document yet.
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
                    parts.follow_root(winner.previous_root, now, Some(&rows.key));
                    parts.remember(winner.fresh, document);
                }
                Content::Gone(keys) => {
                    let parts = all.parts(collection);
                    parts.follow_root(winner.previous_root, None, keys.as_ref());
                    parts.remember(winner.fresh, document);
                }
                Content::Rejected { .. } => {}
            }
        }
        all
    }

    /// Adds a document that is to have no rows.
    pub(super) fn remove(
        &mut self,
        collection: usize,
        previous_root: PreviousRoot,
        keys: Option<&Row>,
        document: &[u8],
    ) {
        let parts = self.parts(collection);
        parts.follow_root(previous_root, None, keys);
        parts.remember(false, document);
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

    /// Every table that is concerned, parents first.
    pub(super) fn order(&self) -> Vec<(usize, usize)> {
        let tables = self
            .collections
            .iter()
            .flat_map(|(&collection, parts)| (0..parts.tables.len()).map(move |table| (collection, table)));
        let mut order = tables.collect::<Vec<_>>();
        order.sort_by_key(|&(collection, table)| (self.statements(collection, table).depth, collection, table));
        order
    }

    pub(super) fn statements(&self, collection: usize, table: usize) -> &'a TableStatements {
        &self.prepared.statements(collection).tables[table]
    }

    pub(super) fn rows(&self, collection: usize, table: usize) -> &[Wanted<'a>] {
        self.collections.get(&collection).map_or(&[], |parts| &parts.tables[table])
    }

    pub(super) fn wanted(&self, collection: usize, table: usize) -> Vec<(&'a [u8], &'a Row)> {
        self.rows(collection, table).iter().map(|wanted| (wanted.document, wanted.row)).collect()
    }

    /// The tables whose rows are remembered, parents first.
    pub(super) fn owned(&self) -> impl Iterator<Item = ((usize, usize), Owned<'a>)> {
        let tables = self.order().into_iter();
        tables.filter_map(|(collection, table)| Some(((collection, table), self.prepared.owned(collection, table)?)))
    }
}

impl Parts<'_> {
    /// A document's root row was in `previous_root` and is to be in `now`.
    fn follow_root(&mut self, previous_root: PreviousRoot, now: Option<usize>, keys: Option<&Row>) {
        for (root, id) in keys.iter().flat_map(|keys| keys.fields()).enumerate() {
            let ids = if now == Some(root) { &mut self.stay } else { &mut self.leave };
            if let (true, Some(ids)) = (previous_root.may_be(root), ids.get_mut(root)) {
                ids.push(id);
            }
        }
    }

    fn remember(&mut self, fresh: bool, document: &[u8]) {
        if !fresh {
            self.known.push(Some(document));
        }
    }
}
