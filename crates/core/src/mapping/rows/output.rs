//! The output of a document while it is being mapped.

use super::{
    row::{Reject, Rejects, Row},
    scope::Scope,
};
use crate::mapping::Losses;

/// The rows of a document so far, what was lost on the way, and every refusal.
pub(crate) struct Output {
    /// Parallel to the tables of the plan.
    pub(super) tables: Vec<Vec<Row>>,
    pub(super) losses: Losses,
    pub(super) rejects: Vec<Reject>,
    /// Parallel to `tables`, where somebody wants to know: the element that each row is made of, empty for the document.
    pub(super) places: Option<Vec<Vec<String>>>,
}

impl Output {
    /// Nothing yet, of so many tables.
    pub(super) fn new(tables: usize, placed: bool) -> Self {
        let places = placed.then(|| vec![Vec::new(); tables]);
        Self { tables: vec![Vec::new(); tables], losses: Losses::default(), rejects: Vec::new(), places }
    }

    /// Notes which element, or the document, the next row of a table is made of.
    pub(super) fn place(&mut self, table: usize, scope: &Scope<'_, '_>) {
        if let Some(places) = &mut self.places {
            let place = scope.origin.map(|origin| scope.locate(origin.path).unwrap_or_else(|| origin.path.to_owned()));
            places[table].push(place.unwrap_or_default());
        }
    }

    /// Removes rows of a table, given by their positions in ascending order.
    pub(super) fn remove(&mut self, table: usize, rows: &[usize]) {
        without(&mut self.tables[table], rows);
        if let Some(places) = &mut self.places {
            without(&mut places[table], rows);
        }
    }

    /// Notes that a value in scope is refused.
    pub(super) fn refuse(&mut self, reject: Reject, scope: &Scope<'_, '_>) {
        let path = reject.path.or_else(|| scope.origin.map(|origin| origin.path.to_owned()));
        let element = reject.element.or_else(|| path.as_deref().and_then(|path| scope.locate(path)));
        Rejects::note(&mut self.rejects, Reject { path, element, ..reject });
    }
}

fn without<T>(all: &mut Vec<T>, positions: &[usize]) {
    let (mut at, mut removed) = (0, positions.iter().peekable());
    all.retain(|_| {
        let remove = removed.next_if(|position| **position == at).is_some();
        at += 1;
        !remove
    });
}
