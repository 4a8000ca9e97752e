//! A reader: takes a task from the scheduler, reads, tells the pipeline, puts it back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    MemoryPermit, SnapshotItem, UNIT,
    scheduler::{ChunkTask, SnapshotScheduler, Task},
    snapshot_changes,
};
use crate::{
    model::{Change, Namespace, Op, SnapshotState, SnapshotStep},
    retry::Backoff,
    source::{Chunk, Error, ReadTime, Source, Ticket},
};

/// Parts for each reader: so many that no reader is left with a long one at the end.
const PARTS_PER_READER: u64 = 4;
/// Random `_id`s for each cut: parts come out equal within some 15 %.
const SAMPLE_PER_PART: u64 = 50;
/// The server takes a sample of less than a twentieth of a collection by jumping, a larger one by reading everything.
const SAMPLE_SHARE: u64 = 21;
/// Memory of a change beside its document, about: the struct, its `_id` and its key.
const OVERHEAD: usize = std::mem::size_of::<Change>() + 64;
/// How often the source is asked for its time.
const LAG_POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Reading {
    pub(super) source: Source,
    pub(super) backoff: Backoff,
    pub(super) cancel: CancellationToken,
    pub(super) items: mpsc::Sender<Result<SnapshotItem, Error>>,
    pub(super) scheduler: Arc<SnapshotScheduler>,
    pub(super) room: Arc<Semaphore>,
    /// All the room there is.
    pub(super) units: usize,
}

/// Nobody listens any more, or an error was reported: stop.
struct Stop;

impl Reading {
    pub(super) async fn run(self) {
        loop {
            let ended = match self.scheduler.take().await {
                Task::Cut(state) => self.cut(state).await,
                Task::Read(stretch) => self.chunk(stretch).await,
            };
            if ended.is_err() {
                return;
            }
        }
    }

    /// Chooses the parts of a collection.
    async fn cut(&self, mut state: SnapshotState) -> Result<(), Stop> {
        let reader = self.source.reader();
        let config = self.source.config();
        let label = state.collection.clone();
        state.estimate = self.retry_transient(|| reader.estimate(&label)).await?;
        let parts = parts(state.estimate, config.snapshot_readers as u64, config.chunk_documents as u64);
        let cuts = if parts > 1 {
            let sample = (state.estimate / SAMPLE_SHARE).clamp(parts, parts * SAMPLE_PER_PART);
            self.retry_transient(|| reader.cuts(&label, parts as usize, sample as usize)).await?
        } else {
            Vec::new()
        };
        state.cut(cuts);
        // Told before any chunk of it is: chunks name parts.
        self.send(SnapshotItem::Cut(state.clone())).await?;
        self.scheduler.cut(&state);
        Ok(())
    }

    async fn chunk(&self, stretch: ChunkTask) -> Result<(), Stop> {
        let mut room = self.room(stretch.bytes + stretch.limits.documents * OVERHEAD).await?;
        let (ticket, chunk, took) = self.retry_transient(|| self.attempt(&stretch)).await?;
        let ChunkTask { collection, run, part, range, .. } = stretch;
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
        // What it turned out to be less than expected is free at once.
        let spare = room.num_permits().saturating_sub((chunk.bytes + documents * OVERHEAD) / UNIT + 1);
        drop(room.split(spare));
        let namespace = Namespace::new(self.source.database_name(), collection);
        let changes = snapshot_changes(&namespace, self.source.epoch(), read_at, chunk.documents, Op::Snapshot);
        let changes = match changes {
            Ok(changes) => changes,
            Err(error) => return self.fail(error).await,
        };
        let room = MemoryPermit { _permit: room };
        // Before the part is free: its chunks are told in order.
        self.send(SnapshotItem::Chunk { ticket, read_at, changes, step: step.clone(), room }).await?;
        self.scheduler.read(&step, read_at, took);
        Ok(())
    }

    /// Reads a chunk once. A ticket is held no longer than that: while one is, every key that changes is remembered.
    async fn attempt(&self, stretch: &ChunkTask) -> Result<(Ticket, Chunk, Duration), Error> {
        let ChunkTask { collection, run, range, not_before, .. } = stretch;
        let ticket = self.ticket(collection, *run).await.map_err(|Stop| Error::Ended)?;
        let began = Instant::now();
        // As of now: an attempt may have shown that the chunk was too large.
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
                self.send(SnapshotItem::GiveBack(ticket)).await.map_err(|Stop| Error::Ended)?;
                Err(error)
            }
        }
    }

    /// Waits until there is room for so many bytes; a chunk that is larger than all room takes all of it.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Stop> {
        let units = u32::try_from((bytes / UNIT + 1).min(self.units)).map_err(|_| Stop)?;
        self.room.clone().acquire_many_owned(units).await.map_err(|_| Stop)
    }

    async fn ticket(&self, collection: &str, run: u64) -> Result<Ticket, Stop> {
        let (ready, ticket) = oneshot::channel();
        self.send(SnapshotItem::Begin { collection: collection.to_owned(), run, ready }).await?;
        ticket.await.map_err(|_| Stop)
    }

    async fn send(&self, item: SnapshotItem) -> Result<(), Stop> {
        self.items.send(Ok(item)).await.map_err(|_| Stop)
    }

    async fn fail<T>(&self, error: Error) -> Result<T, Stop> {
        // Whoever listens hears of it; if nobody does, there is nobody to tell.
        let _ = self.items.send(Err(error)).await;
        Err(Stop)
    }

    async fn retry_transient<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, Stop>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match self.source.retry_transient(self.backoff, &self.cancel, attempt).await {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Stop),
            Err(error) => self.fail(error).await,
        }
    }
}

/// How many parts a collection is worth.
fn parts(documents: u64, readers: u64, chunk: u64) -> u64 {
    let chunk = chunk.max(1);
    if readers < 2 || documents <= 2 * chunk { 1 } else { (documents / chunk).min(readers * PARTS_PER_READER) }
}

/// Compares the stream with the source's time, while there is something to read.
pub(super) async fn watch(source: Source, scheduler: Arc<SnapshotScheduler>) {
    let most = source.config().snapshot_max_lag;
    let mut beat = tokio::time::interval(LAG_POLL_INTERVAL);
    loop {
        beat.tick().await;
        // A source that does not answer is waited for by the readers and the stream, who say so.
        if scheduler.has_work()
            && let Ok(now) = source.now().await
        {
            scheduler.source_is_at(now, most);
        }
    }
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
