//! Readers of a snapshot over a history in memory, for simulations. They follow the protocol of `reader`, step by step.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use bson::rawdoc;
use futures_util::FutureExt;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    Snapshot, SnapshotItem, SnapshotScheduler,
    item::MemoryPermit,
    scheduler::{ChunkTask, Task},
};
use crate::{
    config::SourceConfig,
    model::{Namespace, Op, SnapshotStep},
    source::{
        Ticket, snapshot_changes,
        twin::{DATABASE, EPOCH, History},
    },
    tasks::Tasks,
};

/// Keys of every collection: `0..KEYS`.
pub(crate) const KEYS: i32 = 8;
/// Maximum number of chunks that are read but not logged.
const MEMORY: usize = 3;
/// Items that a reader is ahead of the merge by, at most.
const MAX_ITEMS: usize = 64;

/// The readers.
pub(crate) struct TwinReaders {
    history: Rc<RefCell<History>>,
    scheduler: Arc<SnapshotScheduler>,
    items: mpsc::Sender<SnapshotItem>,
    memory: Arc<Semaphore>,
    asking: Vec<(ChunkTask, oneshot::Receiver<Ticket>, MemoryPermit)>,
    /// The signal that makes a reader panic.
    die: Option<oneshot::Sender<()>>,
}

impl Snapshot {
    /// Creates a snapshot whose readers are driven by the caller.
    pub(crate) fn twin(config: &SourceConfig, history: &Rc<RefCell<History>>) -> (Self, TwinReaders) {
        let (sender, items) = mpsc::channel(MAX_ITEMS);
        let (die, death) = oneshot::channel();
        let scheduler = Arc::new(SnapshotScheduler::new(config));
        let mut tasks = Tasks::new();
        tasks.spawn("snapshot reader 1", async move {
            match death.await {
                Ok(()) => panic!("simulated"),
                Err(_) => std::future::pending().await,
            }
        });
        let readers = TwinReaders {
            history: history.clone(),
            scheduler: scheduler.clone(),
            items: sender,
            memory: Arc::new(Semaphore::new(MEMORY)),
            asking: Vec::new(),
            die: Some(die),
        };
        (Self { items, scheduler, tasks }, readers)
    }
}

impl TwinReaders {
    /// Makes a free reader take a task.
    pub(crate) fn take(&mut self) {
        let Ok(permit) = self.memory.clone().try_acquire_owned() else { return };
        match self.scheduler.take().now_or_never() {
            Some(Task::Cut(mut state)) => {
                state.estimate = u64::from(KEYS.unsigned_abs());
                state.cut(vec![rawdoc! { "_id": KEYS / 2 }]);
                self.send(SnapshotItem::Cut(state.clone()));
                self.scheduler.cut(&state);
            }
            Some(Task::Read(task)) => self.ask(task, MemoryPermit { _permit: permit }),
            None => {}
        }
    }

    fn ask(&mut self, task: ChunkTask, permit: MemoryPermit) {
        let (ready, ticket) = oneshot::channel();
        self.send(SnapshotItem::Begin { collection: task.collection.clone(), run: task.run, ready });
        self.asking.push((task, ticket, permit));
    }

    /// Makes a reader with a ticket read, at an instant that `choose` takes between a first and a last one, or fail.
    pub(crate) fn read(&mut self, fails: bool, choose: impl FnOnce(u32, u32) -> u32) {
        let ready = self.asking.iter_mut().position(|(_, ticket, _)| !ticket.is_empty());
        let Some(ready) = ready else { return };
        let (task, mut ticket, permit) = self.asking.remove(ready);
        let ticket = ticket.try_recv().expect("a ticket");
        if fails {
            self.send(SnapshotItem::GiveBack(ticket));
            return self.ask(task, permit);
        }
        let history = self.history.clone();
        let history = history.borrow();
        let (first, last) = (ticket.not_before.max(task.not_before), history.now());
        let read_at = crate::model::ClusterTime { i: choose(first.i, last.i), ..first };
        let id = |document: &bson::RawDocumentBuf| document.get_i32("_id").expect("a number");
        let range = &task.range;
        let from = range.after.as_ref().map(|after| id(after) + 1).or(range.from.as_ref().map(id)).unwrap_or(0);
        let until = range.until.as_ref().map_or(KEYS, id);
        let mut documents: Vec<_> =
            (from..until).filter_map(|key| history.document(&task.collection, key, read_at)).collect();
        let done = documents.len() < task.limits.documents;
        documents.truncate(task.limits.documents);
        let step = SnapshotStep {
            collection: task.collection.clone(),
            run: task.run,
            part: task.part,
            from: range.after.clone(),
            after: documents.last().map(|last| rawdoc! { "_id": id(last) }).or(range.after.clone()),
            done,
            documents: documents.len() as u64,
            bytes: 0,
        };
        let namespace = Namespace::new(DATABASE, &task.collection);
        let changes = snapshot_changes(&namespace, EPOCH, read_at, documents, Op::Snapshot).expect("changes");
        self.send(SnapshotItem::Chunk { ticket, read_at, changes, step: step.clone(), permit });
        self.scheduler.read(&step, read_at, Duration::from_millis(1));
    }

    /// Makes a reader panic.
    pub(crate) fn panic(&mut self) {
        let _ = self.die.take().map(|die| die.send(()));
    }

    /// Returns whether all memory is free: nothing is being read, and everything that was read is logged.
    pub(crate) fn is_idle(&self) -> bool {
        self.memory.available_permits() == MEMORY
    }

    fn send(&self, item: SnapshotItem) {
        // A term that has ended receives nothing.
        let _ = self.items.try_send(item);
    }
}
