//! `driftless preview`: shows documents and the rows they become. Only this command shows values without `--reveal`.

use std::path::Path;

use bson::raw::{RawDocument, RawDocumentBuf};
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Exit, print, setup::Setup};
use crate::{
    log::ejson,
    mapping::{CollectionPlan, Plan, Reject, Row, TablePlan},
    model::Key,
    postgres::{Postgres, Purpose, Session, read_catalog},
    source::{ReadTime, Source, id_of},
    target::{Checks, print_rows},
};

/// Show documents and the rows they become, or why they are refused; nothing is written.
#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Show this document: its `_id` as Extended JSON, as digits of an ObjectId or UUID, or as plain text; may be repeated.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Show this many random documents if no `--id` is given.
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "ids")]
    limit: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A document with its outcome.
#[derive(Debug, Serialize)]
struct Shown {
    id: Option<String>,
    /// Canonical Extended JSON; `None` if it cannot carry the document.
    document: Option<Box<RawValue>>,
    #[serde(flatten)]
    outcome: Outcome,
    losses: Vec<ShownLoss>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Rows(Vec<ShownRow>),
    Refused(Vec<ShownReject>),
}

#[derive(Debug, Serialize)]
struct ShownReject {
    reason: &'static str,
    table: Option<String>,
    column: Option<String>,
    path: Option<String>,
    /// The path with the indexes of its array elements.
    element: Option<String>,
    /// Number of elements that are refused in the same way.
    times: u64,
}

#[derive(Debug, Serialize)]
struct ShownRow {
    table: String,
    /// The element that the row is made of; `None` for the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<ShownColumn>>,
    /// Reasons why PostgreSQL cannot read a value of the row, or why a constraint of the table refuses it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ShownColumn {
    column: String,
    value: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownLoss {
    table: String,
    column: Option<String>,
    loss: &'static str,
    count: u64,
}

impl Preview {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        let session = Postgres::new(&setup.config.sink, &setup.config.log.prefix)?.open(Purpose::Read).await?;
        let plan = match Plan::compile(&setup.mapping, &read_catalog(&session).await?) {
            Ok(plan) => plan,
            Err(faults) => {
                print::faults(&faults.into_iter().map(Into::into).collect::<Vec<_>>());
                return Ok(Exit::Faults);
            }
        };
        let Some(collection) = plan.collection(&self.collection) else {
            let known: Vec<_> = plan.collections().iter().map(|plan| plan.collection.as_str()).collect();
            anyhow::bail!("find collection {} in the mapping: it has {}", self.collection, known.join(", "));
        };
        let source = Source::connect(&setup.config.source).await?;
        let documents = self.documents(&source).await?;
        let mut shown = Vec::with_capacity(documents.len());
        for document in &documents {
            shown.push(Shown::of(&session, collection, document).await?);
        }
        if self.json {
            print::json(&shown)?;
        } else {
            shown.iter().for_each(Shown::print);
            print::line(print::count(shown.len(), "document"));
        }
        Ok(if shown.iter().any(Shown::is_refused) { Exit::Faults } else { Exit::Success })
    }

    async fn documents(&self, source: &Source) -> anyhow::Result<Vec<RawDocumentBuf>> {
        let reader = source.reader();
        let now = ReadTime::AtLeast(source.now().await?);
        if self.ids.is_empty() {
            return Ok(reader.sample(&self.collection, self.limit, now).await?.value);
        }
        let mut documents = Vec::new();
        for text in &self.ids {
            let found = reader.by_ids(&self.collection, &ejson::ids_of(text), now).await?.value;
            anyhow::ensure!(!found.is_empty(), "find document {text} in collection {}", self.collection);
            documents.extend(found);
        }
        Ok(documents)
    }
}

impl Shown {
    async fn of(session: &Session, plan: &CollectionPlan, document: &RawDocument) -> anyhow::Result<Self> {
        let mut text = Vec::new();
        let written = ejson::write(document, &mut text).ok().and_then(|()| String::from_utf8(text).ok());
        let id = id_of(document).and_then(|id| Key::from_id(&id)).map(|key| ejson::id_text(&key));
        let (outcome, losses) = match plan.map_placed(document) {
            Ok((rows, elements)) => {
                let mut shown = Vec::new();
                for ((table, rows), elements) in plan.tables.iter().zip(&rows.tables).zip(elements) {
                    shown.extend(ShownRow::of(session, table, rows, elements).await?);
                }
                let losses = rows.losses.iter().filter_map(|entry| {
                    let table = plan.tables.get(entry.table)?;
                    Some(ShownLoss {
                        table: table.table.label(),
                        column: table.columns.get(entry.column).map(|column| column.name.clone()),
                        loss: entry.loss.as_str(),
                        count: entry.count,
                    })
                });
                (Outcome::Rows(shown), losses.collect())
            }
            Err(rejects) => {
                (Outcome::Refused(rejects.iter().map(|one| ShownReject::of(plan, one)).collect()), Vec::new())
            }
        };
        let document = written.and_then(|text| RawValue::from_string(text).ok());
        Ok(Self { id, document, outcome, losses })
    }

    /// Returns whether the document would become a dead letter.
    fn is_refused(&self) -> bool {
        match &self.outcome {
            Outcome::Refused(_) => true,
            Outcome::Rows(rows) => rows.iter().any(|row| !row.refused.is_empty()),
        }
    }

    /// Prints the document, then its rows.
    fn print(&self) {
        print::line(format!("_id {}", self.id.as_deref().unwrap_or("missing")));
        print::line(match &self.document {
            Some(text) => indented(text.get()),
            None => "a document that Extended JSON cannot carry".to_owned(),
        });
        match &self.outcome {
            Outcome::Refused(rejects) => rejects.iter().for_each(ShownReject::print),
            Outcome::Rows(rows) if rows.is_empty() => print::line("no rows: the mapping filters this document out"),
            Outcome::Rows(rows) => rows.iter().for_each(ShownRow::print),
        }
        for ShownLoss { table, column, loss, count } in &self.losses {
            let column = column.as_ref().map(|column| format!(" column {column:?}")).unwrap_or_default();
            print::line(format!("loss: {loss} in {table}{column}, {}", print::count(*count as usize, "time")));
        }
        print::line("");
    }
}

impl ShownReject {
    fn of(plan: &CollectionPlan, reject: &Reject) -> Self {
        let Reject { reason, table, column, path, element, times } = reject.clone();
        let table = table.and_then(|at| plan.tables.get(at)).map(|table| table.table.label());
        Self { reason: reason.as_str(), table, column, path, element, times }
    }

    fn print(&self) {
        let mut line = format!("refused: {}", self.reason);
        if let Some(column) = &self.column {
            line += &format!(" in column {column:?}");
        }
        if let Some(table) = &self.table {
            line += &format!(" of {table}");
        }
        if let Some(path) = self.element.as_ref().or(self.path.as_ref()) {
            line += &format!(" at path {path:?}");
        }
        if self.times > 1 {
            line += &format!(", and in {}", print::count(self.times as usize - 1, "more element"));
        }
        print::line(line);
    }
}

impl ShownRow {
    /// Returns rows of a table as PostgreSQL prints them, with everything that PostgreSQL would refuse in a single row.
    async fn of(
        session: &Session,
        table: &TablePlan,
        rows: &[Row],
        elements: Vec<String>,
    ) -> anyhow::Result<Vec<Self>> {
        let mut shown: Vec<Self> = Vec::with_capacity(rows.len());
        let mut checks = Checks::of(session, table).await?;
        let printed = print_rows(session, table, rows).await?;
        for ((row, printed), element) in rows.iter().zip(printed).zip(elements) {
            let violations = checks.violated(session, std::slice::from_ref(row)).await?;
            let mut refused: Vec<String> = violations.iter().map(ToString::to_string).collect();
            let columns = match printed {
                Ok(texts) => {
                    let columns = table.columns.iter().map(|column| column.name.clone()).zip(texts);
                    Some(columns.map(|(column, value)| ShownColumn { column, value }).collect())
                }
                Err(refusal) => {
                    // The result of a lookup may not fit its column, which no constraint shows.
                    refused.extend(refused.is_empty().then(|| format!("{}: {refusal}", refusal.reason())));
                    None
                }
            };
            let element = Some(element).filter(|element| !element.is_empty());
            shown.push(Self { table: table.table.label(), element, columns, refused });
        }
        Ok(shown)
    }

    fn print(&self) {
        let element = self.element.as_ref().map(|element| format!(" at path {element:?}")).unwrap_or_default();
        for refused in &self.refused {
            print::line(format!("{}{element}: refused by PostgreSQL: {refused}", self.table));
        }
        if let Some(columns) = &self.columns {
            let mut table = print::table([self.table.as_str(), "value"]);
            for ShownColumn { column, value } in columns {
                let value = match value.as_deref() {
                    None => "NULL".to_owned(),
                    // Quoted, because the text looks like NULL or like nothing.
                    Some(text @ ("NULL" | "")) => format!("{text:?}"),
                    Some(text) => text.to_owned(),
                };
                table.add_row([column.clone(), value]);
            }
            print::line(table);
        }
    }
}

/// Formats Extended JSON with one field per line; a typed value (`{"$oid": …}`) stays on its line.
fn indented(json: &str) -> String {
    let (mut text, mut depth, mut typed) = (String::with_capacity(json.len() * 2), 0, 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in json.char_indices() {
        if quoted {
            text.push(letter);
            quoted = letter != '"' || escaped;
            escaped = letter == '\\' && !escaped;
            continue;
        }
        let rest = &json[at + letter.len_utf8()..];
        match letter {
            '{' | '[' if typed > 0 || rest.starts_with("\"$") || rest.starts_with(['}', ']']) => typed += 1,
            '}' | ']' if typed > 0 => typed -= 1,
            '{' | '[' => depth += 1,
            '}' | ']' => {
                depth -= 1;
                new_line(&mut text, depth);
            }
            _ => {}
        }
        text.push(letter);
        quoted = letter == '"';
        match letter {
            ':' => text.push(' '),
            '{' | '[' | ',' if typed == 0 => new_line(&mut text, depth),
            _ => {}
        }
    }
    text
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::indented;

    #[test]
    fn one_field_a_line_and_typed_values_on_theirs() {
        let json = r#"{"_id":{"$oid":"07"},"a":[],"b":{"c":["x, {y}\"",{"$date":{"$numberLong":"1"}}]},"d":{}}"#;
        insta::assert_snapshot!(indented(json), @r#"
        {
          "_id": {"$oid": "07"},
          "a": [],
          "b": {
            "c": [
              "x, {y}\"",
              {"$date": {"$numberLong": "1"}}
            ]
          },
          "d": {}
        }
        "#);
        let ours: serde_json::Value = serde_json::from_str(&indented(json)).expect("still JSON");
        assert_eq!(ours, serde_json::from_str::<serde_json::Value>(json).expect("JSON"));
    }
}
