//! The mapping as it is decided, before it is written: tables, the sources of their columns, and what was left open.

use crate::mapping::target::TableName;

/// A collection.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) collection: String,
    /// The id rule, as the mapping file has it; `None` if columns fill the key.
    pub(super) rule: Option<String>,
    pub(super) place: Place,
    /// Everything left open, one comment each.
    pub(super) open: Vec<String>,
}

/// The tables of a collection's documents.
#[derive(Clone, Debug)]
pub(super) enum Place {
    One(Level),
    /// One for each kind, which a field names.
    Split {
        by: String,
        variants: Vec<Variant>,
    },
}

/// A kind of document.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) name: String,
    /// The values of the field; those that are the name alone need no line.
    pub(super) is: Vec<String>,
    pub(super) level: Level,
}

/// A table and the sources of its columns.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub(super) table: TableName,
    /// The columns of the key, where it is not the primary key.
    pub(super) key: Vec<String>,
    pub(super) shared: bool,
    pub(super) ignore: Vec<String>,
    pub(super) lines: Vec<Line>,
    /// Columns that rules fill: the id, the parent, the order.
    pub(super) ruled: usize,
    /// Columns without a source, one comment each.
    pub(super) open: Vec<String>,
    pub(super) children: Vec<Child>,
}

/// A column and its source.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) column: String,
    /// As the mapping file has it.
    pub(super) source: String,
    pub(super) remarks: Vec<String>,
}

/// Something embedded that becomes rows of its own.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) shape: Shape,
    pub(super) parent: Option<String>,
    pub(super) root: Option<String>,
    pub(super) order: Option<String>,
    pub(super) map_key: Option<String>,
    /// The column that takes an id of the element.
    pub(super) id: Option<(String, From)>,
    /// Whether that id is made of the `_id` of the element alone, because other rows refer to it so.
    pub(super) by_rule: bool,
    /// Whether a value that comes twice is one row.
    pub(super) distinct: bool,
    pub(super) level: Level,
}

/// The source of an element's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Its `_id`, or its place.
    Own,
    /// Its place in the array.
    Index,
    /// A field of it.
    Field(String),
}

/// The shape of something embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Array,
    Document,
    Map,
}

impl Level {
    /// Columns of this table and those below that have a source, and those that have none.
    pub(super) fn count(&self) -> (usize, usize) {
        let below = self.children.iter().map(|child| child.level.count());
        below.fold((self.lines.len() + self.ruled, self.open.len()), |(placed, open), below| {
            (placed + below.0, open + below.1)
        })
    }

    /// Calls `look` with this table and those below.
    pub(super) fn each(&self, look: &mut dyn FnMut(&Self)) {
        look(self);
        self.children.iter().for_each(|child| child.level.each(look));
    }
}

impl Root {
    /// The tables of its documents.
    pub(super) fn levels(&self) -> Vec<&Level> {
        match &self.place {
            Place::One(level) => vec![level],
            Place::Split { variants, .. } => variants.iter().map(|variant| &variant.level).collect(),
        }
    }

    pub(super) fn levels_mut(&mut self) -> Vec<&mut Level> {
        match &mut self.place {
            Place::One(level) => vec![level],
            Place::Split { variants, .. } => variants.iter_mut().map(|variant| &mut variant.level).collect(),
        }
    }
}
