//! The delta over the twins: the source writes without a pause and in transactions, the pipeline loses changes without a trace, the
//! sink reads images later than their events, and rows go back in time when an older event is applied behind a newer image.
//!
//! - Only a document whose change was lost, or that is damaged or refused, is found.
//! - V never passes a change whose loss shows and is not found.
//! - Once the sink has caught up, every key is judged, and V is at the end.

use rand::Rng;

use super::{
    SEEDS, bounds,
    twins::{SourceTwin, TargetTwin},
    world::{Stall, State, World},
};
use crate::{
    model::{ClusterTime, Frontier},
    reconcile::{
        delta::{
            followed::{Followed, Outcome},
            round::{Judged, judge_with},
        },
        examine::Examiner,
        judgement::Judgement,
        read::PieceReader,
        sides::TargetSide,
    },
    seeds,
};

/// Rounds until the writes end, and until every stall is over and every parked document is free.
const ROUNDS: u32 = 40;
const ROUNDS_TO_THE_END: u32 = 3_000;

/// How often the seeds reached each case that the properties are about.
#[derive(Debug, Default)]
struct Met {
    lost: u32,
    found: u32,
    /// Documents that were judged beyond the last instant of the watermark, and equal.
    back: u32,
    undecided: u32,
    resolved: u32,
    too_old: u32,
}

/// The change stream, and the keys that wait.
struct Delta {
    followed: Followed,
    given: usize,
    reached: Frontier,
}

#[test]
fn the_delta_never_passes_a_change_that_was_lost_and_finds_nothing_else() {
    let mut met = Met::default();
    let all = seeds::each(2 * SEEDS, async |seed| simulate(seed, &mut met).await);
    let Met { lost, found, back, undecided, resolved, too_old } = met;
    let all_met = [lost, found, back, undecided, resolved, too_old].iter().all(|count| *count > 0);
    assert!(!all || all_met, "the seeds are to meet every case: {met:?}");
}

async fn simulate(seed: u64, met: &mut Met) {
    let world = World::new(seed);
    let mut delta = {
        let mut state = world.lock();
        state.writes_left = state.rng.random_range(0..200);
        state.hot = [0.0, 0.7][state.rng.random_range(0..2)];
        state.joins = [0.0, 0.5][state.rng.random_range(0..2)];
        state.loses = [0.0, 0.02, 0.1][state.rng.random_range(0..3)];
        state.forgets = [0.0, 0.02][state.rng.random_range(0..2)];
        let (given, reached) = (state.changes.len(), Frontier(state.now.next()));
        Delta { followed: Followed::default(), given, reached }
    };
    for _ in 0..ROUNDS {
        delta.round(&world, met).await;
    }
    let (lost, stalls_for_good) = {
        let mut state = world.lock();
        (state.writes_left, state.forgets) = (0, 0.0);
        (state.lost.len(), state.stall == Stall::ForGood)
    };
    met.lost += u32::from(lost > 0);
    for _ in 0..ROUNDS_TO_THE_END {
        let end = Frontier(world.lock().now.next());
        if stalls_for_good || delta.verified() == end {
            break;
        }
        delta.round(&world, met).await;
    }
    let state = world.lock();
    if !stalls_for_good {
        assert_eq!(
            (delta.followed.pending.len(), delta.followed.pending.bytes()),
            (0, 0),
            "keys that are never judged"
        );
        assert_eq!(delta.verified(), Frontier(state.now.next()));
    }
    met.found += u32::from(delta.followed.outcomes.values().any(|outcome| matches!(outcome, Outcome::Differs(_))));
    met.resolved += u32::from(delta.followed.resolved > 0);
}

impl Delta {
    fn verified(&self) -> Frontier {
        self.followed.pending.verified(self.reached)
    }

    /// Judges the keys that are due, while the source writes and the sink applies.
    async fn round(&mut self, world: &World, met: &mut Met) {
        let (source, target) = (SourceTwin(world.clone()), TargetTwin(world.clone()));
        let bounds = bounds();
        let examiner = Examiner { target: &target, plan: world.plan(), wait: std::time::Duration::ZERO };
        self.give(&mut world.lock());
        let watermark = target.watermark().await.expect("the twins do not fail");
        let at = watermark.last_covered().expect("the snapshot is applied");
        let limit = world.lock().rng.random_range(1..20);
        let documents = self.followed.pending.due(at, limit);
        self.followed.in_round = true;
        let mut pieces = PieceReader::new(&source, bounds);
        let judged = judge_with(&examiner, &mut pieces, documents, at).await.expect("the twins do not fail");
        // Keys come in while a round is under way.
        self.give(&mut world.lock());
        met.count(&judged, at);
        self.followed.take(judged, tokio::time::Instant::now());
        self.check(&world.lock());
    }

    /// Gives some of the next changes.
    fn give(&mut self, state: &mut State) {
        for _ in 0..state.rng.random_range(0..6) {
            let Some((time, key)) = state.changes.get(self.given).cloned() else {
                self.reached = Frontier(state.now.next());
                return;
            };
            self.given += 1;
            // More changes of that instant may follow.
            self.reached = Frontier(time);
            self.followed.pending.insert(state.document_id(&key), time);
        }
    }

    fn check(&self, state: &State) {
        let verified = self.verified();
        let differs = |key: &_| matches!(self.followed.outcomes.get(key), Some(Outcome::Differs(_)));
        for (key, time) in &state.lost {
            let last = state.changes.iter().rev().find(|(_, changed)| changed == key).map(|(time, _)| *time);
            // A refused or parked document is not compared.
            let judged = verified.covers(*time) && last == Some(*time) && !state.letters.contains_key(key);
            assert!(!judged || !state.shows_its_loss(key) || differs(key), "V {verified} passes the loss at {time}");
        }
        for (key, outcome) in &self.followed.outcomes {
            let Outcome::Differs(found) = outcome else { continue };
            assert!(state.allowed.contains(&(key.clone(), found.kind)), "no drift: {found:?}");
        }
    }
}

impl Met {
    fn count(&mut self, judged: &Judged, at: ClusterTime) {
        self.too_old += u32::from(judged.too_old);
        let undecided = |judgement: &Judgement| *judgement == Judgement::Undecided;
        self.undecided += u32::from(judged.documents.iter().any(|back| undecided(&back.examined.judgement)));
        let back = judged.documents.iter().any(|back| back.as_of > at && back.examined.judgement == Judgement::Match);
        self.back += u32::from(back);
    }
}
