//! `driftless reconcile`: compares both sides now.

use std::path::Path;

use clap::Args;

use super::{Exit, print, setup::Setup};
use crate::{
    pipeline::Comparison,
    reconcile::{Bounds, Coverage, Report, verdict::NO_SUCH_COLLECTION},
};

/// Compare both sides now, column by column, while writes go on.
#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// Compare only this collection; may be repeated.
    #[arg(long = "collection")]
    collections: Vec<String>,
    /// Compare every document and every row.
    #[arg(long, conflicts_with = "sample")]
    full: bool,
    /// Compare this many random documents of each collection [default: reconcile.sample].
    #[arg(long)]
    sample: Option<usize>,
    /// List at most this many findings of each collection; the counts include all of them.
    #[arg(long, value_name = "NUMBER", default_value_t = Bounds::FINDINGS)]
    findings: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Reconcile {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        let coverage = match (self.full, self.sample) {
            (true, _) => Coverage::Full,
            (false, size) => Coverage::Sample(size.unwrap_or(setup.config.reconcile.sample)),
        };
        let comparison = Comparison::connect(&setup.config, &setup.mapping).await?.with_findings(self.findings);
        let known = comparison.collections();
        if let Some(unknown) = self.collections.iter().find(|name| !known.contains(name)) {
            anyhow::bail!("find collection {unknown} in the mapping: it has only {}", known.join(", "));
        }
        let wanted = |name: &String| self.collections.is_empty() || self.collections.contains(name);
        let mut reports = Vec::new();
        let mut unfinished = Vec::new();
        for (place, name) in known.into_iter().enumerate().filter(|(_, name)| wanted(name)) {
            match comparison.pass(place, coverage).await? {
                Some(report) => reports.push(report),
                None => unfinished.push(name),
            }
        }
        if self.json {
            print::json(&serde_json::json!({ "reports": reports, "snapshot_unfinished": unfinished }))?;
        } else {
            table(&reports, &unfinished);
        }
        Ok(exit(&reports, &unfinished))
    }
}

fn exit(reports: &[Report], unfinished: &[String]) -> Exit {
    if reports.iter().any(|report| report.proof.drift() > 0) {
        Exit::Drift
    } else if unfinished.is_empty() && reports.iter().all(|report| report.proof.is_equal()) {
        Exit::Success
    } else {
        Exit::Unproven
    }
}

fn table(reports: &[Report], unfinished: &[String]) {
    let mut table =
        print::table(["collection", "coverage", "compared", "missing", "extra", "different", "undecided", "verdict"]);
    for report in reports {
        let proof = &report.proof;
        let verdict = match (proof.drift(), proof.full && proof.undecided == 0) {
            (0, true) if proof.no_such_collection => "no such collection",
            (0, true) => "equal",
            // The rule of three: no drift in n random documents means, with 95 % confidence, that less than 3/n drift.
            (0, false) if proof.undecided == 0 => "no drift in the sample",
            (0, false) => "undecided",
            _ => "drift",
        };
        let verdict = match (verdict, proof.documents) {
            ("no drift in the sample", n) if n > 0 => format!("{verdict}: below {:.2} % (95 %)", 300.0 / n as f64),
            (verdict, _) => verdict.to_owned(),
        };
        table.add_row([
            report.collection.clone(),
            if proof.full { "full" } else { "sample" }.to_owned(),
            proof.documents.to_string(),
            proof.missing.to_string(),
            proof.extra.to_string(),
            proof.different.to_string(),
            proof.undecided.to_string(),
            verdict,
        ]);
    }
    for name in unfinished {
        table.add_row([name.as_str(), "none", "0", "", "", "", "", "snapshot unfinished"]);
    }
    print::line(table);
    for Report { collection, .. } in reports.iter().filter(|report| report.proof.no_such_collection) {
        print::line(format!("{collection}: {NO_SUCH_COLLECTION}"));
    }
    for report in reports {
        for finding in &report.findings {
            let mut line = format!("{} {} {}", report.collection, finding.kind.as_str(), finding.subject());
            let letter = finding.letter.map(|letter| format!("dead letter {letter}"));
            let refused = finding.refused.as_ref().map(|refused| format!("PostgreSQL refuses the value: {refused}"));
            let columns = (!finding.columns.is_empty()).then(|| finding.columns.join(", "));
            for more in [columns, letter, refused].into_iter().flatten() {
                line.push_str(": ");
                line.push_str(&more);
            }
            print::line(line);
        }
        if report.findings_left_out > 0 {
            let all = report.findings.len() as u64 + report.findings_left_out;
            print::line(format!(
                "{}: {} more; `--findings {all}` lists all of them",
                report.collection, report.findings_left_out
            ));
        }
    }
}
