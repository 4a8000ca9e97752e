//! Serves requests for repairs while this process leads: reads the documents again and has the term publish them, merged with
//! the stream like the chunks of a snapshot.
//!
//! ```text
//!  driftless.repair                    this task                                term
//!     waiting ──────────────────────▶ Begin { collection, ready } ────────────▶ ticket = merge.begin(collection, None)
//!                                     read the documents at T ≥ its not_before
//!                                     Rows { ticket, T, changes, durable } ───▶ merge.hold … merge.release, published
//!     done, version ◀──────────────── durable: the transaction is committed ◀──
//! ```
//! One batch at a time. A request is marked as done when its change is in the log. When the term ends before, the next term
//! serves it again, which is harmless.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use bson::raw::RawDocumentBuf;
use tokio::sync::{mpsc, oneshot};

use crate::{
    config::Config,
    control::repairs::{self, Request, RowRequest},
    model::{Change, ClusterTime, Key, Namespace, Removal, Version},
    pipeline::Error,
    postgres::{Postgres, Session},
    retry,
    source::{ChunkSizer, Limits, Reread, Source, Ticket, reread},
};

/// Between two looks for requests.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Longest command that names documents: an `_id` may be as large as a document, a command may not.
const MAX_ID_BYTES: usize = 4 << 20;
/// Rows that one transaction of the log asks to remove: the sink's transaction of them lets no other run.
const MAX_ROWS: i64 = 1_000;
const NOT_MAPPED: &str = "the mapping does not name the collection";

/// A message of this task to the term.
#[derive(Debug)]
pub(super) enum RepairItem {
    /// The task wants to read documents of this collection and waits for its ticket.
    Begin {
        /// The collection.
        collection: String,
        /// Versions of the ledger that are to be replaced if nothing published can have them.
        known: HashMap<Key, Version>,
        /// Takes what `Merge::begin` gave.
        ready: oneshot::Sender<Ticket>,
    },
    /// It could not read them.
    GivenUp(Ticket),
    /// It has read them.
    Rows {
        /// The ticket they were read with.
        ticket: Ticket,
        /// Cluster time they were read at.
        read_at: ClusterTime,
        /// The documents.
        changes: Vec<Change>,
        /// Answered once they are in the log.
        durable: oneshot::Sender<()>,
    },
    /// Rows that no document stands behind.
    Removals {
        /// The rows.
        removals: Vec<Removal>,
        /// Answered once they are in the log.
        durable: oneshot::Sender<()>,
    },
}

/// Serves requests until its owner ends it.
pub(super) async fn serve(
    config: Arc<Config>,
    source: Source,
    mapped: BTreeSet<String>,
    items: mpsc::Sender<RepairItem>,
) -> Result<(), Error> {
    let limits = Limits {
        documents: config.source.chunk_documents,
        bytes: usize::try_from(config.source.chunk_bytes.as_u64()).unwrap_or(usize::MAX),
    };
    let sizer = ChunkSizer::new(limits, config.source.chunk_time);
    let mut server = Server { config, source, mapped, items, sizer, session: None };
    loop {
        let pause = match server.batch().await {
            Ok(true) => Duration::ZERO,
            Ok(false) => POLL_INTERVAL,
            Err(error) => {
                tracing::warn!(reason = retry::chain(&error), "requests for repairs wait");
                server.session = None;
                server.config.retry.max.max(POLL_INTERVAL)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

struct Server {
    config: Arc<Config>,
    source: Source,
    mapped: BTreeSet<String>,
    items: mpsc::Sender<RepairItem>,
    sizer: ChunkSizer,
    session: Option<Session>,
}

impl Server {
    /// Serves the oldest requests of one collection, or those for rows; returns whether there were any.
    async fn batch(&mut self) -> Result<bool, Error> {
        Ok(self.documents().await? || self.rows().await?)
    }

    async fn rows(&mut self) -> Result<bool, Error> {
        let Some(session) = &self.session else { return Ok(false) };
        let waiting = repairs::waiting_rows(session, MAX_ROWS).await?;
        let (mapped, unmapped): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|request| self.mapped.contains(&request.collection));
        if !unmapped.is_empty() {
            let ids: Vec<_> = unmapped.iter().map(|request| request.id).collect();
            repairs::refuse(session, &ids, NOT_MAPPED).await?;
        }
        if mapped.is_empty() {
            return Ok(false);
        }
        let ids: Vec<_> = mapped.iter().map(|request| request.id).collect();
        let database = self.source.database_name();
        let removals = mapped.into_iter().map(|RowRequest { id, collection, table, row_key }| Removal {
            namespace: Namespace::new(database, collection),
            request: id,
            table,
            row_key,
        });
        let (durable, logged) = oneshot::channel();
        self.send(RepairItem::Removals { removals: removals.collect(), durable }).await;
        if logged.await.is_err() {
            return Ok(false);
        }
        repairs::logged(session, &ids).await?;
        Ok(true)
    }

    async fn documents(&mut self) -> Result<bool, Error> {
        let session = Postgres::kept(&mut self.session, &self.config.sink, &self.config.log.prefix).await?;
        let waiting = repairs::waiting(session, self.sizer.limits().documents).await?;
        let Some(first) = waiting.first() else { return Ok(false) };
        let collection = first.collection.clone();
        let (documents, ids) = documents(waiting, &collection);
        if !self.mapped.contains(&collection) {
            repairs::refuse(session, &ids, NOT_MAPPED).await?;
        } else if documents.is_empty() {
            repairs::refuse(session, &ids, "the ledger does not hold the document's `_id`").await?;
        } else {
            let known = repairs::note_versions(session, &ids).await?;
            let Some(version) = self.publish(&collection, documents, known).await? else { return Ok(false) };
            failpoint!(REPAIR_ACKNOWLEDGE);
            let Some(session) = &self.session else { return Ok(false) };
            repairs::done(session, &ids, version).await?;
        }
        Ok(true)
    }

    /// Reads documents and waits until they are in the log; `None` when the term ends before.
    async fn publish(
        &mut self,
        collection: &str,
        ids: Vec<RawDocumentBuf>,
        known: HashMap<Key, Version>,
    ) -> Result<Option<Version>, Error> {
        let (ready, ticket) = oneshot::channel();
        self.send(RepairItem::Begin { collection: collection.to_owned(), known, ready }).await;
        let Ok(ticket) = ticket.await else { return Ok(None) };
        let began = Instant::now();
        let Reread { read_at, changes, bytes } = match reread(&self.source, collection, &ids, ticket).await {
            Ok(read) => read,
            Err(error) => {
                self.send(RepairItem::GivenUp(ticket)).await;
                return Err(error.into());
            }
        };
        self.sizer.learn(ids.len(), bytes, began.elapsed());
        let (durable, logged) = oneshot::channel();
        self.send(RepairItem::Rows { ticket, read_at, changes, durable }).await;
        Ok(logged.await.ok().map(|()| Version::snapshot(self.source.epoch(), read_at)))
    }

    async fn send(&self, item: RepairItem) {
        // A term that has ended takes nothing; its answer does not come.
        let _ = self.items.send(item).await;
    }
}

/// The first of the requests, as far as they are of one collection and fit into a command: each document once, and the numbers
/// of the requests. One that does not say which document it is about comes alone.
fn documents(requests: Vec<Request>, collection: &str) -> (Vec<RawDocumentBuf>, Vec<i64>) {
    let (mut documents, mut ids, mut bytes) = (BTreeMap::<Key, RawDocumentBuf>::new(), Vec::new(), 0);
    let mut lost = BTreeSet::new();
    for request in requests.into_iter().filter(|request| request.collection == collection) {
        match request.document() {
            Some(document) => {
                bytes += document.as_bytes().len();
                if bytes > MAX_ID_BYTES && !documents.is_empty() {
                    break;
                }
                documents.insert(request.key, document);
                ids.push(request.id);
            }
            None => drop(lost.insert(request.id)),
        }
    }
    if documents.is_empty() {
        (Vec::new(), lost.into_iter().collect())
    } else {
        (documents.into_values().collect(), ids)
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn request(id: i64, collection: &str, document: Option<RawDocumentBuf>) -> Request {
        let key = document.as_deref().and_then(Key::from_id).unwrap_or_else(|| Key::from_bytes(vec![0; 17]));
        let target = document.filter(|_| key.is_hashed());
        Request { id, collection: collection.to_owned(), key, target }
    }

    #[test]
    fn a_batch_names_each_document_of_one_collection_once() {
        let (one, two) = (|| Some(rawdoc! { "_id": 1 }), || Some(rawdoc! { "_id": 2 }));
        let requests = vec![
            request(7, "a", one()),
            request(8, "b", one()),
            request(9, "a", two()),
            request(10, "a", None),
            request(11, "a", one()),
        ];
        let (documents, ids) = super::documents(requests, "a");
        assert_eq!(documents.len(), 2);
        assert_eq!(ids, [7, 9, 11], "the one that names no document comes alone");
        assert_eq!(super::documents(vec![request(10, "a", None)], "a"), (Vec::new(), vec![10]));
    }

    #[test]
    fn a_command_holds_no_more_than_it_may_but_at_least_one_document() {
        let long = |id: i64| request(id, "a", Some(rawdoc! { "_id": format!("{id}{}", "x".repeat(3 << 20)) }));
        let (documents, ids) = super::documents(vec![long(1), long(2)], "a");
        assert_eq!((documents.len(), ids), (1, vec![1]));
        let huge = request(1, "a", Some(rawdoc! { "_id": "x".repeat(5 << 20) }));
        assert_eq!(super::documents(vec![huge], "a").1, [1]);
    }
}
