//! The mapping file.

use std::fmt::Write;

use super::{
    Choices, ObjectIds,
    model::{Child, Column, Root, Source, Table},
    names::on_one_line,
};
use crate::{mapping::target::TableName, profile::Analysis};

/// Writes the file.
pub(super) fn write(analysis: &Analysis, choices: &Choices, roots: &[Root]) -> String {
    let database = on_one_line(&analysis.database);
    let ids = match choices.ids {
        ObjectIds::Uuid5 => "version-5 UUIDs in this namespace, which must never change",
        ObjectIds::Ordered => {
            "UUIDs that begin with their bytes; ids of elements are made in this namespace, which must never change"
        }
        ObjectIds::Padded => {
            "UUIDs that end with their bytes; ids of elements are made in this namespace, which must never change"
        }
        ObjectIds::Md5 => "UUIDs of their MD5; ids of elements are made in this namespace, which must never change",
        ObjectIds::Text => "texts of 24 digits; ids of elements are made in this namespace, which must never change",
        ObjectIds::Native => "their 12 bytes; ids of elements are made in this namespace, which must never change",
    };
    let mut file = format!(
        "# The mapping of the MongoDB database {database}, drafted by `driftless init` from an analysis of its documents.\n\
         # A column that is not named here takes the field of the same name. docs/mapping.md of driftless is the manual.\n\n\
         # ObjectIds become {ids}.\n\
         namespace = \"dns\"\n"
    );
    for root in roots {
        root_table(&mut file, choices, root);
    }
    file
}

fn root_table(file: &mut String, choices: &Choices, root: &Root) {
    let place = format!("collections.{}", key(&root.collection));
    let _ = write!(file, "\n[{place}]\ntable = {}\n", table(choices, &root.table));
    if let Some(rule) = root.key.rule {
        let why = root.key.remark.as_ref().map(|why| format!("  # {}", on_one_line(why))).unwrap_or_default();
        let _ = writeln!(file, "id = {rule}{why}");
    }
    root.table.remarks.iter().for_each(|remark| {
        let _ = writeln!(file, "# {}", on_one_line(remark));
    });
    columns(file, &place, &root.table);
    children(file, choices, &place, &root.children);
}

fn children(file: &mut String, choices: &Choices, around: &str, children: &[Child]) {
    for child in children {
        let place = format!("{around}.children.{}", key(&child.table.name));
        let _ = writeln!(file);
        child.table.remarks.iter().for_each(|remark| {
            let _ = writeln!(file, "# {}", on_one_line(remark));
        });
        let _ = write!(
            file,
            "[{place}]\npath = {}\ntable = {}\nparent = {}\norder = {}\n",
            text(&child.path),
            table(choices, &child.table),
            text(&child.parent),
            text(&child.order)
        );
        if let Some(id) = &child.id {
            let _ = writeln!(
                file,
                "# The index is unique whatever the elements hold. A field of theirs that is unique keeps the id when elements move.\n\
                 id = {{ column = {}, from = \"index\" }}",
                text(id)
            );
        }
        columns(file, &place, &child.table);
        self::children(file, choices, &place, &child.children);
    }
}

fn columns(file: &mut String, place: &str, table: &Table) {
    let lines: Vec<String> = table.columns.iter().filter_map(column).collect();
    if !lines.is_empty() {
        let _ = write!(file, "\n[{place}.columns]\n{}\n", lines.join("\n"));
    }
}

fn column(column: &Column) -> Option<String> {
    let source = match &column.source {
        Source::Rule => return None,
        Source::Path(path) => text(path),
        Source::Reference(path, collection) => {
            format!("{{ path = {}, reference = {} }}", text(path), text(collection))
        }
        Source::Rest => "{ rest = true }".to_owned(),
    };
    let remarks: Vec<String> = column.remarks.iter().map(|remark| on_one_line(remark)).collect();
    let remarks = if remarks.is_empty() { String::new() } else { format!("  # {}", remarks.join("; ")) };
    Some(format!("{} = {source}{remarks}", key(&column.name)))
}

fn table(choices: &Choices, table: &Table) -> String {
    text(&TableName::new(&choices.schema, &table.name).label())
}

/// A text of TOML.
pub(crate) fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A key of TOML, quoted unless it is bare.
pub(crate) fn key(name: &str) -> String {
    let is_bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_bare { name.to_owned() } else { text(name) }
}
