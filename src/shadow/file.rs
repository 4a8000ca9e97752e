//! The file of shadow reads: pairs of queries, read and checked without a server. Pure.
//!
//! ```toml
//! [[query]]
//! name = "plans of a user"
//! mongodb = '''{ "find": "plans", "filter": { "userId": { "$parameter": "user" } }, "sort": { "createdAt": 1 } }'''
//! sql = "SELECT id, title FROM app.plans WHERE user_id = $1 ORDER BY created_at"
//! order = true
//! parameter = [{ name = "user", path = "userId" }]   # $1, $2, …
//! column.total = { path = "n" }                      # where a result column is not found by itself
//! ```

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use super::command::Command;
use crate::mapping::{Path, target::TableName};

/// A file whose own form has no faults.
#[derive(Clone, Debug)]
pub(crate) struct ShadowFile {
    /// The `search_path` under which the statements run.
    pub(crate) search_path: String,
    /// The pairs; never empty.
    pub(crate) queries: Vec<QueryFile>,
}

/// A pair of queries that should give the same answer.
#[derive(Clone, Debug)]
pub(crate) struct QueryFile {
    /// Its name, unique in the file.
    pub(crate) name: String,
    /// Its line.
    pub(crate) line: usize,
    /// The command of MongoDB.
    pub(crate) command: Command,
    /// The statement of PostgreSQL, without the `;` at its end.
    pub(crate) sql: String,
    /// Line of the statement.
    pub(crate) sql_line: usize,
    /// Whether the order of the rows counts.
    pub(crate) order: bool,
    /// The parameters: `$1`, `$2`, …
    pub(crate) parameters: Vec<ParameterFile>,
    /// Declared result columns, by name.
    pub(crate) columns: BTreeMap<String, ResultFile>,
}

/// A parameter.
#[derive(Clone, Debug)]
pub(crate) struct ParameterFile {
    /// Its name, which the command refers to.
    pub(crate) name: String,
    /// Its line.
    pub(crate) line: usize,
    /// The collection whose documents it is drawn from.
    pub(crate) from: String,
    /// Its path in these documents.
    pub(crate) path: Path,
    /// The column whose rule converts it for the statement.
    pub(crate) column: Option<ColumnName>,
}

/// A declared column of the result.
#[derive(Clone, Debug)]
pub(crate) struct ResultFile {
    /// Its line.
    pub(crate) line: usize,
    /// Where its value is in a result document.
    pub(crate) path: Option<Path>,
    /// The column whose rule converts it.
    pub(crate) column: Option<ColumnName>,
}

/// A column of a mapped table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnName {
    pub(crate) table: TableName,
    pub(crate) column: String,
}

impl ColumnName {
    /// Reads `schema.table.column`; the last dot ends the table.
    fn parse(text: &str) -> Option<Self> {
        let (table, column) = text.rsplit_once('.')?;
        let known = table.contains('.').then(|| TableName::parse(table)).flatten()?;
        (!column.is_empty()).then(|| Self { table: known, column: column.to_owned() })
    }

    /// The name for people.
    pub(crate) fn label(&self) -> String {
        format!("{}.{}", self.table.label(), self.column)
    }
}

/// A fault of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its line.
    pub(crate) line: usize,
    /// The fault, with the name of its query.
    pub(crate) what: String,
    /// The remedy.
    pub(crate) hint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default = "public")]
    search_path: String,
    #[serde(default)]
    query: Vec<Spanned<RawQuery>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuery {
    name: String,
    mongodb: Spanned<String>,
    sql: Spanned<String>,
    #[serde(default)]
    order: bool,
    #[serde(default)]
    parameter: Vec<Spanned<RawParameter>>,
    #[serde(default)]
    column: BTreeMap<String, Spanned<RawColumn>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParameter {
    name: String,
    from: Option<String>,
    path: String,
    column: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawColumn {
    path: Option<String>,
    column: Option<String>,
}

fn public() -> String {
    "public".to_owned()
}

impl ShadowFile {
    /// Reads a file.
    ///
    /// # Errors
    /// All faults at once; of a file that is no TOML, the first.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            let line = line(text, error.span().unwrap_or_default());
            let hint = "docs/shadow.md describes the file".to_owned();
            vec![Fault { line, what: error.message().to_owned(), hint }]
        })?;
        let mut reader = Reader { text, query: String::new(), faults: Vec::new() };
        if raw.query.is_empty() {
            reader.fault(0..0, "the file has no query", "write a [[query]] for each pair");
        }
        let mut queries: Vec<QueryFile> = Vec::new();
        for raw in raw.query {
            let span = raw.span();
            let query = reader.query(span.clone(), raw.into_inner());
            if queries.iter().any(|known| query.as_ref().is_some_and(|query| query.name == known.name)) {
                reader.fault(span, "another query has this name", "results are kept by name: choose another");
            }
            queries.extend(query);
        }
        if reader.faults.is_empty() { Ok(Self { search_path: raw.search_path, queries }) } else { Err(reader.faults) }
    }
}

struct Reader<'t> {
    text: &'t str,
    /// Name of the query that is read.
    query: String,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, span: Range<usize>, what: impl AsRef<str>, hint: impl Into<String>) {
        let of = if self.query.is_empty() { String::new() } else { format!("query `{}`: ", self.query) };
        let what = format!("{of}{}", what.as_ref());
        self.faults.push(Fault { line: line(self.text, span), what, hint: hint.into() });
    }

    fn query(&mut self, span: Range<usize>, raw: RawQuery) -> Option<QueryFile> {
        self.query.clone_from(&raw.name);
        if raw.name.trim().is_empty() {
            self.fault(span.clone(), "the query has no name", "results are kept by name: write one");
        }
        let sql = raw.sql.get_ref().trim().trim_end_matches(';').trim_end().to_owned();
        if sql.is_empty() {
            self.fault(raw.sql.span(), "`sql` is empty", "write the statement that replaces the command");
        }
        let command = match Command::parse(raw.mongodb.get_ref()) {
            Ok(command) => Some(command),
            Err((what, hint)) => {
                self.fault(raw.mongodb.span(), what, hint);
                None
            }
        };
        let collection = command.as_ref().map(|command| command.collection.as_str());
        let mut parameters: Vec<ParameterFile> = Vec::new();
        for raw in raw.parameter {
            let span = raw.span();
            let read = self.parameter(span.clone(), raw.into_inner(), collection);
            if parameters.iter().any(|known| read.as_ref().is_some_and(|read| read.name == known.name)) {
                self.fault(span, "another parameter has this name", "choose another");
            }
            parameters.extend(read);
        }
        if let Some(command) = &command {
            self.placeholders(raw.mongodb.span(), command, &parameters);
        }
        let columns: BTreeMap<_, _> = raw.column.into_iter().filter_map(|(name, raw)| self.column(name, raw)).collect();
        let (line, sql_line) = (line(self.text, span), line(self.text, raw.sql.span()));
        Some(QueryFile {
            name: raw.name,
            line,
            command: command?,
            sql,
            sql_line,
            order: raw.order,
            parameters,
            columns,
        })
    }

    fn placeholders(&mut self, span: Range<usize>, command: &Command, parameters: &[ParameterFile]) {
        for name in &command.placeholders {
            if !parameters.iter().any(|parameter| parameter.name == *name) {
                let hint = "declare it: parameter = [{ name = …, path = … }]";
                self.fault(
                    span.clone(),
                    format!("the command names the parameter `{name}`, which is not declared"),
                    hint,
                );
            }
        }
        for parameter in parameters.iter().filter(|parameter| !command.placeholders.contains(&parameter.name)) {
            self.faults.push(Fault {
                line: parameter.line,
                what: format!("query `{}`: the command does not use the parameter `{}`", self.query, parameter.name),
                hint: format!("write {{ \"$parameter\": \"{}\" }} where its value belongs", parameter.name),
            });
        }
    }

    fn parameter(&mut self, span: Range<usize>, raw: RawParameter, collection: Option<&str>) -> Option<ParameterFile> {
        let path = self.path(span.clone(), &raw.path);
        let column = self.column_name(span.clone(), raw.column.as_deref());
        // Without a command that can be read, the fault is that of the command.
        let from = raw.from.or_else(|| collection.map(str::to_owned)).unwrap_or_default();
        let line = line(self.text, span);
        Some(ParameterFile { name: raw.name, line, from, path: path?, column: column? })
    }

    fn column(&mut self, name: String, raw: Spanned<RawColumn>) -> Option<(String, ResultFile)> {
        let (span, raw) = (raw.span(), raw.into_inner());
        let path = match &raw.path {
            None => Some(None),
            Some(path) => self.path(span.clone(), path).map(Some),
        };
        let column = self.column_name(span.clone(), raw.column.as_deref());
        Some((name, ResultFile { line: line(self.text, span), path: path?, column: column? }))
    }

    fn path(&mut self, span: Range<usize>, text: &str) -> Option<Path> {
        match Path::parse(text) {
            Ok(path) => Some(path),
            Err(what) => {
                self.fault(span, format!("the path `{text}` cannot be read: {what}"), "write it as in the mapping");
                None
            }
        }
    }

    /// A named column; `None` for one whose name cannot be read.
    fn column_name(&mut self, span: Range<usize>, text: Option<&str>) -> Option<Option<ColumnName>> {
        let Some(text) = text else { return Some(None) };
        let name = ColumnName::parse(text);
        if name.is_none() {
            self.fault(span, format!("`{text}` is no column"), "write schema.table.column");
        }
        name.map(Some)
    }
}

/// The line of a place, from 1.
fn line(text: &str, span: Range<usize>) -> usize {
    1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
