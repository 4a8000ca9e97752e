//! `driftless reset`: empties the tables of a collection through the log, and reads it again from the beginning.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{
    Exit,
    finding::Finding,
    print,
    setup::{Setup, operator},
};
use crate::{
    control::{
        reset,
        snapshots::{self, SnapshotCommand},
    },
    mapping::{CollectionPlan, Plan},
    postgres::{Session, migrate, read_catalog},
};

/// Empty the tables of collections, and read them again from the beginning.
#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Reset this collection; may be repeated.
    #[arg(long = "collection", value_name = "NAME", required = true)]
    collections: Vec<String>,
    /// The name of the collection once more; for each of them. Without it the command prints what it would do.
    #[arg(long = "confirm", value_name = "NAME", requires = "why")]
    confirmed: Vec<String>,
    /// The reason; it is recorded.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The effect of a reset, carried out or only planned.
#[derive(Debug, Serialize)]
struct Report {
    executed: bool,
    collections: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    collection: String,
    /// Documents whose rows are deleted.
    documents: i64,
    /// Its tables, in the order in which their rows are deleted.
    tables: Vec<String>,
    /// Tables of others that refer to one of these.
    referring: Vec<String>,
}

impl Reset {
    pub(super) async fn execute(mut self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        setup.only_running("reset")?;
        [&mut self.collections, &mut self.confirmed].into_iter().for_each(|names| names.sort());
        self.collections.dedup();
        self.confirmed.dedup();
        let known = setup.names();
        if let Some(unknown) = self.collections.iter().find(|name| !known.contains(name)) {
            anyhow::bail!("find collection {unknown} in the mapping: it has {}", known.join(", "));
        }
        let executed = !self.confirmed.is_empty();
        if executed && self.confirmed != self.collections {
            anyhow::bail!(
                "reset {}: --confirm names {}; repeat every collection exactly",
                self.collections.join(", "),
                self.confirmed.join(", ")
            );
        }
        let session = setup.session().await?;
        let plan = match Plan::compile(&setup.mapping, &read_catalog(&session).await?) {
            Ok(plan) => plan,
            Err(faults) => {
                print::faults(&faults.into_iter().map(Finding::from).collect::<Vec<_>>());
                return Ok(Exit::Faults);
            }
        };
        if executed {
            migrate(&session).await?;
        }
        let mut report = Report { executed, collections: Vec::new() };
        for mapped in plan.collections().iter().filter(|plan| self.collections.contains(&plan.collection)) {
            report.collections.push(line(&session, mapped).await?);
        }
        if executed {
            snapshots::ask(&session, SnapshotCommand::Reset, &self.collections, &operator(), self.why.as_deref())
                .await?;
        }
        if self.json {
            print::json(&report)?
        } else {
            report.print()
        }
        Ok(Exit::Success)
    }
}

async fn line(session: &Session, mapped: &CollectionPlan) -> anyhow::Result<Line> {
    let tables: Vec<_> = mapped.tables.iter().map(|table| table.table.clone()).collect();
    let referring = reset::referring(session, &tables).await?;
    Ok(Line {
        collection: mapped.collection.clone(),
        documents: reset::documents(session, &mapped.collection).await?,
        // Children first.
        tables: tables.iter().rev().map(crate::mapping::target::TableName::label).collect(),
        referring,
    })
}

impl Report {
    fn print(&self) {
        for Line { collection, documents, tables, referring } in &self.collections {
            print::line(format!(
                "{collection}: the rows of {documents} documents are deleted, from {}.",
                tables.join(", then ")
            ));
            if !referring.is_empty() {
                print::line(format!(
                    "  {} refer to these tables: where foreign keys are enforced, a row that one of theirs needs stays until the \
                     snapshot has read its document again.",
                    referring.join(", ")
                ));
            }
        }
        print::line(
            "The log keeps this: the sink empties the tables when it comes to it, and nothing older comes back. Then every document is \
             read again. The proof is void until a new baseline has ended.",
        );
        print::line(if self.executed {
            "Asked. The daemon that leads the source begins within about a second; `driftless snapshot status --follow` shows the progress."
        } else {
            "Nothing was changed. Add `--confirm NAME --why TEXT` for each collection to do it."
        });
    }
}
