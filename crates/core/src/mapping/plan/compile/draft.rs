//! Drafts: tables and the sources of their columns, before paths become slots.

use crate::mapping::{
    At, ChildFile, CollectionFile, EmptyElements, IdFile, Location, Lookup, Path, Shape, TableFile,
    rows::{
        condition::Condition,
        element_id::ElementKey,
        level::Wanted,
        repeats::Repeats,
        step::{Convert, Source},
    },
    target::{Column, Table},
    value::{id::IdStep, policy::Policy},
};

/// A root table and what makes its id.
pub(super) struct Root<'a> {
    pub(super) file: &'a TableFile,
    /// The column that the mapping names for the id.
    pub(super) id_column: Option<&'a At<String>>,
}

/// A table that is written, for the documents or for something embedded.
pub(crate) struct Draft<'a> {
    pub(crate) table: &'a Table,
    /// Names of the key's columns.
    pub(crate) key: Vec<String>,
    pub(crate) shared: bool,
    pub(crate) filter: Vec<Condition<Path>>,
    /// In the table's order.
    pub(crate) columns: Vec<ColumnDraft<'a>>,
    /// Whether a rule reads `_id`.
    pub(crate) reads_id: bool,
    pub(crate) children: Vec<ChildDraft<'a>>,
}

/// A column that is written: what PostgreSQL says about it and where its value comes from.
pub(crate) struct ColumnDraft<'a> {
    pub(crate) column: &'a Column,
    pub(crate) place: Option<Location>,
    pub(crate) source: Source<Path>,
    pub(crate) convert: Convert<Path>,
    pub(crate) when: Vec<Condition<Path>>,
    pub(crate) default: Option<Vec<u8>>,
    pub(crate) policy: Policy,
    pub(crate) lookup: Option<Lookup>,
}

/// A column that the mapping fills by a rule.
pub(crate) struct Ruled<'a> {
    pub(crate) column: &'a Column,
    pub(crate) place: At<()>,
    pub(crate) source: Source<Path>,
    pub(crate) convert: Convert<Path>,
    pub(crate) lookup: Option<Lookup>,
}

/// Something embedded and its table.
pub(crate) struct ChildDraft<'a> {
    pub(crate) path: &'a Path,
    pub(crate) shape: Shape,
    pub(crate) wanted: Wanted,
    pub(crate) id: Option<ChildIdDraft>,
    pub(crate) repeats: Repeats,
    pub(crate) empty_elements: Option<EmptyElements>,
    pub(crate) draft: Draft<'a>,
}

pub(crate) struct ChildIdDraft {
    pub(crate) column: String,
    pub(crate) from: ElementKey<Path>,
    pub(crate) rule: Option<IdStep>,
}

/// The values that a child can take from a row around it.
pub(crate) struct Around<'a> {
    /// The id rule of the collection; the document's row only.
    pub(crate) id: Option<&'a At<IdFile>>,
    /// The rule that makes an element's own id of a value alone.
    pub(crate) own_rule: Option<&'a At<IdFile>>,
    /// The column that holds the row's own id, or else its only key column, and its position.
    pub(crate) column: Option<(usize, &'a Column)>,
    pub(crate) lookup: Option<Lookup>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        file: &TableFile,
        table: &'a Table,
        key: Vec<String>,
        filter: Vec<Condition<Path>>,
        columns: Vec<ColumnDraft<'a>>,
    ) -> Self {
        Self { table, key, shared: file.shared, filter, columns, reads_id: false, children: Vec::new() }
    }

    /// Position of the column that takes the id of the document's row: its own in a root table.
    pub(crate) fn id_column(&self) -> Option<usize> {
        self.columns.iter().position(|column| matches!(column.source, Source::Root))
    }

    /// Whether the rows of a document are found by its `_id`, of a root table.
    pub(crate) fn found_by_id(&self) -> bool {
        let id = self.id_column().and_then(|at| self.columns.get(at));
        !self.shared && id.is_some_and(|id| self.key.as_slice() == [id.column.name.as_str()])
    }

    /// The paths that this level reads of the document or element that many levels up, from here and from below.
    pub(crate) fn paths(&self, up: usize) -> Vec<Path> {
        let mut paths = self.taken(up);
        let conditions = self.filter.iter().chain(self.columns.iter().flat_map(|column| &column.when));
        let by = self.columns.iter().filter_map(|column| match &column.convert {
            Convert::By(path, _) => Some(path),
            Convert::Nothing | Convert::Id(_) => None,
        });
        let whole = self.columns.iter().filter_map(|column| match &column.source {
            Source::Rest(path, _) => Some(path),
            _ => None,
        });
        let all = conditions.map(|condition| &condition.at).chain(by).chain(whole);
        paths.extend(all.filter(|path| path.up() == up).map(Path::grounded));
        for child in &self.children {
            paths.extend(child.draft.paths(up + 1));
        }
        paths
    }

    /// Those of them whose values go into rows.
    pub(crate) fn taken(&self, up: usize) -> Vec<Path> {
        let fields = self.columns.iter().flat_map(|column| match &column.source {
            Source::Fields(paths) => paths.as_slice(),
            _ => &[],
        });
        let mut taken: Vec<_> = fields.filter(|path| path.up() == up).map(Path::grounded).collect();
        if self.reads_id && up == 0 {
            taken.push(Path::field("_id"));
        }
        for child in &self.children {
            if up == 0 {
                taken.push(child.path.clone());
            }
            taken.extend(child.taken(up + 1));
        }
        taken
    }
}

impl ChildDraft<'_> {
    /// The paths of the element, and what its id is made of.
    pub(crate) fn taken(&self, up: usize) -> Vec<Path> {
        let mut taken = self.draft.taken(up);
        taken.extend(self.key_path().filter(|path| path.up() == up).map(Path::grounded));
        taken
    }

    pub(crate) fn key_path(&self) -> Option<&Path> {
        self.id.as_ref().and_then(|id| match &id.from {
            ElementKey::Field(path) | ElementKey::FieldOrIndex(path) => Some(path),
            ElementKey::Index | ElementKey::Name => None,
        })
    }
}

impl<'a> Around<'a> {
    /// The row of a document.
    pub(crate) fn root(collection: &'a CollectionFile, draft: &Draft<'a>) -> Self {
        Self { id: collection.id.as_ref(), ..Self::new(draft, draft.id_column()) }
    }

    /// The row of an element.
    pub(crate) fn child(child: &'a ChildFile, draft: &Draft<'a>) -> Self {
        let own = draft.columns.iter().position(|column| matches!(column.source, Source::Own));
        Self { own_rule: child.id.as_ref().and_then(|id| id.rule.as_ref()), ..Self::new(draft, own) }
    }

    fn new(draft: &Draft<'a>, own: Option<usize>) -> Self {
        let only = match draft.key.as_slice() {
            [name] => draft.columns.iter().position(|column| column.column.name == *name),
            _ => None,
        };
        let at = own.or(only);
        let column = at.and_then(|at| draft.columns.get(at).map(|column| (at, column)));
        Self {
            id: None,
            own_rule: None,
            column: column.map(|(at, draft)| (at, draft.column)),
            lookup: column.and_then(|(_, draft)| draft.lookup.clone()),
        }
    }
}
