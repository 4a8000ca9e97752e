//! The demo application at work in the background.

use driftless_demo::{Counts, Generator, Until, Workload, load};
use mongodb::bson::{DateTime, Decimal128, Document, doc, oid::ObjectId};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::{DEADLINE, migration::Migration, oracle::root_id, wait};

/// Fills the source with this many documents.
pub(crate) async fn fill(migration: &Migration, seed: u64, documents: u64) {
    load(&migration.source, &Generator::new(seed, documents), |_| {}).await.expect("fill the source");
}

/// Background writes that continue until the load is ended.
pub(crate) struct Load {
    cancel: CancellationToken,
    task: JoinHandle<Counts>,
}

impl Load {
    /// Starts to write `rate` steps per second.
    pub(crate) fn start(migration: &Migration, seed: u64, rate: f64) -> Self {
        Self::limited(migration, seed, rate, usize::MAX)
    }

    /// The same, and keeps the application at about this many documents.
    pub(crate) fn limited(migration: &Migration, seed: u64, rate: f64, most: usize) -> Self {
        let cancel = CancellationToken::new();
        let (client, database, end) = (migration.mongo.clone(), migration.name.clone(), cancel.clone());
        let task = tokio::spawn(async move {
            let mut workload = Workload::new(client, &database, seed).limited(most);
            workload.run(rate, Until::Cancelled, end).await.expect("the application can write")
        });
        Self { cancel, task }
    }

    /// Ends the writes; all of them are in the source when it returns.
    pub(crate) async fn end(self) -> Counts {
        self.cancel.cancel();
        self.task.await.expect("the application does not panic")
    }
}

/// Returns an organisation that the application does not know, and so never touches.
pub(crate) fn organisation(id: ObjectId) -> Document {
    let now = DateTime::now();
    doc! {
        "_id": id, "name": "Marker", "slug": id.to_hex(), "kind": "startup", "employees": 1,
        "credit": "1.10".parse::<Decimal128>().expect("a decimal"), "createdAt": now, "updatedAt": now,
    }
}

/// A document that the application never touches: when its row exists, every part works.
pub(crate) struct Marker(ObjectId);

impl Marker {
    /// Writes the document; waits while MongoDB accepts no writes.
    pub(crate) async fn write(migration: &Migration) -> Self {
        let id = ObjectId::new();
        let document = organisation(id);
        let organisations = migration.collection("organisations");
        let filter = doc! { "_id": id };
        wait::until("MongoDB takes a write", DEADLINE, async || {
            organisations.replace_one(filter.clone(), &document).upsert(true).await.map(drop)
        })
        .await;
        Self(id)
    }

    /// Raises the document's number of employees, which nothing lowers.
    pub(crate) async fn raise(&self, migration: &Migration) {
        let organisations = migration.collection("organisations");
        let raise = doc! { "$inc": { "employees": 1 } };
        organisations.update_one(doc! { "_id": self.0 }, raise).await.expect("raise the marker");
    }

    /// Returns that number in the document's row.
    pub(crate) async fn employees(&self, target: &Client) -> Option<i32> {
        let query = "SELECT employees FROM app.organisations WHERE id = $1::text::uuid";
        let row = target.query_opt(query, &[&root_id(&self.0.to_hex())]).await.expect("read the marker's row");
        row.map(|row| row.get(0))
    }

    /// Returns whether the document's row exists.
    pub(crate) async fn is_in(&self, target: &Client) -> bool {
        let query = "SELECT count(*) FROM app.organisations WHERE id = $1::text::uuid";
        let found = target.query_one(query, &[&root_id(&self.0.to_hex())]).await;
        found.is_ok_and(|row| row.get::<_, i64>(0) == 1)
    }
}
