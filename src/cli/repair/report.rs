//! The plan and the outcome of a repair, as they are printed. It names `_id`s, primary keys, tables and columns, and no values.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use super::stop::{Common, Systematic};
use crate::{
    cli::{print, requests},
    control::{
        findings::{Finding, Kind, Subject},
        repairs::Progress,
    },
    model::{ClusterTime, Key},
};

/// Findings that stayed open which the text report names; the JSON names all of them.
const MAX_NAMED: usize = 20;

/// The plan and the outcome of a repair.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) dry_run: bool,
    /// The differences that are to be repaired.
    pub(super) planned: Vec<Planned>,
    /// Collections with too many findings to be chance.
    pub(super) systematic: Vec<Systematic>,
    /// Whether nothing was repaired because of them.
    pub(super) stopped: bool,
    /// Progress of the requests.
    #[serde(flatten)]
    pub(super) progress: Progress,
    /// Reasons of refused requests, with the number of each.
    pub(super) refusals: Vec<(String, i64)>,
    /// Findings that have ended.
    pub(super) repaired: usize,
    /// Findings that have not.
    pub(super) left: Vec<Left>,
}

/// Findings of one kind in one collection.
#[derive(Serialize)]
pub(super) struct Planned {
    collection: String,
    kind: Kind,
    /// Whether they are about rows that no document stands behind.
    rows: bool,
    findings: usize,
    /// Tables that may be written.
    tables: BTreeSet<String>,
}

impl Planned {
    pub(super) fn of(findings: &[Finding], tables: impl Fn(&Finding) -> Vec<String>) -> Vec<Self> {
        let mut planned = BTreeMap::<_, (usize, BTreeSet<String>)>::new();
        for finding in findings {
            let rows = matches!(finding.found.subject, Subject::Row { .. });
            let place = (finding.collection.clone(), finding.found.kind, rows);
            let (count, all) = planned.entry(place).or_default();
            *count += 1;
            all.extend(tables(finding));
        }
        let planned = planned.into_iter();
        planned
            .map(|((collection, kind, rows), (findings, tables))| Self { collection, kind, rows, findings, tables })
            .collect()
    }
}

/// A finding that is still open.
#[derive(Serialize)]
pub(super) struct Left {
    collection: String,
    /// The `_id` as Extended JSON, or table and primary key.
    subject: String,
    kind: Kind,
    columns: Vec<String>,
    /// The dead letter that waits for the document.
    letter: Option<i64>,
    refused: Option<String>,
    /// Whether it could not be compared again so far.
    undecided: bool,
}

impl Left {
    pub(super) fn of(finding: &Finding, undecided: &BTreeSet<Key>) -> Self {
        let found = &finding.found;
        let is_undecided = matches!(&found.subject, Subject::Document(document) if undecided.contains(&document.key));
        Self {
            collection: finding.collection.clone(),
            subject: found.subject.label(),
            kind: found.kind,
            columns: found.columns.clone(),
            letter: found.letter,
            refused: found.refused.clone(),
            undecided: is_undecided,
        }
    }

    fn line(&self) -> String {
        let letter = self.letter.map(|letter| format!("dead letter {letter}"));
        let refused = self.refused.as_ref().map(|refused| format!("PostgreSQL refuses the value: {refused}"));
        let columns = (!self.columns.is_empty()).then(|| self.columns.join(", "));
        let undecided = self.undecided.then(|| "not compared again yet".to_owned());
        let more: Vec<_> = [columns, letter, refused, undecided].into_iter().flatten().collect();
        let more = if more.is_empty() { String::new() } else { format!(": {}", more.join(": ")) };
        format!("{} {} {}{more}", self.collection, self.kind.as_str(), self.subject)
    }
}

impl Report {
    pub(super) fn show(&self, json: bool, wait: Duration) -> anyhow::Result<()> {
        if json { print::json(self) } else { self.print(wait) }
    }

    fn print(&self, wait: Duration) -> anyhow::Result<()> {
        if self.planned.is_empty() {
            print::line("Nothing to repair: no finding is open.");
            return Ok(());
        }
        let mut table = print::table(["collection", "kind", "of", "findings", "tables"]);
        for Planned { collection, kind, rows, findings, tables } in &self.planned {
            let tables = tables.iter().cloned().collect::<Vec<_>>().join(", ");
            let of = if *rows { "rows" } else { "documents" };
            table.add_row([collection, kind.as_str(), of, &findings.to_string(), &tables]);
        }
        print::line(table);
        self.systematic.iter().for_each(print_systematic);
        if self.stopped {
            print::line(
                "Nothing was repaired: so many findings have a common cause, which a repair would hide. Find it first. \
                 `--force --why \"…\"` repairs them all the same.",
            );
        } else if self.dry_run {
            print::line("Nothing was repaired (--dry-run).");
        } else {
            self.print_outcome(wait)?;
        }
        Ok(())
    }

    fn print_outcome(&self, wait: Duration) -> anyhow::Result<()> {
        let Progress { asked, logged, applied, refused } = self.progress;
        print::line(format!(
            "{}: {applied} applied, {logged} in the log and not applied yet, {asked} not accepted, {refused} refused.",
            print::count(usize::try_from(asked + logged + applied + refused)?, "request"),
        ));
        requests::print_unfinished(self.progress, &self.refusals, wait)?;
        print::line(format!("{} ended, {} still open.", print::count(self.repaired, "finding"), self.left.len()));
        self.left.iter().take(MAX_NAMED).for_each(|left| print::line(left.line()));
        if self.left.len() > MAX_NAMED {
            print::line(format!("{} more; --json names all of them.", self.left.len() - MAX_NAMED));
        }
        Ok(())
    }
}

fn print_systematic(systematic: &Systematic) {
    let Systematic { collection, findings, documents, common, changed } = systematic;
    print::line(format!("{collection}: {findings} findings in about {documents} documents are systematic. In common:"));
    for Common { what, value, findings: count } in common {
        let share = if count == findings { "all".to_owned() } else { format!("{count} of {findings}") };
        print::line(format!("  {what} {value}: {share}"));
    }
    if let Some((first, last)) = changed {
        print::line(format!("  applied changes from {} to {}", time(*first), time(*last)));
    }
}

fn time(time: ClusterTime) -> String {
    jiff::Timestamp::from_second(i64::from(time.t)).map_or_else(|_| time.to_string(), print::time)
}
