//! The steps of every example: fill the source, start a daemon, continue to write, and compare both sides.

use std::collections::BTreeMap;

use driftless_testing::{
    DEADLINE,
    daemon::Daemon,
    migration::Migration,
    random,
    stack::{Stack, root},
};
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::draw::Draw;

/// Number of documents that the background writes leave to the scripted steps of a test.
pub(crate) const KEPT: u64 = 4;
const DEAD: &str = "SELECT reason FROM driftless.dead_letter WHERE state = 'open' ORDER BY reason";

/// A collection of an example's application.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Number of documents in the first fill.
    pub(crate) documents: u64,
    /// Makes the given revision of the document with the given index, its `_id` included.
    pub(crate) make: fn(&mut Draw, u64, u64) -> Document,
    /// Fields that a document may lose.
    pub(crate) optional: &'static [&'static str],
    /// Fields that make sense only together: none of them is ever set alone.
    pub(crate) joint: &'static [&'static str],
}

/// Declares a collection in one line.
pub(crate) const fn kind(
    name: &'static str,
    documents: u64,
    make: fn(&mut Draw, u64, u64) -> Document,
    optional: &'static [&'static str],
    joint: &'static [&'static str],
) -> Kind {
    Kind { name, documents, make, optional, joint }
}

/// A running migration of an example.
pub(crate) struct Example {
    pub(crate) migration: Migration,
    pub(crate) daemon: Daemon,
    kinds: &'static [Kind],
    rng: ChaCha8Rng,
    /// Revision of each existing document, by kind and index.
    live: BTreeMap<(usize, u64), u64>,
    next: Vec<u64>,
}

/// Reads a file of an example.
pub(crate) fn file(example: &str, name: &str) -> String {
    let path = root().join("config/examples").join(example).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Example {
    /// Fills the source, checks the configuration, starts the daemon, and writes during its snapshot.
    pub(crate) async fn start(test: &str, name: &str, kinds: &'static [Kind], writes: usize) -> Self {
        let stack = Stack::shared().await;
        let mut migration =
            Migration::new(stack, stack.mongo_uri(), test, &file(name, "schema.sql"), &file(name, "mapping.toml"))
                .await;
        migration.set("source", "chunk_documents", 50);
        migration.set("log", "partitions", 2);
        let mut live = BTreeMap::new();
        for (at, kind) in kinds.iter().enumerate() {
            let documents: Vec<_> = (0..kind.documents).map(|index| kind.document(index, 0)).collect();
            migration.collection(kind.name).insert_many(&documents).await.expect("fill the source");
            live.extend((0..kind.documents).map(|index| ((at, index), 0)));
        }
        migration.succeed(&["check", "--offline"]).await;
        migration.succeed(&["check"]).await;
        let daemon = migration.daemon();
        let (_, rng) = random(name);
        let next = kinds.iter().map(|kind| kind.documents).collect();
        let mut example = Self { migration, daemon, kinds, rng, live, next };
        example.write(writes).await;
        example.agree(&[]).await;
        example.write(writes).await;
        example.agree(&[]).await;
        example
    }

    /// Acts as the application: inserts, updates, replaces, removes fields, deletes, and runs transactions.
    pub(crate) async fn write(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.rng.random_bool(0.05) {
                self.transaction().await;
            } else {
                self.step(None).await;
            }
        }
    }

    async fn transaction(&mut self) {
        let mut session = self.migration.mongo.start_session().await.expect("start a session");
        session.start_transaction().await.expect("start a transaction");
        for _ in 0..4 {
            self.step(Some(&mut session)).await;
        }
        session.commit_transaction().await.expect("commit the transaction");
    }

    async fn step(&mut self, session: Option<&mut mongodb::ClientSession>) {
        let free: Vec<_> = self.live.iter().filter(|((_, index), _)| *index >= KEPT).collect();
        let (&(at, index), &revision) = free[self.rng.random_range(0..free.len())];
        let kind = &self.kinds[at];
        let id = kind.document(index, 0).remove("_id").expect("an _id");
        let (revision, collection) = (revision + 1, self.migration.collection(kind.name));
        let fresh = kind.document(index, revision);
        let filter = doc! { "_id": id };
        let update = match self.rng.random_range(0..10) {
            0..3 => Some(self.one_field(kind, &fresh)),
            3..5 => Some(all_fields(kind, &fresh)),
            5 if !kind.optional.is_empty() => {
                let field = kind.optional[self.rng.random_range(0..kind.optional.len())];
                Some(doc! { "$unset": { field: "" } })
            }
            6 => {
                let index = self.next[at];
                self.next[at] += 1;
                self.live.insert((at, index), 0);
                let insert = collection.insert_one(kind.document(index, 0));
                match session {
                    Some(session) => insert.session(session).await,
                    None => insert.await,
                }
                .expect("insert");
                return;
            }
            7 => {
                self.live.remove(&(at, index));
                let delete = collection.delete_one(filter);
                match session {
                    Some(session) => delete.session(session).await,
                    None => delete.await,
                }
                .expect("delete");
                return;
            }
            _ => None,
        };
        self.live.insert((at, index), revision);
        let done = match (update, session) {
            (Some(update), Some(session)) => collection.update_one(filter, update).session(session).await,
            (Some(update), None) => collection.update_one(filter, update).await,
            (None, Some(session)) => collection.replace_one(filter, fresh).session(session).await,
            (None, None) => collection.replace_one(filter, fresh).await,
        };
        assert_eq!(done.unwrap_or_else(|error| panic!("write {} {index}: {error}", kind.name)).matched_count, 1);
    }

    fn one_field(&mut self, kind: &Kind, fresh: &Document) -> Document {
        let names: Vec<_> = fresh.keys().filter(|name| *name != "_id").collect();
        let name = names[self.rng.random_range(0..names.len())];
        if kind.joint.contains(&name.as_str()) {
            return all_fields(kind, fresh);
        }
        doc! { "$set": { name: fresh[name].clone() } }
    }

    /// Waits until everything is applied; then both sides must be equal, and the dead letters must be exactly `dead`.
    pub(crate) async fn agree(&self, dead: &[&str]) {
        self.migration.quiesce(&self.daemon, DEADLINE).await;
        let open: Vec<_> = self.migration.texts(DEAD).await.into_iter().flatten().collect();
        assert_eq!(open, dead, "open dead letters: {:?}", self.details().await);
        if dead.is_empty() {
            let output = self.migration.command(&["reconcile", "--full"]).await;
            let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            assert_eq!(output.status.code(), Some(0), "{} {}\n{:?}", said[0], said[1], self.findings().await);
        }
    }

    /// Waits until everything is applied, without a comparison.
    pub(crate) async fn settle(&self) {
        self.migration.quiesce(&self.daemon, DEADLINE).await;
    }

    async fn details(&self) -> Vec<Option<String>> {
        let query = "SELECT concat_ws(' ', collection, reason, detail) FROM driftless.dead_letter
            WHERE state = 'open' ORDER BY 1 LIMIT 20";
        self.migration.texts(query).await
    }

    async fn findings(&self) -> Vec<Option<String>> {
        let query = "SELECT concat_ws(' ', c.name, f.kind, f.columns::text, f.ended_by) FROM driftless.finding AS f
            JOIN driftless.collection AS c ON c.id = f.collection LIMIT 20";
        self.migration.texts(query).await
    }

    /// Returns every document of a collection.
    pub(crate) async fn documents(&self, collection: &str) -> Vec<Document> {
        let found = self.migration.collection(collection).find(doc! {}).await.expect("read a collection");
        found.try_collect().await.expect("read a collection")
    }

    /// Checks that a query returns exactly these rows, each one text, in any order.
    pub(crate) async fn expect(&self, query: &str, rows: impl IntoIterator<Item = impl Into<String>>) {
        let mut expected: Vec<String> = rows.into_iter().map(Into::into).collect();
        let mut found: Vec<String> =
            self.migration.texts(query).await.into_iter().map(|row| row.unwrap_or_else(|| "NULL".to_owned())).collect();
        expected.sort();
        found.sort();
        let missing: Vec<_> = expected.iter().filter(|row| found.binary_search(row).is_err()).take(5).collect();
        let extra: Vec<_> = found.iter().filter(|row| expected.binary_search(row).is_err()).take(5).collect();
        assert!(
            found == expected,
            "{query}: {} rows for {}; missing {missing:?}, extra {extra:?}",
            found.len(),
            expected.len()
        );
    }

    /// Checks that the table has as many rows as there are documents that satisfy `holds`.
    pub(crate) async fn expect_as_many(&self, table: &str, collection: &str, holds: impl Fn(&Document) -> bool) {
        let documents = self.documents(collection).await.iter().filter(|document| holds(document)).count();
        let rows = self.migration.number(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(usize::try_from(rows), Ok(documents), "{table} for {collection}");
        assert!(documents > 0, "{collection} has documents to compare");
    }

    /// Updates a document.
    pub(crate) async fn update(&self, collection: &str, id: impl Into<Bson>, update: Document) {
        let done = self.migration.collection(collection).update_one(doc! { "_id": id.into() }, update).await;
        assert_eq!(done.expect("update a document").matched_count, 1, "{collection} has the document");
    }

    /// Swaps the values of some fields between two documents, in one transaction.
    pub(crate) async fn swap(&self, collection: &str, ids: [Bson; 2], fields: &[&str]) {
        let collection = self.migration.collection(collection);
        let mut session = self.migration.mongo.start_session().await.expect("start a session");
        session.start_transaction().await.expect("start a transaction");
        let mut found = Vec::new();
        for id in &ids {
            let one = collection.find_one(doc! { "_id": id }).session(&mut session).await.expect("find a document");
            found.push(one.expect("the document is there"));
        }
        for (id, other) in ids.iter().zip(found.iter().rev()) {
            let values: Document = fields
                .iter()
                .map(|field| ((*field).to_owned(), other.get(*field).cloned().unwrap_or(Bson::Null)))
                .collect();
            let update = doc! { "$set": values };
            collection.update_one(doc! { "_id": id }, update).session(&mut session).await.expect("swap");
        }
        session.commit_transaction().await.expect("commit the transaction");
    }

    /// Deletes every document; no row may be left in any table that the mapping writes.
    pub(crate) async fn end(self, tables: &[&str]) {
        for table in tables {
            let rows = self.migration.number(&format!("SELECT count(*) FROM {table}")).await;
            assert!(rows > 0, "{table} has rows before everything is deleted");
        }
        for kind in self.kinds {
            self.migration.collection(kind.name).delete_many(doc! {}).await.expect("delete every document");
        }
        self.agree(&[]).await;
        for table in tables {
            let rows = self.migration.number(&format!("SELECT count(*) FROM {table}")).await;
            assert_eq!(rows, 0, "{table} has rows that no document stands behind");
        }
        self.daemon.stop(0).await;
        self.migration.finish().await;
    }
}

impl Kind {
    /// Makes the given revision of the document with the given index.
    pub(crate) fn document(&self, index: u64, revision: u64) -> Document {
        (self.make)(&mut Draw::new(self.name, index, revision), index, revision)
    }
}

/// Returns an update that sets every field of the new revision and removes the optional ones that it lacks.
fn all_fields(kind: &Kind, fresh: &Document) -> Document {
    let mut set = fresh.clone();
    set.remove("_id");
    let lacking = kind.optional.iter().filter(|field| !field.contains('.') && !set.contains_key(**field));
    let unset: Document = lacking.map(|field| ((*field).to_owned(), "".into())).collect();
    if unset.is_empty() {
        doc! { "$set": set }
    } else {
        doc! { "$set": set, "$unset": unset }
    }
}

/// Returns the digits of an ObjectId that is stored as such or as text.
pub(crate) fn hex(value: Option<&Bson>) -> Option<String> {
    match value? {
        Bson::ObjectId(id) => Some(id.to_hex()),
        Bson::String(text) => Some(text.to_lowercase()),
        _ => None,
    }
}

/// Returns the members of a list of ids beside their documents: `[document, member]`, each pair once.
pub(crate) fn members(documents: &[Document], field: &str) -> Vec<[String; 2]> {
    let mut pairs: Vec<_> = documents
        .iter()
        .flat_map(|document| {
            let list = document.get_array(field).map(Vec::as_slice).unwrap_or_default();
            let own = hex(document.get("_id")).expect("an ObjectId");
            list.iter().filter_map(move |one| Some([own.clone(), hex(Some(one))?]))
        })
        .collect();
    pairs.sort();
    pairs.dedup();
    pairs
}
