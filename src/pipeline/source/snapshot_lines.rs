//! The lines that show how far each snapshot is: phase, rate, time left; on the status page and in the log of the process.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    model::SnapshotState,
    status::{SnapshotPhase, SnapshotStatus, Status},
};

/// How often a running snapshot is logged; its rate is the average of as long a time.
const WINDOW: Duration = Duration::from_secs(10);

/// Shows the snapshots of a term.
pub(super) struct SnapshotLines {
    meters: BTreeMap<String, Meter>,
    status: Status,
}

impl SnapshotLines {
    pub(super) fn new(status: Status) -> Self {
        Self { meters: BTreeMap::new(), status }
    }

    /// A collection is read from the beginning: its rate starts anew.
    pub(super) fn forget(&mut self, collection: &str) {
        self.meters.remove(collection);
    }

    /// Renews the line of a snapshot.
    pub(super) fn show(&mut self, state: &SnapshotState, held_back: Option<String>) {
        let meter = self.meters.entry(state.collection.clone()).or_default();
        let now = Instant::now();
        let rate = meter.rate(now, state.documents);
        let line = line(state, rate, held_back);
        if line.phase != SnapshotPhase::Done && !state.parts.is_empty() && meter.is_due(now) {
            tracing::info!(
                collection = state.collection,
                phase = line.phase.as_str(),
                reason = line.reason,
                documents = line.documents,
                estimated = line.estimated,
                percent = line.percent(),
                rate = line.rate,
                seconds_left = line.seconds_left,
                "snapshot"
            );
        }
        self.status.snapshot(&state.collection, line);
    }
}

/// The line of a snapshot.
fn line(state: &SnapshotState, rate: f64, held_back: Option<String>) -> SnapshotStatus {
    let done = state.complete();
    let (phase, reason) = match held_back {
        _ if done => (SnapshotPhase::Done, None),
        _ if state.done() => (SnapshotPhase::Running, Some("what it did not find is being removed".to_owned())),
        _ if state.paused => (SnapshotPhase::Paused, None),
        Some(reason) => (SnapshotPhase::HeldBack, Some(reason)),
        None if state.parts.is_empty() => (SnapshotPhase::Waiting, None),
        None => (SnapshotPhase::Running, None),
    };
    // The estimate may be too low: until the end at least one more is expected.
    let estimated = if done { state.documents } else { state.estimate.max(state.documents + 1) };
    let left = (estimated - state.documents) as f64;
    let moves = phase == SnapshotPhase::Running && rate >= 1.0;
    SnapshotStatus {
        phase,
        reason,
        run: state.run,
        documents: state.documents,
        bytes: state.bytes,
        estimated,
        rate: if done { 0 } else { rate as u64 },
        seconds_left: moves.then(|| (left / rate) as u64),
        parts: state.parts.len(),
        parts_done: state.parts.iter().filter(|part| part.done).count(),
        done,
    }
}

/// Documents a second over the last [`WINDOW`].
#[derive(Default)]
struct Meter {
    seen: VecDeque<(Instant, u64)>,
    logged: Option<Instant>,
}

impl Meter {
    fn rate(&mut self, now: Instant, documents: u64) -> f64 {
        self.seen.push_back((now, documents));
        // One older entry stays, so that the window is always full.
        while self.seen.get(1).is_some_and(|(then, _)| now.duration_since(*then) > WINDOW) {
            self.seen.pop_front();
        }
        let Some((then, before)) = self.seen.front() else { return 0.0 };
        documents.saturating_sub(*before) as f64 / now.duration_since(*then).as_secs_f64().max(1.0)
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.logged.is_none_or(|logged| now.duration_since(logged) >= WINDOW);
        if due {
            self.logged = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_grows_with_what_comes_and_ends_at_the_truth() {
        let mut state = SnapshotState { documents: 99, estimate: 100, ..SnapshotState::new("orders", 1, 0) };
        state.cut(Vec::new());
        let shown = |state: &SnapshotState| {
            let line = line(state, 10.0, None);
            (line.phase, line.estimated, line.percent(), line.seconds_left)
        };
        assert_eq!(shown(&state), (SnapshotPhase::Running, 100, 99, Some(0)));
        state.documents = 150;
        assert_eq!(shown(&state), (SnapshotPhase::Running, 151, 99, Some(0)));
        state.parts[0].done = true;
        assert_eq!(shown(&state), (SnapshotPhase::Done, 150, 100, None));
        let empty = SnapshotState { documents: 0, ..state };
        assert_eq!(shown(&empty), (SnapshotPhase::Done, 0, 100, None));
    }

    #[test]
    fn the_reason_for_a_pause_is_shown() {
        let mut state = SnapshotState::new("orders", 1, 0);
        let phase = |state: &SnapshotState, held: Option<&str>| line(state, 0.0, held.map(str::to_owned)).phase;
        assert_eq!(phase(&state, None), SnapshotPhase::Waiting);
        assert_eq!(phase(&state, Some("the sink is behind")), SnapshotPhase::HeldBack);
        state.paused = true;
        assert_eq!(phase(&state, Some("the sink is behind")), SnapshotPhase::Paused);
    }

    #[test]
    fn a_rate_is_that_of_the_window() {
        let (mut meter, now) = (Meter::default(), Instant::now());
        assert!(meter.is_due(now) && !meter.is_due(now + WINDOW / 2) && meter.is_due(now + WINDOW));
        let rates: Vec<_> = [(0, 0), (2, 200), (10, 1_000), (20, 1_000), (21, 1_000)]
            .map(|(second, documents)| meter.rate(now + Duration::from_secs(second), documents) as u64)
            .into();
        assert_eq!(rates, [0, 100, 100, 44, 0]);
    }
}
