//! What a column can see: the slots of its document or element, and of everything around it.

use uuid::Uuid;

use super::super::{Row, ids::Id, tree::Slot};

/// A compiled path: a slot of the document or element, or of one further out.
#[derive(Clone, Debug)]
pub(in super::super) struct Place {
    /// How many documents or elements further out.
    pub(in super::super) up: usize,
    /// The slot there.
    pub(in super::super) slot: usize,
    /// The path from the document, for messages.
    pub(in super::super) path: String,
}

/// A document or element that is being mapped.
pub(in super::super) struct Scope<'s, 'a> {
    pub(super) slots: &'s [Slot<'a>],
    /// What is around it; `None` for the document.
    pub(super) above: Option<&'s Scope<'s, 'a>>,
    /// Its row, once written.
    pub(super) row: Option<&'s Row>,
    /// The id of its row, where a rule makes one.
    pub(super) own: Option<&'s Id<'a>>,
    /// Namespace of the ids of what is embedded in it; known when its row is.
    pub(super) namespace: Uuid,
    /// Its place in the array or map.
    pub(super) index: usize,
    /// Its name in the map.
    pub(super) name: &'a [u8],
}

impl<'s, 'a> Scope<'s, 'a> {
    /// A document.
    pub(super) fn new(slots: &'s [Slot<'a>]) -> Self {
        Self { slots, above: None, row: None, own: None, namespace: Uuid::nil(), index: 0, name: b"" }
    }

    /// An element of it.
    pub(super) fn element(&'s self, slots: &'s [Slot<'a>], index: usize, name: &'a [u8]) -> Self {
        Self { above: Some(self), index, name, ..Self::new(slots) }
    }

    /// What a place holds. Every place is in the tree it was compiled for; one that were not would read as absent.
    pub(super) fn slot(&self, place: &Place) -> Slot<'a> {
        self.around(place.up).and_then(|scope| scope.slots.get(place.slot)).copied().unwrap_or_default()
    }

    /// The scope that many steps further out.
    pub(super) fn around(&self, up: usize) -> Option<&Self> {
        let mut scope = self;
        for _ in 0..up {
            scope = scope.above?;
        }
        Some(scope)
    }

    /// The document.
    pub(super) fn root(&self) -> &Self {
        let mut scope = self;
        while let Some(above) = scope.above {
            scope = above;
        }
        scope
    }
}
