//! The report of a comparison, as text and as JSON, and its exit code.

use serde_json::{Value, json};

use crate::{
    cli::{Exit, print},
    reconcile::{Report, verdict::NO_SUCH_COLLECTION},
};

/// Why nothing was compared.
pub(super) const SNAPSHOT_UNFINISHED: &str = "the snapshot of the collection is not applied";

/// A collection that was compared, or could not be.
pub(super) struct Compared {
    pub(super) collection: String,
    pub(super) outcome: Outcome,
    /// Open dead letters, those of records that cannot be read included.
    pub(super) dead_letters: u64,
}

/// The outcome for one collection.
pub(super) enum Outcome {
    /// It was compared.
    Report(Box<Report>),
    /// It waits for something.
    Unproven(String),
    /// It cannot be compared.
    Failed(String),
}

impl Compared {
    fn report(&self) -> Option<&Report> {
        match &self.outcome {
            Outcome::Report(report) => Some(report),
            Outcome::Unproven(_) | Outcome::Failed(_) => None,
        }
    }

    fn drifts(&self) -> bool {
        self.dead_letters > 0 || self.report().is_some_and(|report| report.proof.drift() > 0)
    }
}

/// Drift outweighs everything: it is proven, whatever else is not.
pub(super) fn exit(compared: &[Compared]) -> Exit {
    if compared.iter().any(Compared::drifts) {
        Exit::Drift
    } else if compared.iter().all(|compared| compared.report().is_some_and(|report| report.proof.is_equal())) {
        Exit::Success
    } else {
        Exit::Unproven
    }
}

pub(super) fn print(compared: &[Compared], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print::json(&as_value(compared)?);
    }
    table(compared);
    for Compared { collection, outcome, .. } in compared {
        match outcome {
            Outcome::Report(report) => findings(report),
            Outcome::Unproven(reason) => print::line(format!("{collection}: not compared: {reason}")),
            Outcome::Failed(reason) => print::line(format!("{collection}: failed: {reason}")),
        }
    }
    Ok(())
}

fn as_value(compared: &[Compared]) -> anyhow::Result<Value> {
    let (mut reports, mut unproven, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for Compared { collection, outcome, dead_letters } in compared {
        let line = |reason: &str| json!({ "collection": collection, "reason": reason, "dead_letters": dead_letters });
        match outcome {
            Outcome::Report(report) => {
                let mut report = serde_json::to_value(report)?;
                report["dead_letters"] = json!(dead_letters);
                reports.push(report);
            }
            Outcome::Unproven(reason) => unproven.push(line(reason)),
            Outcome::Failed(reason) => failed.push(line(reason)),
        }
    }
    let unfinished = unproven.iter().filter(|line| line["reason"] == SNAPSHOT_UNFINISHED);
    let unfinished: Vec<Value> = unfinished.map(|line| line["collection"].clone()).collect();
    Ok(json!({ "reports": reports, "snapshot_unfinished": unfinished, "unproven": unproven, "failed": failed }))
}

fn table(compared: &[Compared]) {
    let mut table = print::table([
        "collection",
        "coverage",
        "compared",
        "missing",
        "extra",
        "different",
        "undecided",
        "dead letters",
        "verdict",
    ]);
    for line in compared {
        let letters = line.dead_letters.to_string();
        let Some(Report { proof, .. }) = line.report() else {
            let verdict = match &line.outcome {
                Outcome::Unproven(reason) if reason == SNAPSHOT_UNFINISHED => "snapshot unfinished",
                Outcome::Failed(_) => "failed",
                _ => "not compared",
            };
            table.add_row([line.collection.as_str(), "none", "0", "", "", "", "", &letters, verdict]);
            continue;
        };
        table.add_row([
            line.collection.clone(),
            if proof.full { "full" } else { "sample" }.to_owned(),
            proof.documents.to_string(),
            proof.missing.to_string(),
            proof.extra.to_string(),
            proof.different.to_string(),
            proof.undecided.to_string(),
            letters,
            verdict(line),
        ]);
    }
    print::line(table);
}

fn verdict(line: &Compared) -> String {
    let Some(Report { proof, .. }) = line.report() else { return String::new() };
    match (line.drifts(), proof.full && proof.undecided == 0) {
        (true, _) => "drift".to_owned(),
        (false, true) if proof.no_such_collection => "no such collection".to_owned(),
        (false, true) => "equal".to_owned(),
        (false, false) if proof.undecided > 0 => "undecided".to_owned(),
        // The rule of three: no drift in n random documents means, with 95 % confidence, that less than 3/n drift.
        (false, false) => match proof.documents {
            0 => "no drift in the sample".to_owned(),
            n => format!("no drift in the sample: below {:.2} % (95 %)", 300.0 / n as f64),
        },
    }
}

fn findings(report: &Report) {
    if report.proof.no_such_collection {
        print::line(format!("{}: {NO_SUCH_COLLECTION}", report.collection));
    }
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
