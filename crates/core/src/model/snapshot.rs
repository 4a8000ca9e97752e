//! How far the snapshot of a collection has come: what the state topic keeps, and where a walk goes on.
//!
//! ```text
//!   _id index   ├──────── part 0 ────────┼──────── part 1 ────────┼──────── part 2 ────────┤
//!               ├─ logged ──▶ after      until                    until            (no until: to the end)
//! ```
//! A part is a half-open range of the `_id` *index*, which runs across BSON types. It begins where the one before it ends.
//! The parts of a run are chosen once, before its first read, and never again: progress means something only within them.

use bson::raw::{RawDocument, RawDocumentBuf};

use super::ClusterTime;

/// How far the snapshot of one collection has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotState {
    /// The collection, without its database.
    pub collection: String,
    /// Epoch of the versions.
    pub epoch: u32,
    /// Grows each time an operator wants the collection read again from its beginning.
    pub run: u64,
    /// The cluster time at which the run began: it reads nothing older, and what happened until then is in what it reads.
    /// 0 in a state that was saved before this was kept.
    pub since: ClusterTime,
    /// Whether the documents that the run did not find are removed.
    pub removed: bool,
    /// Whether the stream has gone on without the collection: what happened since is missing.
    pub left: bool,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Its parts, in the order of the index; none before they are chosen.
    pub parts: Vec<Part>,
    /// Documents so far.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// About how many documents there are, as counted when the parts were chosen.
    pub estimate: u64,
}

/// A range of the `_id` index that is read chunk by chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// `{_id: …}` where the next part begins; `None` for the last part.
    pub until: Option<RawDocumentBuf>,
    /// `{_id: …}` of the last document so far; `None` before the first.
    pub after: Option<RawDocumentBuf>,
    /// Whether nothing is left of it.
    pub done: bool,
}

/// The progress that one chunk adds.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotStep {
    /// The collection.
    pub collection: String,
    /// The run it belongs to.
    pub run: u64,
    /// Position of its part.
    pub part: usize,
    /// `after` of the part before this chunk.
    pub from: Option<RawDocumentBuf>,
    /// `after` of the part behind this chunk.
    pub after: Option<RawDocumentBuf>,
    /// Whether the part ends with it.
    pub done: bool,
    /// Its documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl SnapshotState {
    /// A collection of which nothing was read.
    pub fn new(collection: impl Into<String>, epoch: u32, run: u64) -> Self {
        Self { collection: collection.into(), epoch, run, ..Self::default() }
    }

    /// The run after this one, of which nothing was read.
    #[must_use]
    pub fn again(&self, epoch: u32, since: ClusterTime) -> Self {
        Self { paused: self.paused, since, ..Self::new(&self.collection, epoch, self.run + 1) }
    }

    /// Whether every document of the run was read.
    pub fn done(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| part.done)
    }

    /// Whether the run ended, and what it did not find has still to be removed.
    pub fn leaves(&self) -> bool {
        self.done() && !self.removed && self.since != ClusterTime::default()
    }

    /// Whether the collection is as it was read: every document is accounted for, and so is what it did not find.
    pub fn complete(&self) -> bool {
        self.done() && !self.leaves()
    }

    /// `{_id: …}` where a part begins, inclusive; `None` for the first one.
    pub fn start_of(&self, part: usize) -> Option<&RawDocument> {
        self.parts.get(part.checked_sub(1)?)?.until.as_deref()
    }

    /// Cuts the collection at these ids, ascending in the order of the index.
    pub fn cut(&mut self, at: Vec<RawDocumentBuf>) {
        let ends = at.into_iter().map(Some).chain([None]);
        self.parts = ends.map(|until| Part { until, ..Part::default() }).collect();
    }

    /// Takes a chunk in; whether it was one of this run.
    ///
    /// # Panics
    /// When a chunk of its part before it is missing: progress would claim documents that were never read.
    pub fn advance(&mut self, step: &SnapshotStep) -> bool {
        if step.run != self.run {
            return false;
        }
        let part = self.parts.get_mut(step.part).expect("a part of this run");
        assert_eq!(part.after, step.from, "a chunk of part {} is missing", step.part);
        part.after.clone_from(&step.after);
        part.done = step.done;
        self.documents += step.documents;
        self.bytes += step.bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn step(part: usize, from: Option<i32>, after: i32, done: bool) -> SnapshotStep {
        let id = |id: i32| rawdoc! { "_id": id };
        SnapshotStep {
            collection: "orders".to_owned(),
            run: 1,
            part,
            from: from.map(id),
            after: Some(id(after)),
            done,
            documents: 5,
            bytes: 50,
        }
    }

    fn cut() -> SnapshotState {
        let mut state = SnapshotState::new("orders", 1, 1);
        assert!(!state.done(), "nothing is known yet");
        state.cut(vec![rawdoc! { "_id": 10 }]);
        state
    }

    #[test]
    fn a_run_is_done_when_all_its_parts_are() {
        let mut state = cut();
        assert_eq!((state.start_of(0), state.start_of(1)), (None, Some(&*rawdoc! { "_id": 10 })));
        assert!(state.advance(&step(1, None, 19, true)) && !state.done());
        assert!(state.advance(&step(0, None, 4, false)) && !state.done());
        assert!(state.advance(&step(0, Some(4), 9, true)) && state.done());
        assert_eq!((state.documents, state.bytes), (15, 150));
    }

    #[test]
    fn a_run_is_complete_when_what_it_did_not_find_is_removed() {
        let mut state = SnapshotState { since: ClusterTime { t: 7, i: 1 }, ..cut() };
        assert!(!state.leaves() && !state.complete());
        state.parts.iter_mut().for_each(|part| part.done = true);
        assert!(state.leaves() && !state.complete());
        state.removed = true;
        assert!(!state.leaves() && state.complete());
        // A version that stored no beginning cannot be compared by age.
        let old = SnapshotState { since: ClusterTime::default(), removed: false, ..state.clone() };
        assert!(!old.leaves() && old.complete());
        let again = state.again(2, ClusterTime { t: 9, i: 1 });
        assert_eq!((again.run, again.epoch, again.since.t, again.done()), (2, 2, 9, false));
    }

    #[test]
    fn a_chunk_of_another_run_counts_for_nothing() {
        let mut state = cut();
        assert!(!state.advance(&SnapshotStep { run: 0, ..step(0, None, 4, true) }));
        assert_eq!(state, cut());
    }

    #[test]
    #[should_panic(expected = "is missing")]
    fn a_chunk_is_never_passed_over() {
        cut().advance(&step(0, Some(4), 9, true));
    }
}
