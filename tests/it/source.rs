//! The source against a real replica set.

use std::{collections::BTreeMap, time::Duration};

use bson::{Document, doc};
use driftless::{
    config::SourceConfig,
    model::{ClusterTime, Op},
    retry::Backoff,
    source::{ChangeStream, OnDrop, Scope, Source, Start, StreamBatch},
};
use mongodb::{Client, Collection, Database};

use crate::support::{setting, soon};

const BACKOFF: Backoff = Backoff { min: Duration::from_millis(10), max: Duration::from_millis(200) };

/// A database of its own, and a source that reads it.
struct Shop {
    client: Client,
    database: Database,
    source: Source,
}

impl Shop {
    async fn open(test: &str) -> Self {
        Self::with(test, |_| {}).await
    }

    async fn with(test: &str, change: impl FnOnce(&mut SourceConfig)) -> Self {
        let uri = setting("MONGO_URI");
        let name = format!("it_{test}_{}", std::process::id());
        let client = soon("a connection", Client::with_uri_str(&uri)).await.unwrap();
        let database = client.database(&name);
        database.drop().await.unwrap();
        let mut config: SourceConfig = toml::from_str(&format!("uri = {uri:?}\ndatabase = {name:?}")).unwrap();
        change(&mut config);
        let source = Source::connect(&config).await.unwrap();
        Self { client, database, source }
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    fn scope(&self, collections: &[&str], on_drop: OnDrop) -> Scope {
        let collections = collections.iter().map(|name| ((*name).to_owned(), on_drop)).collect::<BTreeMap<_, _>>();
        Scope { database: self.database.name().to_owned(), collections, epoch: 1 }
    }

    async fn now(&self) -> ClusterTime {
        self.source.now().await.unwrap()
    }

    fn stream(&self, collections: &[&str], start: Start) -> Stream {
        self.stream_on_drop(collections, start, OnDrop::Halt)
    }

    fn stream_on_drop(&self, collections: &[&str], start: Start, on_drop: OnDrop) -> Stream {
        Stream { inner: ChangeStream::open(&self.source, self.scope(collections, on_drop), start, BACKOFF) }
    }

    async fn close(self) {
        self.database.drop().await.unwrap();
    }
}

struct Stream {
    inner: ChangeStream,
}

impl Stream {
    async fn batch(&mut self) -> StreamBatch {
        soon("a batch", self.inner.next_batch()).await.unwrap()
    }

    /// Batches until the stream has come past `time`.
    async fn until(&mut self, time: ClusterTime) -> Vec<StreamBatch> {
        let mut batches = Vec::new();
        while batches.last().is_none_or(|batch: &StreamBatch| !batch.position.frontier.covers(time)) {
            batches.push(self.batch().await);
        }
        batches
    }
}

#[tokio::test]
async fn scratch_idle_frontier() {
    let shop = Shop::open("idle").await;
    let orders = shop.collection("orders");
    let start = shop.now().await;
    let mut stream = shop.stream(&["orders"], Start::At(start));
    for _ in 0..3 {
        let b = stream.batch().await;
        println!(
            "{start} -> {:?} {:?} frontier {} as_of {}",
            b.position.token.kind(),
            b.position.token.time(),
            b.position.frontier,
            b.position.as_of_ms
        );
    }
    orders.insert_one(doc! { "_id": 1 }).await.unwrap();
    println!("now {}", shop.now().await);
    for _ in 0..6 {
        let b = stream.batch().await;
        println!(
            "{} changes {:?} {:?} frontier {} as_of {}",
            b.changes.len(),
            b.position.token.kind(),
            b.position.token.time(),
            b.position.frontier,
            b.position.as_of_ms
        );
    }
    let last = stream.batch().await;
    drop(stream);
    let mut stream =
        shop.stream(&["orders"], Start::After { token: last.position.token.clone(), frontier: last.position.frontier });
    let t0 = std::time::Instant::now();
    for _ in 0..60 {
        let b = stream.batch().await;
        println!(
            "{:?} resumed {:?} {:?} frontier {} as_of {}",
            t0.elapsed(),
            b.position.token.kind(),
            b.position.token.time(),
            b.position.frontier,
            b.position.as_of_ms
        );
        if b.position.as_of_ms > 0 || b.position.token.time() > last.position.token.time() {
            break;
        }
    }
    shop.close().await;
}
