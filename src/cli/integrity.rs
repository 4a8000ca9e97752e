//! `driftless integrity`: looks for rows that lack their parent.

use std::path::Path;

use clap::Args;

use super::{Exit, print, setup::Setup};
use crate::{
    control::integrity::{Looked, ShownOrphan},
    pipeline::{self, Dangling},
};

/// Look for rows whose parent is missing, in every foreign key of the mapped tables.
///
/// Foreign keys are not enforced while rows are replicated in replica mode. A row counts only if its parent is still missing when
/// everything is applied that the source had done when the row was found. Nothing is repaired: the cause is a reference of the
/// source, which is named. The exit code is 0 if there are none, 4 if there are, and 5 if not every row could be looked at.
#[derive(Debug, Args)]
pub(crate) struct Integrity {
    /// Name at most this many rows; the counts include all of them.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    orphans: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Integrity {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        let pipeline::Integrity { looked, orphans } =
            pipeline::integrity(&setup.config, &setup.mapping, self.orphans).await?;
        if self.json {
            print::json(&serde_json::json!({ "foreign_keys": looked, "orphans": orphans }))?;
        } else {
            table(&looked);
            orphans.iter().for_each(|orphan| print::line(line(orphan)));
            more(&looked, orphans.len());
        }
        Ok(
            match (
                looked.iter().any(|looked| looked.orphans > 0),
                looked.iter().any(|looked| looked.waits_for.is_some()),
            ) {
                (true, _) => Exit::Drift,
                (false, true) => Exit::Unproven,
                (false, false) => Exit::Success,
            },
        )
    }
}

fn table(looked: &[Looked]) {
    let mut table = print::table(["table", "foreign key", "refers to", "rows", "without parent", "problem"]);
    for looked in looked {
        table.add_row([
            looked.relation.clone(),
            looked.constraint.clone(),
            looked.parent.clone(),
            looked.rows.to_string(),
            looked.orphans.to_string(),
            looked.waits_for.clone().unwrap_or_default(),
        ]);
    }
    print::line(table);
}

/// Says which row refers to nothing, and which reference of the source is the cause.
fn line(Dangling { orphan, parent, columns, paths }: &Dangling) -> String {
    let ShownOrphan { relation, row, collection, id, .. } = orphan;
    let mut line = format!("{relation} {row}: {} refers to no row of {parent}", columns.join(", "));
    if let (Some(collection), Some(id)) = (collection, id) {
        line += &format!("; the reference is in {collection} {id}");
        if !paths.is_empty() {
            line += &format!(" at {}", paths.join(", "));
        }
    }
    line
}

fn more(looked: &[Looked], named: usize) {
    let all: u64 = looked.iter().map(|looked| looked.orphans).sum();
    let left = all.saturating_sub(named as u64);
    if left > 0 {
        print::line(format!(
            "{left} more; `--orphans NUMBER` names more, and `driftless.orphan` holds the first of each foreign key"
        ));
    }
}
