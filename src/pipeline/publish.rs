//! One term of a source's leader: from the stored state to the end of the term, transaction by transaction.
//!
//! ```text
//!  ChangeStream ──batches──▶ ┌───────┐
//!                            │ Merge │──▶ Draft ──▶ Publisher (one Kafka transaction: changes, frontiers, resume token)
//!  Snapshot ─────chunks────▶ └───────┘
//! ```
//! While one transaction is being settled the next is drafted, and encoded when it is full; there is never a third.
//!
//! The only token that is ever saved is the one of a batch whose changes are in the same transaction. Any error ends the
//! term; the next one starts from what is stored.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::{Error, SourceRole};
use crate::{
    log::{Publisher, SnapshotState, StoredState, StreamState, Topics, Transaction},
    model::{Change, Control, Frontier},
    source::{ChangeStream, Merge, Position, Progress, Released, Snapshot, SnapshotItem, Source, Start, StreamBatch},
    status::{Phase, Role, SnapshotStatus},
};

/// Chunks that may wait for the stream at once: one held, one being read.
const CHUNKS_UNDER_WAY: usize = 2;

/// What will be in the next transaction.
#[derive(Default)]
struct Draft {
    changes: Vec<Change>,
    controls: Vec<Control>,
    snapshots: Vec<(SnapshotState, SnapshotStatus)>,
}

impl Draft {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.controls.is_empty() && self.snapshots.is_empty()
    }
}

/// A term under way.
pub(super) struct Term<'a> {
    role: &'a SourceRole,
    publisher: Publisher,
    stream: ChangeStream,
    /// `None` once everything is read.
    snapshot: Option<Snapshot>,
    merge: Merge<Progress>,
    /// Where the stream stands; everything up to here is in the draft or the log.
    position: Position,
    draft: Draft,
    /// Collections whose snapshot is in the log, or in the next transaction.
    complete: BTreeSet<String>,
    /// What to show once the transaction under way is durable.
    under_way: Option<(Frontier, Vec<(String, SnapshotStatus)>)>,
    last_idle: Instant,
}

impl<'a> Term<'a> {
    /// Fences the predecessor, reads its state, and opens stream and snapshot from there.
    pub(super) async fn begin(role: &'a SourceRole, topics: &Topics) -> Result<Self, Error> {
        let publisher = async { Ok(Publisher::connect(&role.config.log, topics).await?) };
        // At the same time, for the sake of a quick start.
        let (source, (publisher, stored)) = tokio::try_join!(connect(role), publisher)?;
        let epoch = role.config.source.epoch;
        let stream_state = stored.stream.as_ref().filter(|stream| stream.epoch >= epoch);
        if let Some(stream) = stream_state.filter(|stream| stream.epoch > epoch) {
            return Err(Error::EpochWentBack { configured: epoch, stored: stream.epoch });
        }
        let start = match stream_state {
            Some(stream) => Start::After { token: stream.token.clone(), frontier: stream.frontier },
            // Before anything is read, so that nothing falls between the first read and the stream.
            None => Start::At(source.now().await?),
        };
        let began = match &start {
            Start::After { token, .. } => token.time(),
            Start::At(time) => *time,
        };
        let mut stream = ChangeStream::open(&source, role.scope(), start, role.backoff());
        let first = stream.next_batch().await?;
        let mut term = Self {
            role,
            publisher,
            stream,
            snapshot: None,
            merge: Merge::new(epoch, began),
            position: first.position.clone(),
            draft: Draft::default(),
            complete: done_in(&stored, epoch),
            under_way: None,
            last_idle: Instant::now(),
        };
        term.take_batch(first);
        // The position of the stream is durable before the first document is read.
        term.publish(true).await?;
        term.settle().await?;
        let todo = term.todo(&stored, epoch);
        term.snapshot = (!todo.is_empty()).then(|| Snapshot::start(&source, todo, role.backoff()));
        tracing::info!(
            generation = term.publisher.generation(),
            frontier = %term.position.frontier,
            resumed = stream_state.is_some(),
            "leading the source"
        );
        role.status.phase(Role::Source, Phase::Running);
        Ok(term)
    }

    /// The snapshots that are not finished in this epoch.
    fn todo(&self, stored: &StoredState, epoch: u32) -> Vec<Progress> {
        let mut todo = Vec::new();
        for collection in self.role.collections.keys() {
            let known = stored.snapshots.get(collection).filter(|snapshot| snapshot.epoch == epoch);
            let progress = known.map_or_else(
                || Progress::new(collection),
                |known| Progress {
                    collection: collection.clone(),
                    done: known.done,
                    after: known.after.clone(),
                    documents: known.documents,
                    estimate: known.documents,
                },
            );
            self.role.status.snapshot(collection, shown(&progress));
            if !progress.done {
                todo.push(progress);
            }
        }
        todo
    }

    /// Publishes until cancelled; then what is drafted is published too.
    pub(super) async fn run(&mut self, cancel: &CancellationToken) -> Result<(), Error> {
        loop {
            self.gather(cancel).await?;
            let idle = self.last_idle.elapsed() >= self.role.config.log.idle_frontier;
            if idle || !self.draft.is_empty() {
                self.publish(idle).await?;
            } else if cancel.is_cancelled() {
                return self.settle().await;
            }
        }
    }

    /// Collects what is to be published while the last transaction is being settled: until the log is ready for the next
    /// one and there is something to say, or the draft is full.
    async fn gather(&mut self, cancel: &CancellationToken) -> Result<(), Error> {
        let (mut ready, mut taken) = (false, false);
        while self.has_room() && !(ready && taken) {
            tokio::select! {
                biased;
                // A stopping daemon takes nothing more.
                () = cancel.cancelled() => return Ok(()),
                settled = self.publisher.ready(), if !ready => {
                    settled?;
                    self.show();
                    ready = true;
                }
                // The stream first: the snapshot waits for it, never the other way round.
                batch = self.stream.next_batch() => {
                    self.take_batch(batch?);
                    taken = true;
                }
                item = next_item(self.snapshot.as_mut()), if self.merge.pending() < CHUNKS_UNDER_WAY => {
                    self.take_item(item?);
                    taken = true;
                }
            }
        }
        while self.has_room() {
            if let Some(batch) = self.stream.next_batch().now_or_never() {
                self.take_batch(batch?);
            } else if self.merge.pending() < CHUNKS_UNDER_WAY
                && let Some(item) = next_item(self.snapshot.as_mut()).now_or_never()
            {
                self.take_item(item?);
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Whether more may join the draft. Nothing follows a control: it stands behind the changes of its own batch.
    fn has_room(&self) -> bool {
        let log = &self.role.config.log;
        let bytes: usize = self
            .draft
            .changes
            .iter()
            .filter_map(|change| change.document.as_ref())
            .map(|doc| doc.as_bytes().len())
            .sum();
        self.draft.controls.is_empty()
            && self.draft.changes.len() < log.transaction_changes
            && (bytes as u64) < log.transaction_bytes.as_u64()
    }

    fn take_batch(&mut self, mut batch: StreamBatch) {
        let released = self.merge.stream(&batch);
        self.draft.changes.append(&mut batch.changes);
        self.draft.controls.append(&mut batch.controls);
        self.position = batch.position;
        self.take_released(released);
    }

    fn take_item(&mut self, item: SnapshotItem) {
        match item {
            SnapshotItem::Begin { collection, ready } => {
                let ticket = self.merge.begin(&collection);
                // The snapshot hears nothing only when it has failed, and then says so itself.
                if ready.send(ticket).is_err() {
                    self.merge.abandon(ticket);
                }
            }
            SnapshotItem::Chunk { ticket, read_at, changes, progress } => {
                let released = self.merge.hold(ticket, read_at, changes, progress);
                self.take_released(released);
            }
            SnapshotItem::Done => self.snapshot = None,
        }
    }

    fn take_released(&mut self, released: Vec<Released<Progress>>) {
        for mut chunk in released {
            self.draft.changes.append(&mut chunk.changes);
            let progress = chunk.tag;
            let state = SnapshotState {
                collection: progress.collection.clone(),
                epoch: self.role.config.source.epoch,
                done: progress.done,
                after: progress.after.clone(),
                documents: progress.documents,
            };
            self.draft.snapshots.push((state, shown(&progress)));
        }
    }

    /// Sends the draft on its way, behind the transaction before it.
    async fn publish(&mut self, idle: bool) -> Result<(), Error> {
        let draft = std::mem::take(&mut self.draft);
        let (snapshots, shown): (Vec<_>, Vec<_>) = draft.snapshots.into_iter().unzip();
        self.complete.extend(snapshots.iter().filter(|state| state.done).map(|state| state.collection.clone()));
        let lines: Vec<_> = snapshots.iter().map(|state| state.collection.clone()).zip(shown).collect();
        let transaction = Transaction {
            changes: draft.changes,
            controls: draft.controls,
            frontier: Some((self.position.frontier, self.position.as_of_ms)),
            idle,
            state: StreamState {
                epoch: self.role.config.source.epoch,
                token: self.position.token.clone(),
                frontier: self.position.frontier,
            },
            complete: self.complete.clone(),
            snapshots,
        };
        if idle {
            self.last_idle = Instant::now();
        }
        self.publisher.begin(transaction).await?;
        self.show();
        self.under_way = Some((self.position.frontier, lines));
        Ok(())
    }

    /// Waits until everything published is durable.
    async fn settle(&mut self) -> Result<(), Error> {
        self.publisher.settled().await?;
        self.show();
        Ok(())
    }

    /// Shows what the last transaction brought, now that it is durable.
    fn show(&mut self) {
        let Some((frontier, lines)) = self.under_way.take() else { return };
        self.role.status.frontier(frontier);
        for (collection, line) in lines {
            if line.done {
                tracing::info!(collection, documents = line.documents, "snapshot finished");
            }
            self.role.status.snapshot(&collection, line);
        }
    }
}

/// A source that can be followed.
async fn connect(role: &SourceRole) -> Result<Source, Error> {
    let source = Source::connect(&role.config.source).await?.with_stalls(role.status.stalls(Role::Source));
    let faults = source.faults(role.collections.keys().map(String::as_str)).await?;
    if faults.is_empty() { Ok(source) } else { Err(Error::Unsuited(faults)) }
}

/// The collections whose snapshot of this epoch was finished by an earlier term.
fn done_in(stored: &StoredState, epoch: u32) -> BTreeSet<String> {
    let snapshots = stored.snapshots.values().filter(|snapshot| snapshot.done && snapshot.epoch == epoch);
    snapshots.map(|snapshot| snapshot.collection.clone()).collect()
}

fn shown(progress: &Progress) -> SnapshotStatus {
    SnapshotStatus { documents: progress.documents, estimated: progress.estimate, done: progress.done }
}

/// The next item; for ever pending once there is no snapshot.
async fn next_item(snapshot: Option<&mut Snapshot>) -> Result<SnapshotItem, Error> {
    match snapshot {
        Some(snapshot) => Ok(snapshot.next_item().await?),
        None => std::future::pending().await,
    }
}

/// How long a stopping term may take to publish what it has drafted.
pub(super) const LAST_PUBLISH: Duration = Duration::from_secs(5);
