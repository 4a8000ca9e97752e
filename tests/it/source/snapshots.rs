//! The snapshot beside a stream: nothing is lost, no version goes backwards, and it continues at its position.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bson::{
    Document, doc,
    raw::{RawBson, RawDocumentBuf},
    rawdoc,
};
use bytesize::ByteSize;
use driftless::{
    model::{Change, ClusterTime, Key, SnapshotState, SnapshotStep, Version},
    source::{Limits, MemoryPermit, Merge, Range, ReadTime, Snapshot, SnapshotItem, Start},
};
use driftless_testing::{
    proxy::{Line, Proxy},
    stack::setting,
    wait::soon,
};
use mongodb::Database;

use super::{BACKOFF, Shop, Stream, reads};

/// Memory for one or two chunks of ten small documents, so that the snapshot cannot run ahead of its consumer.
const FEW_CHUNKS: ByteSize = ByteSize::kib(8);

/// The records that a compacted log would keep, and the states that its state topic would hold.
#[derive(Default)]
struct Log {
    records: HashMap<(String, Key), (Version, Option<RawDocumentBuf>)>,
    states: BTreeMap<String, SnapshotState>,
    /// Number of rows that snapshots have read, in all.
    rows: u64,
}

impl Log {
    fn append(&mut self, changes: Vec<Change>) {
        for change in changes {
            let place = (change.namespace.collection.to_string(), change.key);
            let before = self.records.insert(place, (change.version, change.document));
            assert!(before.is_none_or(|(before, _)| before <= change.version), "a version goes backwards");
        }
    }

    fn done(&self) -> bool {
        self.states.values().all(SnapshotState::done)
    }

    /// Returns the documents of a collection.
    fn documents(&self, collection: &str) -> BTreeSet<Vec<u8>> {
        let ours = self.records.iter().filter(|((of, _), _)| of == collection);
        ours.filter_map(|(_, (_, document))| Some(document.as_ref()?.as_bytes().to_vec())).collect()
    }
}

/// One term: stream and snapshot as the pipeline runs them.
struct Term {
    stream: Stream,
    merge: Merge<(SnapshotStep, MemoryPermit)>,
    snapshot: Snapshot,
}

impl Term {
    fn begin(shop: &Shop, collections: &[&str], start: ClusterTime, log: &mut Log) -> Self {
        let snapshot = Snapshot::start(&shop.source, BACKOFF);
        for collection in collections {
            let fresh = || SnapshotState::new(*collection, 1, 0);
            snapshot.read(log.states.entry((*collection).to_owned()).or_insert_with(fresh).clone());
        }
        Self { stream: shop.stream(collections, Start::At(start)), merge: Merge::new(1, start), snapshot }
    }

    /// Takes one event; returns the progress of the stream.
    async fn step(&mut self, log: &mut Log) -> Option<ClusterTime> {
        let mut frontier = None;
        tokio::select! {
            item = self.snapshot.next_item() => match item.expect("the server answers") {
                SnapshotItem::Cut(state) => drop(log.states.insert(state.collection.clone(), state)),
                SnapshotItem::Begin { collection, run, ready } => {
                    ready.send(self.merge.begin(&collection, Some(run))).expect("the reader waits");
                }
                SnapshotItem::GiveBack(ticket) => self.merge.abandon(ticket),
                SnapshotItem::Chunk { ticket, read_at, changes, step, permit } => {
                    self.merge.hold(ticket, read_at, changes, (step, permit));
                }
            },
            batch = self.stream.inner.next_batch() => {
                let batch = batch.expect("the server answers");
                self.merge.stream(&batch);
                log.append(batch.changes);
                self.snapshot.stream_reached(batch.position.frontier);
                frontier = Some(batch.position.frontier.0);
            }
        }
        while let Some(released) = self.merge.release() {
            log.rows += (released.changes.len() + released.superseded) as u64;
            log.append(released.changes);
            let (step, _) = released.tag;
            log.states.get_mut(&step.collection).expect("a known collection").advance(&step);
        }
        frontier
    }

    /// Runs until the snapshots are done and the stream has passed this instant.
    async fn until_done(&mut self, log: &mut Log, written: impl AsyncFn() -> Option<ClusterTime>) {
        let following = async {
            let mut end = None;
            loop {
                let frontier = self.step(log).await;
                if end.is_none() {
                    end = written().await;
                }
                if log.done() && end.is_some_and(|end| frontier.is_some_and(|frontier| end < frontier)) {
                    return;
                }
            }
        };
        soon("the end of snapshot and writing", following).await;
    }
}

/// Returns the documents of a collection as they are.
async fn truth(database: &Database, collection: &str) -> BTreeSet<Vec<u8>> {
    let mut found = database.collection::<Document>(collection).find(doc! {}).await.expect("the server answers");
    let mut documents = BTreeSet::new();
    while found.advance().await.expect("the server answers") {
        documents.insert(found.current().as_bytes().to_vec());
    }
    documents
}

async fn numbered(shop: &Shop, collection: &str, documents: i32) {
    let documents = (0..documents).map(|id| doc! { "_id": id, "v": 0 });
    shop.collection(collection).insert_many(documents).await.expect("the server answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_and_snapshot_together_give_the_source() {
    let shop = Shop::with("together", |config| {
        config.chunk_documents = 20;
        config.snapshot_readers = 3;
        config.max_await = std::time::Duration::from_millis(20);
    })
    .await;
    for name in ["orders", "items"] {
        numbered(&shop, name, 500).await;
    }
    let start = shop.now().await;
    let mut log = Log::default();
    let mut term = Term::begin(&shop, &["orders", "items"], start, &mut log);
    let database = shop.database.clone();
    let writer = tokio::spawn(async move {
        for round in 1..400i32 {
            let collection = database.collection::<Document>(if round % 2 == 0 { "orders" } else { "items" });
            let id = round * 37 % 500;
            let change = doc! { "$set": { "v": round } };
            let written = match round % 3 {
                0 => collection.delete_one(doc! { "_id": id }).await.map(drop),
                1 => collection.update_one(doc! { "_id": id }, change).await.map(drop),
                _ => collection.replace_one(doc! { "_id": id }, doc! { "v": round }).upsert(true).await.map(drop),
            };
            written.expect("the server answers");
        }
    });
    let written = async || if writer.is_finished() { Some(shop.now().await) } else { None };
    term.until_done(&mut log, written).await;
    assert!(log.rows > 700, "{} rows", log.rows);
    assert!(log.states.values().all(|state| state.parts.len() > 4), "several parts");
    for name in ["orders", "items"] {
        assert_eq!(log.documents(name), truth(&shop.database, name).await);
    }
    shop.close().await;
}

/// Returns one `_id` of each of eight types; neighbouring numbers are neighbours in the index.
fn mixed(n: i32) -> Vec<RawDocumentBuf> {
    let byte = u8::try_from(n % 256).expect("a byte");
    vec![
        rawdoc! { "_id": n },
        rawdoc! { "_id": f64::from(n) + 0.5 },
        rawdoc! { "_id": format!("{n:04}") },
        rawdoc! { "_id": { "n": n } },
        rawdoc! { "_id": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![byte; 3] } },
        rawdoc! { "_id": bson::oid::ObjectId::from_bytes([byte; 12]) },
        rawdoc! { "_id": bson::DateTime::from_millis(i64::from(n)) },
        rawdoc! { "_id": bson::Timestamp { time: n as u32, increment: 1 } },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_every_type_are_read_in_parts() {
    let shop = Shop::with("types", |config| {
        config.chunk_documents = 6;
        config.snapshot_readers = 3;
        config.max_await = std::time::Duration::from_millis(20);
    })
    .await;
    let clustered = doc! { "key": { "_id": 1 }, "unique": true };
    let create = doc! { "create": "clustered", "clusteredIndex": clustered };
    shop.database.run_command(create).await.expect("the server answers");
    let collections = ["plain", "clustered"];
    for collection in collections {
        let documents: Vec<_> = (0..20).flat_map(|n| mixed(n * 4)).chain(reads::ids()).collect();
        // Four of them are numbers or dates that `mixed` contains, too.
        let mut known = BTreeSet::new();
        let fresh =
            documents.into_iter().filter(|id| known.insert(Key::from_id(id).expect("a key"))).collect::<Vec<_>>();
        reads::insert_raw(&shop.database, collection, &fresh).await;
    }
    let start = shop.now().await;
    let mut log = Log::default();
    let mut term = Term::begin(&shop, &collections, start, &mut log);
    let database = shop.database.clone();
    // During the snapshot, documents of every type appear between the others, and some disappear, wherever its chunks have
    // their edges.
    let writer = tokio::spawn(async move {
        for n in 0..40 {
            for collection in collections {
                let coming: Vec<_> = mixed(n * 2 + 1);
                reads::insert_raw(&database, collection, &coming).await;
                let gone = &mixed(n * 4)[n as usize % 8];
                let gone = rawdoc! { "q": gone.clone(), "limit": 1 };
                let delete = rawdoc! { "delete": collection, "deletes": [gone] };
                database.run_raw_command(delete).await.expect("the server answers");
            }
        }
    });
    let written = async || if writer.is_finished() { Some(shop.now().await) } else { None };
    term.until_done(&mut log, written).await;
    for collection in collections {
        assert!(log.states[collection].parts.len() >= 9, "{} parts", log.states[collection].parts.len());
        assert_eq!(log.documents(collection), truth(&shop.database, collection).await, "{collection}");
    }
    shop.close().await;
}

/// Wherever a collection is cut, the two ranges together hold everything, each document once.
#[tokio::test]
async fn ranges_meet_at_every_id() {
    let shop = Shop::open("ranges").await;
    let clustered = doc! { "key": { "_id": 1 }, "unique": true };
    let create = doc! { "create": "clustered", "clusteredIndex": clustered };
    shop.database.run_command(create).await.expect("the server answers");
    for collection in ["plain", "clustered"] {
        let ids = reads::ids();
        reads::insert_raw(&shop.database, collection, &ids).await;
        let reader = shop.source.reader();
        let mut at = ReadTime::AtLeast(shop.now().await);
        let outermost = [rawdoc! { "_id": RawBson::MinKey }, rawdoc! { "_id": RawBson::MaxKey }];
        for cut in ids.iter().filter(|id| !outermost.contains(id)) {
            let mut read = Vec::new();
            for (from, until) in [(None, Some(cut.clone())), (Some(cut.clone()), None)] {
                let mut range = Range { from, after: None, until };
                loop {
                    let limits = Limits { documents: 4, bytes: 1 << 20 };
                    let chunk = reader.range(collection, &range, limits, at).await.expect("the server answers");
                    at = ReadTime::At(chunk.read_at);
                    read.extend(chunk.documents);
                    range.after = chunk.last_id;
                    if chunk.end {
                        break;
                    }
                }
            }
            let keys: BTreeSet<_> = read.iter().map(|id| Key::from_id(id).expect("a key")).collect();
            assert_eq!((read.len(), keys.len()), (ids.len(), ids.len()), "{collection} cut at {cut:?}");
        }
        let cuts = reader.cuts(collection, 5, 100).await.expect("the server answers");
        assert!(cuts.len() == 4 && !cuts.iter().any(|id| outermost.contains(id)));
        assert!(reader.cuts("nothing", 5, 100).await.expect("the server answers").is_empty());
    }
    shop.close().await;
}

/// A term ends at any point; the next one reads again only the part that was not logged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_where_the_log_stands() {
    let shop = Shop::with("goes_on", |config| {
        config.chunk_documents = 10;
        config.snapshot_bytes = FEW_CHUNKS;
        config.max_await = std::time::Duration::from_millis(20);
    })
    .await;
    numbered(&shop, "orders", 600).await;
    let start = shop.now().await;
    let mut log = Log::default();
    let (mut terms, mut parts) = (0, None);
    while !log.done() || terms == 0 {
        let mut term = Term::begin(&shop, &["orders"], start, &mut log);
        let until = log.rows + 150;
        let some = async {
            while log.rows < until && !(log.done() && terms > 0) {
                term.step(&mut log).await;
            }
        };
        soon("some rows", some).await;
        terms += 1;
        let now: Vec<_> = log.states["orders"].parts.iter().map(|part| part.until.clone()).collect();
        assert_eq!(*parts.get_or_insert(now.clone()), now, "the parts of a run stay");
    }
    assert!(terms >= 3, "{terms} terms");
    assert_eq!((log.rows, log.states["orders"].documents), (600, 600), "what is logged is not read again");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_paused_resumed_and_started_again() {
    let shop = Shop::with("steered", |config| {
        config.chunk_documents = 10;
        config.snapshot_bytes = FEW_CHUNKS;
        config.max_await = std::time::Duration::from_millis(20);
    })
    .await;
    numbered(&shop, "orders", 400).await;
    let mut log = Log::default();
    let mut term = Term::begin(&shop, &["orders"], shop.now().await, &mut log);
    let begun = async {
        while log.rows < 50 {
            term.step(&mut log).await;
        }
    };
    soon("its first rows", begun).await;

    // The read in progress arrives; after it there is nothing but the beat of the stream.
    term.snapshot.pause("orders", true);
    let still = async {
        let mut quiet = 0;
        while quiet < 10 {
            let before = log.rows;
            term.step(&mut log).await;
            quiet = if log.rows == before { quiet + 1 } else { 0 };
        }
    };
    soon("stillness", still).await;
    assert!(log.rows < 400 && term.merge.pending() == 0, "{} rows", log.rows);

    // Another run reads everything again, in its own parts.
    let again = SnapshotState::new("orders", 1, 1);
    log.states.insert("orders".to_owned(), again.clone());
    let before = log.rows;
    term.snapshot.read(again);
    term.until_done(&mut log, async || Some(ClusterTime::default())).await;
    assert_eq!((log.rows - before, log.states["orders"].documents), (400, 400));
    assert_eq!(log.documents("orders"), truth(&shop.database, "orders").await);
    shop.close().await;
}

/// While a chunk cannot be read, the merge holds nothing for it: each attempt has its own ticket.
#[tokio::test]
async fn a_chunk_that_cannot_be_read_holds_no_ticket() {
    const FAILURES: usize = 4;
    let shop = Shop::open("tickets").await;
    numbered(&shop, "orders", 20).await;
    let uri = setting("MONGO_URI");
    let server = uri.trim_start_matches("mongodb://").split(['/', ',', '?']).next().expect("an address").to_owned();
    let proxy = Proxy::to(server).await;
    let behind = Shop::again(&shop, |config| {
        config.uri = Some(format!("mongodb://{}/?directConnection=true", proxy.address).into());
        config.timeout = std::time::Duration::from_millis(500);
        config.snapshot_readers = 1;
    })
    .await;
    let mut merge: Merge<SnapshotStep> = Merge::new(1, shop.now().await);
    let mut snapshot = Snapshot::start(&behind.source, BACKOFF);
    let mut state = SnapshotState::new("orders", 1, 0);
    state.cut(Vec::new());
    snapshot.read(state);
    let mut given_back = 0;
    let step = loop {
        match soon("the snapshot goes on", snapshot.next_item()).await.expect("no error that halts") {
            SnapshotItem::Begin { collection, run, ready } => {
                assert_eq!(merge.pending(), 0, "the ticket before it is still held");
                proxy.set(if given_back < FAILURES { Line::Cut } else { Line::Open });
                ready.send(merge.begin(&collection, Some(run))).expect("the reader waits");
            }
            SnapshotItem::GiveBack(ticket) => {
                merge.abandon(ticket);
                given_back += 1;
            }
            SnapshotItem::Chunk { step, .. } => break step,
            SnapshotItem::Cut(_) => panic!("it was cut before"),
        }
    };
    assert!(given_back >= FAILURES, "{given_back} attempts failed");
    assert_eq!((step.documents, step.done), (4, false), "the first read of anything is small");
    shop.close().await;
}
