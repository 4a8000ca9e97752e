//! The bound of the records that wait in memory, in number and bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The records that wait between the thread and the sink.
#[derive(Debug, Default)]
pub(super) struct Budget {
    pub(super) max_bytes: usize,
    pub(super) max_records: usize,
    pub(super) bytes: AtomicUsize,
    pub(super) records: AtomicUsize,
}

impl Budget {
    pub(super) fn take(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.records.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_above(self.max_bytes, self.max_records)
    }

    /// Returns whether half is free. Resuming earlier is not worth it, because a pause discards what the library has fetched ahead.
    pub(super) fn has_room(&self) -> bool {
        !self.is_above(self.max_bytes.div_ceil(2), self.max_records.div_ceil(2))
    }

    fn is_above(&self, bytes: usize, records: usize) -> bool {
        self.bytes.load(Ordering::Relaxed) >= bytes || self.records.load(Ordering::Relaxed) >= records
    }
}
