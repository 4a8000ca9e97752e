//! Scopes: the slots that a column can see, of its document or element and of everything around it.

use uuid::Uuid;

use super::{row::Row, tree::Slot};
use crate::mapping::{Shape, value::id::Id};

/// Every name of a map, in a printed path.
pub(crate) const EVERY_NAME: &str = ".*";

/// A compiled path: a slot of the document or element, or of one further out.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// How many documents or elements further out it starts.
    pub(crate) up: usize,
    /// The slot there.
    pub(crate) slot: usize,
    /// The path from the document, for messages.
    pub(crate) path: String,
}

/// The array, map or document that an element is in.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'s> {
    /// Its path from the document, for messages.
    pub(crate) path: &'s str,
    pub(crate) shape: Shape,
}

/// A document or element that is being mapped.
pub(crate) struct Scope<'s, 'a> {
    pub(crate) slots: &'s [Slot<'a>],
    /// The array, map or document that it is an element of; `None` for the document.
    pub(crate) origin: Option<Origin<'s>>,
    /// The document or element around it; `None` for the document.
    pub(crate) above: Option<&'s Scope<'s, 'a>>,
    /// Its row, once written; `None` still when a column refused its value.
    pub(crate) row: Option<&'s Row>,
    /// The id of its row, where a rule makes one and does not refuse.
    pub(crate) own: Option<&'s Id<'a>>,
    /// Namespace of the ids of its children; known when its row is.
    pub(crate) namespace: Uuid,
    /// Its place in the array or map.
    pub(crate) index: usize,
    /// Its name in the map.
    pub(crate) name: &'a [u8],
}

impl<'s, 'a> Scope<'s, 'a> {
    /// A document.
    pub(crate) fn new(slots: &'s [Slot<'a>]) -> Self {
        Self { slots, origin: None, above: None, row: None, own: None, namespace: Uuid::nil(), index: 0, name: b"" }
    }

    /// An element of it.
    pub(crate) fn element(&'s self, origin: Origin<'s>, slots: &'s [Slot<'a>], index: usize, name: &'a [u8]) -> Self {
        Self { origin: Some(origin), above: Some(self), index, name, ..Self::new(slots) }
    }

    /// The slot of a place. Every place is in the tree that it was compiled for; another would read as absent.
    pub(crate) fn slot(&self, place: &Place) -> Slot<'a> {
        self.around(place.up).and_then(|scope| scope.slots.get(place.slot)).copied().unwrap_or_default()
    }

    /// A path from the document with the index of each element on it; `None` for a path that leads through no element.
    pub(crate) fn locate(&self, path: &str) -> Option<String> {
        let mut located = path.to_owned();
        let mut scope = Some(self);
        // From the inside out, because an inserted index moves only the text after it.
        while let Some(here) = scope {
            if let Some(origin) = here.origin.filter(|origin| origin.shape != Shape::Document)
                && let Some(rest) = path.strip_prefix(origin.path)
                && (rest.is_empty() || rest.starts_with(['.', '[']))
            {
                let end = origin.path.len();
                let names =
                    if origin.shape == Shape::Map && rest.starts_with(EVERY_NAME) { EVERY_NAME.len() } else { 0 };
                located.replace_range(end..end + names, &format!("[{}]", here.index));
            }
            scope = here.above;
        }
        let element = located.strip_suffix(".$").unwrap_or(&located);
        (located != path).then(|| element.to_owned())
    }

    /// The scope that many steps further out.
    pub(crate) fn around(&self, up: usize) -> Option<&Self> {
        let mut scope = self;
        for _ in 0..up {
            scope = scope.above?;
        }
        Some(scope)
    }

    /// The document.
    pub(crate) fn root(&self) -> &Self {
        let mut scope = self;
        while let Some(above) = scope.above {
            scope = above;
        }
        scope
    }
}
