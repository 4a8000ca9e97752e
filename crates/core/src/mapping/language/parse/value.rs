//! Single values of the file: texts, choices, lists, paths, and TOML as a document would hold it.

use bson::raw::{CString, RawArrayBuf, RawBson, RawDocumentBuf};
use toml::de::{DeTable, DeValue};

use super::{Node, Parser};
use crate::mapping::{At, Fault, Location, Path, language::fault::nearest};

impl Parser<'_> {
    pub(crate) fn path_at(&mut self, text: &At<String>) -> Option<At<Path>> {
        match Path::parse(&text.value) {
            Ok(path) => Some(text.with(path)),
            Err(why) => {
                self.fault_at(text, format!("`{}` is not a path", text.value), why);
                None
            }
        }
    }

    pub(crate) fn choice<T: Copy>(&mut self, node: &Node<'_>, names: &[(&str, T)]) -> Option<T> {
        let text = self.string(node)?;
        let found = names.iter().find(|(name, _)| *name == text.value).map(|(_, value)| *value);
        if found.is_none() {
            self.fault(
                node.span().start,
                format!("`{}` is not known here", text.value),
                format!("one of {}", listed(names)),
            );
        }
        found
    }

    pub(crate) fn boolean(&mut self, node: &Node<'_>) -> Option<bool> {
        match node.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => {
                let what = format!("true or false is expected here, not {}", kind(other));
                self.fault(node.span().start, what, "write it without quotes");
                None
            }
        }
    }

    /// A boolean that is false where the file leaves it out.
    pub(crate) fn flag(&mut self, table: &DeTable<'_>, key: &str) -> bool {
        table.get(key).and_then(|node| self.boolean(node)).unwrap_or_default()
    }

    /// One value or a list of them, each read by `read`. An empty list is a fault.
    pub(crate) fn one_or_more<T>(
        &mut self,
        node: &Node<'_>,
        mut read: impl FnMut(&mut Self, &Node<'_>) -> Option<T>,
    ) -> Vec<T> {
        let DeValue::Array(nodes) = node.get_ref() else { return read(self, node).into_iter().collect() };
        if nodes.is_empty() {
            self.fault(node.span().start, "this list is empty", "name at least one, or leave it out");
        }
        nodes.iter().filter_map(|node| read(self, node)).collect()
    }

    /// A list of names.
    pub(crate) fn names(&mut self, table: &DeTable<'_>, key: &str) -> Vec<At<String>> {
        let Some(node) = table.get(key) else { return Vec::new() };
        let DeValue::Array(names) = node.get_ref() else {
            self.fault(node.span().start, format!("`{key}` is not a list"), "write [\"column\", …]");
            return Vec::new();
        };
        names.iter().filter_map(|name| self.string(name)).collect()
    }

    pub(crate) fn path_node(&mut self, node: &Node<'_>) -> Option<At<Path>> {
        let text = self.string(node)?;
        self.path_at(&text)
    }

    /// A value that a document may hold in a single field and that can be compared.
    pub(crate) fn literal(&mut self, node: &Node<'_>) -> Option<At<RawBson>> {
        if let DeValue::Array(_) | DeValue::Table(_) = node.get_ref() {
            let what = format!("a single value is expected here, not {}", kind(node.get_ref()));
            self.fault(node.span().start, what, "write a text, a number, true, false or a date");
            return None;
        }
        let value = self.value(node)?;
        Some(self.at(node.span().start, value))
    }

    pub(crate) fn string(&mut self, node: &Node<'_>) -> Option<At<String>> {
        match node.get_ref() {
            DeValue::String(text) => Some(self.at(node.span().start, text.to_string())),
            other => {
                self.fault(
                    node.span().start,
                    format!("a text is expected here, not {}", kind(other)),
                    "put it in double quotes",
                );
                None
            }
        }
    }

    pub(crate) fn table<'n, 't>(&mut self, node: &'n Node<'t>, what: &str) -> Option<&'n DeTable<'t>> {
        match node.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                self.fault(
                    node.span().start,
                    format!("{what} is a table, not {}", kind(other)),
                    "write it as [section] or { key = … }",
                );
                None
            }
        }
    }

    pub(crate) fn required<'n, 't>(&mut self, table: &'n DeTable<'t>, start: usize, key: &str) -> Option<&'n Node<'t>> {
        let node = table.get(key);
        if node.is_none() {
            self.fault(start, format!("`{key}` is missing"), "it has no default: add it");
        }
        node
    }

    pub(crate) fn unknown(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys() {
            let name = key.get_ref();
            if known.contains(&name.as_ref()) {
                continue;
            }
            let hint = match nearest(name, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.fault(key.span().start, format!("`{name}` is not known here"), hint);
        }
    }

    /// A value of TOML as the BSON value that a document would hold.
    pub(crate) fn value(&mut self, node: &Node<'_>) -> Option<RawBson> {
        let value = match node.get_ref() {
            DeValue::String(text) => Some(RawBson::String(text.to_string())),
            DeValue::Boolean(value) => Some(RawBson::Boolean(*value)),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(RawBson::Int64),
            DeValue::Float(digits) => digits.as_str().parse().ok().map(RawBson::Double),
            DeValue::Datetime(when) => {
                let text = when.to_string();
                let instant = if when.time.is_none() { format!("{text}T00:00:00Z") } else { text };
                let instant: Option<jiff::Timestamp> = instant.parse().ok();
                instant.map(|at| RawBson::DateTime(bson::DateTime::from_millis(at.as_millisecond())))
            }
            DeValue::Array(elements) => {
                let mut array = RawArrayBuf::new();
                for element in elements {
                    array.push(self.value(element)?);
                }
                Some(RawBson::Array(array))
            }
            DeValue::Table(fields) => {
                let mut document = RawDocumentBuf::new();
                for (key, value) in fields {
                    let value = self.value(value)?;
                    match CString::try_from(key.get_ref().as_ref()) {
                        Ok(name) => document.append(name, value),
                        Err(_) => self.fault(key.span().start, "a field name cannot hold a NUL character", ""),
                    }
                }
                Some(RawBson::Document(document))
            }
        };
        if value.is_none() {
            self.fault(
                node.span().start,
                "this value has no counterpart in a document",
                "integers have 64 bits; a time of day needs a date and an offset",
            );
        }
        value
    }

    pub(crate) fn fault(&mut self, start: usize, what: impl Into<String>, hint: impl Into<String>) {
        let fault = self.fault_of(start, what, hint);
        self.faults.push(fault);
    }

    /// A fault, for the caller to keep.
    pub(crate) fn fault_of(&self, start: usize, what: impl Into<String>, hint: impl Into<String>) -> Fault {
        let at = self.at(start, ());
        let location = Some(Location { file: self.name.to_owned(), line: at.line, column: at.column });
        Fault { location, what: what.into(), hint: hint.into() }
    }

    pub(crate) fn fault_at<T>(&mut self, at: &At<T>, what: impl Into<String>, hint: impl Into<String>) {
        let location = Some(Location { file: self.name.to_owned(), line: at.line, column: at.column });
        self.faults.push(Fault { location, what: what.into(), hint: hint.into() });
    }

    pub(crate) fn at<T>(&self, start: usize, value: T) -> At<T> {
        let before = self.text.get(..start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        At { value, line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
    }
}

pub(crate) fn listed<T>(names: &[(&str, T)]) -> String {
    names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
