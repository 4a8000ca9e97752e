//! How far a stream has come: the one owner of its position, from a token of the server to what may be saved. Pure.
//!
//! ```text
//!   replies  ──▶ begin_reply ─▶ has_given? (events that a cursor repeats) ─▶ end_reply
//!   segments ──▶ after ─▶ FrontierTracker: what the place proves ─▶ FrontierHolds: what the log still lacks ─▶ Position
//! ```
//! Behind a segment the stream is at the token of its last event, or, when nothing of the replies is left, at the last reply's
//! own token. The place is never before what was given, because the stream would begin there next time.

use bson::raw::RawDocument;

use super::{
    batch::{Position, Start},
    frontier::{EventEnd, FrontierTracker, ReplyEnd},
    frontier_holds::{FrontierHolds, MissingImages},
};
use crate::model::{Change, ClusterTime, Frontier, ResumeToken};

/// The place of the stream behind a segment.
#[derive(Debug)]
pub(crate) enum SegmentEnd {
    /// Right behind its last event; more events of the replies follow.
    Event(EventEnd),
    /// At the end of the replies, behind their last event where they hold one.
    Reply(Option<EventEnd>, ReplyEnd),
}

/// Makes every position of one stream.
#[derive(Debug)]
pub(crate) struct Progress {
    frontier: FrontierTracker,
    holds: FrontierHolds,
    /// Everything up to here was given, by this process or another; a cursor that begins before it repeats some of that.
    given: Option<ResumeToken>,
}

impl Progress {
    /// Begins at `start`. `completes_instants`: see [`Server::completes_instants`](super::Server::completes_instants).
    pub(crate) fn new(start: &Start, completes_instants: bool) -> Self {
        let (frontier, holds, given) = match start {
            Start::After { token, frontier, held } => {
                let given = held.as_ref().map_or(token, |held| &held.given).clone();
                let last = Position { token: token.clone(), frontier: *frontier, as_of_ms: 0, held: held.clone() };
                (*frontier, FrontierHolds::after(last), Some(given))
            }
            Start::At(time) => (Frontier(*time), FrontierHolds::default(), None),
        };
        Self { frontier: FrontierTracker::new(completes_instants, frontier), holds, given }
    }

    /// A reply has come; `opened` says where its cursor was opened, when it is the first reply of one.
    pub(crate) fn begin_reply(&mut self, opened: Option<ClusterTime>) {
        self.frontier.begin_reply(opened);
    }

    /// Whether an event of the server was given before.
    pub(crate) fn has_given(&self, event: &RawDocument) -> bool {
        let data = event.get_document("_id").and_then(|token| token.get_str("_data"));
        self.given.as_ref().is_some_and(|given| data.is_ok_and(|data| given.has_given(data)))
    }

    /// All events of a reply with this token are taken.
    pub(crate) fn end_reply(&mut self, token: &ResumeToken) {
        if self.given.as_ref().is_none_or(|given| token.reaches(given)) {
            self.given = Some(token.clone());
        }
    }

    /// The position to save once a segment is durable that ends at `end`, gave `changes`, and lacks the `missing` images.
    pub(crate) fn after(&mut self, end: SegmentEnd, changes: &[Change], missing: Option<MissingImages>) -> Position {
        let token = match end {
            SegmentEnd::Event(event) => {
                self.frontier.event(&event);
                event.token
            }
            SegmentEnd::Reply(event, reply) => {
                event.iter().for_each(|event| self.frontier.event(event));
                self.frontier.reply(&reply);
                match self.given.as_ref().filter(|given| given.reaches(&reply.token)) {
                    Some(given) => given.clone(),
                    None => reply.token,
                }
            }
        };
        let (frontier, as_of_ms) = self.frontier.reached();
        self.holds.announce(Position { token, frontier, as_of_ms, held: None }, changes, missing)
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::model::{Key, Namespace, Op, Version};

    fn at(i: u32) -> ClusterTime {
        ClusterTime { t: 0x6500_0001, i }
    }

    fn data(i: u32) -> RawDocumentBuf {
        rawdoc! { "_data": format!("8265000001{i:08X}2B022C010029296E5A") }
    }

    fn token(i: u32) -> ResumeToken {
        ResumeToken::from_raw(&data(i)).expect("a token")
    }

    fn event(i: u32) -> EventEnd {
        EventEnd { token: token(i), wall_ms: i64::from(i) }
    }

    fn reply(i: u32, empty: bool) -> ReplyEnd {
        ReplyEnd { token: token(i), empty, sent_ms: 1_000 + i64::from(i) }
    }

    fn resumed(i: u32) -> Progress {
        Progress::new(&Start::After { token: token(i), frontier: Frontier(at(i)), held: None }, true)
    }

    fn delete(id: i32) -> Change {
        let id = rawdoc! { "_id": id };
        Change {
            namespace: Namespace::new("shop", "orders"),
            key: Key::from_id(&id).expect("a key"),
            id,
            version: Version::snapshot(1, at(0)),
            op: Op::Delete,
            document: None,
            upper: at(0),
            wall_ms: 0,
            update_description: None,
            collection_uuid: None,
            replaces: None,
        }
    }

    #[test]
    fn a_segment_ends_at_its_last_event_and_the_last_one_at_the_end_of_the_reply() {
        let mut progress = resumed(5);
        progress.begin_reply(None);
        progress.end_reply(&token(9));
        let position = progress.after(SegmentEnd::Event(event(7)), &[], None);
        assert_eq!((position.token, position.frontier, position.as_of_ms), (token(7), Frontier(at(7)), 7));
        let position = progress.after(SegmentEnd::Reply(Some(event(8)), reply(9, false)), &[], None);
        assert_eq!((position.token, position.frontier, position.as_of_ms), (token(9), Frontier(at(9)), 8));
        progress.begin_reply(None);
        let position = progress.after(SegmentEnd::Reply(None, reply(9, true)), &[], None);
        assert_eq!((position.frontier, position.as_of_ms), (Frontier(at(10)), 1_009), "the server had no more");
    }

    /// A cursor that is opened before what was given repeats events, and its replies end before that.
    #[test]
    fn no_position_lies_before_what_was_given() {
        let held = crate::model::Held { given: token(9), by: at(20), missing: Default::default() };
        let start = Start::After { token: token(5), frontier: Frontier(at(5)), held: Some(Box::new(held)) };
        let mut progress = Progress::new(&start, true);
        let repeated = |progress: &Progress, i| progress.has_given(&rawdoc! { "_id": data(i) });
        assert!(repeated(&progress, 7) && repeated(&progress, 9) && !repeated(&progress, 10));
        progress.begin_reply(Some(at(5)));
        progress.end_reply(&token(7));
        let position = progress.after(SegmentEnd::Reply(None, reply(7, false)), &[], None);
        assert_eq!(position.token, token(5), "still held back");
        assert_eq!(position.held.expect("what was given beyond it").given, token(9));
    }

    #[test]
    fn a_position_is_held_back_until_the_delete_of_a_missing_document() {
        let mut progress = resumed(5);
        let document = (Namespace::new("shop", "orders"), delete(1).key);
        let missing = MissingImages { documents: [document].into(), by: at(90) };
        let position = progress.after(SegmentEnd::Event(event(7)), &[], Some(missing));
        assert_eq!((position.token, position.frontier), (token(5), Frontier(at(5))));
        let position = progress.after(SegmentEnd::Event(event(8)), &[delete(1)], None);
        assert_eq!((position.token, position.held), (token(8), None));
    }
}
