//! When the next step is due, and which steps may be in flight together.

use std::{collections::HashSet, time::Duration};

use mongodb::bson::oid::ObjectId;
use tokio::time::Instant;

use super::step::Step;

/// Steps in flight at once.
const MAX_CONCURRENT: usize = 16;
/// After a stall, at most this much of the missed time is made up for.
const CATCH_UP: Duration = Duration::from_secs(1);

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// At this moment.
    Deadline(Instant),
    /// After this many steps.
    Count(u64),
    /// Only when it is cancelled.
    Cancelled,
}

/// A rate with a bounded backlog of due steps.
#[derive(Debug)]
pub(super) struct Pace {
    rate: f64,
    until: Until,
    due: f64,
    at: Instant,
    issued: u64,
}

impl Pace {
    /// Creates a pace of `rate` steps a second, limited to between one in a quarter of an hour and a million.
    pub(super) fn new(rate: f64, until: Until, now: Instant) -> Self {
        Self { rate: rate.clamp(0.001, 1e6), until, due: 1.0, at: now, issued: 0 }
    }

    /// Returns whether no further step is to be started.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        match self.until {
            Until::Deadline(deadline) => now >= deadline,
            Until::Count(steps) => self.issued >= steps,
            Until::Cancelled => false,
        }
    }

    /// Takes one step if one is due; returns whether it did.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let missed = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.at = now;
        self.due = (self.due + missed).min((self.rate * CATCH_UP.as_secs_f64()).max(1.0));
        let taken = self.due >= 1.0;
        if taken {
            self.due -= 1.0;
            self.issued += 1;
        }
        taken
    }
}

/// The steps in flight: none mentions a document that another one changes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    touched: HashSet<ObjectId>,
    under_way: usize,
    alone: bool,
}

impl Lanes {
    /// Takes a lane for a step if it may start now; returns whether it did.
    pub(super) fn enter(&mut self, step: &Step) -> bool {
        if self.alone || self.under_way >= MAX_CONCURRENT || (step.alone && self.under_way > 0) {
            return false;
        }
        let mut free = true;
        step.visit_ids(&mut |id| free &= !self.touched.contains(&id));
        if free {
            self.touched.extend(step.touches.iter().copied());
            self.under_way += 1;
            self.alone = step.alone;
        }
        free
    }

    /// Releases the lane of a step.
    pub(super) fn leave(&mut self, touches: &[ObjectId]) {
        for id in touches {
            self.touched.remove(id);
        }
        self.under_way -= 1;
        self.alone = false;
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;
    use crate::{Collection, Operation, workload::step::Write};

    fn id(n: u8) -> ObjectId {
        ObjectId::from_parts(0, [0; 5], [0, 0, n])
    }

    fn insert(one: u8, referring_to: u8) -> Step {
        let document = doc! { "_id": id(one), "plan": id(referring_to) };
        Step::of(Operation::Insert, &[id(one)], vec![(Collection::Sections, Write::Insert(document))])
    }

    #[test]
    fn steps_wait_for_what_they_mention() {
        let mut lanes = Lanes::default();
        assert!(lanes.enter(&insert(1, 9)));
        assert!(lanes.enter(&insert(2, 9)), "both only refer to 9");
        assert!(!lanes.enter(&insert(3, 1)), "1 is not yet there");
        assert!(!lanes.enter(&Step::alone(Operation::DeleteCascade, Vec::new())));
        lanes.leave(&[id(1)]);
        assert!(lanes.enter(&insert(3, 1)));
        lanes.leave(&[id(2)]);
        lanes.leave(&[id(3)]);
        assert!(lanes.enter(&Step::alone(Operation::DeleteCascade, Vec::new())));
        assert!(!lanes.enter(&insert(4, 9)));
        lanes.leave(&[]);
        assert!(lanes.enter(&insert(4, 9)));
    }

    #[test]
    fn a_stall_is_made_up_for_only_in_part() {
        let start = Instant::now();
        let mut pace = Pace::new(100.0, Until::Cancelled, start);
        let mut burst = |after_ms| {
            let now = start + Duration::from_millis(after_ms);
            std::iter::from_fn(|| pace.take(now).then_some(())).count()
        };
        assert_eq!([burst(0), burst(205), burst(60_000), burst(60_001)], [1, 20, 100, 0]);
    }

    #[test]
    fn a_run_ends_when_it_should() {
        let start = Instant::now();
        let (later, latest) = (start + Duration::from_secs(1), start + Duration::from_secs(2));
        let mut counted = Pace::new(100.0, Until::Count(2), start);
        assert!(!counted.has_ended(latest) && counted.take(later) && counted.take(later) && counted.has_ended(later));
        let timed = Pace::new(100.0, Until::Deadline(later), start);
        assert!(!timed.has_ended(start) && timed.has_ended(later) && timed.has_ended(latest));
        assert!(!Pace::new(100.0, Until::Cancelled, start).has_ended(latest));
    }
}
