//! A document becomes rows: the compiled steps of a collection, carried out.
//!
//! ```text
//!  document ── which kind? ──▶ Level ── one pass over it ──▶ slots ── Step per column ──▶ row
//!                                └─ Child per embedded thing ── Level per element ──▶ rows, and so on
//! ```
//!
//! One pass over a document or element fills the slots of all paths into it, then each column takes its slot. All of a
//! document's rows or none: one value that cannot be stored refuses the document. The other values are converted all the same, so
//! that a person sees every refusal at once; a consequence of a refusal is not a refusal.

use bson::raw::RawDocument;
use uuid::Uuid;

use super::{
    condition::{Condition, Literal, all_hold},
    level::Level,
    output::Output,
    row::{Reject, Rejects, Row, Rows},
    scope::{Place, Scope},
    tree::{Slot, Tree},
};
use crate::mapping::{
    Loss, Losses, Unlisted,
    value::{
        id::{self, Id, IdStep},
        raw::{Raw, Value},
    },
};
use crate::model::Reason;

/// The compiled steps of one collection.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// How many tables it writes.
    pub(crate) tables: usize,
    /// The rule that makes keys of `_id`s; `None` where columns alone make the key.
    pub(crate) id: Option<IdStep>,
    /// How the kinds of documents are distinguished; `None` for a single kind.
    pub(crate) split: Option<Split>,
    /// The kinds, in the order of the root tables.
    pub(crate) kinds: Vec<Kind>,
}

/// How the kinds of documents are distinguished.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub(crate) tree: Tree,
    pub(crate) filter: Vec<Condition>,
    pub(crate) by: Place,
    /// The values of the field, and the kind that each means.
    pub(crate) values: Vec<(Literal, usize)>,
    /// The kind of a document without the field, or with null in it.
    pub(crate) missing: Option<usize>,
    pub(crate) unlisted: Unlisted,
}

/// One kind of document.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) level: Level,
    /// Slot of `_id`.
    pub(crate) id_slot: usize,
    /// Position of the column that takes the id.
    pub(crate) id_column: Option<usize>,
    /// Whether that column finds the rows of a document.
    pub(crate) by_id: bool,
    /// Namespace of the children's ids, where no id gives one.
    pub(crate) namespace: Uuid,
}

/// Rows, and where they come from if that is wanted.
type Mapped = (Rows, Option<Vec<Vec<String>>>);

impl Program {
    /// See [`CollectionPlan::map`](crate::mapping::CollectionPlan::map).
    pub(crate) fn map(&self, document: &RawDocument) -> Result<Rows, Rejects> {
        match self.map_into(document, Output::new(self.tables, false)) {
            // Which elements repeat a key is worth a second look only here.
            Err(rejects) if rejects.first().reason == Reason::UniqueConflict => {
                self.map_into(document, Output::new(self.tables, true)).map(|(rows, _)| rows)
            }
            mapped => mapped.map(|(rows, _)| rows),
        }
    }

    /// See [`CollectionPlan::map_placed`](crate::mapping::CollectionPlan::map_placed).
    pub(crate) fn map_placed(&self, document: &RawDocument) -> Result<(Rows, Vec<Vec<String>>), Rejects> {
        let mapped = self.map_into(document, Output::new(self.tables, true));
        mapped.map(|(rows, places)| (rows, places.unwrap_or_default()))
    }

    fn map_into(&self, document: &RawDocument, mut output: Output) -> Result<Mapped, Rejects> {
        let key = self.fill(document, &mut output).unwrap_or_else(|reject| {
            output.rejects.push(reject);
            Row::default()
        });
        let Output { tables, mut losses, rejects, places } = output;
        losses.at(0, 0);
        Rejects::new(rejects).map_or(Ok((Rows { tables, key, losses }, places)), Err)
    }

    /// Fills in the rows and returns the keys.
    ///
    /// # Errors
    /// [`Reject`] where mapping cannot go on; the other refusals are in `output`.
    fn fill(&self, document: &RawDocument, output: &mut Output) -> Result<Row, Reject> {
        let value = Value::Document(Raw::new(document.as_bytes()));
        let mut slots = Vec::new();
        let kind = match &self.split {
            None => self.kinds.first(),
            Some(split) => split.kind(value, &mut slots, &mut output.losses)?.and_then(|kind| self.kinds.get(kind)),
        };
        let Some(kind) = kind else { return self.left_out(document) };
        output.losses.at(kind.level.table, 0);
        kind.level.tree.read(value, &mut slots, &mut output.losses)?;
        let Some(Slot::Present(id)) = slots.get(kind.id_slot) else {
            return Err(Reject::new(Reason::Malformed));
        };
        let mut scope = Scope::new(&slots);
        if !all_hold(&kind.level.filter, &scope) {
            return self.left_out(document);
        }
        let own = self.id.as_ref().map(|rule| rule.own(*id).map_err(|reason| kind.id_reject(reason))).transpose();
        let keyed = own.and_then(|id| Ok((self.keys_of(id.as_ref())?, id)));
        let (key, id) = keyed.unwrap_or_else(|reject| {
            output.refuse(reject, &scope);
            (Row::default(), None)
        });
        scope.own = id.as_ref();
        let row = kind.level.row(&scope, output);
        if !kind.level.children.is_empty() {
            scope.namespace = match (&self.id, &id) {
                (Some(rule), Some(id)) => rule.child_namespace(id),
                _ => kind.level.namespace(kind.namespace, "", row.as_ref()),
            };
            scope.row = row.as_ref();
            kind.level.embedded(&scope, output);
        }
        if row.is_some() {
            output.place(kind.level.table, &scope);
        }
        output.tables[kind.level.table].extend(row);
        // Keys can be compared only when every row is there.
        if output.rejects.is_empty() {
            kind.level.resolve(output);
        }
        Ok(key)
    }

    /// See [`CollectionPlan::keys`](crate::mapping::CollectionPlan::keys).
    pub(crate) fn keys(&self, document: &RawDocument) -> Result<Row, Reject> {
        let id = id::id_of(Raw::new(document.as_bytes()))?;
        let by_id = self.kinds.iter().find(|kind| kind.by_id);
        match (&self.id, by_id) {
            (Some(rule), Some(kind)) => self.keys_of(Some(&rule.own(id).map_err(|reason| kind.id_reject(reason))?)),
            _ => self.keys_of(None),
        }
    }

    /// The keys of an id. A root table that cannot hold the id has no row of it; when none can, the id is refused.
    fn keys_of(&self, id: Option<&Id<'_>>) -> Result<Row, Reject> {
        let mut keys = Row::default();
        let (mut held, mut refused) = (false, None);
        for kind in &self.kinds {
            let column = kind.id_column.filter(|_| kind.by_id).and_then(|at| kind.level.steps.get(at));
            let (Some(id), Some(column)) = (id, column) else {
                keys.push(None);
                continue;
            };
            match id::in_column(id.clone(), &column.kind, Reason::KeyTooLong) {
                Ok(scalar) => {
                    held = true;
                    keys.push_scalar(&scalar);
                }
                Err(reason) => {
                    refused = Some(kind.id_reject(reason));
                    keys.push(None);
                }
            }
        }
        match refused {
            Some(reject) if !held => Err(reject),
            _ => Ok(keys),
        }
    }

    /// A document without rows. The rows that it had before the mapping left it out must still be found.
    fn left_out(&self, document: &RawDocument) -> Result<Row, Reject> {
        match self.keys(document) {
            // No row has such a key, and none is needed.
            Err(reject) if reject.reason != Reason::Malformed => self.keys_of(None),
            keys => keys,
        }
    }

    /// The paths that a column takes its value from, in each table for which this holds.
    pub(crate) fn paths_of(&self, table: &impl Fn(usize) -> bool, column: &str) -> Vec<&str> {
        let mut paths = Vec::new();
        self.kinds.iter().for_each(|kind| kind.level.paths_of(table, column, &mut Vec::new(), &mut paths));
        paths
    }

    /// Whether a column takes all that nothing else reads.
    pub(crate) fn takes_rest(&self) -> bool {
        self.kinds.iter().any(|kind| kind.level.takes_rest())
    }

    /// For each table, in their order, the table around it.
    pub(crate) fn tables_around(&self) -> Vec<Option<usize>> {
        let mut around = Vec::new();
        self.kinds.iter().for_each(|kind| kind.level.tables_around(None, &mut around));
        around
    }
}

impl Split {
    /// The kind of a document; `None` when it is left out.
    fn kind<'a>(
        &self,
        document: Value<'a>,
        slots: &mut Vec<Slot<'a>>,
        losses: &mut Losses,
    ) -> Result<Option<usize>, Reject> {
        // Duplicate names are counted when the kind's own paths are read.
        self.tree.read(document, slots, &mut Losses::default())?;
        let scope = Scope::new(slots);
        if !all_hold(&self.filter, &scope) {
            return Ok(None);
        }
        let kind = match scope.slot(&self.by) {
            Slot::Absent | Slot::Present(Value::Null | Value::Undefined) => self.missing,
            Slot::Present(value) => {
                self.values.iter().find(|(literal, _)| literal.equals(value)).map(|(_, kind)| *kind)
            }
            Slot::Blocked => None,
        };
        if kind.is_some() {
            return Ok(kind);
        }
        match self.unlisted {
            Unlisted::Reject => Err(Reject { path: Some(self.by.path.clone()), ..Reject::new(Reason::TypeMismatch) }),
            Unlisted::Ignore => {
                losses.at(0, 0);
                losses.add(Loss::Unlisted);
                Ok(None)
            }
        }
    }
}

impl Kind {
    fn id_reject(&self, reason: Reason) -> Reject {
        let column = self.id_column.and_then(|at| self.level.steps.get(at)).map(|step| step.column.clone());
        Reject { table: Some(self.level.table), column, path: Some("_id".to_owned()), ..Reject::new(reason) }
    }
}
