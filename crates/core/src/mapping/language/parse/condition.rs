//! Conditions: `{ path = "kind", is = "a" }`.

use toml::de::DeTable;

use super::{Node, Parser};
use crate::mapping::{ConditionFile, TestFile};

impl Parser<'_> {
    /// The conditions under a key: one, or a list of which all must hold.
    pub(crate) fn conditions(&mut self, table: &DeTable<'_>, key: &str) -> Vec<ConditionFile> {
        table.get(key).map(|node| self.one_or_more(node, Self::condition)).unwrap_or_default()
    }

    fn condition(&mut self, node: &Node<'_>) -> Option<ConditionFile> {
        let table = self.table(node, "a condition")?;
        self.unknown(table, &["path", "is", "not", "exists", "type"]);
        let path = self.required(table, node.span().start, "path").and_then(|node| self.path_node(node));
        let tests = ["is", "not", "exists", "type"].iter().filter(|key| table.contains_key(**key)).count();
        if tests != 1 {
            let what = if tests == 0 { "this condition says nothing" } else { "this condition says several things" };
            self.fault(
                node.span().start,
                what,
                "use exactly one of `is`, `not`, `exists` and `type`; write a list for several",
            );
            return None;
        }
        let test = if let Some(node) = table.get("is") {
            TestFile::Is(self.one_or_more(node, Self::literal))
        } else if let Some(node) = table.get("not") {
            TestFile::Not(self.one_or_more(node, Self::literal))
        } else if table.contains_key("type") {
            TestFile::Type(self.types(table, "type")?.value)
        } else {
            TestFile::Exists(self.boolean(table.get("exists")?)?)
        };
        Some(ConditionFile { path: path?, test })
    }
}
