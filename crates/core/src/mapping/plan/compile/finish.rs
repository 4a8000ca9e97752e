//! Drafts become plans and programs: every level gets its tree of paths, and every path its slot.

use super::draft::{ChildDraft, ColumnDraft, Draft};
use crate::mapping::{
    Found, Path, PlanColumn, Reads, Shape, TablePlan,
    language::path::Segment,
    plan::used_paths::joined,
    rows::{
        element_id::ChildId,
        level::{Child, Level},
        scope::{EVERY_NAME, Place},
        step::{Convert, Source, Step},
        tree::Tree,
    },
    value::{json::Omit, policy::Coercions},
};

/// Collects the tables of a collection, depth first.
#[derive(Default)]
pub(crate) struct Finisher {
    pub(crate) tables: Vec<TablePlan>,
    pub(crate) reads: Reads,
    /// The levels around the one that is being finished, the document first.
    open: Vec<Open>,
}

/// A level whose children are being finished.
struct Open {
    tree: Tree,
    /// Its path from the document, for messages.
    path: String,
    /// The same as names of fields.
    names: Vec<Option<String>>,
}

impl Finisher {
    /// A root table, found by this field of the keys.
    pub(crate) fn root(&mut self, draft: Draft<'_>, key: Option<usize>) -> Level {
        let mut paths = draft.paths(0);
        paths.push(Path::field("_id"));
        if draft.reads_id {
            self.reads.add(&[], &Path::field("_id"), true);
        }
        let found = match (key, draft.id_column()) {
            (Some(key), Some(column)) => Found::ById { key, column },
            _ => Found::Remembered,
        };
        self.level(draft, Open { tree: Tree::new(paths), path: String::new(), names: Vec::new() }, found, key)
    }

    fn level(&mut self, draft: Draft<'_>, open: Open, found: Found, root: Option<usize>) -> Level {
        let at = self.tables.len();
        let plan = plan(&draft, found, self.open.is_empty());
        let key = plan.key.clone();
        self.tables.push(plan);
        let omit = omit(&draft.taken(0));
        self.note(&draft, &open);
        self.open.push(open);
        let filter = draft.filter.into_iter().map(|condition| condition.resolve(&|path| self.place(&path))).collect();
        let key_names = draft.key;
        let steps = draft.columns.into_iter().map(|column| self.step(column, &key_names, &omit)).collect();
        let children = draft.children.into_iter().map(|child| self.child(child, root)).collect();
        let tree = self.open.pop().map_or_else(|| Tree::new(Vec::new()), |open| open.tree);
        Level { table: at, tree, filter, steps, key, children }
    }

    fn child(&mut self, child: ChildDraft<'_>, root: Option<usize>) -> Child {
        let (around, names) =
            self.open.last().map_or(("", &[][..]), |open| (open.path.as_str(), open.names.as_slice()));
        let path = below(around, child.path);
        let slot = self.open.last().and_then(|open| open.tree.slot(child.path)).unwrap_or(usize::MAX);
        self.reads.add(names, child.path, false);
        let mut names = joined(names, child.path);
        let mut inside = path.clone();
        if child.shape == Shape::Map {
            names.push(None);
            inside.push_str(EVERY_NAME);
            // The name of an entry is always read.
            self.reads.add(&names, &Path::whole(), false);
        }
        let mut paths = child.draft.paths(0);
        paths.extend(child.taken(0));
        let by_rule = child.id.as_ref().is_some_and(|id| id.rule.is_some());
        let holds_root = child.draft.columns.iter().position(|column| matches!(column.source, Source::Root));
        let found = match (root, holds_root) {
            (Some(key), Some(column)) if !child.draft.shared && !by_rule => Found::ById { key, column },
            _ => Found::Remembered,
        };
        if let Some(path) = child.key_path() {
            self.read(&names, path, self.open.len());
        }
        let open = Open { tree: Tree::new(paths), path: inside, names };
        let id = child.id.map(|id| (id.column, id.from, id.rule));
        // The path of the id is in the element, whose tree is known only here.
        let places = |key: &Path| Place {
            up: key.up(),
            slot: match key.up() {
                0 => open.tree.slot(key).unwrap_or(usize::MAX),
                up => self.around(up - 1).and_then(|open| open.tree.slot(&key.grounded())).unwrap_or(usize::MAX),
            },
            path: path.clone(),
        };
        let id = id.map(|(column, from, rule)| ChildId { column, from: from.resolve(&|path| places(&path)), rule });
        let level = self.level(child.draft, open, found, root);
        Child {
            name: child.path.to_string(),
            path,
            slot,
            shape: child.shape,
            wanted: child.wanted,
            id,
            repeats: child.repeats,
            empty_elements: child.empty_elements,
            level,
        }
    }

    fn step(&self, draft: ColumnDraft<'_>, key: &[String], omit: &Omit) -> Step {
        let place = |path: Path| self.place(&path);
        let source = match draft.source.resolve(&place) {
            Source::Rest(place, _) => Source::Rest(place, omit.clone()),
            source => source,
        };
        Step {
            column: draft.column.name.clone(),
            source,
            kind: draft.column.kind.clone(),
            not_null: draft.column.not_null || key.contains(&draft.column.name),
            convert: draft.convert.resolve(&place),
            when: draft.when.into_iter().map(|condition| condition.resolve(&place)).collect(),
            default: draft.default,
            policy: draft.policy,
        }
    }

    /// The slot of a path, as the innermost open level sees it. Every path of a draft is in its tree.
    fn place(&self, path: &Path) -> Place {
        let open = self.around(path.up());
        Place {
            up: path.up(),
            slot: open.and_then(|open| open.tree.slot(&path.grounded())).unwrap_or(usize::MAX),
            path: below(open.map_or("", |open| &open.path), &path.grounded()),
        }
    }

    fn around(&self, up: usize) -> Option<&Open> {
        self.open.len().checked_sub(1 + up).and_then(|at| self.open.get(at))
    }

    /// Notes what a level reads, its own paths and those that lead up.
    fn note(&mut self, draft: &Draft<'_>, open: &Open) {
        let level = self.open.len();
        for column in &draft.columns {
            match &column.source {
                Source::Fields(paths) => paths.iter().for_each(|path| self.read(&open.names, path, level)),
                Source::Rest(path, _) => self.read(&open.names, path, level),
                _ => {}
            }
            if let Convert::By(path, _) = &column.convert {
                self.read(&open.names, path, level);
            }
            column.when.iter().for_each(|condition| self.read(&open.names, &condition.at, level));
        }
        draft.filter.iter().for_each(|condition| self.read(&open.names, &condition.at, level));
    }

    /// Notes one path of a level that so many levels are around.
    fn read(&mut self, names: &[Option<String>], path: &Path, level: usize) {
        if path.up() == 0 {
            self.reads.add(names, path, true);
            return;
        }
        let around = level.checked_sub(path.up()).and_then(|at| self.open.get(at)).map(|open| open.names.clone());
        self.reads.add(&around.unwrap_or_default(), path, true);
    }
}

/// The text of a path below another.
fn below(around: &str, path: &Path) -> String {
    if around.is_empty() { path.to_string() } else { format!("{around}.{path}") }
}

/// The fields that the rest of a document leaves out because others take them. An array of which single elements are taken
/// stays whole, and so does a document that is taken whole.
fn omit(taken: &[Path]) -> Omit {
    let mut omit = Omit::default();
    for path in taken {
        let names: Option<Vec<&str>> = path
            .segments()
            .iter()
            .map(|segment| match segment {
                Segment::Field(name) => Some(name.as_str()),
                Segment::Index(_) => None,
            })
            .collect();
        omit.add(&names.unwrap_or_default());
    }
    omit
}

fn plan(draft: &Draft<'_>, found: Found, root: bool) -> TablePlan {
    let columns: Vec<_> = draft
        .columns
        .iter()
        .map(|draft| {
            let (param_type, oid) = match draft.lookup {
                Some(_) => ("text", 25),
                None => draft.column.kind.param(),
            };
            PlanColumn {
                name: draft.column.name.clone(),
                sql_type: draft.column.sql_type.clone(),
                param_type: param_type.to_owned(),
                param_oid: Some(oid),
                lookup: draft.lookup.clone(),
                coerced: draft.policy.coerce != Coercions::default(),
                place: draft.place.clone(),
            }
        })
        .collect();
    let key: Vec<_> =
        draft.key.iter().filter_map(|name| columns.iter().position(|column| column.name == *name)).collect();
    let is_key = |names: &[String]| names.len() == draft.key.len() && names.iter().all(|name| draft.key.contains(name));
    let constraints = std::iter::once(&draft.table.primary_key).chain(&draft.table.uniques);
    let uniques = constraints.enumerate().any(|(at, names)| !is_key(names) && (at > 0 || !names.is_empty()));
    TablePlan { table: draft.table.name.clone(), columns, key, root, found, uniques, depth: 0 }
}
