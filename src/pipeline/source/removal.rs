//! Removes the documents that a run of the snapshot did not find.
//!
//! ```text
//!   removal                                        term                                 log ─▶ sink
//!    │  live entries of the ledger, older than the run │
//!    │ ── Begin ─────────────────────────────────────▶ │  ticket = merge.begin(collection)
//!    │    which of them are in the source, at T ≥ its not_before?
//!    │ ── Rows { ticket, T, deletes } ───────────────▶ │  merge.hold … merge.release() ──────▶ deletes at (T, snapshot)
//!    │ ── Done { run } ──────────────────────────────▶ │  saved behind the deletes
//! ```
//! A document that was deleted while nobody followed the source (history was lost, its collection was not mapped, it went with
//! a collection that another one replaced) has no delete event. It stays behind as a live entry and as rows. The run has read
//! everything there is, so whatever is older than its begin was not found, or its newest record could not be read. The source
//! itself is asked which: a document that it still holds is left alone. The others become deletes like any other, so they are
//! in the log for everybody, parents wait for their children, and a replay ends in the same rows.
//!
//! It begins when the sink has applied the end of the run, and waits for PostgreSQL as long as that takes. Nothing waits for it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bson::RawDocumentBuf;
use tokio::sync::{mpsc, oneshot, watch};

use super::repairs::RepairItem;
use crate::{
    config::Config,
    control::{applied, stale},
    log::{TopicPartition, Topics},
    model::{ClusterTime, Frontier, Key, Namespace, SnapshotState, Version},
    pipeline::Error,
    postgres::{Postgres, Purpose, Session},
    retry::{self, Class, Classify},
    source::{ReadTime, Source, deletes},
    tasks::Tasks,
};

/// Between two looks at how far the sink is.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A message of the removal.
pub(super) enum RemovalItem {
    /// It reads, as a repair does.
    Read(RepairItem),
    /// Everything that this run did not find is removed.
    Done { collection: String, run: u64 },
}

/// A run that has left documents to remove.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Remains {
    pub(super) run: u64,
    pub(super) since: ClusterTime,
    /// Behind the end of the run.
    frontier: Frontier,
}

impl Remains {
    pub(super) fn of(state: &SnapshotState, frontier: Frontier) -> Self {
        Self { run: state.run, since: state.since, frontier }
    }

    /// Entries below this version may have been deleted unseen. Those of the instant `since` itself are among them: the stream
    /// may have stood inside a transaction, and passes over the rest of it after a restart.
    pub(super) fn before(&self, epoch: u32) -> Version {
        Version { epoch, time: self.since.next(), op: 0 }
    }
}

/// By collection.
pub(super) type Wanted = BTreeMap<String, Remains>;

/// The handle of the task. Dropping it stops the task, which loses nothing.
pub(super) struct Removals {
    pub(super) items: mpsc::Receiver<RemovalItem>,
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) tasks: Tasks<Error>,
}

impl Removals {
    /// Starts it; it waits for something to remove. `generation` is that of the publisher whose frontiers it waits for.
    pub(super) fn start(config: &Arc<Config>, source: &Source, topics: &Topics, generation: u64) -> Self {
        let (sender, items) = mpsc::channel(1);
        let (wanted, wants) = watch::channel(Wanted::new());
        let (config, source, topics) = (config.clone(), source.clone(), topics.clone());
        let removing = Removing { config, source, topics, generation, items: sender, wants };
        let mut tasks = Tasks::new();
        tasks.spawn("snapshot removal", removing.run());
        Self { items, wanted, tasks }
    }

    /// Names all collections that have remains. The task gives up a collection that is not named any more.
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

    /// The next item; pending while there is nothing to remove. Cancel-safe.
    ///
    /// # Errors
    /// The error that ended the task: one of the source that is not transient, or [`Error::Panicked`].
    pub(super) async fn next_item(&mut self) -> Result<RemovalItem, Error> {
        tokio::select! {
            biased;
            Some(error) = self.tasks.failure() => Err(error),
            Some(item) = self.items.recv() => Ok(item),
            // Its term has dropped the other end of the channel, and is ending.
            else => std::future::pending().await,
        }
    }
}

struct Removing {
    config: Arc<Config>,
    source: Source,
    topics: Topics,
    generation: u64,
    items: mpsc::Sender<RemovalItem>,
    wants: watch::Receiver<Wanted>,
}

/// Why a removal did not finish.
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
    async fn run(mut self) -> Result<(), Error> {
        // Saved or about to be: the next collection does not wait for that.
        let mut done = Wanted::new();
        loop {
            let next = self.wants.borrow_and_update().iter().find_map(|(name, remains)| {
                let open = done.get(name) != Some(remains);
                open.then(|| (name.clone(), remains.clone()))
            });
            let Some((collection, remains)) = next else {
                if self.wants.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            };
            match self.remove(&collection, &remains).await {
                Ok(()) => {
                    let item = RemovalItem::Done { collection: collection.clone(), run: remains.run };
                    if self.items.send(item).await.is_err() {
                        return Ok(());
                    }
                    done.insert(collection, remains);
                }
                Err(Stop::Unheard) => return Ok(()),
                Err(Stop::Superseded) => {}
                Err(Stop::Failed(error @ Error::Source(_))) if error.class() == Class::Halt => return Err(error),
                Err(Stop::Failed(error)) => {
                    let reason = retry::chain(&error);
                    tracing::warn!(
                        collection,
                        reason,
                        "documents that the snapshot did not find cannot be removed yet"
                    );
                    tokio::time::sleep(self.config.retry.max).await;
                }
            }
        }
    }

    async fn remove(&self, collection: &str, remains: &Remains) -> Result<(), Stop> {
        let namespace = Namespace::new(&self.config.source.database, collection);
        let session = Postgres::new(&self.config.sink, &self.config.log.prefix)?.open(Purpose::Read).await?;
        while self.wants(collection, remains) && !self.is_applied(&session, &namespace, remains.frontier).await? {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let before = remains.before(self.source.epoch());
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
            tracing::info!(
                collection,
                run = remains.run,
                removed,
                held,
                "documents that the snapshot did not find are removed"
            );
        }
        Ok(())
    }

    /// Deletes those of the documents that the source does not hold; returns how many.
    async fn remove_page(
        &self,
        namespace: &Namespace,
        since: ClusterTime,
        mut ids: Vec<RawDocumentBuf>,
    ) -> Result<usize, Stop> {
        let (ready, ticket) = oneshot::channel();
        self.send(RepairItem::Begin { collection: namespace.collection.to_string(), known: HashMap::new(), ready })
            .await?;
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

    /// Whether the sink has applied everything before this frontier, as published in this term.
    async fn is_applied(&self, session: &Session, namespace: &Namespace, frontier: Frontier) -> Result<bool, Stop> {
        let Some(topic) = self.topics.of(namespace) else { return Ok(false) };
        let partition = |partition| TopicPartition { topic: topic.name.clone(), partition };
        let partitions: Vec<_> = (0..topic.partitions).map(partition).collect();
        Ok(applied::reaches(session, &partitions, self.generation, frontier).await?)
    }

    fn wants(&self, collection: &str, remains: &Remains) -> bool {
        self.wants.borrow().get(collection) == Some(remains)
    }

    async fn send(&self, item: RepairItem) -> Result<(), Stop> {
        self.items.send(RemovalItem::Read(item)).await.map_err(|_| Stop::Unheard)
    }
}
