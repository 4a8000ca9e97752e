//! Walks of the baseline over the twins: both sides change, the source forgets its past, and the process dies after any step.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use bson::raw::RawDocument;
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::{
    SEEDS, bounds,
    twins::{SourceTwin, TargetTwin},
    world::{Stall, World},
};
use crate::{
    control::findings::{Found, Kind, Subject},
    model::{ClusterTime, Key},
    reconcile::{
        baseline::Baseline,
        step::{Cursor, Judged, Phase, Step, Waits},
    },
    seeds,
};

/// The pause of a walk that waits.
const PAUSE: Duration = Duration::from_millis(100);
/// A walk that waits for longer than any stall that ends waits for good.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests after which every event is applied, every stall over and every parked document free.
const REQUESTS_TO_THE_END: u32 = 2_000;

/// How often the seeds reached each case that the properties are about.
#[derive(Debug, Default)]
struct Met {
    found: u32,
    extra_rows: u32,
    undecided: u32,
    crashes: u32,
    history_lost: u32,
    given_up: u32,
}

/// A chunk whose result is stored.
struct Stored {
    cursor: Cursor,
    judged: Judged,
}

#[test]
fn a_walk_skips_nothing_and_reports_only_drift() {
    let mut met = Met::default();
    let all = seeds::each(2 * SEEDS, async |seed| simulate(seed, &mut met).await);
    let Met { found, extra_rows, undecided, crashes, history_lost, given_up } = met;
    let all_met = [found, extra_rows, undecided, crashes, history_lost, given_up].iter().all(|count| *count > 0);
    assert!(!all || all_met, "the seeds are to meet every case: {met:?}");
}

async fn simulate(seed: u64, met: &mut Met) {
    let world = World::new(seed);
    let forgets = [0.0, 0.02, 0.2][seed as usize % 3];
    world.lock().forgets = forgets;
    world.lock().loses_entries = [0.0, 0.1][seed as usize / 3 % 2];
    let damaged: BTreeSet<Key> = world.lock().damaged.keys().cloned().collect();
    let Some(first) = walk(&world, met).await else {
        met.given_up += 1;
        let state = world.lock();
        assert!(state.stall == Stall::ForGood && forgets > 0.0, "a walk gives up only when its past is gone for good");
        return;
    };
    check(&world, &first);
    met.undecided += u32::from(first.iter().any(|stored| !stored.judged.undecided.is_empty()));
    // A document that is still damaged was damaged during the whole walk.
    let still: BTreeSet<Key> = world.lock().damaged.keys().filter(|key| damaged.contains(*key)).cloned().collect();
    assert_eq!(missed(&first, &still), [], "damage is found, or undecided");
    met.found += u32::from(!found(&first).is_empty());

    // When nobody writes any more and the target has come to the end, nothing is undecided.
    {
        let mut state = world.lock();
        state.writes_left = 0;
        (state.forgets, state.loses_entries) = (0.0, 0.0);
        if state.stall == Stall::ForGood {
            return;
        }
    }
    for _ in 0..REQUESTS_TO_THE_END {
        drop(world.asked().await);
    }
    let quiet = walk(&world, met).await.expect("the past is there");
    check(&world, &quiet);
    assert!(quiet.iter().all(|stored| stored.judged.undecided.is_empty()), "undecided although nothing changes");
    let state = world.lock();
    let still: BTreeSet<Key> = state.damaged.keys().chain(state.without_entry()).cloned().collect();
    assert_eq!(missed(&quiet, &still), []);
}

/// Walks over everything; gives the chunks whose results were stored, or `None` if the past is gone for good.
async fn walk(world: &World, met: &mut Met) -> Option<Vec<Stored>> {
    let (source, target) = (SourceTwin(world.clone()), TargetTwin(world.clone()));
    let read_ahead = world.lock().rng.random_bool(0.5);
    let new = || Baseline::new(&source, &target, world.plan(), bounds(), read_ahead);
    let (mut baseline, mut stored, mut cursor) = (new(), Vec::new(), Some(Cursor::BEGIN));
    let mut judged_last = Instant::now();
    while let Some(at) = cursor.clone() {
        let step = baseline.step(&at, ClusterTime::default()).await.expect("only the past can be missing");
        match step {
            Step::Waits(waits) => {
                assert_eq!(waits, Waits::History, "the snapshot is applied");
                met.history_lost += 1;
                if judged_last.elapsed() > PATIENCE {
                    return None;
                }
                sleep(PAUSE).await;
                drop(world.asked().await);
            }
            Step::Judged(judged) => {
                judged_last = Instant::now();
                // The process dies before or after the result is stored.
                let dies = world.lock().rng.random_range(0..10);
                if dies < 2 {
                    baseline = new();
                    met.crashes += 1;
                }
                if dies != 0 {
                    met.extra_rows += u32::from(at.phase == Phase::Rows && !judged.found.is_empty());
                    cursor = judged.next.clone();
                    stored.push(Stored { cursor: at, judged });
                }
            }
        }
    }
    Some(stored)
}

/// Checks the chunks of a walk against an independent count, and its findings against what was damaged.
fn check(world: &World, stored: &[Stored]) {
    let state = world.lock();
    let mut phases = BTreeMap::<&str, Option<&[u8]>>::new();
    for Stored { cursor, judged } in stored {
        let before = phases.insert(cursor.phase.as_str(), judged.until.as_deref()).flatten();
        assert_eq!(cursor.after.as_deref(), before, "a chunk begins where the one before it ended");
        if cursor.phase == Phase::Documents {
            let key = |bytes: &[u8]| Key::from_id(RawDocument::from_bytes(bytes).expect("an id")).expect("a key");
            let from = cursor.after.as_deref().map_or(Bound::Unbounded, |after| Bound::Excluded(key(after)));
            let to = judged.until.as_deref().map_or(Bound::Unbounded, |until| Bound::Included(key(until)));
            let held = state.past(judged.as_of).range((from, to)).count();
            assert_eq!(judged.looked, held as u64, "documents of {cursor:?} as of {}", judged.as_of);
        }
    }
    assert!(phases.len() == 3 && phases.values().all(Option::is_none), "each phase has come to its end: {phases:?}");
    let found = found(stored);
    let wrong: Vec<_> = found.iter().filter(|found| !state.allowed.contains(found)).collect();
    assert!(wrong.is_empty(), "no drift: {wrong:?}");
    let rows = stored.iter().flat_map(|stored| &stored.judged.found);
    let rows = rows.filter(|found| matches!(found.subject, Subject::Row { .. })).count() as u64;
    assert_eq!(rows, state.foreign_rows, "rows of nobody");
}

/// The documents that a walk found, with their kinds.
fn found(stored: &[Stored]) -> BTreeSet<(Key, Kind)> {
    let document = |found: &Found| match &found.subject {
        Subject::Document(document) => Some((document.key.clone(), found.kind)),
        Subject::Row { .. } => None,
    };
    stored.iter().flat_map(|stored| &stored.judged.found).filter_map(document).collect()
}

/// Those of the keys that a walk neither found nor left undecided.
fn missed(stored: &[Stored], keys: &BTreeSet<Key>) -> Vec<Key> {
    let mut met: BTreeSet<Key> = found(stored).into_iter().map(|(key, _)| key).collect();
    let undecided = stored.iter().flat_map(|stored| &stored.judged.undecided);
    met.extend(undecided.map(|document| document.key.clone()));
    keys.difference(&met).cloned().collect()
}
