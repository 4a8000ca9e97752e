//! A document becomes rows: the compiled steps of a collection, carried out.
//!
//! One pass over the document fills the slots of all paths, then each column takes its slot. All of a document's rows or
//! none: the first value that cannot be stored refuses the document.

use bson::raw::RawDocument;
use uuid::Uuid;

use super::{
    CollectionPlan, Losses, Reject, Row, Rows, encode,
    ids::{self, Id, IdStep},
    policy::{Policy, Written},
    target::ColumnType,
    tree::{Slot, Tree},
    value::{Raw, Value},
};
use crate::model::Reason;

/// Digest of a document's bytes, for the ledger: XXH3, 128 bits, big-endian.
pub fn digest(document: &RawDocument) -> [u8; 16] {
    xxhash_rust::xxh3::xxh3_128(document.as_bytes()).to_be_bytes()
}

/// The compiled steps of one collection.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// The paths of the root table and of the children's arrays.
    pub(super) tree: Tree,
    pub(super) id: IdStep,
    pub(super) id_slot: usize,
    /// The root table's columns.
    pub(super) steps: Vec<Step>,
    /// Position of the primary key in `steps`.
    pub(super) key: usize,
    pub(super) children: Vec<Child>,
}

/// An embedded array and its table.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) path: String,
    /// Slot of the array in the root's tree.
    pub(super) slot: usize,
    /// The paths inside an element.
    pub(super) tree: Tree,
    pub(super) steps: Vec<Step>,
    /// What a [`Source::Element`] column is made of.
    pub(super) element: ElementKey,
    /// Positions of the primary key's columns, where two elements could give the same one.
    pub(super) key: Option<Vec<usize>>,
}

/// What tells elements apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementKey {
    /// The slot where the element has one, else its index.
    SlotOrIndex(usize),
    Slot(usize),
    Index,
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) column: String,
    pub(super) source: Source,
    pub(super) kind: ColumnType,
    pub(super) not_null: bool,
    pub(super) reference: Option<IdStep>,
    /// What stands for an absent or null value, in binary form.
    pub(super) default: Option<Vec<u8>>,
    pub(super) policy: Policy,
}

/// Where a column's value comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The root row's id.
    Root,
    /// The element's index.
    Index,
    /// The element's own id.
    Element,
    /// A path of the document or element.
    Field { slot: usize, path: String },
}

/// An element of an embedded array, and where it stands.
struct Element<'a> {
    index: usize,
    key: ElementKey,
    namespace: Uuid,
    path: &'a str,
}

impl CollectionPlan {
    /// The rows of a document.
    ///
    /// # Errors
    /// [`Reject`]: the document goes to the dead letters under its reason.
    pub fn map(&self, document: &RawDocument) -> Result<Rows, Reject> {
        let program = &self.program;
        let mut losses = Losses::default();
        let mut slots = Vec::new();
        program.tree.read(Value::Document(Raw::new(document.as_bytes())), &mut slots, &mut losses)?;
        let Some(Slot::Present(id)) = slots.get(program.id_slot) else {
            return Err(Reject::new(Reason::Malformed));
        };
        let id = program.id.own(*id).map_err(|reason| self.key_reject(reason))?;
        let key = self.keys_of(&id)?;
        let mut root = Row::default();
        for step in &program.steps {
            step.write(&id, None, &slots, &mut losses, &mut root).map_err(|reason| step.reject(reason, ""))?;
        }
        let mut tables = vec![vec![root]];
        for child in &program.children {
            tables.push(child.map(program, &id, &slots, &mut losses)?);
        }
        Ok(Rows { tables, key, losses })
    }

    /// What an `_id` becomes in each root table, in their order; all that a delete carries. NULL for a root table whose rows
    /// are remembered. Each field has the type of the table's key column.
    ///
    /// Takes a document that has the `_id`, `{_id: …}`: its text may be no valid UTF-8, which bson's own reader does not
    /// hand out.
    ///
    /// # Errors
    /// [`Reject`] where the `_id` cannot be a key of the target (such a document never had a row), and `MALFORMED` for a
    /// document without `_id`.
    pub fn keys(&self, document: &RawDocument) -> Result<Row, Reject> {
        let id = ids::id_of(Raw::new(document.as_bytes()))?;
        self.keys_of(&self.program.id.own(id).map_err(|reason| self.key_reject(reason))?)
    }

    fn keys_of(&self, id: &Id<'_>) -> Result<Row, Reject> {
        let program = &self.program;
        let mut row = Row::default();
        if let Some(step) = program.steps.get(program.key) {
            step.write(id, None, &[], &mut Losses::default(), &mut row).map_err(|reason| step.reject(reason, ""))?;
        }
        Ok(row)
    }

    fn key_reject(&self, reason: Reason) -> Reject {
        let column = self.program.steps.get(self.program.key).map(|step| step.column.clone());
        Reject { reason, column, path: Some("_id".to_owned()) }
    }
}

impl Child {
    fn map(
        &self,
        program: &Program,
        root: &Id<'_>,
        slots: &[Slot<'_>],
        losses: &mut Losses,
    ) -> Result<Vec<Row>, Reject> {
        let refuse = |reason| Reject { reason, column: None, path: Some(self.path.clone()) };
        let array = match slots.get(self.slot) {
            None | Some(Slot::Absent | Slot::Present(Value::Null | Value::Undefined)) => return Ok(Vec::new()),
            Some(Slot::Present(Value::Array(array))) => *array,
            Some(Slot::Present(_) | Slot::Blocked) => return Err(refuse(Reason::TypeMismatch)),
        };
        let namespace = program.id.child_namespace(root);
        let mut rows = Vec::new();
        let mut inner = Vec::new();
        for (index, field) in array.fields().enumerate() {
            let (_, value) = field.map_err(refuse)?;
            // A null or a scalar where documents are expected is no row, and may not vanish either.
            if self.tree.wants_document() && !matches!(value, Value::Document(_)) {
                return Err(refuse(Reason::TypeMismatch));
            }
            self.tree.read(value, &mut inner, losses).map_err(refuse)?;
            let element = Element { index, key: self.element, namespace, path: &self.path };
            let mut row = Row::default();
            for step in &self.steps {
                step.write(root, Some(&element), &inner, losses, &mut row)
                    .map_err(|reason| step.reject(reason, &self.path))?;
            }
            rows.push(row);
        }
        match &self.key {
            Some(key) if repeats(&rows, key) => Err(refuse(Reason::UniqueConflict)),
            _ => Ok(rows),
        }
    }
}

/// Whether two rows have the same key.
fn repeats(rows: &[Row], key: &[usize]) -> bool {
    if rows.len() < 2 {
        return false;
    }
    let mut keys: Vec<Vec<Option<&[u8]>>> = rows
        .iter()
        .map(|row| {
            let fields: Vec<_> = row.fields().collect();
            key.iter().map(|at| fields.get(*at).copied().flatten()).collect()
        })
        .collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

impl Step {
    fn write(
        &self,
        root: &Id<'_>,
        element: Option<&Element<'_>>,
        slots: &[Slot<'_>],
        losses: &mut Losses,
        row: &mut Row,
    ) -> Result<(), Reason> {
        let scalar = match (&self.source, element) {
            (Source::Field { slot, .. }, _) => {
                return self.write_field(slots.get(*slot).copied().unwrap_or_default(), losses, row);
            }
            (Source::Index, Some(element)) => {
                let index = i64::try_from(element.index).map_err(|_| Reason::RangeInt)?;
                encode::integer(index, &self.kind)?
            }
            (Source::Element, Some(element)) => {
                encode::id(Id::Uuid(element.id(slots)?), &self.kind, Reason::KeyTooLong)?
            }
            // Index and element belong to children only; their plans are made so.
            (Source::Root | Source::Index | Source::Element, _) => {
                encode::id(root.clone(), &self.kind, Reason::KeyTooLong)?
            }
        };
        let open = row.open();
        scalar.write_binary(&mut row.0);
        row.close(open);
        Ok(())
    }

    fn write_field(&self, slot: Slot<'_>, losses: &mut Losses, row: &mut Row) -> Result<(), Reason> {
        // JSON has a null of its own, and knows undefined by a wrapper: three states, kept apart.
        let is_json = matches!(self.kind.base(), ColumnType::Json | ColumnType::Jsonb);
        match slot {
            Slot::Blocked => Err(Reason::TypeMismatch),
            Slot::Present(value) if is_json || !matches!(value, Value::Null | Value::Undefined) => {
                let open = row.open();
                match encode::write(value, &self.kind, self.reference.as_ref(), &self.policy, losses, &mut row.0)? {
                    Written::Value => row.close(open),
                    Written::Null => {
                        row.reopen(open);
                        self.write_nothing(row)?;
                    }
                }
                Ok(())
            }
            Slot::Present(_) | Slot::Absent => self.write_nothing(row),
        }
    }

    fn write_nothing(&self, row: &mut Row) -> Result<(), Reason> {
        if self.default.is_none() && self.not_null {
            return Err(Reason::NotNull);
        }
        row.push(self.default.as_deref());
        Ok(())
    }

    fn reject(&self, reason: Reason, parent: &str) -> Reject {
        let path = match &self.source {
            Source::Root => "_id".to_owned(),
            Source::Index | Source::Element => parent.to_owned(),
            Source::Field { path, .. } if parent.is_empty() => path.clone(),
            Source::Field { path, .. } => format!("{parent}.{path}"),
        };
        Reject { reason, column: Some(self.column.clone()), path: Some(path) }
    }
}

impl Element<'_> {
    fn id(&self, slots: &[Slot<'_>]) -> Result<Uuid, Reason> {
        let by_index = || ids::child_at(self.namespace, self.path, self.index);
        let (slot, otherwise) = match self.key {
            ElementKey::Index => return Ok(by_index()),
            ElementKey::SlotOrIndex(slot) => (slot, Some(by_index)),
            ElementKey::Slot(slot) => (slot, None),
        };
        match slots.get(slot).copied().unwrap_or_default() {
            Slot::Present(key) if !matches!(key, Value::Null | Value::Undefined) => {
                ids::child(self.namespace, self.path, key)
            }
            Slot::Blocked => Err(Reason::TypeMismatch),
            Slot::Present(_) | Slot::Absent => otherwise.map_or(Err(Reason::NotNull), |by_index| Ok(by_index())),
        }
    }
}

#[cfg(test)]
mod tests;
