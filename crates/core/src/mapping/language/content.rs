//! The content of a mapping file without its layout, and the difference between two files.

use std::{collections::BTreeSet, fmt};

use toml::{Table, Value};

use crate::mapping::MappingFile;

/// A setting that is other in one file than in the one before it. A column or child that one of the files lacks is one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its names, from the collection on.
    pub(crate) path: Vec<String>,
    /// Its value before; `None` where the file did not have it.
    pub(crate) before: Option<Value>,
    /// Its value now.
    pub(crate) after: Option<Value>,
}

/// Settings of a collection that concern no row: what happens when it is dropped, and whether it may be empty.
const WITHOUT_ROWS: [&str; 2] = ["on_drop", "may_be_empty"];
/// Tables of a file whose entries have names of their own.
const NAMED: [&str; 3] = ["columns", "children", "variants"];

impl MappingFile {
    /// Returns a digest of the content. It is the same for files that make the same rows of the same collections for the same reasons:
    /// neither the layout counts nor the settings that concern no row.
    pub fn digest(&self) -> [u8; 16] {
        let mut content = self.content();
        if let Some(Value::Table(collections)) = content.get_mut("collections") {
            for collection in collections.iter_mut().filter_map(|(_, value)| value.as_table_mut()) {
                WITHOUT_ROWS.iter().for_each(|name| drop(collection.remove(*name)));
            }
        }
        xxhash_rust::xxh3::xxh3_128(content.to_string().as_bytes()).to_be_bytes()
    }

    /// Returns the settings of a collection that are other than in the file before, in the order of their names.
    pub fn settings_since(&self, before: &Self, collection: &str) -> Vec<Setting> {
        let mut settings = Vec::new();
        let [before, after] = [before, self].map(|file| file.content_of(collection));
        compare(&mut Vec::new(), &before, &after, &mut settings);
        settings
    }

    fn content(&self) -> Table {
        // A file that cannot be read has faults, which are reported where it is parsed.
        self.text.parse().unwrap_or_default()
    }

    fn content_of(&self, collection: &str) -> Table {
        let mut content = self.content();
        let Some(Value::Table(mut collections)) = content.remove("collections") else { return Table::new() };
        match collections.remove(collection) {
            Some(Value::Table(collection)) => collection,
            _ => Table::new(),
        }
    }
}

fn compare(path: &mut Vec<String>, before: &Table, after: &Table, settings: &mut Vec<Setting>) {
    for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        path.push(name.clone());
        let is_named = NAMED.contains(&name.as_str());
        let empty = is_named.then(|| Value::Table(Table::new()));
        match (before.get(name).or(empty.as_ref()), after.get(name).or(empty.as_ref())) {
            (Some(Value::Table(before)), Some(Value::Table(after))) => compare(path, before, after, settings),
            (before, after) if before != after => {
                settings.push(Setting { path: path.clone(), before: before.cloned(), after: after.cloned() });
            }
            _ => {}
        }
        path.pop();
    }
}

impl Setting {
    /// Returns whether it concerns no row.
    pub(crate) fn has_no_rows(&self) -> bool {
        matches!(&self.path[..], [name] if WITHOUT_ROWS.contains(&name.as_str()))
    }

    /// Returns the name of a column or child that the file does not name any more.
    pub(crate) fn gone(&self, kind: &str) -> Option<&str> {
        match &self.path[..] {
            [.., of, name] if of == kind && self.after.is_none() => Some(name),
            _ => None,
        }
    }

    /// Returns whether more columns are ignored than before, and all that were ignored still are.
    pub(crate) fn ignores_more(&self) -> bool {
        let names = |value: &Option<Value>| value.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
        let (before, after) = (names(&self.before), names(&self.after));
        self.path.last().is_some_and(|name| name == "ignore") && before.iter().all(|name| after.contains(name))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.join(".");
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {path} = {after}"),
            (Some(before), None) => write!(f, "- {path} = {before}"),
            (Some(before), Some(after)) => write!(f, "~ {path} = {after}, before {before}"),
            (None, None) => write!(f, "  {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "namespace = \"dns\"\n[collections.users]\nid = \"uuid5\"\nignore = [\"a\"]\n[collections.users.columns]\n\
                          city = \"town\"\nage = { path = \"years\", misfit = \"null\" }\n[collections.users.children.tags]\n\
                          table = \"public.tags\"\nparent = \"user_id\"\n";

    fn file(text: &str) -> MappingFile {
        MappingFile::parse(text, "m.toml").expect("a mapping file")
    }

    #[test]
    fn a_digest_follows_the_content_and_not_the_layout() {
        let digest = |text: &str| file(text).digest();
        let moved = "# Why.\n[collections.users]\nid    = \"uuid5\"\non_drop = \"ignore\"\nmay_be_empty = true\nignore = [\n  \"a\",\n]\n\
                     columns.city = \"town\"\ncolumns.age = { misfit = \"null\", path = \"years\" }\n\
                     children.tags = { parent = \"user_id\", table = \"public.tags\" }\n";
        assert_eq!(digest(&format!("namespace = \"dns\"\n{moved}")), digest(BEFORE));
        for (from, to) in [("town", "city"), ("dns", "url"), ("collections.users", "collections.user")] {
            assert_ne!(digest(&BEFORE.replace(from, to)), digest(BEFORE), "{to}");
        }
    }

    #[test]
    fn settings_are_named_with_their_values() {
        let after = BEFORE
            .replace("misfit = \"null\"", "misfit = \"round\"")
            .replace("city = \"town\"", "zip = \"code\"")
            .replace("[\"a\"]", "[\"a\", \"b\"]")
            .replace("[collections.users.children.tags]\ntable = \"public.tags\"\nparent = \"user_id\"\n", "");
        let settings = file(&after).settings_since(&file(BEFORE), "users");
        let shown: Vec<String> = settings.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        - children.tags = { parent = "user_id", table = "public.tags" }
        ~ columns.age.misfit = "round", before "null"
        - columns.city = "town"
        + columns.zip = "code"
        ~ ignore = ["a", "b"], before ["a"]
        "#);
        assert!(settings[4].ignores_more() && !settings[1].ignores_more());
        assert_eq!(settings[2].gone("columns"), Some("city"));
        assert!(file(BEFORE).settings_since(&file(&after), "users")[4].path == ["ignore"]);
        assert!(!file(BEFORE).settings_since(&file(&after), "users")[4].ignores_more());
        assert_eq!(file(&after).settings_since(&file(BEFORE), "others"), []);
    }
}
