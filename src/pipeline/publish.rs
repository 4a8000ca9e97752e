//! One term of a source's leader: from the stored state to the end of the term, transaction by transaction.
//!
//! ```text
//!  ChangeStream ──batches──▶ ┌───────┐
//!                            │ Merge │──▶ Draft ──▶ Publisher (one Kafka transaction: changes, frontiers, resume token)
//!  Snapshots ────chunks────▶ │       │
//!  Repairs ──────documents─▶ │       │
//!  Removals ─────deletes───▶ └───────┘
//! ```
//! While one transaction is being settled the next is drafted, and encoded when it is full; there is never a third.
//!
//! The only token that is ever saved is the one of a batch whose changes are in the same transaction. Any error ends the
//! term; the next one starts from what is stored.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Error, SourceRole, identity,
    removal::{RemovalItem, Removals},
    repairs::RepairItem,
    snapshots::{Item, Snapshots},
};
use crate::{
    control::snapshots::SnapshotRequests,
    log::{Publisher, StreamState, Topics, Transaction},
    model::{Change, Control, ControlKind, Frontier, Identity, SnapshotState, SnapshotStep},
    source::{ChangeStream, MemoryPermit, Merge, Position, SnapshotItem, Source, Start, StreamBatch, Ticket},
    status::{Phase, Role},
};

/// What will be in the next transaction.
#[derive(Default)]
struct Draft {
    changes: Vec<Change>,
    /// Of the documents of `changes`.
    bytes: usize,
    controls: Vec<Control>,
    /// Memory of the snapshot rows among the changes; free again when they are published.
    rooms: Vec<MemoryPermit>,
    /// Repairs among the changes; told when they are published.
    repairs: Vec<oneshot::Sender<()>>,
}

impl Draft {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.controls.is_empty() && self.repairs.is_empty()
    }

    fn add(&mut self, mut changes: Vec<Change>) {
        let documents = changes.iter().filter_map(|change| change.document.as_ref());
        self.bytes += documents.map(|document| document.as_bytes().len()).sum::<usize>();
        self.changes.append(&mut changes);
    }
}

/// A transaction that is being settled.
struct UnderWay {
    frontier: Frontier,
    /// Snapshots that move on with it.
    moved: Vec<SnapshotState>,
    /// Memory of the snapshot rows in it.
    rooms: Vec<MemoryPermit>,
    /// Repairs in it.
    repairs: Vec<oneshot::Sender<()>>,
}

/// What comes back with the rows of a read.
enum Tag {
    /// A chunk of a snapshot.
    Chunk(SnapshotStep, MemoryPermit),
    /// Documents that are repaired, or removed.
    Repair(oneshot::Sender<()>),
}

/// A term under way.
pub(super) struct Term<'a> {
    role: &'a SourceRole,
    source: Source,
    publisher: Publisher,
    stream: ChangeStream,
    snapshots: Snapshots,
    repairs: mpsc::Receiver<RepairItem>,
    merge: Merge<Tag>,
    /// Where the stream stands; everything up to here is in the draft or the log.
    position: Position,
    draft: Draft,
    /// What is told once the transaction under way is durable.
    under_way: Option<UnderWay>,
    last_idle: Instant,
}

impl<'a> Term<'a> {
    /// Fences the predecessor, reads its state, and opens stream and snapshot from there.
    pub(super) async fn begin(
        role: &'a SourceRole,
        topics: &Topics,
        identity: &Identity,
        requests: watch::Receiver<SnapshotRequests>,
        repairs: mpsc::Receiver<RepairItem>,
    ) -> Result<Self, Error> {
        let publisher = async { Ok(Publisher::connect(&role.config.log, topics).await?) };
        // At the same time, for the sake of a quick start.
        let (source, (mut publisher, mut stored)) = tokio::try_join!(connect(role), publisher)?;
        failpoint!(LEADERSHIP_TAKE_OVER);
        publisher.identify(identity::of_leader(identity, &mut stored, topics, &role.config.log.prefix)?);
        let epoch = role.config.source.epoch;
        let stream_state = stored.stream.as_ref().filter(|stream| stream.epoch >= epoch);
        if let Some(stream) = stream_state.filter(|stream| stream.epoch > epoch) {
            return Err(Error::EpochWentBack { configured: epoch, stored: stream.epoch });
        }
        // Before anything is read, so that nothing falls between the first read and the stream.
        let now = source.now().await?;
        let start = match stream_state {
            Some(StreamState { token, frontier, held, .. }) => {
                Start::After { token: token.clone(), frontier: *frontier, held: held.clone() }
            }
            None => Start::At(now),
        };
        let began = start.time();
        let removals = Removals::start(&role.config, &source, topics, publisher.generation());
        let snapshots = Snapshots::begin(role, &source, &stored, now, removals, requests);
        let mut stream = ChangeStream::open(&source, role.scope(snapshots.since()), start, role.backoff());
        let first = stream.next_batch().await?;
        let mut term = Self {
            role,
            publisher,
            stream,
            snapshots,
            source,
            repairs,
            merge: Merge::new(epoch, began),
            position: first.position.clone(),
            draft: Draft::default(),
            under_way: None,
            last_idle: Instant::now(),
        };
        term.take_batch(first);
        // The position of the stream is durable before the first document is read.
        term.publish(true).await?;
        term.flush().await?;
        term.snapshots.read(&term.position);
        tracing::info!(
            generation = term.publisher.generation(),
            frontier = %term.position.frontier,
            resumed = stream_state.is_some(),
            "leading the source"
        );
        role.status.phase(Role::Source, Phase::Running);
        Ok(term)
    }

    /// What it reads.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Publishes until cancelled; then what is drafted is published too.
    pub(super) async fn run(&mut self, cancel: &CancellationToken) -> Result<(), Error> {
        loop {
            self.gather(cancel).await?;
            let idle = self.last_idle.elapsed() >= self.role.config.log.idle_frontier;
            if idle || !self.draft.is_empty() || self.snapshots.any_moved() {
                self.publish(idle).await?;
            } else if cancel.is_cancelled() {
                return self.flush().await;
            }
        }
    }

    /// Collects what is to be published while the last transaction is being settled: until the log is ready for the next
    /// one and there is something to say, or the draft is full.
    async fn gather(&mut self, cancel: &CancellationToken) -> Result<(), Error> {
        self.snapshots.take_requests(self.position.time());
        // A snapshot beside a busy stream comes to an end, too: what it says is heard (its room bounds that), and one chunk
        // goes with each transaction.
        while let Some(item) = self.snapshots.next_item().now_or_never() {
            self.take_item(item?);
        }
        while let Ok(item) = self.repairs.try_recv() {
            self.take_repair(item);
        }
        let (mut ready, mut taken) = (false, self.take_released());
        while self.has_room() && !(ready && taken) {
            tokio::select! {
                biased;
                // A stopping daemon takes nothing more.
                () = cancel.cancelled() => return Ok(()),
                ready_again = self.publisher.ready(), if !ready => {
                    ready_again?;
                    self.tell();
                    ready = true;
                }
                // The stream first: the snapshot waits for it, never the other way round.
                batch = self.stream.next_batch() => {
                    self.take_batch(batch?);
                    taken = true;
                }
                item = self.snapshots.next_item() => self.take_item(item?),
                // Ends with the term.
                Some(item) = self.repairs.recv() => self.take_repair(item),
            }
            taken |= self.take_released();
        }
        while self.has_room() {
            if let Some(batch) = self.stream.next_batch().now_or_never() {
                self.take_batch(batch?);
            } else if let Some(item) = self.snapshots.next_item().now_or_never() {
                self.take_item(item?);
            } else if !self.take_released() {
                break;
            }
        }
        Ok(())
    }

    /// Whether more may join the draft. Nothing follows a control: it stands behind the changes of its own batch.
    fn has_room(&self) -> bool {
        let log = &self.role.config.log;
        self.draft.controls.is_empty()
            && self.draft.changes.len() < log.transaction_changes
            && (self.draft.bytes as u64) < log.transaction_bytes.as_u64()
    }

    fn take_batch(&mut self, mut batch: StreamBatch) {
        self.merge.stream(&batch);
        self.draft.add(batch.changes);
        for control in &batch.controls {
            // What came with another collection has no events, and what an emptied one leaves behind has none either.
            if control.kind == ControlKind::Replace || control.truncate {
                self.snapshots.again(&control.namespace.collection, control.version.time);
            }
        }
        self.draft.controls.append(&mut batch.controls);
        self.position = batch.position;
    }

    fn take_item(&mut self, item: Item) {
        match item {
            Item::Snapshot(SnapshotItem::Cut(state)) => self.snapshots.cut(state),
            Item::Snapshot(SnapshotItem::Begin { collection, run, ready }) => {
                self.begin_read(&collection, Some(run), ready)
            }
            Item::Snapshot(SnapshotItem::GiveBack(ticket)) => self.merge.abandon(ticket),
            Item::Snapshot(SnapshotItem::Chunk { ticket, read_at, changes, step, room }) => {
                self.merge.hold(ticket, read_at, changes, Tag::Chunk(step, room));
            }
            Item::Removal(RemovalItem::Read(item)) => self.take_repair(item),
            Item::Removal(RemovalItem::Done { collection, run }) => self.snapshots.removed(&collection, run),
        }
    }

    fn begin_read(&mut self, collection: &str, walk: Option<u64>, ready: oneshot::Sender<Ticket>) {
        let ticket = self.merge.begin(collection, walk);
        // A reader that hears nothing has failed, or was given up.
        if ready.send(ticket).is_err() {
            self.merge.abandon(ticket);
        }
    }

    fn take_repair(&mut self, item: RepairItem) {
        match item {
            RepairItem::Begin { collection, ready } => self.begin_read(&collection, None, ready),
            RepairItem::GivenUp(ticket) => self.merge.abandon(ticket),
            RepairItem::Rows { ticket, read_at, changes, durable } => {
                self.merge.hold(ticket, read_at, changes, Tag::Repair(durable));
            }
        }
    }

    /// Takes the rows of one read that waits for nothing any more; whether there was one.
    fn take_released(&mut self) -> bool {
        let Some(released) = self.merge.release() else { return false };
        self.draft.add(released.changes);
        match released.tag {
            Tag::Chunk(step, room) => {
                self.snapshots.advance(&step);
                self.draft.rooms.push(room);
            }
            Tag::Repair(durable) => self.draft.repairs.push(durable),
        }
        true
    }

    /// Sends the draft on its way, behind the transaction before it.
    async fn publish(&mut self, idle: bool) -> Result<(), Error> {
        let draft = std::mem::take(&mut self.draft);
        let snapshots = self.snapshots.take_moved();
        let moved = snapshots.clone();
        let transaction = Transaction {
            changes: draft.changes,
            controls: draft.controls,
            frontier: Some((self.position.frontier, self.position.as_of_ms)),
            idle,
            state: StreamState {
                epoch: self.role.config.source.epoch,
                token: self.position.token.clone(),
                frontier: self.position.frontier,
                held: self.position.held.clone(),
            },
            complete: self.snapshots.complete(),
            snapshots,
        };
        if idle {
            self.last_idle = Instant::now();
        }
        self.publisher.begin(transaction).await?;
        // It has waited for the transaction before.
        self.tell();
        let frontier = self.position.frontier;
        self.under_way = Some(UnderWay { frontier, moved, rooms: draft.rooms, repairs: draft.repairs });
        Ok(())
    }

    /// Waits until everything published is durable.
    async fn flush(&mut self) -> Result<(), Error> {
        self.publisher.committed().await?;
        self.tell();
        Ok(())
    }

    /// Tells what the last transaction brought, now that it is durable.
    fn tell(&mut self) {
        let Some(UnderWay { frontier, moved, rooms, repairs }) = self.under_way.take() else { return };
        drop(rooms);
        for durable in repairs {
            // Whoever does not listen any more serves the request again.
            let _ = durable.send(());
        }
        self.role.status.frontier(frontier);
        self.snapshots.published(frontier, moved);
    }
}

/// A source that can be followed.
async fn connect(role: &SourceRole) -> Result<Source, Error> {
    let source =
        Source::connect(&role.config.source).await?.with_stalls(role.status.stalls(Role::Source, "connection"));
    let faults = source.faults(role.collections.keys().map(String::as_str)).await?;
    if faults.is_empty() { Ok(source) } else { Err(Error::Unsuited(faults)) }
}

/// How long a stopping term may take to publish what it has drafted.
pub(super) const LAST_PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
