//! Children: embedded arrays, maps and documents that become rows of their own.

use super::{
    compiler::Compiler,
    draft::{Around, ChildDraft, ChildIdDraft, ColumnDraft, Draft, Ruled},
};
use crate::mapping::{
    At, ChildFile, ChildIdFile, CollectionFile, KeyFrom, MapKeyFile, Path, Shape,
    language::path::Segment,
    rows::{
        element_id::ElementKey,
        level::Wanted,
        repeats::Repeats,
        step::{Convert, Source},
    },
    target::{Column, ColumnType, Table},
    value::number,
};

impl<'a> Compiler<'a> {
    /// A child and the children in it; `around` are the rows around it, the document's first.
    pub(crate) fn child(
        &mut self,
        collection: &'a CollectionFile,
        child: &'a ChildFile,
        around: &[Around<'a>],
    ) -> Option<ChildDraft<'a>> {
        if child.path.value.is_whole() {
            self.fault(&child.path, "`$` is the document itself, not a value in it", "name the field");
        } else if child.path.value.up() > 0 {
            let what = format!("`{}` leads up, but a child is below its document", child.path.value);
            self.fault(&child.path, what, "declare the child where its field is");
        }
        let table = self.table(&child.table.table)?;
        let key = self.key(&child.table, table);
        let ruled = self.child_rules(collection, child, table, around);
        for (at, one) in ruled.iter().enumerate() {
            if ruled[..at].iter().any(|other| other.column.name == one.column.name) {
                self.fault(&child.path, format!("column {:?} is filled by two rules", one.column.name), "name it once");
            }
        }
        let level = around.len();
        let filter = self.conditions(&child.table.filter, level);
        let columns = self.columns(&child.table, table, ruled, level);
        let key = key?;
        let single = child.shape == Shape::Document || child.distinct;
        self.child_key(&child.table, table, &key, &columns, single);
        let scalar = columns.iter().all(|draft| match &draft.source {
            Source::Fields(paths) => paths.iter().all(Path::is_whole),
            Source::Rest(..) => false,
            _ => true,
        });
        let id = child.id.as_ref().map(|id| child_id(child, id, scalar));
        let repeats = repeats(child, id.as_ref(), &key, &columns, level);
        let wanted = wanted(id.as_ref(), &columns);
        let mut draft = Draft::new(&child.table, table, key, filter, columns);
        let mut around: Vec<Around<'a>> = around.iter().map(Around::copy).collect();
        around.push(Around::child(child, &draft));
        let children = child.table.children.iter();
        draft.children = children.filter_map(|inner| self.child(collection, inner, &around)).collect();
        let empty_elements = child.empty_elements.as_ref().map(|empty| empty.value);
        Some(ChildDraft { path: &child.path.value, shape: child.shape, wanted, id, repeats, empty_elements, draft })
    }

    /// The columns that a child's rules fill.
    fn child_rules(
        &mut self,
        collection: &'a CollectionFile,
        child: &'a ChildFile,
        table: &'a Table,
        around: &[Around<'a>],
    ) -> Vec<Ruled<'a>> {
        let mut ruled = Vec::new();
        if let (Some(name), Some(parent)) = (&child.parent, around.last()) {
            ruled.extend(self.taken("parent", name, table, parent, 1));
        }
        if let (Some(name), Some(root)) = (&child.root, around.first()) {
            ruled.extend(self.taken("root", name, table, root, around.len()));
        }
        if let Some(name) = &child.order
            && let Some(column) = self.ruled(table, name)
        {
            if number::integer(0, &column.kind).is_err() {
                let what = format!("the order column {:?} of {} is {}", column.name, table.name, column.kind);
                self.fault(name, what, "it takes the element's index: make it integer");
            }
            ruled.push(Ruled {
                column,
                place: name.with(()),
                source: Source::Index,
                convert: Convert::Nothing,
                lookup: None,
            });
        }
        if let Some(key) = &child.map_key {
            ruled.extend(self.map_key(key, table));
        }
        if let Some(own) = &child.id
            && let Some(column) = self.ruled(table, &own.column)
        {
            ruled.push(self.own_id(collection, own, table, column, around));
        }
        ruled
    }

    /// The column that takes the names of a map.
    fn map_key(&mut self, key: &'a MapKeyFile, table: &'a Table) -> Option<Ruled<'a>> {
        let column = self.ruled(table, &key.column)?;
        let id = match (&key.reference, &key.id) {
            (Some(name), _) => Some(self.reference(name, column)?),
            (None, id) => id.as_ref(),
        };
        let rule = id.map(|id| id.value.step());
        if !rule.as_ref().map_or_else(|| takes_names(&column.kind), |rule| rule.fits(&column.kind)) {
            let what = format!("the map_key column {:?} of {} is {}", column.name, table.name, column.kind);
            let hint = match &rule {
                None => {
                    "names are texts: make it text, or name the collection whose ids they are: { column = …, reference = … }".to_owned()
                }
                Some(rule) => rule.hint(&column.kind),
            };
            self.fault(&key.column, what, hint);
        }
        let lookup = rule.as_ref().zip(id).and_then(|(rule, id)| self.lookup(rule, id));
        let convert = rule.map_or(Convert::Nothing, Convert::Id);
        Some(Ruled { column, place: key.column.with(()), source: Source::Name, convert, lookup })
    }

    /// The column that takes an id of the element's own.
    fn own_id(
        &mut self,
        collection: &CollectionFile,
        own: &'a ChildIdFile,
        table: &Table,
        column: &'a Column,
        around: &[Around<'a>],
    ) -> Ruled<'a> {
        let mut lookup = None;
        if let Some(id) = &own.rule {
            let rule = id.value.step();
            if !self.folds(&own.column, table, "id column", column) && !rule.fits(&column.kind) {
                let what = format!(
                    "the id column {:?} of {} is {}, which this id rule cannot fill",
                    column.name, table.name, column.kind
                );
                self.fault(&own.column, what, rule.hint(&column.kind));
            }
            lookup = self.lookup(&rule, id);
        } else {
            if !matches!(column.kind.base(), ColumnType::Uuid | ColumnType::Text | ColumnType::Varchar(None)) {
                let what = format!("the id column {:?} of {} is {}", column.name, table.name, column.kind);
                self.fault(&own.column, what, "ids of child rows are UUIDs: make it uuid or text");
            }
            let lacks = match around.iter().rev().find_map(|around| around.id.or(around.own_rule)) {
                Some(id) => id.value.step().lacks_namespace(),
                None => collection.namespace.is_none(),
            };
            if lacks {
                let what = "ids of child rows need a namespace, because the ids of the rows around them are not UUIDs";
                let hint = "set `namespace` at the top of the file: dns, url, oid, x500 or a UUID";
                self.fault(&own.column, what, hint);
            }
        }
        Ruled { column, place: own.column.with(()), source: Source::Own, convert: Convert::Nothing, lookup }
    }

    /// A column that takes the id of a row around; `up` is how many levels that row is away.
    fn taken(
        &mut self,
        role: &str,
        name: &At<String>,
        table: &'a Table,
        around: &Around<'a>,
        up: usize,
    ) -> Option<Ruled<'a>> {
        let column = self.ruled(table, name)?;
        // A row around without a key has a fault of its own.
        let Some((at, theirs)) = around.column else {
            let what = format!("`{role}` has no id to take: the row around has none, and its key has several columns");
            self.fault(name, what, "fill the column by a path that leads up, such as \"^.field\"");
            return None;
        };
        if self.folds(name, table, &format!("{role} column"), column) {
            return None;
        }
        let rule = around.id.map(|id| id.value.step());
        let fits = match &rule {
            Some(rule) => rule.fits(&column.kind) && column.kind.param() == theirs.kind.param(),
            None => holds(&column.kind, &theirs.kind),
        };
        let pads = matches!(column.kind.base(), ColumnType::Bpchar(_));
        if let Some(rule) = rule.as_ref().filter(|rule| pads && !rule.fits(&column.kind)) {
            let what = format!(
                "the {role} column {:?} of {} is {}, which this id rule cannot fill",
                column.name, table.name, column.kind
            );
            self.fault(name, what, rule.hint(&column.kind));
        } else if !fits {
            let taken = if rule.is_some() { "primary key" } else { "id" };
            let what = format!(
                "the {role} column {:?} of {} is {}, but the {taken} it takes is {}",
                column.name, table.name, column.kind, theirs.kind
            );
            self.fault(name, what, "give both the same type");
        }
        let source = if rule.is_some() { Source::Root } else { Source::Above { up, column: at } };
        Some(Ruled { column, place: name.with(()), source, convert: Convert::Nothing, lookup: around.lookup.clone() })
    }
}

/// The source of an element's own id.
fn child_id(child: &ChildFile, id: &ChildIdFile, scalar: bool) -> ChildIdDraft {
    let own = || Path::field("_id");
    let from = match (&id.from, child.shape) {
        (KeyFrom::Field(path), _) => ElementKey::Field(path.clone()),
        (KeyFrom::Index, _) => ElementKey::Index,
        (KeyFrom::Name, _) | (KeyFrom::Auto, Shape::Map) => ElementKey::Name,
        // `_id` of an element is looked for in documents only: an array of scalars has none, and is no fault.
        (KeyFrom::Auto, _) if id.rule.is_some() && scalar => ElementKey::Field(Path::whole()),
        (KeyFrom::Auto, _) if id.rule.is_some() => ElementKey::Field(own()),
        (KeyFrom::Auto, _) if scalar => ElementKey::Index,
        (KeyFrom::Auto, _) => ElementKey::FieldOrIndex(own()),
    };
    let rule = id.rule.as_ref().map(|rule| rule.value.step());
    ChildIdDraft { column: id.column.value.clone(), from, rule }
}

impl<'a> Around<'a> {
    fn copy(&self) -> Self {
        Self { id: self.id, own_rule: self.own_rule, column: self.column, lookup: self.lookup.clone() }
    }
}

/// Whether a column can hold every value of another.
fn holds(kind: &ColumnType, other: &ColumnType) -> bool {
    match (kind.base(), other.base()) {
        (ColumnType::Text | ColumnType::Varchar(None), ColumnType::Text | ColumnType::Varchar(_)) => true,
        (ColumnType::Varchar(Some(ours)), ColumnType::Varchar(Some(theirs))) => ours >= theirs,
        (ours, theirs) => ours == theirs,
    }
}

/// Whether a column can hold the names of a map.
fn takes_names(kind: &ColumnType) -> bool {
    matches!(
        kind.base(),
        ColumnType::Text
            | ColumnType::Varchar(_)
            | ColumnType::Bpchar(_)
            | ColumnType::Citext
            | ColumnType::Enum { .. }
            | ColumnType::Uuid
    )
}

/// Whether two names of a map are two values in the column: an id or a UUID has several spellings, and other texts fold or
/// lose spaces.
fn keeps_names(draft: &ColumnDraft<'_>) -> bool {
    let is_exact =
        matches!(draft.column.kind.base(), ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Enum { .. });
    is_exact && matches!(draft.convert, Convert::Nothing)
}

/// The outcome of elements with the same key. There are none where the place of an element is part of the key; below another
/// child, places repeat unless the key holds the row around, too.
fn repeats(
    child: &ChildFile,
    id: Option<&ChildIdDraft>,
    key: &[String],
    columns: &[ColumnDraft<'_>],
    level: usize,
) -> Repeats {
    if child.distinct {
        return Repeats::Collapse;
    }
    let mut by_place = false;
    let mut around = level == 1;
    for draft in columns.iter().filter(|draft| key.contains(&draft.column.name)) {
        match draft.source {
            Source::Index => by_place = true,
            Source::Name => by_place |= keeps_names(draft),
            Source::Above { up: 1, .. } => around = true,
            Source::Own => {
                let place = id.is_some_and(|id| matches!(id.from, ElementKey::Index | ElementKey::Name));
                // An id that is no rule's is made in the id of the row around.
                if place && id.is_some_and(|id| id.rule.is_none()) {
                    return Repeats::Never;
                }
                by_place |= place;
            }
            _ => {}
        }
    }
    if by_place && around { Repeats::Never } else { Repeats::Refuse }
}

/// The type that an element must have, so that the paths into it lead anywhere. An element that is itself a candidate may have
/// any type.
fn wanted(id: Option<&ChildIdDraft>, columns: &[ColumnDraft<'_>]) -> Wanted {
    let (mut document, mut array) = (false, false);
    let mut look = |path: &Path| match path.segments().first() {
        _ if path.up() > 0 => {}
        Some(Segment::Field(_)) => document = true,
        Some(Segment::Index(_)) => array = true,
        None => {}
    };
    let mut whole = false;
    for draft in columns {
        match &draft.source {
            Source::Fields(paths) => {
                whole |= paths.iter().any(|path| path.up() == 0 && path.is_whole());
                paths.iter().for_each(&mut look);
            }
            Source::Rest(..) => look(&Path::field("")),
            _ => {}
        }
    }
    if let Some(ElementKey::Field(path) | ElementKey::FieldOrIndex(path)) = id.map(|id| &id.from) {
        look(path);
    }
    match (document, array) {
        _ if whole => Wanted::Anything,
        (true, false) => Wanted::Document,
        (false, true) => Wanted::Array,
        (false, false) | (true, true) => Wanted::Anything,
    }
}
