//! A walk over a collection in steps: the place of each, and what came of it. Pure.

use super::{examine::Examined, judgement::Judgement};
use crate::{
    control::findings::Found,
    model::{ClusterTime, Key, Version},
    target::DocumentId,
};

/// The part of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Documents of the source, in the order of `_id`.
    Documents,
    /// Live entries of the ledger, in the order of their keys.
    Ledger,
    /// Rows of the tables.
    Rows,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Documents, Self::Ledger, Self::Rows];

    /// Returns the word that is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Ledger => "ledger",
            Self::Rows => "rows",
        }
    }

    /// Returns the phase of this word.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == name)
    }

    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|phase| *phase != self).nth(1)
    }
}

/// The place at which a walk goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The part of the walk.
    pub(crate) phase: Phase,
    /// The last thing that was looked at, as bytes: `{_id: …}`, a key, or a place in the tables. `None` at the beginning.
    pub(crate) after: Option<Vec<u8>>,
}

impl Cursor {
    /// The beginning of a walk.
    pub(crate) const BEGIN: Self = Self { phase: Phase::Documents, after: None };

    /// Behind `until`, or at the beginning of the next phase; `None` behind the last.
    pub(super) fn behind(&self, until: Option<Vec<u8>>) -> Option<Self> {
        match until {
            Some(until) => Some(Self { phase: self.phase, after: Some(until) }),
            None => self.phase.next().map(|phase| Self { phase, after: None }),
        }
    }
}

/// The outcome of a step.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing can be judged yet; the same step can be tried again soon.
    Waits(Waits),
    /// A chunk was judged.
    Judged(Judged),
}

/// The reason of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The snapshot is not applied.
    Snapshot,
    /// The target has not come to where the delta begins.
    Delta,
    /// The source can no longer be read as of what the target has come to.
    History,
}

impl Waits {
    /// Returns what is waited for.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "the snapshot of the collection is not applied",
            Self::Delta => "the target has not come to where the reconciler's change stream begins",
            Self::History => {
                "MongoDB can no longer be read as of what the target has come to: the sink is behind by more than the history \
                 that MongoDB keeps, or the collection's catalog changed since"
            }
        }
    }
}

/// A chunk that was judged.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The end of its range, inclusive; `None` for the end of the phase.
    pub(crate) until: Option<Vec<u8>>,
    /// Cluster time of the read.
    pub(crate) as_of: ClusterTime,
    /// Documents, live entries or rows that were looked at.
    pub(crate) looked: u64,
    /// Documents, entries and rows that were read for it: what the pace counts.
    pub(crate) work: u64,
    /// Bytes of the documents that were read.
    pub(crate) bytes: usize,
    /// Differences.
    pub(crate) found: Vec<Found>,
    /// Documents that could not be judged.
    pub(crate) undecided: Vec<DocumentId>,
    /// Where the walk goes on; `None` when it has looked at everything.
    pub(crate) next: Option<Cursor>,
}

/// Documents that were judged again.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Differences.
    pub(crate) found: Vec<Found>,
    /// Documents that are equal, or on neither side, each with version and transaction of its ledger entry.
    pub(crate) equal: Vec<(Key, Option<(Version, i64)>)>,
    /// Documents that could not be judged.
    pub(crate) undecided: Vec<DocumentId>,
}

impl Again {
    pub(super) fn take(&mut self, examined: Vec<Examined>, as_of: ClusterTime) {
        for examined in examined {
            match &examined.judgement {
                Judgement::Undecided => self.undecided.push(examined.document),
                Judgement::Match | Judgement::Absent => {
                    let entry = examined.entry.map(|entry| (entry.version, entry.applied));
                    self.equal.push((examined.document.key, entry));
                }
                _ => self.found.extend(examined.found(as_of)),
            }
        }
    }
}
