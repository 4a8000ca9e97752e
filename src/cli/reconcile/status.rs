//! `driftless reconcile status`: what the daemon has proven of each collection.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{Exit, cutover::read_facts, print, setup::Setup},
    reconcile::{
        blockers::{Blocker, Bounds, blockers, span},
        facts::{CollectionFacts, Facts, Progress},
    },
};

/// Tell what the daemon has proven of each collection, and what stands against it.
///
/// Only PostgreSQL is asked. The exit code is 0 if every collection is in sync, 4 if one drifts, and 5 if something is not proven.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A collection, as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    verdict: &'static str,
    /// Estimate of the time that the baseline under way still takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_seconds_left: Option<u64>,
    #[serde(flatten)]
    facts: &'a CollectionFacts,
}

impl Status {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let facts = read_facts(setup, &setup.session().await?).await?;
        let blockers = blockers(&facts, &Bounds::of_verdict(&setup.config));
        let shown: Vec<Shown<'_>> = facts.collections.iter().map(|collection| shown(collection, &blockers)).collect();
        if self.json {
            print::json(&serde_json::json!({ "collections": shown, "blockers": blockers }))?;
        } else {
            table(&facts, &shown);
            blockers.iter().for_each(print::line);
        }
        Ok(match (blockers.iter().any(|blocker| blocker.kind.is_drift()), blockers.is_empty()) {
            (true, _) => Exit::Drift,
            (false, true) => Exit::Success,
            (false, false) => Exit::Unproven,
        })
    }
}

fn shown<'a>(facts: &'a CollectionFacts, blockers: &[Blocker]) -> Shown<'a> {
    let own = |blocker: &&Blocker| blocker.collection.as_ref().is_none_or(|name| *name == facts.name);
    let own: Vec<&Blocker> = blockers.iter().filter(own).collect();
    let verdict = match own.iter().any(|blocker| blocker.kind.is_drift()) {
        true => "drift",
        false if own.is_empty() => "in_sync",
        false => "unknown",
    };
    Shown {
        verdict,
        baseline_seconds_left: facts.proven.baseline_running.as_ref().and_then(Progress::seconds_left),
        facts,
    }
}

fn table(facts: &Facts, shown: &[Shown<'_>]) {
    let mut table = print::table([
        "collection",
        "verdict",
        "verified as of",
        "age",
        "baseline",
        "under way",
        "undecided",
        "findings",
        "foreign writes",
    ]);
    for (collection, shown) in facts.collections.iter().zip(shown) {
        let proven = &collection.proven;
        let verified = proven.verified.as_ref();
        let findings = collection.findings.by_kind().into_iter().filter(|(_, count)| *count > 0);
        let findings: Vec<String> =
            findings.map(|(kind, count)| format!("{count} {}", kind.replace('_', " "))).collect();
        let undecided = match proven.undecided_since {
            Some(since) if proven.undecided > 0 => format!("{}, since {since}", proven.undecided),
            _ => proven.undecided.to_string(),
        };
        let writes: u64 = collection.foreign_writes.iter().map(|write| write.statements).sum();
        table.add_row([
            collection.name.clone(),
            shown.verdict.replace('_', " "),
            verified.map_or("never".to_owned(), |verified| print::time(verified.at)),
            verified.map_or(String::new(), |verified| span(verified.age)),
            proven.baseline.as_ref().map_or("none".to_owned(), |pass| format!("{} ago", span(pass.age))),
            proven.baseline_running.as_ref().map_or(String::new(), under_way),
            undecided,
            findings.join(", "),
            writes.to_string(),
        ]);
    }
    print::line(table);
}

fn under_way(running: &Progress) -> String {
    let phase = running.phase.as_deref().unwrap_or("begins");
    let of = running.estimate.map_or(String::new(), |estimate| format!(" of about {estimate}"));
    let left = running.seconds_left();
    let left = left.map_or(String::new(), |left| format!(", about {} left", span(Duration::from_secs(left))));
    format!("{phase}: {}{of} documents{left}", running.documents)
}
