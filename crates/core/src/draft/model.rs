//! The tables of a draft, and what fills them.

use super::keys::Key;

/// A collection and its tables.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) collection: String,
    pub(super) key: Key,
    pub(super) table: Table,
    pub(super) children: Vec<Child>,
}

/// An array that has a table of its own.
#[derive(Clone, Debug)]
pub(super) struct Child {
    /// Its path in the row around it.
    pub(super) path: String,
    pub(super) table: Table,
    /// The column that takes the id of the row around, and what it refers to.
    pub(super) parent: String,
    /// The column that takes the index.
    pub(super) order: String,
    /// The column that takes an id of the element's own, where rows below need one.
    pub(super) id: Option<String>,
    pub(super) children: Vec<Child>,
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    /// Why it is as it is.
    pub(super) remarks: Vec<String>,
    pub(super) columns: Vec<Column>,
    pub(super) primary_key: Vec<String>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    pub(super) indexes: Vec<Statement>,
}

/// A column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its type as SQL.
    pub(super) kind: String,
    pub(super) source: Source,
    pub(super) not_null: Rule,
    /// The texts to which it is limited.
    pub(super) check: Option<(Vec<String>, Rule)>,
    /// Why it is as it is.
    pub(super) remarks: Vec<String>,
    /// Its path in the document, as MongoDB's indexes have it: dots, and nothing for arrays.
    pub(super) dotted: String,
    /// Whether every value has one type that orders and compares as MongoDB's does.
    pub(super) comparable: bool,
    /// Longest value in bytes; an index entry must fit a page.
    pub(super) longest: u64,
    /// Its `DEFAULT`, as SQL.
    pub(super) default: Option<String>,
    /// The unique field of a collection whose values it has.
    pub(super) natural: Option<Natural>,
}

/// A reference to a unique field, and what keeps it from being a foreign key.
#[derive(Clone, Debug)]
pub(super) struct Natural {
    pub(super) collection: String,
    pub(super) path: String,
    pub(super) instead: Option<String>,
}

/// The source of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The id of the row, or one that a rule of a child makes.
    Rule,
    /// A path.
    Path(String),
    /// A path whose values are ids of a collection.
    Reference(String, String),
    /// The fields that nothing else reads.
    Rest,
}

/// Whether a constraint is demanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It is, for this reason; empty where it needs none.
    Demanded(String),
    /// All documents that were read satisfy it, and nothing says that later ones will.
    Satisfied,
    /// Some documents break it.
    Broken,
}

/// A foreign key of one column.
#[derive(Clone, Debug)]
pub(super) struct ForeignKey {
    pub(super) column: String,
    pub(super) table: String,
    pub(super) key: String,
    pub(super) cascades: bool,
    /// Why it is only a comment, if it is one.
    pub(super) instead: Option<String>,
}

/// A statement, or a comment in its place.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    Sql(String),
    Comment(String),
}

/// How many tables these children have, with those below them.
pub(super) fn count(children: &[Child]) -> usize {
    children.iter().map(|child| 1 + count(&child.children)).sum()
}
