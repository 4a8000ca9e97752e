//! The extent of the measurements: sizes, seconds, repetitions.

use serde::Serialize;

/// Sizes of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scale {
    /// Whether the sizes are small, for a first look.
    pub(crate) quick: bool,
    /// Seed for all data.
    pub(crate) seed: u64,
    /// Documents of `users` in ceilings, stages, backlog and the comparison with a peer.
    pub(crate) documents: u64,
    /// Documents of the large snapshot.
    pub(crate) snapshot: u64,
    /// Changes of a mixed backlog.
    pub(crate) changes: u64,
    /// Counted runs of a measurement that takes seconds; one uncounted run precedes them.
    pub(crate) runs: u32,
    /// Counted runs of a measurement that takes minutes.
    pub(crate) long_runs: u32,
    /// Seconds of a latency measurement; the first fifth is not counted.
    pub(crate) seconds: u64,
    /// Seconds for which the age of the proof is observed; the first fifth is not counted.
    pub(crate) observed: u64,
    /// Rates of the latency measurement, operations a second.
    pub(crate) rates: Vec<u32>,
    /// Seconds for which the daemon is stopped before it catches up.
    pub(crate) downtime: u64,
    /// The number of large documents.
    pub(crate) large: u64,
    /// Numbers of documents at which the growth of cost is measured.
    pub(crate) growth_documents: Vec<u64>,
    /// Numbers of collections at which the growth of cost is measured.
    pub(crate) growth_collections: Vec<u64>,
}

impl Scale {
    /// Returns the sizes that the project's figures are measured with.
    pub(crate) fn full() -> Self {
        Self {
            quick: false,
            seed: 1,
            documents: 200_000,
            snapshot: 1_000_000,
            changes: 200_000,
            runs: 3,
            long_runs: 2,
            seconds: 20,
            observed: 120,
            rates: vec![100, 1_000, 5_000],
            downtime: 300,
            large: 200,
            growth_documents: vec![10_000, 100_000, 1_000_000],
            growth_collections: vec![1, 10, 100],
        }
    }

    /// Returns the sizes of a run that takes a few minutes.
    pub(crate) fn quick() -> Self {
        Self {
            quick: true,
            seed: 1,
            documents: 20_000,
            snapshot: 40_000,
            changes: 12_000,
            runs: 2,
            long_runs: 1,
            seconds: 8,
            observed: 30,
            rates: vec![100, 1_000],
            downtime: 10,
            large: 40,
            growth_documents: vec![5_000, 20_000],
            growth_collections: vec![1, 10],
        }
    }

    /// Changes the number of documents; everything that is sized by documents follows.
    #[must_use]
    pub(crate) fn with_documents(self, documents: u64) -> Self {
        let growth = self.growth_documents.iter().copied().filter(|size| *size <= documents.max(10_000)).collect();
        Self { documents, snapshot: documents, changes: documents * 2 / 3, growth_documents: growth, ..self }
    }

    /// Returns the lines for the report.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("documents", format!("{}, in the large snapshot {}", self.documents, self.snapshot)),
            ("changes of a backlog", self.changes.to_string()),
            ("runs", format!("{} after one that is not counted, {} of what takes minutes", self.runs, self.long_runs)),
            ("seed", self.seed.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_never_needs_more_documents_than_there_are() {
        for scale in [Scale::full(), Scale::quick(), Scale::full().with_documents(5_000)] {
            assert!(scale.changes <= scale.documents, "{scale:?}");
            assert!(scale.runs > 0 && scale.long_runs > 0, "{scale:?}");
        }
    }
}
