//! One step of the workload: plain data, decided before anything is written.

use std::fmt;

use mongodb::{
    bson::{Bson, Document, oid::ObjectId},
    options::UpdateModifications,
};

use crate::Collection;

macro_rules! operations {
    ($($variant:ident $name:literal $doc:literal),+ $(,)?) => {
        /// The kinds of writes of the workload.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation { $(#[doc = $doc] $variant),+ }

        impl Operation {
            /// Every kind, in the order of reports.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

operations! {
    Insert "insert" "A new document.",
    InsertPlan "insert_plan" "A plan with its first sections in one transaction.",
    Upsert "upsert" "An update that inserts, with `$setOnInsert`.",
    Reinsert "reinsert" "A new document under the `_id` of a deleted one.",
    SetNested "set_nested" "`$set` of a nested path.",
    Unset "unset" "`$unset` of an optional field.",
    Inc "inc" "`$inc` of an int64 or a decimal.",
    Mul "mul" "`$mul` of a double.",
    Min "min" "`$min`.",
    Max "max" "`$max`.",
    Push "push" "`$push` of one element or several, sliced and sorted.",
    Pull "pull" "`$pull` by condition.",
    AddToSet "add_to_set" "`$addToSet`.",
    Pop "pop" "`$pop` of the first or last element.",
    CurrentDate "current_date" "`$currentDate`.",
    ArrayFilters "array_filters" "`$[element]` with array filters, and `$[]`.",
    Positional "positional" "The positional `$`.",
    Pipeline "pipeline" "An update by an aggregation pipeline.",
    UpdateMany "update_many" "One statement that changes all sections of a plan.",
    Replace "replace" "A replaced document.",
    EmptyArray "empty_array" "An embedded array set to `[]`.",
    RefillArray "refill_array" "An embedded array filled again.",
    ChangeReference "change_reference" "A reference set to another document or to null.",
    ChangeUnique "change_unique" "A unique value changed.",
    HandOverUnique "hand_over_unique" "A unique value that moves to another document in one transaction.",
    SwapUnique "swap_unique" "Two documents swap a unique value in one transaction.",
    SwapOrder "swap_order" "Two sections swap places in one transaction.",
    MoveSection "move_section" "A section moves to another plan.",
    InsertUpdateUpdate "insert_update_update" "Insert and two updates of one document in one transaction.",
    UpdateDeleteReinsert "update_delete_reinsert" "Update, delete and insert of one `_id` in one transaction.",
    InsertDelete "insert_delete" "A document that lives only inside a transaction.",
    Delete "delete" "A document nothing refers to is deleted.",
    DeleteCascade "delete_cascade" "A document and all that hangs on it are deleted in one transaction.",
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One statement.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Insert(Document),
    Replace(ObjectId, Document),
    Update(Box<Update>),
    DeleteOne(ObjectId),
    DeleteMany(Document),
}

/// An update statement.
#[derive(Clone, Debug)]
pub(super) struct Update {
    pub(super) filter: Document,
    pub(super) change: UpdateModifications,
    pub(super) array_filters: Option<Vec<Document>>,
    pub(super) upsert: bool,
    pub(super) many: bool,
}

impl Update {
    /// Creates an update of the one document that the filter matches.
    pub(super) fn one(filter: Document, change: impl Into<UpdateModifications>) -> Self {
        Self { filter, change: change.into(), array_filters: None, upsert: false, many: false }
    }

    /// Creates an update of all documents that the filter matches.
    pub(super) fn many(filter: Document, change: impl Into<UpdateModifications>) -> Self {
        Self { many: true, ..Self::one(filter, change) }
    }
}

impl From<Update> for Write {
    fn from(update: Update) -> Self {
        Self::Update(Box::new(update))
    }
}

/// One step of the application: one statement, or several in one transaction.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) operation: Operation,
    pub(super) writes: Vec<(Collection, Write)>,
    /// Documents that it creates or changes: no other step may mention them while it is in flight.
    pub(super) touches: Vec<ObjectId>,
    /// Whether no other step may be in flight beside it: it changes documents that it does not name.
    pub(super) alone: bool,
}

impl Step {
    /// Creates a step that changes these documents.
    pub(super) fn of(operation: Operation, touches: &[ObjectId], writes: Vec<(Collection, Write)>) -> Self {
        Self { operation, writes, touches: touches.to_vec(), alone: false }
    }

    /// Creates a step that deletes documents others may refer to, or that changes documents by condition.
    pub(super) fn alone(operation: Operation, writes: Vec<(Collection, Write)>) -> Self {
        Self { operation, writes, touches: Vec::new(), alone: true }
    }

    /// Calls `visit` with each id that the step changes or refers to.
    pub(super) fn visit_ids(&self, visit: &mut impl FnMut(ObjectId)) {
        self.touches.iter().copied().for_each(&mut *visit);
        for (_, write) in &self.writes {
            match write {
                Write::Insert(document) | Write::Replace(_, document) | Write::DeleteMany(document) => {
                    visit_document(document, visit);
                }
                Write::Update(update) => {
                    visit_document(&update.filter, visit);
                    match &update.change {
                        UpdateModifications::Document(change) => visit_document(change, visit),
                        UpdateModifications::Pipeline(stages) => {
                            stages.iter().for_each(|stage| visit_document(stage, visit));
                        }
                        _ => {}
                    }
                }
                Write::DeleteOne(id) => visit(*id),
            }
        }
    }
}

fn visit_document(document: &Document, visit: &mut impl FnMut(ObjectId)) {
    document.values().for_each(|value| visit_value(value, visit));
}

fn visit_value(value: &Bson, visit: &mut impl FnMut(ObjectId)) {
    match value {
        Bson::ObjectId(id) => visit(*id),
        Bson::String(text) if text.len() == 24 => {
            if let Ok(id) = text.parse() {
                visit(id);
            }
        }
        Bson::Document(document) => visit_document(document, visit),
        Bson::Array(values) => values.iter().for_each(|value| visit_value(value, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn every_id_of_a_step_is_seen() {
        let id = |n| ObjectId::from_parts(0, [0; 5], [0, 0, n]);
        let writes = vec![
            (
                Collection::Plans,
                Write::Insert(doc! { "_id": id(1), "deep": { "list": [id(2), { "hex": id(3).to_hex() }] } }),
            ),
            (Collection::Plans, Update::one(doc! { "_id": id(4) }, doc! { "$set": { "owner": id(5) } }).into()),
            (Collection::Plans, Update::one(doc! {}, vec![doc! { "$set": { "owner": id(6) } }]).into()),
            (Collection::Plans, Write::DeleteOne(id(7))),
        ];
        let mut seen = Vec::new();
        Step::of(Operation::Insert, &[id(0)], writes).visit_ids(&mut |id| seen.push(id));
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7].map(id));
    }

    #[test]
    fn names_of_operations_differ() {
        let names: std::collections::HashSet<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        assert_eq!(names.len(), Operation::ALL.len());
    }
}
