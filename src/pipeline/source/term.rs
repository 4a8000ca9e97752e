//! One term of a source's leader, transaction by transaction. Its servers are behind [`Publish`] and [`Follow`]; `simulation`
//! runs it on twins of them.
//!
//! ```text
//!  ChangeStream ──batches──▶ ┌───────┐
//!                            │ Merge │──▶ Draft ──▶ Publisher (one Kafka transaction: changes, frontiers, resume token)
//!  Snapshots ────chunks────▶ │       │
//!  Repairs ──────documents─▶ │       │
//!  Removals ─────deletes───▶ └───────┘
//! ```
//! While one transaction is on its way the next is gathered, and encoded when it is full; there is never a third.
//!
//! The only token that is ever saved is the one of a batch whose changes are in the same transaction or before it. Any error
//! ends the term; the next one starts from what is stored.

use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    draft::{Draft, Tag, UnderWay},
    removal::RemovalItem,
    repairs::RepairItem,
    resets::Resets,
    role::SourceRole,
    snapshots::{Item, Snapshots},
};
use crate::{
    log::{self, Publisher, StreamState, Transaction},
    model::{ClusterTime, Control, ControlKind, Namespace, Version},
    pipeline::Error,
    source::{self, ChangeStream, Merge, Position, SnapshotItem, StreamBatch, Ticket},
};

/// The log as a term writes it; the methods promise what those of [`Publisher`] do.
pub(super) trait Publish {
    async fn begin(&mut self, transaction: Transaction) -> Result<(), log::Error>;
    async fn committed(&mut self) -> Result<(), log::Error>;
    async fn ready(&mut self) -> Result<(), log::Error>;
}

impl Publish for Publisher {
    async fn begin(&mut self, transaction: Transaction) -> Result<(), log::Error> {
        Publisher::begin(self, transaction).await
    }

    async fn committed(&mut self) -> Result<(), log::Error> {
        Publisher::committed(self).await
    }

    async fn ready(&mut self) -> Result<(), log::Error> {
        Publisher::ready(self).await
    }
}

/// The stream as a term follows it; the method promises what that of [`ChangeStream`] does.
pub(super) trait Follow {
    async fn next_batch(&mut self) -> Result<StreamBatch, source::Error>;
}

impl Follow for ChangeStream {
    async fn next_batch(&mut self) -> Result<StreamBatch, source::Error> {
        ChangeStream::next_batch(self).await
    }
}

/// A term under way.
pub(super) struct Term<'a, L, S> {
    role: &'a SourceRole,
    log: L,
    stream: S,
    snapshots: Snapshots,
    repairs: mpsc::Receiver<RepairItem>,
    merge: Merge<Tag>,
    resets: Resets,
    /// How far the stream has come; everything up to here is in the draft or the log.
    position: Position,
    draft: Draft,
    under_way: Option<UnderWay>,
    last_idle: Instant,
}

impl<'a, L: Publish, S: Follow> Term<'a, L, S> {
    /// Makes the position of the stream durable, then begins to read documents. Everything that was ever given lies at or before
    /// `start`.
    pub(super) async fn begin(
        role: &'a SourceRole,
        (log, mut stream): (L, S),
        start: ClusterTime,
        snapshots: Snapshots,
        repairs: mpsc::Receiver<RepairItem>,
    ) -> Result<Self, Error> {
        let first = stream.next_batch().await?;
        let mut term = Self {
            role,
            log,
            stream,
            snapshots,
            repairs,
            merge: Merge::new(role.config.source.epoch, start),
            resets: Resets::default(),
            position: first.position.clone(),
            draft: Draft::default(),
            under_way: None,
            last_idle: Instant::now(),
        };
        term.take_batch(first);
        term.publish(true).await?;
        term.flush().await?;
        let emptied = term.snapshots.read(&term.position);
        term.empty(emptied);
        Ok(term)
    }

    /// Has the sink empty these collections, in the transaction that begins their new runs. Everything that was published of them lies
    /// at or before the present position, and everything that their runs read lies behind it.
    fn empty(&mut self, collections: Vec<String>) {
        let (config, time) = (&self.role.config, self.position.time());
        let version = Version { op: u32::MAX - 1, ..Version::snapshot(config.source.epoch, time) };
        let control = |collection: String| Control {
            namespace: Namespace::new(&config.source.database, &collection),
            kind: ControlKind::Reset,
            version,
            truncate: true,
        };
        self.draft.controls.extend(collections.into_iter().map(control));
    }

    /// How far the stream has come.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// Publishes until cancelled; then the draft is published too.
    pub(super) async fn run(&mut self, cancel: &CancellationToken) -> Result<(), Error> {
        loop {
            self.gather(cancel).await?;
            let idle = self.last_idle.elapsed() >= self.role.config.log.idle_frontier;
            let drafted = !self.draft.is_empty() || self.snapshots.any_moved();
            // A stopping term has no idle frontier to publish.
            if drafted || (idle && !cancel.is_cancelled()) {
                self.publish(idle).await?;
            } else if cancel.is_cancelled() {
                return self.flush().await;
            }
        }
    }

    /// Gathers the next transaction while the last one is on its way: until the log is ready for it and there is something to
    /// publish, or the draft is full.
    async fn gather(&mut self, cancel: &CancellationToken) -> Result<(), Error> {
        let emptied = self.snapshots.take_requests(self.position.time());
        self.empty(emptied);
        // A snapshot beside a busy stream comes to an end, too: its items are taken (its memory bounds them), and one chunk
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
                ready_again = self.log.ready(), if !ready => {
                    ready_again?;
                    self.report();
                    ready = true;
                }
                // The stream first: the snapshot waits for it, and never the reverse.
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

    fn has_room(&self) -> bool {
        self.draft.has_room(&self.role.config.log)
    }

    fn take_batch(&mut self, mut batch: StreamBatch) {
        self.merge.stream(&batch);
        self.resets.name(&mut batch.changes);
        self.draft.add(batch.changes);
        for control in &batch.controls {
            // Documents that come with another collection have no events, and the removal of those that an emptied one had has
            // none either.
            if control.kind == ControlKind::Replace || control.truncate {
                self.snapshots.read_again(&control.namespace.collection, control.version.time);
            }
        }
        self.draft.controls.append(&mut batch.controls);
        self.position = batch.position;
    }

    fn take_item(&mut self, item: Item) {
        match item {
            Item::Snapshot(SnapshotItem::Cut(state)) => self.snapshots.cut(state),
            Item::Snapshot(SnapshotItem::Begin { collection, run, ready }) => {
                let ticket = self.merge.begin(&collection, Some(run));
                self.answer(ticket, ready);
            }
            Item::Snapshot(SnapshotItem::GiveBack(ticket)) => self.merge.abandon(ticket),
            Item::Snapshot(SnapshotItem::Chunk { ticket, read_at, changes, step, permit }) => {
                self.merge.hold(ticket, read_at, changes, Tag::Chunk(step, permit));
            }
            Item::Removal(RemovalItem::Read(item)) => self.take_repair(item),
            Item::Removal(RemovalItem::Done { collection, run }) => self.snapshots.removed(&collection, run),
        }
    }

    fn answer(&mut self, ticket: Ticket, ready: oneshot::Sender<Ticket>) {
        // A reader that does not wait any more has failed, or was given up.
        if ready.send(ticket).is_err() {
            self.abandon(ticket);
        }
    }

    fn abandon(&mut self, ticket: Ticket) {
        self.merge.abandon(ticket);
        self.resets.end(ticket);
    }

    fn take_repair(&mut self, item: RepairItem) {
        match item {
            RepairItem::Begin { collection, known, ready } => {
                let ticket = self.merge.begin(&collection, None);
                self.resets.begin(ticket, self.role.config.source.epoch, &collection, known);
                self.answer(ticket, ready);
            }
            RepairItem::GivenUp(ticket) => self.abandon(ticket),
            RepairItem::Removals { removals, durable } => {
                self.draft.removals.extend(removals);
                self.draft.repairs.push(durable);
            }
            RepairItem::Rows { ticket, read_at, changes, durable } => {
                self.merge.hold(ticket, read_at, changes, Tag::Repair(ticket, durable));
            }
        }
    }

    /// Takes the rows of one read that may go out now; whether there was one.
    fn take_released(&mut self) -> bool {
        let Some(mut released) = self.merge.release() else { return false };
        self.resets.name(&mut released.changes);
        self.draft.add(released.changes);
        match released.tag {
            Tag::Chunk(step, permit) => {
                self.snapshots.advance(&step);
                self.draft.permits.push(permit);
            }
            Tag::Repair(ticket, durable) => {
                self.resets.end(ticket);
                self.draft.repairs.push(durable);
            }
        }
        true
    }

    /// Publishes the draft, behind the transaction before it.
    async fn publish(&mut self, idle: bool) -> Result<(), Error> {
        let draft = std::mem::take(&mut self.draft);
        let snapshots = self.snapshots.take_moved();
        let moved = snapshots.clone();
        let transaction = Transaction {
            changes: draft.changes,
            controls: draft.controls,
            removals: draft.removals,
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
        self.log.begin(transaction).await?;
        // It has waited for the transaction before, which is durable.
        self.report();
        let frontier = self.position.frontier;
        self.under_way = Some(UnderWay { frontier, moved, permits: draft.permits, repairs: draft.repairs });
        Ok(())
    }

    /// Waits until everything published is durable.
    async fn flush(&mut self) -> Result<(), Error> {
        self.log.committed().await?;
        self.report();
        Ok(())
    }

    /// Reports what the last transaction brought, now that it is durable.
    fn report(&mut self) {
        let Some(UnderWay { frontier, moved, permits, repairs }) = self.under_way.take() else { return };
        drop(permits);
        for durable in repairs {
            // A task that does not listen any more serves the request again.
            let _ = durable.send(());
        }
        self.role.status.frontier(frontier);
        self.snapshots.published(frontier, moved);
    }
}
