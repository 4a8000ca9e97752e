//! The removal over a log in memory, for simulations. It follows the protocol of `removal`, step by step.

use std::collections::HashMap;

use bson::raw::RawDocumentBuf;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    removal::{Remains, RemovalItem, Removals, Wanted},
    repairs::RepairItem,
};
use crate::{
    model::{ClusterTime, Namespace},
    source::{
        Ticket, deletes,
        twin::{DATABASE, EPOCH},
    },
    tasks::Tasks,
};

/// The task's end of the handle.
pub(super) struct TwinRemovals {
    items: mpsc::Sender<RemovalItem>,
    wanted: watch::Receiver<Wanted>,
    under_way: Option<(String, Remains, Step)>,
}

enum Step {
    Asked(oneshot::Receiver<Ticket>),
    Sent(oneshot::Receiver<()>),
    Removed,
}

impl TwinRemovals {
    pub(super) fn start() -> (Removals, Self) {
        let (sender, items) = mpsc::channel(1);
        let (wants, wanted) = watch::channel(Wanted::new());
        (Removals { items, wanted: wants, tasks: Tasks::new() }, Self { items: sender, wanted, under_way: None })
    }

    /// Takes a step. `read` chooses an instant at or after the given one, and lists the documents of a collection that are live in
    /// the log since before the given one, and that the source does not hold at the instant.
    pub(super) fn step(
        &mut self,
        read: impl FnOnce(&str, &Remains, ClusterTime) -> (ClusterTime, Vec<RawDocumentBuf>),
    ) {
        let Some((collection, remains, step)) = self.under_way.take() else { return self.begin() };
        let next = match step {
            Step::Asked(mut ticket) => match ticket.try_recv() {
                Ok(ticket) => {
                    let (read_at, ids) = read(&collection, &remains, ticket.not_before.max(remains.since));
                    self.remove(&collection, ticket, read_at, ids)
                }
                Err(_) => Step::Asked(ticket),
            },
            Step::Sent(mut logged) => match logged.try_recv() {
                Ok(()) => Step::Removed,
                Err(_) => Step::Sent(logged),
            },
            Step::Removed => {
                let done = RemovalItem::Done { collection: collection.clone(), run: remains.run };
                if self.items.try_send(done).is_ok() {
                    return;
                }
                Step::Removed
            }
        };
        self.under_way = Some((collection, remains, next));
    }

    fn begin(&mut self) {
        let next = self.wanted.borrow().iter().next().map(|(name, remains)| (name.clone(), remains.clone()));
        let Some((collection, remains)) = next else { return };
        let (ready, ticket) = oneshot::channel();
        let begin = RepairItem::Begin { collection: collection.clone(), known: HashMap::new(), ready };
        if self.items.try_send(RemovalItem::Read(begin)).is_ok() {
            self.under_way = Some((collection, remains, Step::Asked(ticket)));
        }
    }

    /// The channel has room: the term has taken the item before, and answered it.
    fn remove(&self, collection: &str, ticket: Ticket, read_at: ClusterTime, ids: Vec<RawDocumentBuf>) -> Step {
        let (durable, logged) = oneshot::channel();
        let changes = deletes(&Namespace::new(DATABASE, collection), EPOCH, read_at, ids);
        let (item, step) = match changes.is_empty() {
            true => (RepairItem::GivenUp(ticket), Step::Removed),
            false => (RepairItem::Rows { ticket, read_at, changes, durable }, Step::Sent(logged)),
        };
        let _ = self.items.try_send(RemovalItem::Read(item));
        step
    }
}
