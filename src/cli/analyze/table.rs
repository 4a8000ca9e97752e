//! The analysis as tables on a terminal.

use bytesize::ByteSize;

use crate::{
    cli::print,
    profile::{Analysis, Collection, Field, notes, share},
};

/// Most characters of a path that are shown.
const SHOWN: usize = 100;

/// Prints an overview, and the paths of each collection.
pub(super) fn print(analysis: &Analysis) {
    let mut overview = print::table(["collection", "documents", "bytes", "read", "largest", "indexes", "validator"]);
    for collection in &analysis.collections {
        overview.add_row([
            collection.name.clone(),
            collection.documents.to_string(),
            ByteSize(collection.bytes).to_string(),
            if collection.all { "all".to_owned() } else { collection.seen.to_string() },
            ByteSize(collection.largest).to_string(),
            collection.indexes.len().to_string(),
            match &collection.validator {
                None => "",
                Some(validator) if validator.enforced => "enforced",
                Some(_) => "not enforced",
            }
            .to_owned(),
        ]);
    }
    print::line(overview);
    analysis.collections.iter().for_each(paths);
}

fn paths(collection: &Collection) {
    print::line(format!("\n{}", collection.name));
    let mut table = print::table(["path", "present", "types", "notes"]);
    for field in &collection.fields {
        field.each(&mut |path, field| {
            table.add_row([shown(path.to_string()), share(field), types(field), notes(field).join("; ")]);
        });
    }
    if !collection.fields.is_empty() {
        print::line(table);
    }
    if let Some(kinds) = &collection.kinds {
        print::line(kinds);
    }
    for index in &collection.indexes {
        let keys: Vec<String> = index.keys.iter().map(|(path, kind)| format!("{path}: {kind}")).collect();
        let unique = if index.unique { "unique " } else { "" };
        print::line(format!("{unique}index {} on {}", index.name, keys.join(", ")));
    }
    collection.unseen_in_words().for_each(print::line);
    if collection.cut {
        print::line("it has more paths than are counted");
    }
}

fn shown(path: String) -> String {
    match path.char_indices().nth(SHOWN) {
        None => path,
        Some((end, _)) => format!("{} …", &path[..end]),
    }
}

/// The types, the most frequent first; with their numbers where there are several.
fn types(field: &Field) -> String {
    let mut types: Vec<_> = field.types.iter().collect();
    types.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    match &types[..] {
        [(name, _)] => (*name).clone(),
        types => types.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "),
    }
}
