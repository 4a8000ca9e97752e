//! Removes what a run of the snapshot did not find.
//!
//! ```text
//!   removal                                        term                                 log ─▶ sink
//!    │  live entries of the ledger, older than the run │
//!    │ ── Begin ─────────────────────────────────────▶ │  ticket = merge.begin(collection)
//!    │    which of them are in the source, at T ≥ its floor?
//!    │ ── Rows { ticket, T, deletes } ───────────────▶ │  merge.hold … merge.release() ──────▶ deletes at (T, snapshot)
//!    │ ── Done { run } ──────────────────────────────▶ │  saved behind the deletes
//! ```
//! A document that was deleted while nobody followed the source (history was lost, its collection was not mapped, it went with
//! a collection that another one replaced) has no delete event. It stays behind as a live entry and as rows. The run has read
//! everything there is, so whatever is older than its begin was not found, or its newest record could not be read. The source
//! itself is asked which: a document that it still holds is left alone. The others become deletes like any other, so they are
//! in the log for everybody, parents wait for their children, and a replay ends in the same rows.
//!
//! It begins when the sink has applied the end of the run, and waits for PostgreSQL as long as that takes. Nothing else does.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bson::RawDocumentBuf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Error, repairs::RepairItem};
use crate::{
    config::Config,
    control::stale,
    log::{TopicPartition, Topics},
    model::{ClusterTime, Frontier, Key, Namespace, SnapshotState, Version},
    postgres::{Postgres, Purpose, Session},
    retry::{self, Class, Classify},
    sink::checkpoint,
    source::{ReadTime, Source, deletes},
};

/// Between two looks at how far the sink is.
const CHUNK_PAUSE: Duration = Duration::from_millis(200);

/// What the removal says.
pub(super) enum RemovalItem {
    /// It reads, as a repair does.
    Read(RepairItem),
    /// Everything that this run did not find is removed.
    Done { collection: String, run: u64 },
}

/// A run whose remains are to be removed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Remains {
    run: u64,
    since: ClusterTime,
    /// Behind the end of the run.
    frontier: Frontier,
}

impl Remains {
    pub(super) fn of(state: &SnapshotState, frontier: Frontier) -> Self {
        Self { run: state.run, since: state.since, frontier }
    }
}

/// By collection.
type Wanted = BTreeMap<String, Remains>;

/// The task, as its term sees it. Dropping it stops it; nothing is lost by that.
pub(super) struct Removals {
    items: mpsc::Receiver<Result<RemovalItem, Error>>,
    wanted: watch::Sender<Wanted>,
    _running: DropGuard,
}

impl Removals {
    /// Starts it; it waits for something to remove. `generation` is that of the publisher whose frontiers it waits for.
    pub(super) fn start(config: &Arc<Config>, source: &Source, topics: &Topics, generation: u64) -> Self {
        let (sender, items) = mpsc::channel(1);
        let (wanted, wants) = watch::channel(Wanted::new());
        let cancel = CancellationToken::new();
        let (config, source, topics) = (config.clone(), source.clone(), topics.clone());
        let removing = Removing { config, source, topics, generation, items: sender, wants };
        tokio::spawn(cancel.clone().run_until_cancelled_owned(removing.run()));
        Self { items, wanted, _running: cancel.drop_guard() }
    }

    /// Names the collections that have remains, anew or as before; of others it gives up what it is doing.
    pub(super) fn want(&self, remains: impl Iterator<Item = (String, Remains)>) {
        self.wanted.send_if_modified(|known| {
            let mut wanted: Wanted = remains.collect();
            for (collection, remains) in &mut wanted {
                // The frontier of the first time is enough.
                if let Some(known) = known.get(collection).filter(|known| known.run == remains.run) {
                    remains.frontier = known.frontier;
                }
            }
            let news = *known != wanted;
            *known = wanted;
            news
        });
    }

    /// The next item; for ever pending when there is nothing to remove. Cancel-safe.
    pub(super) async fn next_item(&mut self) -> Result<RemovalItem, Error> {
        match self.items.recv().await {
            Some(item) => item,
            // It has ended with an error, which was given.
            None => std::future::pending().await,
        }
    }
}

struct Removing {
    config: Arc<Config>,
    source: Source,
    topics: Topics,
    generation: u64,
    items: mpsc::Sender<Result<RemovalItem, Error>>,
    wants: watch::Receiver<Wanted>,
}

/// Why a removal does not come to its end.
enum Stop {
    /// Nobody listens any more.
    Unheard,
    /// Another run has begun.
    Superseded,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Removing {
    async fn run(mut self) {
        loop {
            let next =
                self.wants.borrow_and_update().iter().next().map(|(name, remains)| (name.clone(), remains.clone()));
            let Some((collection, remains)) = next else {
                if self.wants.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.remove(&collection, &remains).await {
                Ok(()) => {
                    let done = RemovalItem::Done { collection: collection.clone(), run: remains.run };
                    if self.items.send(Ok(done)).await.is_err() {
                        return;
                    }
                    let taken = self.wants.wait_for(|wants| wants.get(&collection) != Some(&remains)).await;
                    if taken.is_err() {
                        return;
                    }
                }
                Err(Stop::Unheard) => return,
                Err(Stop::Superseded) => {}
                Err(Stop::Failed(error @ Error::Source(_))) if error.class() == Class::Halt => {
                    // If nobody listens, there is nobody to tell.
                    let _ = self.items.send(Err(error)).await;
                    return;
                }
                Err(Stop::Failed(error)) => {
                    let reason = retry::chain(&error);
                    tracing::warn!(collection, reason, "what the snapshot did not find cannot be removed yet");
                    tokio::time::sleep(self.config.retry.max).await;
                }
            }
        }
    }

    async fn remove(&self, collection: &str, remains: &Remains) -> Result<(), Stop> {
        let namespace = Namespace::new(&self.config.source.database, collection);
        let session = Postgres::new(&self.config.sink, &self.config.log.prefix)?.open(Purpose::Read).await?;
        while self.wants(collection, remains) && !self.is_applied(&session, &namespace, remains.frontier).await? {
            tokio::time::sleep(CHUNK_PAUSE).await;
        }
        let before = Version { epoch: self.source.epoch(), time: remains.since, op: 0 };
        let (mut after, mut removed, mut held) = (None, 0, 0);
        loop {
            if !self.wants(collection, remains) {
                return Err(Stop::Superseded);
            }
            let page = stale::page(&session, collection, before, after.as_ref()).await?;
            if !page.ids.is_empty() {
                let listed = page.ids.len();
                let gone = self.remove_page(&namespace, remains.since, page.ids).await?;
                (removed, held) = (removed + gone, held + listed - gone);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        if removed + held > 0 {
            tracing::info!(collection, run = remains.run, removed, held, "what the snapshot did not find is removed");
        }
        Ok(())
    }

    /// Deletes those of the documents that the source does not hold; how many.
    async fn remove_page(
        &self,
        namespace: &Namespace,
        since: ClusterTime,
        mut ids: Vec<RawDocumentBuf>,
    ) -> Result<usize, Stop> {
        let (ready, ticket) = oneshot::channel();
        self.send(RepairItem::Begin { collection: namespace.collection.to_string(), ready }).await?;
        let ticket = ticket.await.map_err(|_| Stop::Unheard)?;
        let at = ReadTime::AtLeast(ticket.not_before.max(since));
        let existing = match self.source.reader().existing(&namespace.collection, &ids, at).await {
            Ok(existing) => existing,
            Err(error) => {
                self.send(RepairItem::GivenUp(ticket)).await?;
                return Err(error.into());
            }
        };
        let found: HashSet<_> = existing.value.iter().filter_map(|id| Key::from_id(id)).collect();
        ids.retain(|id| Key::from_id(id).is_some_and(|key| !found.contains(&key)));
        let changes = deletes(namespace, self.source.epoch(), existing.read_at, ids);
        let count = changes.len();
        if count == 0 {
            self.send(RepairItem::GivenUp(ticket)).await?;
            return Ok(0);
        }
        let (durable, logged) = oneshot::channel();
        self.send(RepairItem::Rows { ticket, read_at: existing.read_at, changes, durable }).await?;
        logged.await.map_err(|_| Stop::Unheard)?;
        failpoint!(REMOVAL_LOGGED);
        Ok(count)
    }

    /// Whether the sink has applied everything before this frontier, by what this publisher said.
    async fn is_applied(&self, session: &Session, namespace: &Namespace, frontier: Frontier) -> Result<bool, Stop> {
        let Some(topic) = self.topics.of(namespace) else { return Ok(false) };
        let partition = |partition| TopicPartition { topic: topic.name.clone(), partition };
        let partitions: Vec<_> = (0..topic.partitions).map(partition).collect();
        let positions = checkpoint::read(session, &partitions).await?;
        Ok(positions.iter().all(|position| {
            let told = position.publisher >= Some(self.generation) && position.seq > 0;
            told && position.watermark.is_some_and(|known| known >= frontier)
        }))
    }

    fn wants(&self, collection: &str, remains: &Remains) -> bool {
        self.wants.borrow().get(collection) == Some(remains)
    }

    async fn send(&self, item: RepairItem) -> Result<(), Stop> {
        self.items.send(Ok(RemovalItem::Read(item))).await.map_err(|_| Stop::Unheard)
    }
}
