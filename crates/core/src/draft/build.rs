//! The decisions: which table and which column each path gets.

use std::collections::BTreeMap;

use super::{
    Choices, claims,
    constraints::is_comparable,
    indexes,
    keys::{self, Key},
    model::{Child, Column, ForeignKey, Root, Rule, Source, Statement, Table},
    names::{self, Taken},
    natural, scalar,
};
use crate::{
    mapping::Path,
    profile::{Analysis, Collection, Field, Reference, singular},
};

/// Most columns of a table that come from fields; PostgreSQL takes 1,600, and no more than fit a page of 8 kB.
const MAX_COLUMNS: usize = 200;
/// An object with more fields than this, those in it included, is JSONB.
const MAX_FLATTENED: usize = 60;

/// A longer name in bytes gets no column: nobody reads a mapping with it.
const MAX_NAME: usize = 500;

/// Drafts every collection.
pub(super) fn roots(analysis: &Analysis, choices: &Choices) -> Vec<Root> {
    let mut tables = Taken::default();
    let targets: BTreeMap<&str, Target> = analysis
        .collections
        .iter()
        .map(|collection| {
            let table = tables.take(&names::of(&[&collection.name], choices.names));
            (collection.name.as_str(), Target { table, key: keys::choose(collection, choices), all: collection.all })
        })
        .collect();
    let mut builder = Builder { choices, targets, tables };
    let mut roots: Vec<Root> = analysis.collections.iter().map(|collection| builder.root(collection)).collect();
    natural::foreign_keys(&mut roots, &choices.schema);
    roots.iter_mut().for_each(|root| indexes::of_foreign_keys(root, &choices.schema));
    roots
}

/// The root table of a collection, as references see it.
pub(super) struct Target {
    pub(super) table: String,
    pub(super) key: Key,
    pub(super) all: bool,
}

/// The column of a root table that takes the id.
pub(super) const ID: &str = "id";

pub(super) struct Builder<'a> {
    pub(super) choices: &'a Choices,
    pub(super) targets: BTreeMap<&'a str, Target>,
    tables: Taken,
}

/// A table that is being drafted.
pub(super) struct Body<'a> {
    pub(super) collection: &'a Collection,
    table: Table,
    taken: Taken,
    children: Vec<Child>,
    /// The type of its single key column, which children take; `None` for a table that has no children.
    key: Option<(String, &'static str)>,
    /// Whether its rows are elements of an array.
    pub(super) is_child: bool,
    /// The path from the document, as MongoDB's indexes have it.
    dotted: String,
    /// Fields that only the column for all the rest can take.
    unnamed: bool,
}

/// A place in a body: the fields around, how deep they are nested, and whether one of them may be missing.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) names: Vec<&'a str>,
    depth: usize,
    pub(super) optional: bool,
}

impl<'a> Builder<'a> {
    fn root(&mut self, collection: &'a Collection) -> Root {
        let Some(Target { table, key, .. }) = self.targets.get(collection.name.as_str()) else {
            unreachable!("every collection is a target")
        };
        let (table, key) = (table.clone(), key.clone());
        let mut taken = Taken::columns();
        let id = taken.take(ID);
        let source = if key.rule.is_some() { Source::Rule } else { Source::Path("_id".to_owned()) };
        let mut column = Column::new(&id, key.kind, source, "_id".to_owned());
        column.not_null = Rule::Demanded(String::new());
        column.comparable = true;
        column.remarks.extend(key.remark.clone());
        // A key that no rule makes may have any form: nothing refers to it.
        let children = key.rule.is_some().then(|| (id.clone(), key.kind));
        let mut body = Body::new(collection, table, taken, children);
        body.table.columns.push(column);
        body.table.primary_key = vec![id];
        let fields: Vec<&Field> = collection.fields.iter().filter(|field| field.name != "_id").collect();
        self.fields(&mut body, &fields, &Place { names: Vec::new(), depth: 0, optional: false });
        body.unnamed |= collection.cut;
        self.extra(&mut body);
        if collection.seen == 0 {
            body.table.remarks.push("the collection is empty: only the key is known".to_owned());
        }
        body.table.remarks.extend(collection.unseen_in_words());
        let kinds = collection.kinds.as_ref();
        body.table
            .remarks
            .extend(kinds.map(|kinds| format!("{kinds}; `split` in the mapping gives each kind its own table")));
        let Body { table, children, .. } = body;
        let mut root = Root { collection: collection.name.clone(), key, table, children };
        indexes::carry(&mut root, &collection.indexes, &self.choices.schema);
        root
    }

    fn fields(&mut self, body: &mut Body<'a>, fields: &[&'a Field], place: &Place<'a>) {
        // Those that most objects have come first, where there are too many.
        let mut chosen: Vec<&&Field> = fields.iter().collect();
        let room = MAX_COLUMNS.saturating_sub(body.table.columns.len());
        if chosen.len() > room {
            chosen.sort_by_key(|field| std::cmp::Reverse(field.present));
            chosen.truncate(room);
            chosen.sort_by(|a, b| a.name.cmp(&b.name));
            body.unnamed = true;
        }
        for field in chosen {
            self.field(body, field, place);
        }
    }

    fn field(&mut self, body: &mut Body<'a>, field: &'a Field, around: &Place<'a>) {
        // No path can name the empty name.
        if field.name.is_empty() || field.name.len() > MAX_NAME {
            body.unnamed = true;
            return;
        }
        let mut names = around.names.clone();
        names.push(&field.name);
        let place = Place { names, depth: around.depth + 1, optional: around.optional || field.is_optional() };
        let is_deep = place.depth >= self.choices.jsonb_depth;
        match field.kinds()[..] {
            ["object"] if field.map => self.jsonb(body, field, &place, "an object used as a map: its keys are data"),
            ["object"] if is_deep => self.jsonb(body, field, &place, "nested deeper than the chosen depth"),
            ["object"] if size(field) > MAX_FLATTENED => {
                self.jsonb(body, field, &place, "an object of very many fields")
            }
            ["object"] if field.fields.is_empty() => self.jsonb(body, field, &place, "its objects are empty"),
            ["object"] => self.fields(body, &field.fields.iter().collect::<Vec<_>>(), &place),
            ["array"] => self.array(body, field, &place, is_deep),
            ["object" | "array", _, ..] | [_, "object", ..] => {
                let what = format!("objects, arrays or scalars: {}", field.kinds().join(", "));
                self.jsonb(body, field, &place, &what);
            }
            _ => self.scalar(body, field, &place),
        }
    }

    fn scalar(&mut self, body: &mut Body<'a>, field: &'a Field, place: &Place<'a>) {
        let path = Path::fields(&place.names).to_string();
        let (kind, source, mut remarks) = match self.reference(field) {
            Some((reference, target)) => {
                (target.key.kind, Source::Reference(path, reference.collection.clone()), Vec::new())
            }
            None => {
                let chosen = scalar::choose(field, body.collection.all);
                (chosen.kind, Source::Path(path), chosen.remark.into_iter().collect())
            }
        };
        let natural = self.natural(body.collection.all, field);
        match field.reference.as_ref().filter(|_| !matches!(source, Source::Reference(..))) {
            Some(unique) if natural.is_some() => remarks.push(format!("values of {}", unique.to())),
            Some(unused) => remarks.push(format!("ids of {}, but not all of its values can be", unused.collection)),
            None => {}
        }
        remarks.extend(claims::remarks(field, kind));
        let name = match &source {
            Source::Reference(..) => body.id_name(place, self.choices),
            _ => body.name(place, self.choices),
        };
        let mut column = Column::new(&name, kind, source, body.dotted(place));
        column.remarks = remarks;
        column.default = claims::default(field, kind);
        column.natural = natural;
        column.not_null = self.not_null(body, field, place);
        // The ids of a collection are no list of kinds.
        column.check = if kind == "text" && field.reference.is_none() { self.check(body, field) } else { None };
        column.comparable = is_comparable(field, kind);
        column.longest = field.longest;
        let foreign = self.foreign_key(body, field, &column);
        body.table.foreign_keys.extend(foreign);
        body.table.columns.push(column);
    }

    fn jsonb(&mut self, body: &mut Body<'a>, field: &'a Field, place: &Place<'a>, why: &str) {
        let name = body.name(place, self.choices);
        let source = Source::Path(Path::fields(&place.names).to_string());
        let mut column = Column::new(&name, "jsonb", source, body.dotted(place));
        column.remarks.push(why.to_owned());
        column.remarks.extend(claims::remarks(field, "jsonb"));
        // Null of a document is the JSON null there, so only a missing field has no value.
        column.not_null = match place.optional && field.present < field.of {
            true => Rule::Broken,
            false => self.not_null(body, field, place),
        };
        body.table.columns.push(column);
    }

    fn array(&mut self, body: &mut Body<'a>, field: &'a Field, place: &Place<'a>, is_deep: bool) {
        let Some(elements) = field.elements.as_deref() else {
            return self.jsonb(body, field, place, "its arrays are empty");
        };
        let has_null = elements.count(&["null", "undefined"]) > 0;
        match elements.kinds()[..] {
            ["object"] if elements.map => self.jsonb(body, field, place, "an array of maps"),
            ["object"] if is_deep => self.jsonb(body, field, place, "nested deeper than the chosen depth"),
            ["object"] if has_null => self.jsonb(body, field, place, "an array of objects and nulls"),
            ["object"] if size(elements) > MAX_FLATTENED => {
                self.jsonb(body, field, place, "an array of objects of very many fields");
            }
            ["object"] if body.key.is_none() || elements.fields.is_empty() => {
                self.jsonb(body, field, place, "an array of objects");
            }
            ["object"] => self.child(body, elements, place, "an array of objects"),
            [] => self.jsonb(body, field, place, "an array of nulls"),
            ref kinds if kinds.contains(&"array") || kinds.contains(&"object") => {
                self.jsonb(body, field, place, &format!("an array of {}", kinds.join(", ")));
            }
            _ if body.key.is_some() && !is_deep && self.reference(elements).is_some() => {
                self.child(body, elements, place, "an array of ids: a junction table");
            }
            _ => self.list(body, field, elements, place),
        }
    }

    /// An array of scalars.
    fn list(&mut self, body: &mut Body<'a>, field: &'a Field, elements: &'a Field, place: &Place<'a>) {
        let path = Path::fields(&place.names).to_string();
        let (kind, source, remark) = match self.reference(elements) {
            Some((reference, target)) => (target.key.kind, Source::Reference(path, reference.collection.clone()), None),
            None => {
                let chosen = scalar::choose(elements, body.collection.all);
                (chosen.kind, Source::Path(path), chosen.remark)
            }
        };
        if kind == "jsonb" {
            let why = remark.unwrap_or_else(|| "ids of several types".to_owned());
            return self.jsonb(body, field, place, &format!("its elements: {why}"));
        }
        let name = body.name(place, self.choices);
        let mut column = Column::new(&name, format!("{kind}[]"), source, body.dotted(place));
        column.remarks.extend(remark);
        let unique = elements.reference.as_ref().filter(|reference| reference.field.is_some());
        column.remarks.extend(unique.map(|unique| format!("values of {}", unique.to())));
        column.remarks.extend(claims::remarks(field, &column.kind));
        column.not_null = self.not_null(body, field, place);
        body.table.columns.push(column);
    }

    /// An array that gets a table of its own, with a row for each element.
    fn child(&mut self, around: &mut Body<'a>, elements: &'a Field, place: &Place<'a>, why: &str) {
        let Some((key, kind)) = around.key.clone() else { return };
        let mut words = vec![around.table.name.as_str()];
        words.extend(&place.names);
        let name = self.tables.take(&names::of(&words, self.choices.names));
        let mut taken = Taken::columns();
        let own = taken.take(ID);
        let parent = taken.take(&format!("{}_{ID}", singular(&around.table.name)));
        let order = taken.take("position");
        let mut body = Body::new(around.collection, name, taken, Some((own.clone(), "uuid")));
        body.is_child = true;
        body.dotted = around.dotted(place);
        body.table.remarks.push(format!("{}: {why}", names::on_one_line(&body.dotted)));
        for (name, kind) in [(&parent, kind), (&order, "integer")] {
            let mut column = Column::new(name, kind, Source::Rule, String::new());
            column.not_null = Rule::Demanded(String::new());
            body.table.columns.push(column);
        }
        body.table.foreign_keys.push(ForeignKey {
            column: parent.clone(),
            table: around.table.name.clone(),
            key,
            cascades: true,
            instead: None,
        });
        if elements.kinds() == ["object"] {
            let inner = Place { names: Vec::new(), depth: place.depth, optional: false };
            self.fields(&mut body, &elements.fields.iter().collect::<Vec<_>>(), &inner);
            self.extra(&mut body);
        } else if let Some((reference, target)) = self.reference(elements) {
            let wanted = format!("{}_{ID}", singular(&target.table));
            let source = Source::Reference("$".to_owned(), reference.collection.clone());
            let mut column = Column::new(&body.taken.take(&wanted), target.key.kind, source, body.dotted.clone());
            column.remarks = claims::remarks(elements, target.key.kind);
            column.not_null = self.not_null(
                &body,
                elements,
                &Place { names: Vec::new(), depth: 0, optional: elements.is_optional() },
            );
            let foreign = self.foreign_key(&body, elements, &column);
            body.table.foreign_keys.extend(foreign);
            body.table.columns.push(column);
        }
        let Body { mut table, children, .. } = body;
        // Rows below need an id; the place of an element is one, as long as there are none.
        let id = (!children.is_empty()).then_some(own);
        table.primary_key = match &id {
            Some(id) => {
                let mut column = Column::new(id, "uuid", Source::Rule, String::new());
                column.not_null = Rule::Demanded(String::new());
                column.remarks.push("made of the document's id and the place of the element".to_owned());
                table.columns.insert(0, column);
                let index = format!(
                    "CREATE INDEX ON {} ({})",
                    indexes::qualified(&self.choices.schema, &table.name),
                    names::quoted(&parent)
                );
                table.indexes.push(Statement::Sql(index));
                vec![id.clone()]
            }
            None => vec![parent.clone(), order.clone()],
        };
        let path = Path::fields(&place.names).to_string();
        around.children.push(Child { path, table, parent, order, id, children });
    }

    /// The column for the fields that nothing else reads.
    fn extra(&self, body: &mut Body<'a>) {
        if self.choices.extra || body.unnamed {
            let name = body.taken.take("extra");
            let mut column = Column::new(&name, "jsonb", Source::Rest, String::new());
            column.remarks.push("fields that no other column reads, such as those that come later".to_owned());
            body.table.columns.push(column);
        }
    }

    /// The reference of a field, if all of its values can be ids of that collection.
    pub(super) fn reference<'f>(&self, field: &'f Field) -> Option<(&'f Reference, &Target)> {
        let reference = field.reference.as_ref().filter(|reference| reference.field.is_none())?;
        let target = self.targets.get(reference.collection.as_str())?;
        field.refers.contains(&target.key.form?).then_some((reference, target))
    }
}

impl<'a> Body<'a> {
    fn new(collection: &'a Collection, name: String, taken: Taken, key: Option<(String, &'static str)>) -> Self {
        let table = Table {
            name,
            remarks: Vec::new(),
            columns: Vec::new(),
            primary_key: Vec::new(),
            foreign_keys: Vec::new(),
            indexes: Vec::new(),
        };
        Self {
            collection,
            table,
            taken,
            children: Vec::new(),
            key,
            is_child: false,
            dotted: String::new(),
            unnamed: false,
        }
    }

    fn name(&mut self, place: &Place<'_>, choices: &Choices) -> String {
        match place.names[..] {
            // `id` would read as the id of the row.
            ["_id"] if choices.names == super::Naming::Snake => self.taken.take("element_id"),
            _ => self.taken.take(&names::of(&place.names, choices.names)),
        }
    }

    /// The name of a column that takes an id: `plan_id` for `plan`.
    fn id_name(&mut self, place: &Place<'_>, choices: &Choices) -> String {
        let name = names::of(&place.names, choices.names);
        let is_snake = choices.names == super::Naming::Snake;
        let ends_so = name == ID || name.ends_with("_id");
        self.taken.take(&if is_snake && !ends_so { format!("{name}_{ID}") } else { name })
    }

    fn dotted(&self, place: &Place<'_>) -> String {
        let below = place.names.join(".");
        if self.dotted.is_empty() { below } else { format!("{}.{below}", self.dotted) }
    }
}

impl Column {
    fn new(name: &str, kind: impl Into<String>, source: Source, dotted: String) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.into(),
            source,
            not_null: Rule::Broken,
            check: None,
            remarks: Vec::new(),
            dotted,
            comparable: false,
            longest: 0,
            default: None,
            natural: None,
        }
    }
}

/// Fields of an object, those in it included.
fn size(field: &Field) -> usize {
    field.fields.iter().map(|field| 1 + size(field)).sum()
}
