//! The changes that a position of the stream proves to be given. Pure.
//!
//! | the stream is at | what was certainly given | because |
//! | --- | --- | --- |
//! | an event of `T` | everything before `T` | more events of `T` may follow |
//! | `T`, and the server had no more | everything at or before `T` | its scan has passed the oplog entry of `T` |
//! | `T`, where its cursor was opened | everything before `T` | the first reply names the start before anything is read |
//!
//! The server had no more when a reply is empty, or when the token behind it is a high-water mark: it makes one only when
//! its scan has run dry. On one replica set an instant is one oplog entry, so a scan that has passed it has given all its
//! events. Behind a mongos several shards share an instant, so the middle row is not used there.
//!
//! A scan runs dry at what a majority holds *as this member knows it*, and a member that was just elected may know less
//! than the one that gave `T`. So a cursor is opened with `afterClusterTime` of its place: the member waits until it knows
//! as much. (Without that, the middle row would hold only for a `T` above the one the cursor was opened at.)
//!
//! The middle row is what lets an idle stream prove its last change: otherwise the frontier would stay just before
//! it until something else happens. `tests/it/source.rs` tries to refute it with concurrent transactions.

use crate::model::{ClusterTime, Frontier, ResumeToken, TokenKind};

/// The place right behind an event.
#[derive(Debug)]
pub(crate) struct EventEnd {
    pub(crate) token: ResumeToken,
    pub(crate) wall_ms: i64,
}

/// The place at the end of a reply.
#[derive(Debug)]
pub(crate) struct ReplyEnd {
    pub(crate) token: ResumeToken,
    /// Whether the reply held no event at all.
    pub(crate) empty: bool,
    /// Wall clock just before the request.
    pub(crate) sent_ms: i64,
}

/// Follows frontier and as-of time along the replies of one stream. Neither goes backwards.
#[derive(Debug)]
pub(crate) struct FrontierTracker {
    completes_instants: bool,
    /// Where the present cursor was opened, while only its first reply has come.
    opened: Option<ClusterTime>,
    frontier: Frontier,
    as_of_ms: i64,
}

impl FrontierTracker {
    pub(crate) fn new(completes_instants: bool, frontier: Frontier) -> Self {
        Self { completes_instants, opened: None, frontier, as_of_ms: 0 }
    }

    /// A reply has come; `opened` says where its cursor was opened, when it is the first reply of one.
    pub(crate) fn begin_reply(&mut self, opened: Option<ClusterTime>) {
        self.opened = opened;
    }

    /// The stream is right behind an event.
    pub(crate) fn event(&mut self, end: &EventEnd) {
        self.advance(end.token.time(), end.wall_ms);
    }

    /// The stream is at the end of a reply.
    pub(crate) fn reply(&mut self, end: &ReplyEnd) {
        let scanned = self.opened != Some(end.token.time());
        let ran_dry = scanned && (end.empty || end.token.kind() == TokenKind::HighWaterMark);
        let time = end.token.time();
        let frontier = if ran_dry && self.completes_instants { time.next() } else { time };
        self.advance(frontier, if ran_dry { end.sent_ms } else { self.as_of_ms });
    }

    /// Everything before this was given; and the wall clock as of which that holds, in milliseconds.
    pub(crate) fn reached(&self) -> (Frontier, i64) {
        (self.frontier, self.as_of_ms)
    }

    fn advance(&mut self, frontier: ClusterTime, as_of_ms: i64) {
        self.frontier = self.frontier.max(Frontier(frontier));
        self.as_of_ms = self.as_of_ms.max(as_of_ms);
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn at(i: u32) -> ClusterTime {
        ClusterTime { t: 0x6500_0001, i }
    }

    fn event(i: u32) -> ResumeToken {
        let token = rawdoc! { "_data": format!("8265000001{i:08X}2B022C010029296E5A") };
        ResumeToken::from_raw(&token).expect("a token")
    }

    fn mark(i: u32) -> ResumeToken {
        let token = rawdoc! { "_data": format!("8265000001{i:08X}2B0229296E1404") };
        ResumeToken::from_raw(&token).expect("a token")
    }

    fn tracker() -> FrontierTracker {
        let mut tracker = FrontierTracker::new(true, Frontier(at(5)));
        tracker.begin_reply(Some(at(5)));
        tracker
    }

    fn behind_event(tracker: &mut FrontierTracker, token: ResumeToken, wall_ms: i64) -> (Frontier, i64) {
        tracker.event(&EventEnd { token, wall_ms });
        tracker.reached()
    }

    fn behind_reply(tracker: &mut FrontierTracker, token: ResumeToken, empty: bool, sent_ms: i64) -> (Frontier, i64) {
        tracker.reply(&ReplyEnd { token, empty, sent_ms });
        tracker.reached()
    }

    #[test]
    fn an_event_leaves_its_instant_open() {
        let mut tracker = tracker();
        assert_eq!(behind_event(&mut tracker, event(7), 1_000), (Frontier(at(7)), 1_000));
        // A full reply ends with its last event: more of the instant may follow.
        assert_eq!(behind_reply(&mut tracker, event(7), false, 2_000), (Frontier(at(7)), 1_000));
    }

    #[test]
    fn a_stream_that_ran_dry_closes_its_instant() {
        for token in [event(7), mark(7)] {
            let mut tracker = tracker();
            tracker.begin_reply(None);
            assert_eq!(behind_reply(&mut tracker, token, true, 2_000), (Frontier(at(8)), 2_000));
        }
    }

    #[test]
    fn the_first_reply_of_a_cursor_proves_nothing_about_its_start() {
        let mut tracker = tracker();
        assert_eq!(behind_reply(&mut tracker, mark(5), true, 2_000), (Frontier(at(5)), 0));
        tracker.begin_reply(None);
        assert_eq!(behind_reply(&mut tracker, mark(5), true, 3_000), (Frontier(at(6)), 3_000));
    }

    #[test]
    fn behind_a_mongos_an_instant_stays_open() {
        let mut tracker = FrontierTracker::new(false, Frontier(at(5)));
        assert_eq!(behind_reply(&mut tracker, mark(7), true, 2_000).0, Frontier(at(7)));
    }

    #[test]
    fn nothing_goes_backwards() {
        let mut tracker = tracker();
        behind_event(&mut tracker, event(9), 5_000);
        assert_eq!(behind_event(&mut tracker, event(8), 4_000), (Frontier(at(9)), 5_000));
    }
}
