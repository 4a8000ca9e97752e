//! `driftless diff`: both sides of one document, column by column. Values are shown only on request.

use std::{collections::BTreeMap, path::Path};

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Exit, print, setup::Setup};
use crate::{
    log::ejson,
    mapping::{CollectionPlan, TablePlan},
    model::Key,
    pipeline::{Comparison, Sides},
    postgres::Session,
    reconcile::again::{Judged, Outcome},
    target::{DocumentId, ShownRow, print_rows},
};

/// Show both sides of a document: what it must become, the rows that are there, and the judgement.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The collection.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// The document: its `_id` as Extended JSON, as digits of an ObjectId or UUID, or as plain text.
    #[arg(long, value_name = "ID")]
    id: String,
    /// Show the document and all values, as PostgreSQL prints them.
    #[arg(long)]
    reveal: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A document and what is known of it.
#[derive(Serialize)]
struct Shown {
    /// The `_id` as Extended JSON.
    id: String,
    judgement: &'static str,
    /// Columns that differ by the judgement.
    columns: Vec<String>,
    /// Cluster time as of which it was judged.
    as_of: String,
    /// Version of the last change that was applied.
    version: Option<String>,
    /// Whether that was a delete.
    deleted: Option<bool>,
    /// Whether the source has the document.
    in_source: bool,
    /// Why the mapping refuses the document.
    refused: Vec<String>,
    /// The dead letter that waits for it.
    letter: Option<i64>,
    /// The document as Extended JSON; only with `--reveal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Box<RawValue>>,
    rows: Vec<Row>,
}

/// A row of either side, or of both.
#[derive(Serialize)]
struct Row {
    table: String,
    /// The row's key.
    key: BTreeMap<String, Option<String>>,
    /// `equal`, `different`, `missing` or `extra`; texts are compared, so 1.0 and 1.00 are shown as different.
    state: &'static str,
    /// Columns whose texts differ; all with `--reveal`.
    columns: Vec<Column>,
}

#[derive(Serialize)]
struct Column {
    column: String,
    differs: bool,
    /// The value that the document becomes; only with `--reveal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Value>,
    /// The value that is there; only with `--reveal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Value>,
}

/// A value as text; `None` is NULL.
type Value = Option<String>;
/// Columns of a row by name.
type Texts = BTreeMap<String, Value>;

impl Diff {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        let comparison = Comparison::connect(&setup.config, &setup.mapping).await?;
        let Some(place) = comparison.named(&self.collection) else {
            let known = comparison.collections().join(", ");
            anyhow::bail!("find collection {} in the mapping: it has only {known}", self.collection);
        };
        let session = setup.session().await?;
        let meant = ejson::ids_of(&self.id).into_iter().filter_map(|id| Some((Key::from_id(&id)?, id)));
        let meant: BTreeMap<_, _> = meant.collect();
        let documents: Vec<_> = meant.into_iter().map(|(key, id)| DocumentId { key, id: Some(id) }).collect();
        // The judgement waits for the target, so the rows that are shown are no older than it.
        let mut judged = comparison.judge(place, documents.clone(), setup.config.reconcile.wait).await?;
        let sides = comparison.both_sides(place, &documents).await?;
        let mut shown = Vec::new();
        for (document, sides) in documents.into_iter().zip(sides) {
            let Some(at) = judged.iter().position(|judged| judged.document.key == document.key) else { continue };
            let judged = judged.swap_remove(at);
            let known = judged.entry.is_some() || sides.document.is_some() || !sides.rows.is_empty();
            if known {
                shown.push(self.shown(&session, comparison.plan(place), judged, sides).await?);
            }
        }
        anyhow::ensure!(
            !shown.is_empty(),
            "find document {} in collection {}: neither side has it",
            self.id,
            self.collection
        );
        if self.json {
            print::json(&shown)?;
        } else {
            shown.iter().for_each(|shown| shown.print(self.reveal));
        }
        Ok(exit(&shown))
    }

    async fn shown(
        &self,
        session: &Session,
        plan: &CollectionPlan,
        judged: Judged,
        sides: Sides,
    ) -> anyhow::Result<Shown> {
        let (mut expected, mut refused) = (Vec::new(), Vec::new());
        match sides.document.as_ref().map(|document| plan.map(document)) {
            None => {}
            Some(Err(rejects)) => refused.push(rejects.to_string()),
            Some(Ok(rows)) => {
                for (at, (table, rows)) in plan.tables.iter().zip(&rows.tables).enumerate() {
                    for printed in print_rows(session, table, rows).await? {
                        match printed {
                            Ok(texts) => {
                                let names = table.columns.iter().map(|column| column.name.clone());
                                expected.push((at, names.zip(texts).collect::<Texts>()));
                            }
                            Err(refusal) => refused.push(format!("{}: {refusal}", table.table.label())),
                        }
                    }
                }
            }
        }
        let document = sides.document.as_ref().filter(|_| self.reveal).and_then(|document| {
            let mut text = Vec::new();
            ejson::write(document, &mut text).ok()?;
            RawValue::from_string(String::from_utf8(text).ok()?).ok()
        });
        let (judgement, columns) = match judged.outcome {
            Outcome::Equal => ("equal", Vec::new()),
            Outcome::Absent => ("absent", Vec::new()),
            Outcome::Undecided => ("undecided", Vec::new()),
            Outcome::Differs(found) => (found.kind.as_str(), found.columns),
        };
        Ok(Shown {
            id: ejson::id_text(&judged.document.key),
            judgement,
            columns,
            as_of: judged.as_of.to_string(),
            version: judged.entry.map(|entry| entry.version.to_string()),
            deleted: judged.entry.map(|entry| entry.deleted),
            in_source: sides.document.is_some(),
            refused,
            letter: judged.letter,
            document,
            rows: rows(plan, expected, sides.rows, self.reveal),
        })
    }
}

fn exit(shown: &[Shown]) -> Exit {
    match () {
        () if shown.iter().any(|shown| !["equal", "absent", "undecided"].contains(&shown.judgement)) => Exit::Drift,
        () if shown.iter().any(|shown| shown.judgement == "undecided") => Exit::Unproven,
        () => Exit::Success,
    }
}

/// Brings the rows of both sides together, by table and key.
fn rows(plan: &CollectionPlan, expected: Vec<(usize, Texts)>, found: Vec<ShownRow>, reveal: bool) -> Vec<Row> {
    type Pair = (Option<Texts>, Option<Texts>);
    let mut pairs = BTreeMap::<(usize, Vec<Value>), Pair>::new();
    let key = |table: usize, texts: &Texts| {
        let columns = plan.tables[table].key.iter().map(|&at| &plan.tables[table].columns[at].name);
        columns.map(|column| texts.get(column).cloned().flatten()).collect::<Vec<_>>()
    };
    for (table, texts) in expected {
        let key = key(table, &texts);
        pairs.entry((table, key)).or_default().0 = Some(texts);
    }
    for ShownRow { table, columns } in found {
        let texts: Texts = columns.into_iter().collect();
        let key = key(table, &texts);
        pairs.entry((table, key)).or_default().1 = Some(texts);
    }
    pairs.into_iter().map(|((table, key), pair)| row(&plan.tables[table], key, pair, reveal)).collect()
}

fn row(table: &TablePlan, key: Vec<Value>, (expected, found): (Option<Texts>, Option<Texts>), reveal: bool) -> Row {
    let value = |texts: &Option<Texts>, column: &str| texts.as_ref().map(|texts| texts.get(column).cloned().flatten());
    let columns = table.columns.iter().map(|column| {
        let (expected, found) = (value(&expected, &column.name), value(&found, &column.name));
        let differs = matches!((&expected, &found), (Some(expected), Some(found)) if expected != found);
        let revealed = |value: Option<Value>| value.filter(|_| reveal);
        Column { column: column.name.clone(), differs, expected: revealed(expected), found: revealed(found) }
    });
    let columns: Vec<_> = columns.filter(|column| reveal || column.differs).collect();
    let state = match (&expected, &found) {
        (Some(_), None) => "missing",
        (None, _) => "extra",
        _ if columns.iter().any(|column| column.differs) => "different",
        _ => "equal",
    };
    let names = table.key.iter().map(|&at| table.columns[at].name.clone());
    Row { table: table.table.label(), key: names.zip(key).collect(), state, columns }
}

impl Shown {
    fn print(&self, reveal: bool) {
        print::line(format!("_id {}: {} as of {}", self.id, self.judgement, self.as_of));
        if !self.columns.is_empty() {
            print::line(format!("differs in {}", self.columns.join(", ")));
        }
        print::line(if self.in_source {
            "the source has the document"
        } else {
            "the source does not have the document"
        });
        print::line(match (&self.version, self.deleted) {
            (Some(version), Some(true)) => format!("the ledger has a delete of version {version}"),
            (Some(version), _) => format!("the ledger has version {version}"),
            (None, _) => "the ledger has no entry".to_owned(),
        });
        if let Some(letter) = self.letter {
            print::line(format!("dead letter {letter} waits for it (`driftless dlq show {letter}`)"));
        }
        self.refused.iter().for_each(|refused| print::line(format!("refused: {refused}")));
        if let Some(document) = &self.document {
            print::line(document.get());
        }
        for Row { table, key, state, columns } in &self.rows {
            let key = key.iter().map(|(column, value)| format!("{column} = {}", text(value)));
            print::line(format!("{table} {}: {state}", key.collect::<Vec<_>>().join(", ")));
            if columns.is_empty() {
                continue;
            }
            if !reveal {
                let names: Vec<_> = columns.iter().map(|column| column.column.as_str()).collect();
                print::line(format!("  different: {} (--reveal shows the values)", names.join(", ")));
                continue;
            }
            let mut table = print::table(["column", "expected", "found", ""]);
            for Column { column, differs, expected, found } in columns {
                let shown = |value: &Option<Value>| value.as_ref().map_or_else(String::new, text);
                let differs = if *differs { "differs" } else { "" };
                table.add_row([column.clone(), shown(expected), shown(found), differs.to_owned()]);
            }
            print::line(table);
        }
    }
}

/// A value for a person; NULL is no text.
fn text(value: &Value) -> String {
    match value.as_deref() {
        None => "NULL".to_owned(),
        Some(text @ ("NULL" | "")) => format!("{text:?}"),
        Some(text) => text.to_owned(),
    }
}
