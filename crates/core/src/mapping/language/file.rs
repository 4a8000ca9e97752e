//! The mapping file as data, before it is compared with the target.
//!
//! Every name carries its place in the file, so that faults found later, against the catalog, point at a line too. `parse` reads
//! it by hand from toml's spanned tables, because a derived deserializer stops at the first fault, and people want to see all.

use bson::raw::RawBson;
use uuid::Uuid;

use crate::mapping::{
    BsonTypes, Coerce, EmptyElements, Epoch, Fault, IdRule, IdType, Location, Lookup, Misfit, Path, target::TableName,
    value::id::IdStep,
};

/// The name of a missing value, where names are values: of variants, and of the collections of a reference.
pub(crate) const MISSING: &str = "missing";

/// A mapping file.
#[derive(Clone, Debug)]
pub struct MappingFile {
    /// Name of the file, for messages.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// The collections, by name.
    pub(crate) collections: Vec<CollectionFile>,
    /// Collections with faults, as far as they could be read. Their names of tables and columns can be looked up.
    pub(crate) doubtful: Vec<CollectionFile>,
    /// Names of collections that could not be read.
    pub(crate) unread: Vec<String>,
}

/// A collection of a mapping file.
#[derive(Clone, Debug)]
pub struct CollectionFile {
    /// Name of the collection.
    pub(crate) name: At<String>,
    /// The rule that makes keys of `_id`s; `None` where columns fill the whole key.
    pub(crate) id: Option<At<IdFile>>,
    /// Namespace of the version-5 UUIDs that are not made of an `_id`.
    pub(crate) namespace: Option<Uuid>,
    /// The reaction to a dropped or renamed collection.
    pub(crate) on_drop: OnDrop,
    /// Whether the source may have no such collection (yet).
    pub(crate) may_be_empty: bool,
    /// Which documents have rows; all conditions must hold.
    pub(crate) filter: Vec<ConditionFile>,
    /// The table of its documents, or one for each kind.
    pub(crate) tables: RootsFile,
}

/// The tables of a collection's documents.
#[derive(Clone, Debug)]
pub(crate) enum RootsFile {
    /// One for all.
    One(TableFile),
    /// One for each kind of document.
    Split(SplitFile),
}

/// Documents of several kinds, distinguished by a field.
#[derive(Clone, Debug)]
pub(crate) struct SplitFile {
    /// The field.
    pub(crate) by: At<Path>,
    /// The outcome of a document of another kind.
    pub(crate) unlisted: Unlisted,
    /// The kinds.
    pub(crate) variants: Vec<VariantFile>,
}

/// One kind of document.
#[derive(Clone, Debug)]
pub(crate) struct VariantFile {
    /// Its name.
    pub(crate) name: At<String>,
    /// The values of the field that mean it.
    pub(crate) is: Vec<At<RawBson>>,
    /// Whether documents without the field, or with null in it, are of this kind.
    pub(crate) missing: bool,
    /// The column that takes the id.
    pub(crate) id_column: Option<At<String>>,
    /// Its table.
    pub(crate) table: TableFile,
}

/// The outcome of a document of a kind that no variant names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unlisted {
    /// It is refused.
    #[default]
    Reject,
    /// It has no rows.
    Ignore,
}

/// A table and the sources of its columns.
#[derive(Clone, Debug)]
pub(crate) struct TableFile {
    /// Its name.
    pub(crate) table: At<TableName>,
    /// The columns by which a row is found; none for the primary key.
    pub(crate) key: Vec<At<String>>,
    /// Whether others write the table too.
    pub(crate) shared: bool,
    /// Which documents or elements have a row; all conditions must hold.
    pub(crate) filter: Vec<ConditionFile>,
    /// Columns that are left to the target.
    pub(crate) ignore: Vec<At<String>>,
    /// Columns that differ from "the field of the same name".
    pub(crate) columns: Vec<ColumnFile>,
    /// Embedded arrays, maps and documents that become rows of their own.
    pub(crate) children: Vec<ChildFile>,
}

/// A condition on a document or element.
#[derive(Clone, Debug)]
pub(crate) struct ConditionFile {
    /// Where the value is.
    pub(crate) path: At<Path>,
    /// The test of the value.
    pub(crate) test: TestFile,
}

/// A test of a value. Null and absent are the same.
#[derive(Clone, Debug)]
pub(crate) enum TestFile {
    /// It is one of these.
    Is(Vec<At<RawBson>>),
    /// It is none of these.
    Not(Vec<At<RawBson>>),
    /// Whether it is there and not null.
    Exists(bool),
    /// It is there and of one of these types.
    Type(BsonTypes),
}

/// How `_id` becomes the primary key.
#[derive(Clone, Debug)]
pub(crate) struct IdFile {
    /// The rule.
    pub(crate) rule: IdRule,
    /// The only type of `_id` that is taken; `None` takes every type that stays unambiguous.
    pub(crate) only: Option<IdType>,
    /// Namespace of version-5 UUIDs.
    pub(crate) namespace: Uuid,
    /// Where ids are looked up, for [`IdRule::Lookup`].
    pub(crate) lookup: Option<LookupFile>,
    /// A prefix that every text has and that is no part of the id.
    pub(crate) strip_prefix: Option<String>,
    /// A suffix that every text has and that is no part of the id.
    pub(crate) strip_suffix: Option<String>,
    /// The column; `None` for the table's primary key.
    pub(crate) column: Option<At<String>>,
}

impl CollectionFile {
    /// Name of the collection.
    pub fn name(&self) -> &str {
        &self.name.value
    }

    /// The reaction to a dropped or renamed collection.
    pub fn on_drop(&self) -> OnDrop {
        self.on_drop
    }

    /// Whether the source may have no such collection (yet).
    pub fn may_be_empty(&self) -> bool {
        self.may_be_empty
    }
}

impl IdFile {
    /// The rule, ready to convert ids. The type of the column that a lookup searches is empty until the catalog gives it.
    pub(crate) fn step(&self) -> IdStep {
        let step = IdStep::new(self.rule, self.only, self.namespace)
            .stripping(self.strip_prefix.clone(), self.strip_suffix.clone());
        match &self.lookup {
            None => step,
            Some(LookupFile { table, from, to }) => step.looked_up(Lookup {
                table: table.value.clone(),
                from: (from.value.clone(), String::new()),
                to: to.value.clone(),
            }),
        }
    }
}

/// The table in which [`IdRule::Lookup`] finds ids.
#[derive(Clone, Debug)]
pub(crate) struct LookupFile {
    /// The table.
    pub(crate) table: At<TableName>,
    /// The column that holds the text of the source's id.
    pub(crate) from: At<String>,
    /// The column that holds the target's id.
    pub(crate) to: At<String>,
}

/// The reaction to a dropped or renamed collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDrop {
    /// Stop, so that a person can decide.
    #[default]
    Halt,
    /// Leave the rows as they are.
    Ignore,
    /// Empty the tables.
    Truncate,
}

/// A column of a mapping file.
#[derive(Clone, Debug)]
pub(crate) struct ColumnFile {
    /// Name of the column.
    pub(crate) name: At<String>,
    /// Candidates for its value: the first that is present. None for the field of the same name.
    pub(crate) paths: Vec<At<Path>>,
    /// Its value in every row.
    pub(crate) constant: Option<At<RawBson>>,
    /// Whether it takes all fields that nothing else reads.
    pub(crate) rest: Option<At<()>>,
    /// Its value where the document has none.
    pub(crate) default: Option<At<RawBson>>,
    /// The collection whose `_id` the value is.
    pub(crate) reference: Option<ReferenceFile>,
    /// The rule that converts the value as an id.
    pub(crate) id: Option<At<IdFile>>,
    /// The conditions under which the value is taken; all must hold.
    pub(crate) when: Vec<ConditionFile>,
    /// The policies for values that do not have the form that the column needs.
    pub(crate) policy: PolicyFile,
}

/// The policies of a column, as the file says them. The default refuses everything that does not fit as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct PolicyFile {
    /// Whether white space around a text is removed.
    pub(crate) trim: bool,
    /// Whether an empty text is NULL.
    pub(crate) empty_is_null: bool,
    /// Other values that are NULL, by their text.
    pub(crate) null_values: Vec<At<String>>,
    /// The types that are taken; all others do not fit.
    pub(crate) types: Option<At<BsonTypes>>,
    /// A prefix that every text has and that is no part of the value.
    pub(crate) strip_prefix: Option<At<String>>,
    /// A suffix that every text has and that is no part of the value.
    pub(crate) strip_suffix: Option<At<String>>,
    /// The outcome of empty elements of an array.
    pub(crate) empty_elements: Option<At<EmptyElements>>,
    /// Other types that are read as the type of the column.
    pub(crate) coerce: Vec<At<Coerce>>,
    /// The unit of numbers that are times since 1970.
    pub(crate) epoch: Option<At<Epoch>>,
    /// Replacements of values, by their text.
    pub(crate) translate: Vec<(At<String>, At<RawBson>)>,
    /// The replacement of a value that `translate` does not list, or that is no label of the column's enum.
    pub(crate) fallback: Option<At<RawBson>>,
    /// The outcomes of a value that does not fit: the first that applies. Without one, the document is refused.
    pub(crate) misfit: Vec<At<Misfit>>,
}

/// The collection whose `_id` a value is.
#[derive(Clone, Debug)]
pub(crate) enum ReferenceFile {
    /// Always this one.
    To(At<String>),
    /// It depends on another field.
    By {
        /// The field.
        by: At<Path>,
        /// Its values and the collections that they mean; [`MISSING`] is for documents without one.
        to: Vec<(At<String>, At<String>)>,
    },
}

/// Something embedded that becomes rows of its own.
#[derive(Clone, Debug)]
pub(crate) struct ChildFile {
    /// Where it is, from the document or element around it.
    pub(crate) path: At<Path>,
    /// Its shape.
    pub(crate) shape: Shape,
    /// The table of its rows.
    pub(crate) table: TableFile,
    /// The column that takes the id of the row around it.
    pub(crate) parent: Option<At<String>>,
    /// The column that takes the id of the document's row.
    pub(crate) root: Option<At<String>>,
    /// The column that takes the place in the array or map.
    pub(crate) order: Option<At<String>>,
    /// The column that takes the names of a map.
    pub(crate) map_key: Option<MapKeyFile>,
    /// The column that takes an id of the element's own.
    pub(crate) id: Option<ChildIdFile>,
    /// Whether elements with the same key become one row.
    pub(crate) distinct: bool,
    /// The outcome of empty elements; `None` lets the columns decide.
    pub(crate) empty_elements: Option<At<EmptyElements>>,
}

/// The column that takes the names of a map, which may be ids.
#[derive(Clone, Debug)]
pub(crate) struct MapKeyFile {
    /// The column.
    pub(crate) column: At<String>,
    /// The collection whose `_id`s the names are.
    pub(crate) reference: Option<At<String>>,
    /// The rule that converts the names as ids.
    pub(crate) id: Option<At<IdFile>>,
}

/// The shape of an embedded value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An array: a row for each element.
    #[default]
    Array,
    /// A document: one row, or none where it is absent or null.
    Document,
    /// A document whose names are data: a row for each field.
    Map,
}

/// The id of a child row. Without a rule, it is a version-5 UUID of the id of the row around it, the path, and the value that
/// identifies the element.
#[derive(Clone, Debug)]
pub(crate) struct ChildIdFile {
    /// The column.
    pub(crate) column: At<String>,
    /// The value that identifies an element.
    pub(crate) from: KeyFrom,
    /// The rule that makes the id of that value alone.
    pub(crate) rule: Option<At<IdFile>>,
}

/// The value that identifies an element of an array or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyFrom {
    /// The element's `_id` where it has one, else its index; in a map the name.
    Auto,
    /// A field that every element has; its id survives when other elements come, go or move.
    Field(Path),
    /// The index.
    Index,
    /// The name in a map.
    Name,
}

/// A value of the file and its place.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Line, from 1; 0 for a value that the file leaves out.
    pub(crate) line: u32,
    /// Column in characters, from 1.
    pub(crate) column: u32,
}

impl<T> At<T> {
    /// Another value at the same place.
    pub(crate) fn with<U>(&self, value: U) -> At<U> {
        At { value, line: self.line, column: self.column }
    }
}

impl MappingFile {
    /// The file as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The collections, by name.
    pub fn collections(&self) -> impl Iterator<Item = &CollectionFile> {
        self.collections.iter()
    }

    /// The names of all collections, including those with faults.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let read = self.collections.iter().chain(&self.doubtful).map(CollectionFile::name);
        read.chain(self.unread.iter().map(String::as_str))
    }

    /// Where the file begins with a collection; `None` for one that it does not map.
    pub fn place_of(&self, collection: &str) -> Option<Location> {
        let found = self.collections.iter().find(|known| known.name.value == collection)?;
        self.location(&found.name)
    }

    /// A fault at a place of this file.
    pub(crate) fn fault<T>(&self, at: &At<T>, what: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { location: self.location(at), what: what.into(), hint: hint.into() }
    }

    /// A place of this file.
    pub(crate) fn location<T>(&self, at: &At<T>) -> Option<Location> {
        Some(Location { file: self.name.clone(), line: at.line, column: at.column })
    }
}

impl OnDrop {
    /// Every policy and its name in the file.
    pub(crate) const NAMES: [(&str, Self); 3] =
        [("halt", Self::Halt), ("ignore", Self::Ignore), ("truncate", Self::Truncate)];
}

impl Unlisted {
    /// Every outcome and its name in the file.
    pub(crate) const NAMES: [(&str, Self); 2] = [("reject", Self::Reject), ("ignore", Self::Ignore)];
}

impl Shape {
    /// Every shape and its name in the file.
    pub(crate) const NAMES: [(&str, Self); 3] =
        [("array", Self::Array), ("document", Self::Document), ("map", Self::Map)];
}
