//! The id of an element of an embedded array or map.

use uuid::Uuid;

use super::{
    scope::{Place, Scope},
    tree::Slot,
};
use crate::mapping::value::{
    id::{self, Id, IdStep},
    raw::Value,
};
use crate::model::Reason;

/// The id of an element's own.
#[derive(Clone, Debug)]
pub(crate) struct ChildId {
    pub(crate) column: String,
    pub(crate) from: ElementKey,
    /// Makes the id of the value alone; without a rule, the id depends on the row around.
    pub(crate) rule: Option<IdStep>,
}

/// The source of an element's id.
#[derive(Clone, Debug)]
pub(crate) enum ElementKey<P = Place> {
    /// The field where the element has one, else its index.
    FieldOrIndex(P),
    Field(P),
    Index,
    Name,
}

impl ChildId {
    pub(super) fn own<'a>(&self, path: &str, namespace: Uuid, scope: &Scope<'_, 'a>) -> Result<Id<'a>, Reason> {
        let value = match &self.from {
            ElementKey::Index => None,
            ElementKey::Name => Some(Value::String(scope.name)),
            ElementKey::Field(place) | ElementKey::FieldOrIndex(place) => match scope.slot(place) {
                Slot::Present(key) if !matches!(key, Value::Null | Value::Undefined) => Some(key),
                Slot::Blocked => return Err(Reason::TypeMismatch),
                Slot::Present(_) | Slot::Absent => match self.from {
                    ElementKey::FieldOrIndex(_) => None,
                    _ => return Err(Reason::NotNull),
                },
            },
        };
        match (&self.rule, value) {
            (Some(rule), Some(value)) => rule.own(value),
            (Some(rule), None) => rule.own(Value::Int64(i64::try_from(scope.index).map_err(|_| Reason::RangeInt)?)),
            (None, Some(value)) => id::child(namespace, path, value).map(Id::Uuid),
            (None, None) => Ok(Id::Uuid(id::child_at(namespace, path, scope.index))),
        }
    }
}

impl<P> ElementKey<P> {
    /// The same with another sort of path.
    pub(crate) fn resolve<Q>(self, resolve: &impl Fn(P) -> Q) -> ElementKey<Q> {
        match self {
            Self::FieldOrIndex(path) => ElementKey::FieldOrIndex(resolve(path)),
            Self::Field(path) => ElementKey::Field(resolve(path)),
            Self::Index => ElementKey::Index,
            Self::Name => ElementKey::Name,
        }
    }
}
