//! A document or element and what is embedded in it: a level has children, and the elements of a child are a level again.

use uuid::Uuid;

use super::{
    condition::{Condition, all_hold},
    element_id::ChildId,
    output::Output,
    repeats::Repeats,
    row::{Reject, Rejects, Row},
    scope::{Origin, Scope},
    step::{Source, Step},
    tree::{Slot, Tree},
};
use crate::mapping::{
    EmptyElements, Loss, Losses, Path, Shape,
    value::{
        id::Id,
        policy::REFUSING,
        prepare,
        raw::{Raw, Value},
    },
};
use crate::model::Reason;

/// A document or element: its row and what is embedded in it.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    /// Position of its table in the plan.
    pub(crate) table: usize,
    /// The paths into it, from its own columns and from below.
    pub(crate) tree: Tree,
    /// The conditions under which it has a row.
    pub(crate) filter: Vec<Condition>,
    pub(crate) steps: Vec<Step>,
    /// Positions of the key's columns.
    pub(crate) key: Vec<usize>,
    pub(crate) children: Vec<Child>,
}

/// An embedded array, map or document and its table.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// Its path from the document, for messages.
    pub(crate) path: String,
    /// Its path from the document or element around it, which is part of the ids below.
    pub(crate) name: String,
    /// Its slot in the document or element around it.
    pub(crate) slot: usize,
    pub(crate) shape: Shape,
    pub(crate) wanted: Wanted,
    pub(crate) id: Option<ChildId>,
    pub(crate) repeats: Repeats,
    pub(crate) empty_elements: Option<EmptyElements>,
    /// Its elements.
    pub(crate) level: Level,
}

/// The type that an element must have, so that its paths lead anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Anything,
    Document,
    Array,
}

/// Bytes of a usual field, its length included.
const EXPECTED_FIELD_BYTES: usize = 40;

impl Level {
    /// Adds the paths that a column takes its value from; `around` are the levels around this one. A value that a row around
    /// gives has the paths that it has there.
    pub(super) fn paths_of<'l>(
        &'l self,
        table: &impl Fn(usize) -> bool,
        column: &str,
        around: &mut Vec<&'l Self>,
        paths: &mut Vec<&'l str>,
    ) {
        if table(self.table) {
            for step in self.steps.iter().filter(|step| step.column == column) {
                paths.extend(step.paths(around));
            }
        }
        around.push(self);
        self.children.iter().for_each(|child| child.level.paths_of(table, column, around, paths));
        around.pop();
    }

    pub(super) fn takes_rest(&self) -> bool {
        let rest = |step: &Step| matches!(step.source, Source::Rest(..));
        self.steps.iter().any(rest) || self.children.iter().any(|child| child.level.takes_rest())
    }

    pub(super) fn tables_around(&self, own: Option<usize>, around: &mut Vec<Option<usize>>) {
        around.push(own);
        self.children.iter().for_each(|child| child.level.tables_around(Some(self.table), around));
    }

    /// The row of the document or element in scope; `None` when a column refuses its value.
    pub(super) fn row(&self, scope: &Scope<'_, '_>, output: &mut Output) -> Option<Row> {
        let mut row = Row::with_capacity(EXPECTED_FIELD_BYTES * self.steps.len());
        let mut whole = true;
        for (at, step) in self.steps.iter().enumerate() {
            output.losses.at(self.table, at);
            if let Err(reason) = step.write(scope, &mut output.losses, &mut row) {
                let reject = step.reject(reason, scope);
                output.refuse(Reject { table: Some(self.table), ..reject }, scope);
                whole = false;
            }
        }
        whole.then_some(row)
    }

    /// Whether an element is empty, in itself or for a column that takes it whole.
    fn is_empty(&self, element: Value<'_>) -> bool {
        let whole = self.tree.slot(&Path::whole());
        let takes = |step: &&Step| whole.is_some_and(|slot| step.takes(slot));
        let mut policies = self.steps.iter().filter(takes).map(|step| &step.policy);
        prepare::is_empty_element(element, &REFUSING)
            || policies.any(|policy| prepare::is_empty_element(element, policy))
    }

    /// Adds the rows of the children.
    pub(super) fn embedded(&self, scope: &Scope<'_, '_>, output: &mut Output) {
        self.children.iter().for_each(|child| child.map(scope, output));
    }

    /// Namespace of the ids below a row that has no id of its own, made of its key. A refused row has no ids below it, so that
    /// any namespace serves.
    pub(super) fn namespace(&self, around: Uuid, path: &str, row: Option<&Row>) -> Uuid {
        let Some(row) = row else { return around };
        let mut key = Row::default();
        self.key.iter().for_each(|at| key.push(row.field(*at)));
        Uuid::new_v5(&around, &[path.as_bytes(), b"/", key.as_bytes()].concat())
    }

    /// Judges rows with the same key, when all rows of a table are there.
    pub(super) fn resolve(&self, output: &mut Output) {
        for child in &self.children {
            let table = child.level.table;
            let repeated = child.repeats.of(&output.tables[table], &child.level.key);
            if child.repeats == Repeats::Collapse {
                output.losses.at(table, 0);
                repeated.iter().for_each(|_| output.losses.add(Loss::Collapsed));
                output.remove(table, &repeated);
            } else {
                for row in repeated {
                    let places = output.places.as_ref();
                    let element = places.and_then(|places| places[table].get(row)).cloned();
                    let reject = Reject { column: child.level.own_key(), ..child.refuse(Reason::UniqueConflict) };
                    Rejects::note(&mut output.rejects, Reject { element, ..reject });
                }
            }
            child.level.resolve(output);
        }
    }

    /// The column of the key that distinguishes the elements of one row around, where it is one.
    fn own_key(&self) -> Option<String> {
        let steps = self.key.iter().filter_map(|at| self.steps.get(*at));
        let mut own = steps.filter(|step| !matches!(step.source, Source::Root | Source::Above { .. }));
        own.next().filter(|_| own.next().is_none()).map(|step| step.column.clone())
    }
}

impl Child {
    /// Appends the rows of its elements in the scope.
    fn map<'a>(&self, around: &Scope<'_, 'a>, output: &mut Output) {
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
        let mut scope = around.element(Origin { path: &self.path, shape: self.shape }, slots, index, name);
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
        // A null or a scalar in place of a document makes no row, and may not vanish either.
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
        if row.is_some() {
            output.place(level.table, &scope);
        }
        output.tables[level.table].extend(row);
    }

    /// A refusal of it as a whole.
    fn refuse(&self, reason: Reason) -> Reject {
        Reject { table: Some(self.level.table), path: Some(self.path.clone()), ..Reject::new(reason) }
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
