//! Passes over in-memory twins of both sides that change while the pass runs: seeded, with paused time.
//!
//! The source is written between any two reads. The sink lags, stalls for a while or for the rest of the run, reads images later
//! than their events, and refuses and parks documents. Some rows are damaged, but not by the sink. In every order:
//!
//! - Only a damaged or a refused document is reported as drift, and with the right kind.
//! - A pass reports equality only if no row that was damaged before it began is still damaged.
//! - Once the sink has caught up, no document is left undecided, and all damage is found.

mod delta;
mod twins;
mod walk;
mod world;

use std::time::Duration;

use tokio::time::Instant;

use self::{
    twins::{SourceTwin, TargetTwin},
    world::{Stall, World},
};
use super::{
    bounds::Bounds,
    pass,
    report::{Finding, Report},
};
use crate::{log::ejson, seeds, source::Limits};

/// The number of seeds that run in a few seconds.
const SEEDS: u64 = 200;
/// Longer than any stall that ends.
const WAIT: Duration = Duration::from_secs(30);

/// How often the seeds reached each case that the properties are about.
#[derive(Debug, Default)]
struct Met {
    clean: u32,
    found: u32,
    undecided: u32,
    asked_again: u32,
    samples: u32,
}

#[test]
fn a_pass_takes_no_lag_for_drift_and_no_drift_for_equality() {
    let mut met = Met::default();
    let all = seeds::each(SEEDS, async |seed| simulate(seed, &mut met).await);
    let Met { clean, found, undecided, asked_again, samples } = met;
    let all_met = clean > 0 && found > 0 && undecided > 0 && asked_again > 0 && samples > 0;
    assert!(!all || all_met, "the seeds are to meet every case: {met:?}");
}

/// Before the snapshot is applied, a missing row proves nothing.
#[tokio::test(start_paused = true)]
async fn nothing_is_compared_before_the_snapshot_is_applied() {
    let world = World::new(1);
    world.lock().watermark = Default::default();
    world.lock().stall = Stall::ForGood;
    let (source, target) = (SourceTwin(world.clone()), TargetTwin(world.clone()));
    let report = pass::run(&source, &target, world.plan(), usize::MAX, bounds()).await;
    assert!(report.expect("the twins do not fail").is_none());
}

fn bounds() -> Bounds {
    let limits = Limits { documents: 16, bytes: 1 << 20 };
    Bounds { limits, read_time: Duration::from_millis(10), wait: WAIT, findings: usize::MAX }
}

async fn simulate(seed: u64, met: &mut Met) {
    let world = World::new(seed);
    let size = world.sample_size();
    let (source, target) = (SourceTwin(world.clone()), TargetTwin(world.clone()));
    let began = Instant::now();
    let report = pass::run(&source, &target, world.plan(), size, bounds()).await;
    let report = report.unwrap_or_else(|error| panic!("{error}")).expect("the snapshot is applied");
    let violated = violations(&world, &report);
    assert!(violated.is_empty(), "{size} in {:?}: {violated:#?}", began.elapsed());
    met.clean += u32::from(report.proof.is_equal());
    met.found += u32::from(report.proof.drift() > 0);
    met.undecided += u32::from(report.proof.undecided > 0);
    met.asked_again += u32::from(report.proof.full && world.lock().asked_again > 0);
    met.samples += u32::from(!report.proof.full);
}

/// Returns the properties that this report violates.
fn violations(world: &World, report: &Report) -> Vec<String> {
    let world = world.lock();
    let mut violated = Vec::new();
    let (documents, rows): (Vec<_>, Vec<_>) = report.findings.iter().partition(|finding| finding.key.is_some());
    let allowed = |finding: &&&Finding| {
        let is = |key| finding.key.as_deref() == Some(&*ejson::id_text(key));
        world.allowed.iter().any(|(key, kind)| finding.kind == *kind && is(key))
    };
    let wrong = documents.iter().filter(|finding| !allowed(finding));
    violated.extend(wrong.map(|finding| format!("no drift: {finding:?}")));
    if rows.len() as u64 > world.foreign_rows {
        violated.push(format!("{} foreign rows, and found {rows:?}", world.foreign_rows));
    }
    let found = |key: &_| documents.iter().any(|finding| finding.key.as_deref() == Some(&*ejson::id_text(key)));
    let lost = |key: &&_| !found(*key);
    let not_found: Vec<_> = world.damaged.keys().filter(lost).collect();
    if report.proof.is_equal() && !(not_found.is_empty() && world.foreign_rows == 0) {
        violated.push(format!("equal, with {} foreign rows and damage at {not_found:?}", world.foreign_rows));
    }
    if report.proof.full && world.foreign_rows > report.proof.extra {
        violated.push(format!("{} foreign rows, and {} are extra", world.foreign_rows, report.proof.extra));
    }
    if world.stall != Stall::ForGood {
        if report.proof.undecided > 0 {
            violated.push(format!("undecided although the sink has caught up: {}", report.proof.undecided));
        }
        if report.proof.full && !not_found.is_empty() {
            violated.push(format!("not found: {not_found:?}"));
        }
    }
    violated
}
