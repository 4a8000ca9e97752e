//! Something embedded: its elements become rows of their own.

use uuid::Uuid;

use super::{Level, Output, Place, Repeats, Scope, all_hold};
use crate::mapping::{
    EmptyElements, Loss, Losses, Reject, Row, Shape,
    rows::{
        ids::{self, Id, IdStep},
        tree::Slot,
    },
    value::raw::{Raw, Value},
};
use crate::model::Reason;

/// An embedded array, map or document and its table.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// Its path from the document, for messages.
    pub(crate) path: String,
    /// Its path from what is around it, which is part of the ids below.
    pub(crate) name: String,
    /// Its slot in what is around it.
    pub(crate) slot: usize,
    pub(crate) shape: Shape,
    pub(crate) wanted: Wanted,
    pub(crate) id: Option<ChildId>,
    pub(crate) repeats: Repeats,
    pub(crate) empty_elements: Option<EmptyElements>,
    /// Its elements.
    pub(crate) level: Level,
}

/// The id of an element's own.
#[derive(Clone, Debug)]
pub(crate) struct ChildId {
    pub(crate) column: String,
    pub(crate) from: ElementKey,
    /// Makes the id of the value alone; without, it is one below the row around.
    pub(crate) rule: Option<IdStep>,
}

/// What tells elements apart.
#[derive(Clone, Debug)]
pub(crate) enum ElementKey<P = Place> {
    /// The field where the element has one, else its index.
    FieldOrIndex(P),
    Field(P),
    Index,
    Name,
}

/// What an element must be, so that its paths lead anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Anything,
    Document,
    Array,
}

impl Child {
    /// Appends the rows of what is embedded in the scope.
    pub(crate) fn map<'a>(&self, around: &Scope<'_, 'a>, output: &mut Output) {
        let mut slots = Vec::new();
        let read = match (around.slots.get(self.slot).copied().unwrap_or_default(), self.shape) {
            (Slot::Absent | Slot::Present(Value::Null | Value::Undefined), _) => Ok(()),
            (Slot::Present(Value::Array(array)), Shape::Array) => {
                array.fields().enumerate().try_for_each(|(index, field)| {
                    field.map(|(_, value)| self.element(around, value, index, b"", &mut slots, output))
                })
            }
            (Slot::Present(value @ Value::Document(_)), Shape::Document) => {
                self.element(around, value, 0, b"", &mut slots, output);
                Ok(())
            }
            (Slot::Present(Value::Document(map)), Shape::Map) => {
                output.losses.at(self.level.table, 0);
                entries(map, &mut output.losses).map(|entries| {
                    for (index, (name, value)) in entries.into_iter().enumerate() {
                        self.element(around, value, index, name, &mut slots, output);
                    }
                })
            }
            (Slot::Present(_) | Slot::Blocked, _) => Err(Reason::TypeMismatch),
        };
        if let Err(reason) = read {
            output.refuse(self.refuse(reason), around);
        }
    }

    fn element<'a>(
        &self,
        around: &Scope<'_, 'a>,
        value: Value<'a>,
        index: usize,
        name: &'a [u8],
        slots: &mut Vec<Slot<'a>>,
        output: &mut Output,
    ) {
        let level = &self.level;
        output.losses.at(level.table, 0);
        let read = level.tree.read(value, slots, &mut output.losses);
        let mut scope = around.element(self, slots, index, name);
        if let Err(reason) = read {
            return output.refuse(self.refuse(reason), &scope);
        }
        if !all_hold(&level.filter, &scope) {
            return;
        }
        if self.empty_elements.is_some() && level.is_empty(value) {
            if self.empty_elements == Some(EmptyElements::Reject) {
                return output.refuse(self.refuse(Reason::NotNull), &scope);
            }
            output.losses.add(Loss::Dropped);
            return;
        }
        // A null or a scalar where documents are expected is no row, and may not vanish either.
        if !self.wanted.takes(value) {
            return output.refuse(self.refuse(Reason::TypeMismatch), &scope);
        }
        let own = match self.id.as_ref().map(|id| (id, id.own(&self.name, around.namespace, &scope))) {
            Some((_, Ok(own))) => Some(own),
            Some((id, Err(reason))) => {
                output.refuse(Reject { column: Some(id.column.clone()), ..self.refuse(reason) }, &scope);
                None
            }
            None => None,
        };
        scope.own = own.as_ref();
        let row = level.row(&scope, output);
        if !level.children.is_empty() {
            scope.namespace = match (self.id.as_ref().and_then(|id| id.rule.as_ref()), &own) {
                (Some(rule), Some(id)) => rule.child_namespace(id),
                (None, Some(Id::Uuid(id))) => *id,
                _ => level.namespace(around.namespace, &self.name, row.as_ref()),
            };
            scope.row = row.as_ref();
            level.embedded(&scope, output);
        }
        output.tables[level.table].extend(row);
    }

    /// What is wrong with it as a whole.
    pub(crate) fn refuse(&self, reason: Reason) -> Reject {
        Reject { table: Some(self.level.table), path: Some(self.path.clone()), ..Reject::new(reason) }
    }
}

impl ChildId {
    fn own<'a>(&self, path: &str, namespace: Uuid, scope: &Scope<'_, 'a>) -> Result<Id<'a>, Reason> {
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
            (None, Some(value)) => ids::child(namespace, path, value).map(Id::Uuid),
            (None, None) => Ok(Id::Uuid(ids::child_at(namespace, path, scope.index))),
        }
    }
}

impl Wanted {
    fn takes(self, value: Value<'_>) -> bool {
        match self {
            Self::Anything => true,
            Self::Document => matches!(value, Value::Document(_)),
            Self::Array => matches!(value, Value::Array(_)),
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

/// The fields of a map; of several with one name, the last.
fn entries<'a>(map: Raw<'a>, losses: &mut Losses) -> Result<Vec<(&'a [u8], Value<'a>)>, Reason> {
    let mut entries = map.fields().collect::<Result<Vec<_>, _>>()?;
    let mut by_name: Vec<usize> = (0..entries.len()).collect();
    by_name.sort_by_key(|at| entries[*at].0);
    let mut hidden: Vec<usize> =
        by_name.windows(2).filter(|pair| entries[pair[0]].0 == entries[pair[1]].0).map(|pair| pair[0]).collect();
    hidden.sort_unstable();
    for at in hidden.into_iter().rev() {
        losses.add(Loss::DuplicateName);
        entries.remove(at);
    }
    Ok(entries)
}

/// The fields of a row's key.
pub(crate) fn key_of<'r>(row: &'r Row, key: &[usize]) -> Vec<Option<&'r [u8]>> {
    key.iter().map(|at| row.field(*at)).collect()
}
