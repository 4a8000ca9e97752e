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
}

impl Output {
    /// Notes that a value in scope is refused.
    pub(super) fn refuse(&mut self, reject: Reject, scope: &Scope<'_, '_>) {
        let path = reject.path.or_else(|| scope.origin.map(|origin| origin.path.to_owned()));
        let element = path.as_deref().and_then(|path| scope.locate(path));
        Rejects::note(&mut self.rejects, Reject { path, element, ..reject });
    }
}
