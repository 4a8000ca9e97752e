//! The first full read: each mapped collection, chunk by chunk, one after another.
//!
//! ```text
//!   task                                       pipeline
//!    │ ── Begin { collection, ready } ─────────▶ │  ticket = merge.begin(collection)
//!    │ ◀───────────────── ticket ─────────────── │  ready.send(ticket)
//!    │    read a chunk at T ≥ ticket.floor       │  (the stream goes on meanwhile)
//!    │ ── Chunk { ticket, T, rows, progress } ─▶ │  merge.hold(ticket, T, rows, progress)
//! ```
//! The read waits for the ticket, because a change that the stream gives between `Begin` and the read must be recorded.
//! It never writes progress: that is saved with the rows, when they are released and logged.

use bson::raw::RawDocumentBuf;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Chunk, Error, Limits, ReadTime, Source, Ticket, id::id_of};
use crate::{
    model::{Change, ClusterTime, Key, Namespace, Op, Version},
    retry::Backoff,
};

/// How far the snapshot of one collection has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The collection.
    pub collection: String,
    /// Whether all of it was read.
    pub done: bool,
    /// `{_id: …}` of the last document read; `None` at the start.
    pub after: Option<RawDocumentBuf>,
    /// Documents read so far.
    pub documents: u64,
    /// About how many there are in all, as of the first chunk of this process.
    pub estimate: u64,
}

impl Progress {
    /// A collection of which nothing was read.
    pub fn new(collection: impl Into<String>) -> Self {
        Self { collection: collection.into(), done: false, after: None, documents: 0, estimate: 0 }
    }
}

/// What the snapshot says.
#[derive(Debug)]
pub enum SnapshotItem {
    /// It wants to read a chunk of this collection and waits for its ticket.
    Begin {
        /// The collection.
        collection: String,
        /// Takes what `Merge::begin` gave.
        ready: oneshot::Sender<Ticket>,
    },
    /// It has read one.
    Chunk {
        /// The ticket it was read with.
        ticket: Ticket,
        /// Cluster time it was read at.
        read_at: ClusterTime,
        /// The documents, as changes of version `Version::snapshot(epoch, read_at)`.
        changes: Vec<Change>,
        /// How far this collection has come once these rows are logged.
        progress: Progress,
    },
    /// It has read everything; nothing follows.
    Done,
}

/// A running snapshot. Dropping it stops it; started again from the saved progress it goes on with the chunk that was not
/// yet saved.
#[derive(Debug)]
pub struct Snapshot {
    items: mpsc::Receiver<Result<SnapshotItem, Error>>,
    _running: tokio_util::sync::DropGuard,
}

impl Snapshot {
    /// Starts to read what is not done, one collection after another.
    pub fn start(source: &Source, todo: Vec<Progress>, backoff: Backoff) -> Self {
        let cancel = CancellationToken::new();
        let (sender, items) = mpsc::channel(1);
        let walk = Walk { source: source.clone(), backoff, cancel: cancel.clone(), items: sender };
        tokio::spawn(cancel.clone().run_until_cancelled_owned(walk.run(todo)));
        Self { items, _running: cancel.drop_guard() }
    }

    /// Waits for the next item. Cancel-safe.
    ///
    /// # Errors
    /// Whatever no waiting mends; the class is never transient. The snapshot has ended then. [`Error::Ended`] after
    /// [`SnapshotItem::Done`].
    pub async fn next_item(&mut self) -> Result<SnapshotItem, Error> {
        self.items.recv().await.unwrap_or(Err(Error::Ended))
    }
}

struct Walk {
    source: Source,
    backoff: Backoff,
    cancel: CancellationToken,
    items: mpsc::Sender<Result<SnapshotItem, Error>>,
}

/// Nobody listens any more, or an error was reported: stop.
struct Stop;

impl Walk {
    async fn run(self, todo: Vec<Progress>) {
        for progress in todo.into_iter().filter(|progress| !progress.done) {
            if self.collection(progress).await.is_err() {
                return;
            }
        }
        // If nobody listens, there is nobody to tell.
        let _ = self.send(SnapshotItem::Done).await;
    }

    async fn collection(&self, mut progress: Progress) -> Result<(), Stop> {
        let label = progress.collection.clone();
        let reader = self.source.reader();
        progress.estimate = self.settled(|| reader.estimate(&label)).await?;
        while !progress.done {
            let ticket = self.ticket(&label).await?;
            let config = self.source.config();
            let limits = Limits { documents: config.chunk_documents, bytes: config.chunk_bytes.as_u64() as usize };
            let after = progress.after.clone();
            let read = || reader.chunk(&label, after.as_deref(), limits, ReadTime::AtLeast(ticket.floor));
            let chunk = self.settled(read).await?;
            progress.documents += chunk.documents.len() as u64;
            progress.done = chunk.end;
            progress.after = chunk.last_id.clone();
            let read_at = chunk.read_at;
            let changes = match self.changes(&label, chunk) {
                Ok(changes) => changes,
                Err(error) => return self.fail(error).await,
            };
            self.send(SnapshotItem::Chunk { ticket, read_at, changes, progress: progress.clone() }).await?;
        }
        Ok(())
    }

    fn changes(&self, collection: &str, chunk: Chunk) -> Result<Vec<Change>, Error> {
        let namespace = Namespace::new(self.source.database_name(), collection);
        snapshot_changes(&namespace, self.source.epoch(), chunk.read_at, chunk.documents, Op::Snapshot)
    }

    async fn ticket(&self, collection: &str) -> Result<Ticket, Stop> {
        let (ready, ticket) = oneshot::channel();
        self.send(SnapshotItem::Begin { collection: collection.to_owned(), ready }).await?;
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

    async fn settled<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, Stop>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match self.source.settled(self.backoff, &self.cancel, attempt).await {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Stop),
            Err(error) => self.fail(error).await,
        }
    }
}

/// Documents read at `read_at` as changes, for a snapshot or a repair.
///
/// # Errors
/// [`Error::Reply`] when a document has no `_id` (halt).
pub fn snapshot_changes(
    namespace: &Namespace,
    epoch: u32,
    read_at: ClusterTime,
    documents: Vec<RawDocumentBuf>,
    op: Op,
) -> Result<Vec<Change>, Error> {
    let no_id = || Error::Reply { act: "read documents", field: "_id" };
    let change = |document: RawDocumentBuf| {
        let id = id_of(&document).ok_or_else(no_id)?;
        Ok(Change {
            namespace: namespace.clone(),
            key: Key::from_id(&id).ok_or_else(no_id)?,
            id,
            version: Version::snapshot(epoch, read_at),
            op,
            document: Some(document),
            upper: read_at,
            wall_ms: read_at.unix_ms(),
            update_description: None,
            collection_uuid: None,
        })
    };
    documents.into_iter().map(change).collect()
}
