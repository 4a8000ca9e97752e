//! The choice of the figures that are drawn. Pure.

use crate::{
    plot::{Bar, Tone, bars},
    report::Report,
};

/// A drawing: its file name, what it shows, the SVG.
pub(crate) struct Drawing {
    pub(crate) file: &'static str,
    pub(crate) what: &'static str,
    pub(crate) svg: String,
}

/// A line of a drawing: figure, label, meaning.
type Line = (&'static str, &'static str, Tone);

/// The figures of writing into PostgreSQL, and the limits on them.
const WRITING: [Line; 9] = [
    ("ceilings.copy", "COPY into the same table", Tone::Ceiling),
    ("snapshot.rate", "snapshot", Tone::Ours),
    ("peer.driftless.snapshot.rate", "snapshot, in turn with the peer", Tone::Ours),
    ("peer.debezium.snapshot.rate", "snapshot", Tone::Peer),
    ("ceilings.upsert.one", "set-based upsert, one connection", Tone::Ceiling),
    ("stages.sink.rate", "sink from a full topic", Tone::Ours),
    ("backlog.rate", "mixed backlog", Tone::Ours),
    ("peer.driftless.backlog.rate", "mixed backlog, in turn with the peer", Tone::Ours),
    ("peer.debezium.backlog.rate", "mixed backlog", Tone::Peer),
];

/// The figures of reading from MongoDB, and the limits on them.
const READING: [Line; 5] = [
    ("ceilings.stream.bare", "change stream without documents", Tone::Ceiling),
    ("stages.source", "source with full documents", Tone::Ours),
    ("stages.source_encoded", "source, encoded for the log", Tone::Ours),
    ("ceilings.stream.update_lookup", "change stream, updateLookup", Tone::Ceiling),
    ("ceilings.produce", "Kafka produce", Tone::Ceiling),
];

const LATENCY: [Line; 9] = [
    ("latency.100.p50", "100/s, p50", Tone::Ours),
    ("latency.100.p99", "100/s, p99", Tone::Ours),
    ("latency.1000.p50", "1,000/s, p50", Tone::Ours),
    ("latency.1000.p95", "1,000/s, p95", Tone::Ours),
    ("latency.1000.p99", "1,000/s, p99", Tone::Ours),
    ("latency.5000.p50", "5,000/s, p50", Tone::Ours),
    ("latency.5000.p99", "5,000/s, p99", Tone::Ours),
    ("peer.debezium.latency.p50", "1,000/s, p50", Tone::Peer),
    ("peer.debezium.latency.p99", "1,000/s, p99", Tone::Peer),
];

const PROCESSOR: [Line; 6] = [
    ("snapshot.cpu", "snapshot", Tone::Ours),
    ("backlog.cpu", "mixed backlog", Tone::Ours),
    ("peer.driftless.snapshot.cpu", "snapshot, in turn with the peer", Tone::Ours),
    ("peer.debezium.snapshot.cpu", "snapshot", Tone::Peer),
    ("peer.driftless.backlog.cpu", "mixed backlog, in turn with the peer", Tone::Ours),
    ("peer.debezium.backlog.cpu", "mixed backlog", Tone::Peer),
];

const MEMORY: [Line; 6] = [
    ("snapshot.memory", "snapshot", Tone::Ours),
    ("backlog.memory", "mixed backlog", Tone::Ours),
    ("large.memory", "large documents", Tone::Ours),
    ("peer.driftless.backlog.memory", "mixed backlog, in turn with the peer", Tone::Ours),
    ("peer.debezium.snapshot.memory", "snapshot", Tone::Peer),
    ("peer.debezium.backlog.memory", "mixed backlog", Tone::Peer),
];

/// Draws every drawing; leaves out a drawing without figures and a bar that was not measured.
pub(crate) fn draw(report: &Report) -> Vec<Drawing> {
    let all: [(&'static str, &'static str, &'static str, &[Line]); 5] = [
        ("writing.svg", "Into PostgreSQL", "rows or changes a second, more is better", &WRITING),
        ("reading.svg", "Out of MongoDB", "changes a second, more is better", &READING),
        ("latency.svg", "From write to row", "milliseconds, less is better", &LATENCY),
        ("processor.svg", "Processor time", "seconds per million changes, less is better", &PROCESSOR),
        ("memory.svg", "Peak memory", "MB, less is better", &MEMORY),
    ];
    let drawings = all.into_iter().filter_map(|(file, what, unit, lines)| {
        let there = lines.iter().filter_map(|(id, label, tone)| {
            Some(Bar { label: (*label).to_owned(), value: report.median(id)?, tone: *tone })
        });
        let there: Vec<Bar> = there.collect();
        (!there.is_empty()).then(|| Drawing { file, what, svg: bars(what, unit, &there) })
    });
    drawings.chain(growth(report)).collect()
}

/// Draws memory and processor time by number of documents and of collections, for the numbers that were measured.
fn growth(report: &Report) -> Vec<Drawing> {
    let grown = |file, what, unit, name: &str| {
        let figures = report.chapters.iter().flat_map(|chapter| &chapter.figures);
        let there = figures.filter_map(|figure| {
            let (kind, number) = figure.id.strip_prefix("cost.")?.strip_suffix(name)?.split_once('.')?;
            Some(Bar { label: format!("{number} {kind}"), value: figure.median, tone: Tone::Ours })
        });
        let there: Vec<Bar> = there.collect();
        (!there.is_empty()).then(|| Drawing { file, what, svg: bars(what, unit, &there) })
    };
    let drawings = [
        grown("growth-memory.svg", "Growth of peak memory", "MB, less is better", ".memory"),
        grown("growth-processor.svg", "Growth of processor time", "seconds per million, less is better", ".cpu"),
    ];
    drawings.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn only_what_was_measured_is_drawn() {
        let drawings = draw(&report(&[("ceilings.copy", 64_000.0), ("latency.1000.p50", 38.0)]));
        assert_eq!(drawings.iter().map(|drawing| drawing.file).collect::<Vec<_>>(), ["writing.svg", "latency.svg"]);
        assert!(drawings[0].svg.contains("64,000") && !drawings[0].svg.contains("mixed backlog"));
        assert!(draw(&report(&[])).is_empty());
    }

    #[test]
    fn growth_is_drawn_by_whatever_was_measured() {
        let drawings = draw(&report(&[("cost.documents.5000.memory", 66.0), ("cost.collections.10.memory", 109.0)]));
        assert_eq!(drawings.iter().map(|drawing| drawing.file).collect::<Vec<_>>(), ["growth-memory.svg"]);
        assert!(drawings[0].svg.contains("5000 documents") && drawings[0].svg.contains("10 collections"));
    }
}
