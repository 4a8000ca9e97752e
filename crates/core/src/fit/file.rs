//! The mapping file, and the lines that each collection has in it.

use std::{collections::BTreeMap, fmt::Write, ops::Range};

use super::model::{Child, From, Level, Place, Root, Shape};
use crate::{
    draft::{key, on_one_line, text},
    mapping::target::TableName,
};

/// A mapping file, and where each collection is in it.
pub(super) struct Written {
    pub(super) text: String,
    /// Lines from 1.
    pub(super) lines: Vec<(String, Range<u32>)>,
}

/// The parts of a file.
pub(super) struct Parts<'p> {
    pub(super) database: &'p str,
    pub(super) ids: &'p str,
    pub(super) roots: &'p [Root],
    /// Collections that are comments, each with the reason.
    pub(super) refused: &'p BTreeMap<String, String>,
    /// Remarks that concern no single column.
    pub(super) notes: &'p [String],
    /// Tables that nothing writes.
    pub(super) unwritten: &'p [TableName],
    pub(super) rule: &'p str,
}

/// Writes the file.
pub(super) fn write(parts: &Parts<'_>) -> Written {
    let mut file = format!(
        "# The mapping of the MongoDB database {} to tables that exist, made by `driftless init --target` from the documents and the\n\
         # target's catalog. A line stands where names, types, keys and values agree; what is not sure is a comment with the reason.\n\
         # docs/mapping.md of driftless is the manual.\n\n\
         # ObjectIds in columns of UUIDs: {}. The namespace must never change.\n\
         namespace = \"dns\"\n",
        on_one_line(parts.database),
        parts.ids
    );
    let mut lines = Vec::new();
    for root in parts.roots {
        let from = count(&file);
        let mut own = String::new();
        self::root(&mut own, root, parts.rule);
        match parts.refused.get(&root.collection) {
            None => file.push_str(&own),
            Some(why) => {
                let _ = write!(file, "\n# {}: not mapped: {}\n", on_one_line(&root.collection), on_one_line(why));
                own.lines().filter(|line| !line.is_empty()).for_each(|line| {
                    let _ = writeln!(file, "# {}", line.trim_start_matches("# "));
                });
            }
        }
        lines.push((root.collection.clone(), from..count(&file)));
    }
    if !parts.notes.is_empty() {
        file.push_str("\n# Left open:\n");
        parts.notes.iter().for_each(|note| {
            let _ = writeln!(file, "# - {}", on_one_line(note));
        });
    }
    if !parts.unwritten.is_empty() {
        file.push_str("\n# Tables that nothing here writes:\n");
        parts.unwritten.iter().for_each(|table| {
            let _ = writeln!(file, "# - {}", on_one_line(&table.label()));
        });
    }
    Written { text: file, lines }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.lines().count() + 1).unwrap_or(u32::MAX)
}

fn root(file: &mut String, root: &Root, rule: &str) {
    let place = format!("collections.{}", key(&root.collection));
    let _ = writeln!(file, "\n[{place}]");
    if let Place::One(level) = &root.place {
        table(file, level);
    }
    if let Some(rule) = &root.rule {
        let _ = writeln!(file, "id = {rule}");
    }
    if let Place::Split { by, .. } = &root.place {
        let _ = writeln!(file, "split = {{ by = {} }}", text(by));
    }
    comments(file, &root.open);
    match &root.place {
        Place::One(level) => body(file, &place, level, rule),
        Place::Split { variants, .. } => {
            for variant in variants {
                let place = format!("{place}.variants.{}", key(&variant.name));
                let _ = writeln!(file, "\n[{place}]");
                if variant.is != [variant.name.clone()] || variant.name == "missing" {
                    let values: Vec<String> = variant.is.iter().map(|value| text(value)).collect();
                    let _ = writeln!(file, "is = [{}]", values.join(", "));
                }
                table(file, &variant.level);
                body(file, &place, &variant.level, rule);
            }
        }
    }
}

fn table(file: &mut String, level: &Level) {
    let _ = writeln!(file, "table = {}", text(&level.table.label()));
    let list = |names: &[String]| names.iter().map(|name| text(name)).collect::<Vec<_>>().join(", ");
    if !level.key.is_empty() {
        let _ = writeln!(file, "key = [{}]", list(&level.key));
    }
    if level.shared {
        file.push_str("shared = true\n");
    }
    if !level.ignore.is_empty() {
        let _ = writeln!(file, "ignore = [{}]", list(&level.ignore));
    }
}

fn comments(file: &mut String, comments: &[String]) {
    comments.iter().for_each(|comment| {
        let _ = writeln!(file, "# {}", on_one_line(comment));
    });
}

fn body(file: &mut String, place: &str, level: &Level, rule: &str) {
    comments(file, &level.open);
    if !level.lines.is_empty() {
        let _ = writeln!(file, "\n[{place}.columns]");
    }
    for line in &level.lines {
        let remarks: Vec<String> = line.remarks.iter().map(|remark| on_one_line(remark)).collect();
        let remarks = if remarks.is_empty() { String::new() } else { format!("  # {}", remarks.join("; ")) };
        let _ = writeln!(file, "{} = {}{remarks}", key(&line.column), line.source);
    }
    level.children.iter().for_each(|child| self::child(file, place, child, rule));
}

fn child(file: &mut String, around: &str, child: &Child, rule: &str) {
    let place = format!("{around}.children.{}", key(&child.name));
    let _ = writeln!(file, "\n[{place}]");
    if child.path != child.name {
        let _ = writeln!(file, "path = {}", text(&child.path));
    }
    table(file, &child.level);
    match child.shape {
        Shape::Array => {}
        Shape::Document => file.push_str("shape = \"document\"\n"),
        Shape::Map => file.push_str("shape = \"map\"\n"),
    }
    let roles =
        [("parent", &child.parent), ("root", &child.root), ("order", &child.order), ("map_key", &child.map_key)];
    for (role, column) in roles {
        if let Some(column) = column {
            let _ = writeln!(file, "{role} = {}", text(column));
        }
    }
    if let Some((column, from)) = &child.id {
        let column = text(column);
        let id = match (from, child.by_rule) {
            (_, true) => format!(
                "{{ column = {column}, from = \"_id\", rule = {} }}  # other rows name it by its _id alone",
                text(rule)
            ),
            (From::Own, _) => column,
            (From::Index, _) => format!("{{ column = {column}, from = \"index\" }}"),
            (From::Field(path), _) => format!("{{ column = {column}, from = {} }}", text(path)),
        };
        let _ = writeln!(file, "id = {id}");
    }
    if child.distinct {
        file.push_str("distinct = true  # a value that comes twice is one row\n");
    }
    body(file, &place, &child.level, rule);
}
