//! The first full read: every mapped collection, several chunks at once, beside the stream.
//!
//! ```text
//!   readers (a few)                              pipeline
//!    │ ── Cut { parts } ───────────────────────────▶ │  the parts are saved; they are never chosen again
//!    │ ── Begin { collection, run, ready } ────────▶ │  ticket = merge.begin(collection, Some(run))
//!    │ ◀──────────────────── ticket ──────────────── │  ready.send(ticket)
//!    │    read a chunk of one part at T ≥ its not_before  (the stream continues meanwhile)
//!    │ ── Chunk { ticket, T, rows, step, permit } ─▶ │  merge.hold(ticket, T, rows, (step, permit)) … merge.release()
//! ```
//! The read waits for the ticket, because a change that the stream gives between `Begin` and the read must be recorded.
//! An attempt that fails gives its ticket back (`GiveBack`), and the next one waits for another.
//! It never writes progress: that is saved with the rows, when they are released and logged. Chunks that are read and not yet
//! logged take up memory, for which each has a *permit*; while no permit is free, nothing is read.
//!
//! `scheduler` says which chunk is read next and when none is, `chunk_sizer` how large it is, `reader` reads it, and `lag`
//! compares the stream with the source.

mod chunk_sizer;
mod item;
mod lag;
mod reader;
mod scheduler;
#[cfg(test)]
mod twin;

use std::sync::Arc;

use tokio::sync::mpsc;

pub(crate) use self::chunk_sizer::{ChunkSizer, Rate};
pub use self::item::{MemoryPermit, SnapshotItem};
#[cfg(test)]
pub(crate) use self::twin::{KEYS, TwinReaders};
use self::{
    reader::{Memory, ReaderTask},
    scheduler::SnapshotScheduler,
};
use super::{Error, Source};
use crate::{
    model::{Frontier, SnapshotState},
    retry::Backoff,
    tasks::Tasks,
};

/// A running snapshot. Dropping it stops it; begun again from the saved states it reads the chunks that were not saved.
#[derive(Debug)]
pub struct Snapshot {
    items: mpsc::Receiver<SnapshotItem>,
    scheduler: Arc<SnapshotScheduler>,
    tasks: Tasks<Error>,
}

impl Snapshot {
    /// Starts the readers. They wait for something to read.
    pub fn start(source: &Source, backoff: Backoff) -> Self {
        let config = source.config();
        let readers = config.snapshot_readers.max(1);
        // For each reader the chunk it has read and the ticket for the next one, so that neither waits for the other.
        let (sender, items) = mpsc::channel(readers * 2);
        let scheduler = Arc::new(SnapshotScheduler::new(config));
        let memory = Memory::new(config.snapshot_bytes.as_u64());
        let mut tasks = Tasks::new();
        for number in 1..=readers {
            let name = format!("snapshot reader {number}");
            let reader = ReaderTask {
                source: source.of_task(&name),
                backoff,
                items: sender.clone(),
                scheduler: scheduler.clone(),
                memory: memory.clone(),
            };
            tasks.spawn(name, reader.run());
        }
        tasks.spawn("snapshot lag watch", lag::watch(source.clone(), scheduler.clone()));
        Self { items, scheduler, tasks }
    }

    /// Reads what is left of a collection, or gives up what it was reading of it for another run.
    pub fn read(&self, state: SnapshotState) {
        self.scheduler.put(state);
    }

    /// Pauses or resumes a collection. Chunks that are being read come all the same.
    pub fn pause(&self, collection: &str, paused: bool) {
        self.scheduler.pause(collection, paused);
    }

    /// Begins no chunk while there is a reason.
    pub(crate) fn hold_back(&self, reason: Option<String>) {
        self.scheduler.hold_back(reason);
    }

    /// Reports how far the stream has come; while that is too far behind the source, no chunk begins.
    pub fn stream_reached(&self, frontier: Frontier) {
        self.scheduler.stream_reached(frontier);
    }

    /// Why no chunk begins; `None` while nothing holds it back.
    pub(crate) fn held_back(&self) -> Option<String> {
        self.scheduler.held_back()
    }

    /// Waits for the next item; pending while there is nothing to read. Cancel-safe.
    ///
    /// # Errors
    /// The error that ended a reader: one that is not transient, or [`Error::Panicked`] (transient). The snapshot has ended then:
    /// the part that the reader had taken would never be read.
    pub async fn next_item(&mut self) -> Result<SnapshotItem, Error> {
        tokio::select! {
            biased;
            Some(error) = self.tasks.failure() => Err(error),
            Some(item) = self.items.recv() => Ok(item),
            else => Err(Error::Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::{Class, Classify, chain};

    /// The part of a dead reader would stay busy, while its siblings keep the channel open.
    #[tokio::test]
    async fn a_panic_in_a_reader_is_reported_by_name_though_others_live() {
        let (sender, items) = mpsc::channel(1);
        let scheduler = Arc::new(SnapshotScheduler::new(&toml::from_str("").expect("settings")));
        let mut tasks = Tasks::new();
        for number in 1..=2 {
            let sender = sender.clone();
            tasks.spawn(format!("snapshot reader {number}"), async move {
                let _sender = sender;
                assert!(number != 1, "broken invariant");
                std::future::pending().await
            });
        }
        let mut snapshot = Snapshot { items, scheduler, tasks };
        let error = snapshot.next_item().await.expect_err("the panic");
        assert_eq!(chain(&error), "run the task snapshot reader 1: it panicked: broken invariant");
        assert_eq!(error.class(), Class::Transient);
    }
}
