//! One collection that the delta follows: its keys that wait, and what judgements of them have found since the last record. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{back::Back, judgement::Judgement, pending::Fate, pending::Pending},
    round::Judged,
};
use crate::{
    control::findings::Found,
    model::{ClusterTime, Frontier, Key, Version},
    target::DocumentId,
};

/// The outcome of the last judgement of a document.
#[derive(Debug)]
pub(in super::super) enum Outcome {
    Differs(Found),
    /// Equal, or absent on both sides; with version and transaction of the ledger's entry.
    Equal(Option<(Version, i64)>),
}

/// Documents that somebody wants judged, and who is to hear of it.
#[derive(Debug)]
pub(in super::super) struct Ask {
    pub(in super::super) documents: Vec<DocumentId>,
    pub(in super::super) done: oneshot::Sender<()>,
}

/// Why no key of a collection can be judged.
#[derive(Clone, Debug)]
pub(in super::super) struct Trouble {
    pub(in super::super) since: Instant,
    pub(in super::super) reason: String,
    /// The next step, where only a person can end it.
    pub(in super::super) hint: Option<&'static str>,
    /// When it is tried again.
    pub(in super::super) retry_at: Instant,
    delay: Duration,
}

/// A collection.
#[derive(Debug, Default)]
pub(in super::super) struct Followed {
    /// Whether every change is given; not before the snapshot is applied, because no key can be judged then.
    pub(in super::super) follows: bool,
    pub(in super::super) pending: Pending,
    /// Whether a round is under way.
    pub(in super::super) in_round: bool,
    pub(in super::super) trouble: Option<Trouble>,
    /// Documents with open findings, as far as is known.
    pub(in super::super) open: HashSet<Key>,
    pub(in super::super) outcomes: HashMap<Key, Outcome>,
    /// Keys that are judged and were stored.
    pub(in super::super) forget: Vec<Key>,
    /// Requests that came during a round, whose snapshot may be older.
    deferred: Vec<(Ask, Frontier)>,
    asked: Vec<(HashSet<Key>, oneshot::Sender<()>)>,
    /// Requests that are done, once the outcomes are recorded.
    pub(in super::super) answered: Vec<oneshot::Sender<()>>,
    /// Documents that were judged, and those among them that had been undecided before.
    pub(in super::super) judged: u64,
    pub(in super::super) resolved: u64,
}

impl Followed {
    /// Documents are to be judged as if they had changed; everything before `reached` was given.
    pub(in super::super) fn ask(&mut self, ask: Ask, reached: Frontier) {
        if self.in_round {
            self.deferred.push((ask, reached));
            return;
        }
        let keys = ask.documents.iter().map(|document| document.key.clone()).collect();
        let time = self.unjudged_since(reached);
        ask.documents.into_iter().for_each(|document| self.pending.insert(document, time));
        self.asked.push((keys, ask.done));
    }

    /// The earliest time at which a document can be judged as if it had changed without taking V back. A target that is far behind
    /// has come to that time sooner than to what the stream has reached.
    pub(in super::super) fn unjudged_since(&self, reached: Frontier) -> ClusterTime {
        self.pending.oldest().or(reached.last_covered()).unwrap_or_default()
    }

    /// Takes the result of a round.
    pub(in super::super) fn take(&mut self, judged: Judged, now: Instant) {
        self.trouble =
            judged.too_old.then(|| self.again((TOO_OLD.to_owned(), None), Duration::ZERO, Duration::ZERO, now));
        for back in judged.documents {
            self.take_one(back, now);
        }
        self.end_round();
    }

    fn take_one(&mut self, back: Back, now: Instant) {
        let Back { examined, as_of, judged } = back;
        let key = examined.document.key.clone();
        if examined.is_undecided() {
            self.pending.undecided(&key, now);
            return;
        }
        self.judged += 1;
        let was_undecided = match self.pending.judged(&key, judged) {
            Fate::Done { stored, was_undecided } => {
                self.forget.extend(stored.then(|| key.clone()));
                was_undecided
            }
            Fate::Waits { was_undecided } => was_undecided,
            Fate::Unknown => false,
        };
        self.resolved += u64::from(was_undecided);
        for (keys, _) in &mut self.asked {
            keys.remove(&key);
        }
        let done = self.asked.extract_if(.., |(keys, _)| keys.is_empty());
        self.answered.extend(done.map(|(_, done)| done));
        let entry = examined.entry.map(|entry| (entry.version, entry.applied));
        let outcome = match examined.judgement {
            Judgement::Match | Judgement::Absent => Some(Outcome::Equal(entry)),
            _ => examined.found(as_of).map(Outcome::Differs),
        };
        if let Some(outcome) = outcome {
            let news = matches!(outcome, Outcome::Differs(_)) || self.open.contains(&key);
            if news || self.outcomes.contains_key(&key) {
                self.outcomes.insert(key, outcome);
            }
        }
    }

    /// A round has failed, for a reason and with the next step where only a person can end that. Returns the reason, if it is another
    /// one than before.
    pub(in super::super) fn fail(
        &mut self,
        (reason, hint): (String, Option<&'static str>),
        (min, max): (Duration, Duration),
        now: Instant,
    ) -> Option<&str> {
        let known = self.trouble.as_ref().is_some_and(|trouble| trouble.reason == reason);
        self.trouble = Some(self.again((reason, hint), min, max, now));
        self.end_round();
        self.trouble.as_ref().map(|trouble| &*trouble.reason).filter(|_| !known)
    }

    /// No key can be judged, because the snapshot is not applied.
    pub(in super::super) fn has_no_watermark(&mut self, now: Instant) {
        self.trouble = Some(self.again((NO_SNAPSHOT.to_owned(), None), Duration::ZERO, Duration::ZERO, now));
    }

    fn again(
        &self,
        (reason, hint): (String, Option<&'static str>),
        min: Duration,
        max: Duration,
        now: Instant,
    ) -> Trouble {
        let before = self.trouble.as_ref();
        let delay = before.map_or(min, |before| (before.delay * 2).clamp(min, max));
        let since = before.map_or(now, |before| before.since);
        Trouble { since, reason, hint, retry_at: now + delay, delay }
    }

    fn end_round(&mut self) {
        self.in_round = false;
        for (ask, reached) in std::mem::take(&mut self.deferred) {
            self.ask(ask, reached);
        }
    }

    /// Changes were missed: nothing is known any more. Requests are dropped, so whoever made them asks again.
    pub(in super::super) fn lose(&mut self) {
        self.follows = false;
        self.pending = Pending::default();
        self.asked.clear();
        self.deferred.clear();
        self.forget.clear();
    }
}

/// Reasons why no key can be judged.
const NO_SNAPSHOT: &str = "the snapshot of the collection is not applied";
const TOO_OLD: &str = "MongoDB can no longer be read as of what the target has come to: the sink is behind by more than the history \
     that MongoDB keeps, or the catalog of the collection has changed since";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::pending::tests::{at, document};

    /// While the target is behind, changes wait that it has not come to; what is asked for waits for the oldest of them at most.
    #[test]
    fn what_is_asked_for_waits_for_no_later_change() {
        let (mut followed, reached) = (Followed::default(), Frontier(at(90)));
        for (id, time) in [(1, at(20)), (2, at(80))] {
            followed.pending.insert(document(id), time);
        }
        let (done, _judged) = oneshot::channel();
        followed.ask(Ask { documents: vec![document(3)], done }, reached);
        let mut due = followed.pending.due(at(20), 10);
        due.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(due, [document(1), document(3)]);
        assert_eq!(followed.pending.verified(reached), Frontier(at(20)), "V does not go back");
    }
}
