//! The size of the next chunk, and the time at which it may be read. Pure.

use std::time::{Duration, Instant};

use crate::source::Limits;

/// Documents of the first chunk, when their size is unknown: the chunk is small, however large they are.
const FIRST_DOCUMENTS: usize = 4;
/// Maximum growth factor of a chunk: one quick answer proves little.
const MAX_GROWTH: usize = 16;

/// The size of a collection's chunks, learned from earlier ones: as large as the limits of bytes and time allow.
#[derive(Debug)]
pub(crate) struct ChunkSizer {
    bounds: Limits,
    target: Duration,
    documents: usize,
    /// Average size of a document in bytes.
    average: usize,
}

impl ChunkSizer {
    pub(crate) fn new(bounds: Limits, target: Duration) -> Self {
        let documents = bounds.documents.clamp(1, FIRST_DOCUMENTS);
        Self { bounds, target, documents, average: bounds.bytes / documents }
    }

    /// Returns the limits of the next chunk.
    pub(crate) fn limits(&self) -> Limits {
        Limits { documents: self.documents, bytes: self.bounds.bytes }
    }

    /// Returns the approximate size of the next chunk in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.documents.saturating_mul(self.average).min(self.bounds.bytes)
    }

    /// Learns the size of the next chunk from one that was read.
    pub(crate) fn learn(&mut self, documents: usize, bytes: usize, took: Duration) {
        if documents == 0 {
            return;
        }
        self.average = (bytes / documents).max(1);
        let by_bytes = self.bounds.bytes / self.average;
        let by_time = (documents as f64 * self.target.as_secs_f64() / took.as_secs_f64().max(1e-6)) as usize;
        let most = self.bounds.documents.min(self.documents.saturating_mul(MAX_GROWTH));
        self.documents = by_bytes.min(by_time).clamp(1, most.max(1));
    }

    /// Halves the chunks after one that took longer than the server keeps its instant.
    pub(crate) fn shrink(&mut self) {
        self.documents = (self.documents / 2).max(1);
    }
}

/// A limit of documents and bytes per second, on the average of a few chunks.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Seconds per document and per byte; 0 for no limit.
    document: f64,
    byte: f64,
    /// Time at which the next read may begin.
    free: Instant,
}

impl Rate {
    /// Creates a rate; `0` is no limit.
    pub(crate) fn new(documents: u64, bytes: u64, now: Instant) -> Self {
        let seconds = |rate: u64| if rate == 0 { 0.0 } else { 1.0 / rate as f64 };
        Self { document: seconds(documents), byte: seconds(bytes), free: now }
    }

    /// Returns the wait before the next read.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.free.saturating_duration_since(now)
    }

    /// Counts a read against the rate.
    pub(crate) fn spend(&mut self, documents: usize, bytes: usize, now: Instant) {
        let seconds = (documents as f64 * self.document).max(bytes as f64 * self.byte);
        self.free = self.free.max(now) + Duration::from_secs_f64(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sizer() -> ChunkSizer {
        ChunkSizer::new(Limits { documents: 5_000, bytes: 1_000_000 }, SECOND)
    }

    #[test]
    fn a_chunk_grows_to_its_limits_step_by_step() {
        let mut sizer = sizer();
        let mut sizes = vec![sizer.limits().documents];
        for _ in 0..4 {
            let documents = sizer.limits().documents;
            sizer.learn(documents, documents * 100, Duration::from_millis(1));
            sizes.push(sizer.limits().documents);
        }
        assert_eq!(sizes, [4, 64, 1_024, 5_000, 5_000]);
    }

    #[test]
    fn large_documents_and_slow_servers_make_small_chunks() {
        for (documents, bytes, took, expected) in [
            (1_000, 10_000_000, SECOND / 1_000, 100),
            (1_000, 1_000, SECOND * 4, 250),
            (1, 16_000_000, SECOND, 1),
            (0, 0, SECOND, 5_000),
        ] {
            let mut sizer = sizer();
            for _ in 0..3 {
                sizer.learn(1_000, 1_000, SECOND / 1_000);
            }
            sizer.learn(documents, bytes, took);
            assert_eq!(sizer.limits().documents, expected);
            assert!(sizer.bytes() <= 1_000_000);
        }
    }

    #[test]
    fn an_instant_that_is_gone_halves_the_chunk() {
        let mut sizer = ChunkSizer::new(Limits { documents: 3, bytes: 100 }, SECOND);
        let sizes: Vec<_> = (0..3)
            .map(|_| {
                sizer.shrink();
                sizer.limits().documents
            })
            .collect();
        assert_eq!(sizes, [1, 1, 1]);
    }

    #[test]
    fn a_rate_holds_on_average() {
        let now = Instant::now();
        let mut rate = Rate::new(1_000, 0, now);
        assert_eq!(rate.wait(now), Duration::ZERO);
        rate.spend(500, 1 << 20, now);
        rate.spend(500, 1 << 20, now);
        assert_eq!(rate.wait(now), SECOND);
        assert_eq!(rate.wait(now + SECOND * 2), Duration::ZERO);
        // Unused capacity is not saved up.
        rate.spend(1_000, 0, now + SECOND * 10);
        assert_eq!(rate.wait(now + SECOND * 10), SECOND);
        let mut bytes = Rate::new(0, 100, now);
        bytes.spend(1, 200, now);
        assert_eq!(bytes.wait(now), SECOND * 2);
        let mut none = Rate::new(0, 0, now);
        none.spend(1_000_000, 1 << 30, now);
        assert_eq!(none.wait(now), Duration::ZERO);
    }
}
