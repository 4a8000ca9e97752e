//! Reads the TOML of a mapping file and collects every fault on the way.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::fault::each_cause_once;
use crate::mapping::{CollectionFile, Fault, MappingFile};

mod collection;
mod column;
mod condition;
mod id;
mod value;

type Node<'t> = Spanned<DeValue<'t>>;
type Key<'t> = Spanned<std::borrow::Cow<'t, str>>;

impl MappingFile {
    /// Reads a mapping file; `name` is what messages call it.
    ///
    /// # Errors
    /// Every fault of the file, in its order: syntax alone when that is broken, else wrong names, types and values.
    pub fn parse(text: &str, name: &str) -> Result<Self, Vec<Fault>> {
        let mut reader = Parser { name, text, faults: Vec::new(), without_namespace: Vec::new() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let start = error.span().map_or(0, |span| span.start);
            reader.fault(start, error.message().to_owned(), "this is not valid TOML");
        }
        let file = if errors.is_empty() { reader.root(table.get_ref()) } else { Vec::new() };
        let without_namespace = std::mem::take(&mut reader.without_namespace);
        reader.faults.extend(each_cause_once(without_namespace));
        if reader.faults.is_empty() {
            return Ok(Self { name: name.to_owned(), collections: file });
        }
        let mut faults = reader.faults;
        faults.sort_by(|a, b| a.location.cmp(&b.location));
        Err(faults)
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
    fn root(&mut self, root: &DeTable<'_>) -> Vec<CollectionFile> {
        self.unknown(root, &["namespace", "collections"]);
        let namespace = root.get("namespace").and_then(|node| self.namespace(node));
        let Some(node) = root.get("collections") else {
            self.fault(0, "no collections are mapped", "add a table [collections.<name>] for each");
            return Vec::new();
        };
        let Some(table) = self.table(node, "`collections`") else { return Vec::new() };
        table.iter().filter_map(|(key, node)| self.collection(key, node, namespace)).collect()
    }
}

#[cfg(test)]
mod tests;
