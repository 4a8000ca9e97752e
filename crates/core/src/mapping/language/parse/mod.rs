//! Reads the TOML of a mapping file and collects every fault on the way.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use self::headers::Headers;
use super::fault::each_cause_once;
use crate::mapping::{Fault, MappingFile};

mod collection;
mod column;
mod condition;
mod headers;
mod id;
mod value;

type Node<'t> = Spanned<DeValue<'t>>;
type Key<'t> = Spanned<std::borrow::Cow<'t, str>>;

impl MappingFile {
    /// Reads a mapping file; `name` is what messages call it.
    ///
    /// # Errors
    /// Every fault of the file, in its order.
    pub fn parse(text: &str, name: &str) -> Result<Self, Vec<Fault>> {
        let (file, faults) = Self::parse_partly(text, name);
        if faults.is_empty() { Ok(file) } else { Err(faults) }
    }

    /// Reads a mapping file as far as it can be read, and returns every fault of it in its order. Where TOML itself is broken, the
    /// rest of that collection is not judged.
    pub fn parse_partly(text: &str, name: &str) -> (Self, Vec<Fault>) {
        let mut file = Self {
            name: name.to_owned(),
            text: text.to_owned(),
            collections: Vec::new(),
            doubtful: Vec::new(),
            unread: Vec::new(),
        };
        let mut reader = Parser { name, text, faults: Vec::new(), without_namespace: Vec::new() };
        let (table, errors) = DeTable::parse_recoverable(text);
        let headers = Headers::new(text);
        let starts = errors.iter().map(|error| error.span().map_or(0, |span| span.start));
        // A broken line above all collections may concern each of them.
        if let Some(broken) = starts.map(|start| headers.collection_at(start)).collect::<Option<Vec<_>>>() {
            reader.root(table.get_ref(), &broken, &mut file);
            let without_namespace = std::mem::take(&mut reader.without_namespace);
            reader.faults.extend(each_cause_once(without_namespace));
        }
        for error in &errors {
            let start = error.span().map_or(0, |span| span.start);
            reader.fault(start, error.message().to_owned(), "this is not valid TOML");
        }
        let mut faults = reader.faults;
        faults.sort_by(|a, b| a.location.cmp(&b.location));
        let read: Vec<&str> = file.collections.iter().chain(&file.doubtful).map(|one| one.name()).collect();
        file.unread = headers.names().filter(|name| !read.contains(name)).map(str::to_owned).collect();
        file.unread.dedup();
        (file, faults)
    }
}

struct Parser<'t> {
    name: &'t str,
    text: &'t str,
    faults: Vec<Fault>,
    /// Ids that need a namespace: all have one cause.
    without_namespace: Vec<Fault>,
}

impl Parser<'_> {
    /// Reads the file; of `broken` collections, and beside them, other faults would only follow from the broken lines.
    fn root(&mut self, root: &DeTable<'_>, broken: &[&str], file: &mut MappingFile) {
        if broken.is_empty() {
            self.unknown(root, &["namespace", "collections"]);
        }
        let namespace = root.get("namespace").and_then(|node| self.namespace(node));
        let Some(node) = root.get("collections") else {
            self.fault(0, "no collections are mapped", "add a table [collections.<name>] for each");
            return;
        };
        let Some(table) = self.table(node, "`collections`") else { return };
        for (key, node) in table.iter() {
            let before = (self.faults.len(), self.without_namespace.len());
            let collection = self.collection(key, node, namespace);
            let is_broken = broken.contains(&key.get_ref().as_ref());
            let is_sound = !is_broken && before == (self.faults.len(), self.without_namespace.len());
            if is_broken {
                self.faults.truncate(before.0);
                self.without_namespace.truncate(before.1);
            }
            if is_sound {
                file.collections.extend(collection);
            } else {
                file.doubtful.extend(collection);
            }
        }
    }
}

#[cfg(test)]
mod tests;
