//! A reader of the snapshot: it takes a task from the scheduler, reads, sends the chunk, and frees the part.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    item::{MemoryPermit, SnapshotItem},
    scheduler::{ChunkTask, SnapshotScheduler, Task},
};
use crate::{
    model::{Change, Namespace, Op, SnapshotState, SnapshotStep},
    retry::Backoff,
    source::{Chunk, Error, ReadTime, Source, Ticket, snapshot_changes},
};

/// Parts per reader: enough that no reader is left with a long part at the end.
const PARTS_PER_READER: u64 = 4;
/// Random `_id`s per part: the sizes of the parts are equal within about 15 %.
const SAMPLE_PER_PART: u64 = 50;
/// The server takes a sample of less than a twentieth of a collection by random access, a larger one by reading everything.
const SAMPLE_SHARE: u64 = 21;
/// Approximate memory of a change besides its document: the struct, its `_id` and its key.
const OVERHEAD: usize = std::mem::size_of::<Change>() + 64;
/// Unit in which memory is counted, in bytes.
const UNIT: usize = 1024;

/// The task of one reader.
pub(super) struct ReaderTask {
    pub(super) source: Source,
    pub(super) backoff: Backoff,
    pub(super) items: mpsc::Sender<SnapshotItem>,
    pub(super) scheduler: Arc<SnapshotScheduler>,
    pub(super) memory: Memory,
}

/// The memory that chunks may occupy until they are logged. Cheap to clone.
#[derive(Clone)]
pub(super) struct Memory {
    free: Arc<Semaphore>,
    units: usize,
}

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        let units = units.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { free: Arc::new(Semaphore::new(units)), units }
    }

    /// Waits until this many bytes are free and takes them; a chunk that is larger than all memory takes all of it.
    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let units = u32::try_from((bytes / UNIT + 1).min(self.units)).unwrap_or(u32::MAX);
        self.free.clone().acquire_many_owned(units).await.map_err(|_| Error::Ended)
    }
}

impl ReaderTask {
    /// Reads until its owner ends it.
    ///
    /// # Errors
    /// The first error that is not transient; [`Error::Ended`] when nobody receives its items any more.
    pub(super) async fn run(self) -> Result<(), Error> {
        loop {
            match self.scheduler.take().await {
                Task::Cut(state) => self.cut(state).await?,
                Task::Read(task) => self.chunk(task).await?,
            }
        }
    }

    /// Chooses the parts of a collection.
    async fn cut(&self, mut state: SnapshotState) -> Result<(), Error> {
        let reader = self.source.reader();
        let config = self.source.config();
        let collection = state.collection.clone();
        state.estimate = self.source.retry_transient(self.backoff, || reader.estimate(&collection)).await?;
        let parts = parts(state.estimate, config.snapshot_readers as u64, config.chunk_documents as u64);
        let cuts = if parts > 1 {
            let sample = (state.estimate / SAMPLE_SHARE).clamp(parts, parts * SAMPLE_PER_PART) as usize;
            let cuts = || reader.cuts(&collection, parts as usize, sample);
            self.source.retry_transient(self.backoff, cuts).await?
        } else {
            Vec::new()
        };
        state.cut(cuts);
        // Sent before any chunk of the run, because chunks name parts.
        self.send(SnapshotItem::Cut(state.clone())).await?;
        self.scheduler.cut(&state);
        Ok(())
    }

    async fn chunk(&self, task: ChunkTask) -> Result<(), Error> {
        let mut permit = self.memory.take(task.bytes + task.limits.documents * OVERHEAD).await?;
        let (ticket, chunk, took) = self.source.retry_transient(self.backoff, || self.attempt(&task)).await?;
        let ChunkTask { collection, run, part, range, .. } = task;
        let (read_at, documents) = (chunk.read_at, chunk.documents.len());
        let step = SnapshotStep {
            collection: collection.clone(),
            run,
            part,
            from: range.after,
            after: chunk.last_id,
            done: chunk.end,
            documents: documents as u64,
            bytes: chunk.bytes as u64,
        };
        // Memory that was taken but is not needed is freed at once.
        let spare = permit.num_permits().saturating_sub((chunk.bytes + documents * OVERHEAD) / UNIT + 1);
        drop(permit.split(spare));
        let namespace = Namespace::new(self.source.database_name(), collection);
        let changes = snapshot_changes(&namespace, self.source.epoch(), read_at, chunk.documents, Op::Snapshot)?;
        let permit = MemoryPermit { _permit: permit };
        // Sent before the part is freed, so that its chunks arrive in order.
        self.send(SnapshotItem::Chunk { ticket, read_at, changes, step: step.clone(), permit }).await?;
        self.scheduler.read(&step, read_at, took);
        Ok(())
    }

    /// Reads a chunk once. The ticket is held only for one attempt, because every key that changes meanwhile is remembered.
    async fn attempt(&self, task: &ChunkTask) -> Result<(Ticket, Chunk, Duration), Error> {
        let ChunkTask { collection, run, range, not_before, .. } = task;
        let ticket = self.ticket(collection, *run).await?;
        let began = Instant::now();
        // The limits as of now: an earlier attempt may have shown that the chunk was too large.
        let limits = self.scheduler.limits(collection);
        let at = ReadTime::AtLeast(ticket.not_before.max(*not_before));
        let read = async {
            let chunk = self.source.reader().range(collection, range, limits, at).await?;
            failpoint!(SNAPSHOT_CHUNK);
            Ok(chunk)
        };
        match read.await {
            Ok(chunk) => Ok((ticket, chunk, began.elapsed())),
            Err(error) => {
                if matches!(error, Error::SnapshotTooOld { .. }) {
                    self.scheduler.shrink(collection);
                }
                self.send(SnapshotItem::GiveBack(ticket)).await?;
                Err(error)
            }
        }
    }

    async fn ticket(&self, collection: &str, run: u64) -> Result<Ticket, Error> {
        let (ready, ticket) = oneshot::channel();
        self.send(SnapshotItem::Begin { collection: collection.to_owned(), run, ready }).await?;
        ticket.await.map_err(|_| Error::Ended)
    }

    async fn send(&self, item: SnapshotItem) -> Result<(), Error> {
        self.items.send(item).await.map_err(|_| Error::Ended)
    }
}

/// Returns the number of parts into which a collection is cut.
fn parts(documents: u64, readers: u64, chunk: u64) -> u64 {
    let chunk = chunk.max(1);
    if readers < 2 || documents <= 2 * chunk { 1 } else { (documents / chunk).min(readers * PARTS_PER_READER) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty(0, 2, 1)]
    #[case::small(200, 2, 1)]
    #[case::some(301, 2, 3)]
    #[case::large(1_000_000, 2, 8)]
    #[case::one_reader(1_000_000, 1, 1)]
    fn parts_of_a_collection(#[case] documents: u64, #[case] readers: u64, #[case] expected: u64) {
        assert_eq!(parts(documents, readers, 100), expected);
    }
}
