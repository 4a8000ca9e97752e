//! Columns: the source of the value, and the policies for one that does not fit.

use toml::de::{DeTable, DeValue};
use uuid::Uuid;

use super::{Key, Node, Parser};
use crate::mapping::{At, BsonTypes, Coerce, ColumnFile, EmptyElements, Epoch, Misfit, PolicyFile, ReferenceFile};

const SOURCES: [&str; 8] = ["path", "constant", "rest", "default", "reference", "id", "when", "translate"];
const POLICIES: [&str; 11] = [
    "type",
    "trim",
    "empty",
    "null_values",
    "strip_prefix",
    "strip_suffix",
    "empty_elements",
    "fallback",
    "coerce",
    "epoch",
    "misfit",
];

/// Keys that contradict each other: the others have no effect beside the first. Beside the first two, no policy has an effect.
const CONTRADICTIONS: [(&str, &[&str], &[&str]); 3] = [
    ("constant", &["path", "rest", "default", "reference", "id", "translate"], &POLICIES),
    ("rest", &["path", "reference", "id", "translate"], &POLICIES),
    ("reference", &["id", "translate", "fallback", "coerce", "epoch"], &[]),
];

impl Parser<'_> {
    pub(crate) fn columns(&mut self, table: &DeTable<'_>, namespace: Option<Uuid>) -> Vec<ColumnFile> {
        let Some(Some(columns)) = table.get("columns").map(|node| self.table(node, "`columns`")) else {
            return Vec::new();
        };
        columns.iter().filter_map(|(key, node)| self.column(key, node, namespace)).collect()
    }

    fn column(&mut self, key: &Key<'_>, node: &Node<'_>, namespace: Option<Uuid>) -> Option<ColumnFile> {
        let name = self.at(key.span().start, key.get_ref().to_string());
        let mut column = ColumnFile {
            name,
            paths: Vec::new(),
            constant: None,
            rest: None,
            default: None,
            reference: None,
            id: None,
            when: Vec::new(),
            policy: PolicyFile::default(),
        };
        let table = match node.get_ref() {
            DeValue::String(_) | DeValue::Array(_) => {
                column.paths = self.one_or_more(node, Self::path_node);
                return Some(column);
            }
            DeValue::Table(table) => table,
            _ => {
                self.fault(
                    node.span().start,
                    format!("column `{}` is neither a path nor a table", column.name.value),
                    "write \"path.in.the.document\" or { path = \"…\", default = … }",
                );
                return None;
            }
        };
        self.unknown(table, &[&SOURCES[..], &POLICIES[..]].concat());
        self.contradictions(table);
        if let Some(node) = table.get("path") {
            column.paths = self.one_or_more(node, Self::path_node);
        }
        column.constant = table.get("constant").and_then(|node| self.document_value(node));
        column.default = table.get("default").and_then(|node| self.document_value(node));
        if let Some(node) = table.get("rest") {
            match self.boolean(node) {
                Some(true) => column.rest = Some(self.at(node.span().start, ())),
                Some(false) => self.fault(node.span().start, "`rest` is true or left out", "remove it"),
                None => {}
            }
        }
        column.reference = table.get("reference").and_then(|node| self.reference(node));
        column.id = table.get("id").and_then(|node| self.id(node, namespace, false));
        column.when = self.conditions(table, "when");
        column.policy = self.policy(table);
        Some(column)
    }

    fn contradictions(&mut self, table: &DeTable<'_>) {
        for (key, others, policies) in CONTRADICTIONS {
            if !table.contains_key(key) {
                continue;
            }
            for other in others.iter().chain(policies) {
                if let Some(node) = table.get(*other) {
                    let what = format!("`{other}` has no effect beside `{key}`");
                    self.fault(node.span().start, what, "keep one of the two");
                }
            }
        }
    }

    fn document_value(&mut self, node: &Node<'_>) -> Option<At<bson::raw::RawBson>> {
        let value = self.value(node)?;
        Some(self.at(node.span().start, value))
    }

    /// The name of a collection, or `{ by = "field", to = { value = "collection" } }`.
    fn reference(&mut self, node: &Node<'_>) -> Option<ReferenceFile> {
        let DeValue::Table(table) = node.get_ref() else { return self.string(node).map(ReferenceFile::To) };
        self.unknown(table, &["by", "to"]);
        let start = node.span().start;
        let by = self.required(table, start, "by").and_then(|node| self.path_node(node));
        let to = self.required(table, start, "to").and_then(|node| self.table(node, "`to`"))?;
        if to.is_empty() {
            self.fault(start, "`to` names no collection", "write { value = \"collection\", … }");
        }
        let to = to.iter().filter_map(|(key, node)| {
            let value = self.at(key.span().start, key.get_ref().to_string());
            Some((value, self.string(node)?))
        });
        let to = to.collect();
        Some(ReferenceFile::By { by: by?, to })
    }

    fn policy(&mut self, table: &DeTable<'_>) -> PolicyFile {
        let mut policy = PolicyFile { trim: self.flag(table, "trim"), ..PolicyFile::default() };
        if let Some(node) = table.get("empty") {
            policy.empty_is_null = self.choice(node, &[("null", ())]).is_some();
        }
        policy.null_values = table.get("null_values").map(|node| self.texts(node)).unwrap_or_default();
        policy.types = self.types(table, "type");
        policy.strip_prefix = table.get("strip_prefix").and_then(|node| self.stripped(node));
        policy.strip_suffix = table.get("strip_suffix").and_then(|node| self.stripped(node));
        policy.empty_elements = self.empty_elements(table);
        policy.coerce = self.choices(table, "coerce", &Coerce::NAMES);
        policy.epoch = table.get("epoch").and_then(|node| {
            let epoch = self.choice(node, &Epoch::NAMES)?;
            Some(self.at(node.span().start, epoch))
        });
        policy.misfit = self.choices(table, "misfit", &Misfit::NAMES);
        if let Some(Some(pairs)) = table.get("translate").map(|node| self.table(node, "`translate`")) {
            for (key, node) in pairs {
                let from = self.at(key.span().start, key.get_ref().to_string());
                policy.translate.extend(self.literal(node).map(|to| (from, to)));
            }
        }
        policy.fallback = table.get("fallback").and_then(|node| self.literal(node));
        policy
    }

    /// One text or several.
    fn texts(&mut self, node: &Node<'_>) -> Vec<At<String>> {
        self.one_or_more(node, Self::string)
    }

    /// The prefix or suffix of a text.
    pub(crate) fn stripped(&mut self, node: &Node<'_>) -> Option<At<String>> {
        let text = self.string(node)?;
        if text.value.is_empty() {
            self.fault_at(&text, "an empty text strips nothing", "write the prefix or suffix of the texts");
            return None;
        }
        Some(text)
    }

    pub(crate) fn empty_elements(&mut self, table: &DeTable<'_>) -> Option<At<EmptyElements>> {
        let node = table.get("empty_elements")?;
        let outcome = self.choice(node, &EmptyElements::NAMES)?;
        Some(self.at(node.span().start, outcome))
    }

    /// The types of BSON under a key, all together.
    pub(crate) fn types(&mut self, table: &DeTable<'_>, key: &str) -> Option<At<BsonTypes>> {
        let types = self.choices(table, key, &BsonTypes::NAMES);
        let first = types.first()?;
        Some(first.with(types.iter().fold(BsonTypes::default(), |all, one| all.with(one.value))))
    }

    /// One choice or several, each once.
    fn choices<T: Copy + PartialEq>(&mut self, table: &DeTable<'_>, key: &str, names: &[(&str, T)]) -> Vec<At<T>> {
        let Some(node) = table.get(key) else { return Vec::new() };
        let mut chosen: Vec<At<T>> = Vec::new();
        for choice in self.one_or_more(node, |reader, node| {
            let choice = reader.choice(node, names)?;
            Some(reader.at(node.span().start, choice))
        }) {
            if chosen.iter().any(|other| other.value == choice.value) {
                self.fault_at(&choice, format!("`{key}` names this twice"), "name it once");
            } else {
                chosen.push(choice);
            }
        }
        chosen
    }
}
