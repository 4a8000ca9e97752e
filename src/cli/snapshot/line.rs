//! A snapshot as an operator sees it: what the leader told last, and what of it may be old. Pure.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    control::snapshots::Listed,
    status::{SnapshotPhase, SnapshotStatus},
};

/// The leader tells about once a second; after so many seconds of silence there is none, or it is away from PostgreSQL.
const SILENT: i64 = 15;

/// One collection.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) collection: String,
    /// What the leader told last.
    #[serde(flatten)]
    pub(super) told: Option<SnapshotStatus>,
    /// When.
    pub(super) told_at: Option<Timestamp>,
    /// What else there is to say.
    pub(super) note: Option<String>,
    /// Whether all that was asked for is done.
    #[serde(skip)]
    pub(super) settled: bool,
}

impl Line {
    pub(super) fn of(collection: &str, listed: Option<&Listed>) -> Self {
        let told = listed.and_then(|listed| listed.told.clone());
        let asked = match (listed, &told) {
            (Some(listed), Some(told)) if listed.request.run > told.run => Some("start"),
            (Some(listed), Some(told))
                if !told.done && listed.request.paused != (told.phase == SnapshotPhase::Paused) =>
            {
                Some(if listed.request.paused { "pause" } else { "resume" })
            }
            _ => None,
        };
        let done = told.as_ref().is_some_and(|told| told.done);
        let silent =
            listed.and_then(|listed| listed.silent).filter(|silent| *silent > SILENT && (!done || asked.is_some()));
        let note = match (&told, asked, silent) {
            (None, ..) => Some("no daemon has told of it".to_owned()),
            (_, asked, Some(silent)) => Some(format!(
                "{}silent for {}: no daemon leads the source, or PostgreSQL was away",
                asked.map(|asked| format!("asked to {asked}; ")).unwrap_or_default(),
                span(silent.unsigned_abs())
            )),
            (_, Some(asked), None) => Some(format!("asked to {asked}")),
            (Some(told), None, None) => told.reason.clone(),
        };
        let told_at = listed.and_then(|listed| listed.told_at);
        Self { collection: collection.to_owned(), settled: done && asked.is_none(), told, told_at, note }
    }

    /// The columns of the table.
    pub(super) fn cells(&self) -> [String; 9] {
        let told = |show: &dyn Fn(&SnapshotStatus) -> String| self.told.as_ref().map(show).unwrap_or_default();
        [
            self.collection.clone(),
            self.told.as_ref().map_or("unknown", |told| told.phase.as_str()).replace('_', " "),
            told(&|told| told.documents.to_string()),
            told(&|told| told.estimated.to_string()),
            told(&|told| told.percent().to_string()),
            told(&|told| if told.done { String::new() } else { format!("{}/s", told.rate) }),
            told(&|told| told.seconds_left.map(span).unwrap_or_default()),
            told(&|told| format!("{}/{}", told.parts_done, told.parts)),
            self.note.clone().unwrap_or_default(),
        ]
    }

    /// The same as text, without the collection.
    pub(super) fn text(&self) -> String {
        let note = self.note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
        let Some(told) = &self.told else { return format!("unknown{note}") };
        let phase = told.phase.as_str().replace('_', " ");
        let bytes = bytesize::ByteSize(told.bytes);
        if told.done {
            return format!("{phase}, {} documents, {bytes}{note}", told.documents);
        }
        let left = told.seconds_left.map(|left| format!(", about {} left", span(left))).unwrap_or_default();
        format!(
            "{phase}, {} % ({} of about {} documents, {bytes}), {}/s{left}{note}",
            told.percent(),
            told.documents,
            told.estimated,
            told.rate
        )
    }
}

/// A length of time as a person says it.
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

    fn told() -> SnapshotStatus {
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

    fn listed(request: SnapshotRequest, told: SnapshotStatus, silent: i64) -> Listed {
        let collection = "orders".to_owned();
        Listed { collection, request, told: Some(told), told_at: None, silent: Some(silent) }
    }

    const REQUEST: SnapshotRequest = SnapshotRequest { run: 1, paused: false };

    #[test]
    fn a_line_says_what_was_told_and_what_may_be_old() {
        let held = || SnapshotStatus {
            phase: SnapshotPhase::HeldBack,
            reason: Some("the sink is 20 s behind the log".to_owned()),
            ..told()
        };
        let done = || SnapshotStatus { phase: SnapshotPhase::Done, done: true, documents: 1_000, ..told() };
        for (request, told, silent, note, settled) in [
            (REQUEST, told(), 1, None, false),
            (REQUEST, held(), 1, Some("the sink is 20 s behind the log"), false),
            (SnapshotRequest { paused: true, ..REQUEST }, told(), 1, Some("asked to pause"), false),
            (SnapshotRequest { run: 2, ..REQUEST }, done(), 1, Some("asked to start"), false),
            (REQUEST, done(), 9_000, None, true),
            (SnapshotRequest { paused: true, ..REQUEST }, done(), 9_000, None, true),
            (
                REQUEST,
                told(),
                90,
                Some("silent for 1 min 30 s: no daemon leads the source, or PostgreSQL was away"),
                false,
            ),
        ] {
            let line = Line::of("orders", Some(&listed(request, told, silent)));
            assert_eq!((line.note.as_deref(), line.settled), (note, settled));
        }
        let line = Line::of("orders", None);
        assert_eq!((line.text().as_str(), line.settled), ("unknown, no daemon has told of it", false));
    }

    #[test]
    fn a_line_as_text() {
        let text = |told| Line::of("orders", Some(&listed(REQUEST, told, 1))).text();
        assert_eq!(text(told()), "running, 25 % (250 of about 1000 documents, 1.0 MiB), 10/s, about 1 min 15 s left");
        let done = SnapshotStatus { phase: SnapshotPhase::Done, done: true, documents: 1_000, ..told() };
        assert_eq!(text(done), "done, 1000 documents, 1.0 MiB");
        assert_eq!(span(3 * 3600 + 125), "3 h 2 min");
    }
}
