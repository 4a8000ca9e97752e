//! A snapshot as an operator sees it: the last report of the leader, and whether it may be out of date. Pure.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    control::snapshots::Listed,
    status::{SnapshotPhase, SnapshotStatus},
};

/// The leader reports about once a second. After this many seconds without a report there is no leader, or it cannot reach
/// PostgreSQL.
const MAX_SILENCE_SECONDS: i64 = 15;

/// One collection.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) collection: String,
    /// The last report of the leader.
    #[serde(flatten)]
    pub(super) reported: Option<SnapshotStatus>,
    /// When the leader wrote it.
    pub(super) reported_at: Option<Timestamp>,
    /// A fact beside the report: a pending request, or silence.
    pub(super) note: Option<String>,
    /// Whether every request is done.
    #[serde(skip)]
    pub(super) complete: bool,
}

impl Line {
    pub(super) fn of(collection: &str, listed: Option<&Listed>) -> Self {
        let reported = listed.and_then(|listed| listed.reported.clone());
        let asked = match (listed, &reported) {
            (Some(listed), Some(reported)) if listed.request.run > reported.run => Some("start"),
            (Some(listed), Some(reported))
                if !reported.done && listed.request.paused != (reported.phase == SnapshotPhase::Paused) =>
            {
                Some(if listed.request.paused { "pause" } else { "resume" })
            }
            _ => None,
        };
        let done = reported.as_ref().is_some_and(|reported| reported.done);
        let silent = listed
            .and_then(|listed| listed.silent)
            .filter(|silent| *silent > MAX_SILENCE_SECONDS && (!done || asked.is_some()));
        let note = match (&reported, asked, silent) {
            (None, ..) => Some("no daemon has reported on it".to_owned()),
            (_, asked, Some(silent)) => Some(format!(
                "{}silent for {}: no daemon leads the source, or PostgreSQL was unreachable",
                asked.map(|asked| format!("asked to {asked}; ")).unwrap_or_default(),
                span(silent.unsigned_abs())
            )),
            (_, Some(asked), None) => Some(format!("asked to {asked}")),
            (Some(reported), None, None) => reported.reason.clone(),
        };
        let reported_at = listed.and_then(|listed| listed.reported_at);
        Self { collection: collection.to_owned(), complete: done && asked.is_none(), reported, reported_at, note }
    }

    /// Returns the cells of the table.
    pub(super) fn cells(&self) -> [String; 9] {
        let reported = |show: &dyn Fn(&SnapshotStatus) -> String| self.reported.as_ref().map(show).unwrap_or_default();
        [
            self.collection.clone(),
            self.reported.as_ref().map_or("unknown", |reported| reported.phase.as_str()).replace('_', " "),
            reported(&|reported| reported.documents.to_string()),
            reported(&|reported| reported.estimated.to_string()),
            reported(&|reported| reported.percent().to_string()),
            reported(&|reported| if reported.done { String::new() } else { format!("{}/s", reported.rate) }),
            reported(&|reported| reported.seconds_left.map(span).unwrap_or_default()),
            reported(&|reported| format!("{}/{}", reported.parts_done, reported.parts)),
            self.note.clone().unwrap_or_default(),
        ]
    }

    /// Returns the same as text, without the collection.
    pub(super) fn text(&self) -> String {
        let note = self.note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
        let Some(reported) = &self.reported else { return format!("unknown{note}") };
        let phase = reported.phase.as_str().replace('_', " ");
        let bytes = bytesize::ByteSize(reported.bytes);
        if reported.done {
            return format!("{phase}, {} documents, {bytes}{note}", reported.documents);
        }
        let left = reported.seconds_left.map(|left| format!(", about {} left", span(left))).unwrap_or_default();
        format!(
            "{phase}, {} % ({} of about {} documents, {bytes}), {}/s{left}{note}",
            reported.percent(),
            reported.documents,
            reported.estimated,
            reported.rate
        )
    }
}

/// Formats a length of time for a person.
fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::snapshots::SnapshotRequest;

    fn reported() -> SnapshotStatus {
        SnapshotStatus {
            phase: SnapshotPhase::Running,
            run: 1,
            documents: 250,
            bytes: 1 << 20,
            estimated: 1_000,
            rate: 10,
            seconds_left: Some(75),
            parts: 8,
            parts_done: 2,
            ..SnapshotStatus::default()
        }
    }

    fn listed(request: SnapshotRequest, reported: SnapshotStatus, silent: i64) -> Listed {
        let collection = "orders".to_owned();
        Listed { collection, request, reported: Some(reported), reported_at: None, silent: Some(silent) }
    }

    const REQUEST: SnapshotRequest = SnapshotRequest { run: 1, paused: false, empties: 0 };

    #[test]
    fn a_line_shows_the_report_and_what_may_be_out_of_date() {
        let held = || SnapshotStatus {
            phase: SnapshotPhase::HeldBack,
            reason: Some("the sink is 20 s behind the log".to_owned()),
            ..reported()
        };
        let done = || SnapshotStatus { phase: SnapshotPhase::Done, done: true, documents: 1_000, ..reported() };
        for (request, reported, silent, note, complete) in [
            (REQUEST, reported(), 1, None, false),
            (REQUEST, held(), 1, Some("the sink is 20 s behind the log"), false),
            (SnapshotRequest { paused: true, ..REQUEST }, reported(), 1, Some("asked to pause"), false),
            (SnapshotRequest { run: 2, ..REQUEST }, done(), 1, Some("asked to start"), false),
            (REQUEST, done(), 9_000, None, true),
            (SnapshotRequest { paused: true, ..REQUEST }, done(), 9_000, None, true),
            (
                REQUEST,
                reported(),
                90,
                Some("silent for 1 min 30 s: no daemon leads the source, or PostgreSQL was unreachable"),
                false,
            ),
        ] {
            let line = Line::of("orders", Some(&listed(request, reported, silent)));
            assert_eq!((line.note.as_deref(), line.complete), (note, complete));
        }
        let line = Line::of("orders", None);
        assert_eq!((line.text().as_str(), line.complete), ("unknown, no daemon has reported on it", false));
    }

    #[test]
    fn a_line_as_text() {
        let text = |reported| Line::of("orders", Some(&listed(REQUEST, reported, 1))).text();
        assert_eq!(
            text(reported()),
            "running, 25 % (250 of about 1000 documents, 1.0 MiB), 10/s, about 1 min 15 s left"
        );
        let done = SnapshotStatus { phase: SnapshotPhase::Done, done: true, documents: 1_000, ..reported() };
        assert_eq!(text(done), "done, 1000 documents, 1.0 MiB");
        assert_eq!(span(3 * 3600 + 125), "3 h 2 min");
    }
}
