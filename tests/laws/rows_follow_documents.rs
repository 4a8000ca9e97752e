//! Law 4: rows hold the content of their documents, and nothing else. `$unset` and replace clear columns, an emptied array
//! removes its child rows, and a child row keeps its id and stays untouched when other elements change.

use std::collections::BTreeMap;

use driftless_demo::{Collection, Generator};
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::fill,
    migration::Migration,
    oracle::{self, root_id},
};

/// A running migration, and one document that the test changes.
struct Case {
    migration: Migration,
    daemon: Daemon,
    collection: &'static str,
    id: ObjectId,
}

/// Child rows by name: the id, and the transaction that wrote the row last.
type Children = BTreeMap<String, (String, String)>;

impl Case {
    async fn start(test: &str, collection: Collection, fits: impl Fn(&Document) -> bool) -> Self {
        let migration = Migration::demo(test).await;
        fill(&migration, 6, 300).await;
        let generator = Generator::new(6, 300);
        let documents = (0..generator.sizes().get(collection)).map(|index| generator.document(collection, index));
        let id = documents.filter(fits).map(|document| document.get_object_id("_id").expect("an ObjectId")).next();
        let id = id.expect("the demo has such a document");
        let daemon = migration.daemon();
        migration.quiesce(&daemon, DEADLINE).await;
        Self { migration, daemon, collection: collection.name(), id }
    }

    /// Applies an update, and waits until it has arrived.
    async fn update(&self, update: Document) {
        let documents = self.migration.collection(self.collection);
        let done = documents.update_one(doc! { "_id": self.id }, update).await.expect("update the document");
        assert_eq!(done.modified_count, 1);
        self.migration.quiesce(&self.daemon, DEADLINE).await;
        oracle::assert_equal(&self.migration).await;
    }

    async fn document(&self) -> Document {
        let found = self.migration.collection(self.collection).find_one(doc! { "_id": self.id }).await;
        found.expect("read the document").expect("the document is there")
    }

    /// Returns a column of the document's row.
    async fn column(&self, column: &str) -> Option<String> {
        let id = root_id(&self.id.to_hex());
        let query = format!("SELECT {column}::text FROM app.{} WHERE id = '{id}'", self.collection);
        let mut values = self.migration.texts(&query).await;
        assert_eq!(values.len(), 1, "the document has one row");
        values.remove(0)
    }

    /// Returns the document's child rows by the column `name`.
    async fn children(&self, table: &str, parent: &str, name: &str) -> Children {
        let query =
            format!("SELECT {name}::text, id::text, xmin::text FROM app.{table} WHERE {parent} = $1::text::uuid");
        let rows =
            self.migration.target.query(&query, &[&root_id(&self.id.to_hex())]).await.expect("read the child rows");
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
    }

    async fn finish(self) {
        self.daemon.stop(0).await;
        self.migration.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unset_and_replace_clear_columns() {
    let has = |document: &Document| {
        ["rating", "status", "lastLoginAt"].iter().all(|field| !matches!(document.get(field), None | Some(Bson::Null)))
            && document.get_document("profile").is_ok_and(|profile| profile.contains_key("phone"))
            && document.get_str("status").is_ok_and(|status| status != "active")
    };
    let case = Case::start("clearing", Collection::Users, has).await;
    for column in ["rating", "phone", "last_login_at", "preferences", "tags"] {
        assert!(case.column(column).await.is_some(), "{column}");
    }

    case.update(doc! { "$unset": { "rating": "", "profile.phone": "" } }).await;
    assert_eq!((case.column("rating").await, case.column("phone").await), (None, None));
    assert!(case.column("street").await.is_some(), "what stands beside an unset field stays");
    case.update(doc! { "$set": { "lastLoginAt": null } }).await;
    assert_eq!(case.column("last_login_at").await, None);
    case.update(doc! { "$unset": { "profile": "" } }).await;
    for column in ["street", "city", "bio", "born_on", "languages"] {
        assert_eq!(case.column(column).await, None, "{column}");
    }

    let mut document = case.document().await;
    for field in ["status", "settings", "tags", "organisation"] {
        document.remove(field);
    }
    document.insert("updatedAt", mongodb::bson::DateTime::now());
    let users = case.migration.collection("users");
    users.replace_one(doc! { "_id": case.id }, document).await.expect("replace the document");
    case.migration.quiesce(&case.daemon, DEADLINE).await;
    oracle::assert_equal(&case.migration).await;
    for column in ["preferences", "tags", "organisation_id"] {
        assert_eq!(case.column(column).await, None, "{column}");
    }
    assert_eq!(case.column("status").await.as_deref(), Some("active"), "the mapping's default, not the old value");
    case.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn child_rows_follow_their_elements() {
    let many = |document: &Document| document.get_array("milestones").is_ok_and(|milestones| milestones.len() >= 3);
    let case = Case::start("children", Collection::Plans, many).await;
    let by_position = async || case.children("plan_milestones", "plan_id", "position").await;
    let before = by_position().await;
    let count = before.len();
    assert!(count >= 3);

    case.update(doc! { "$set": { "milestones.1.weight": 77, "milestones.1.name": "Renamed" } }).await;
    let changed = by_position().await;
    for (position, (id, written)) in &before {
        let (id_now, written_now) = &changed[position];
        assert_eq!(id_now, id, "the element at {position} has another id");
        assert_eq!(written_now == written, position != "1", "only the changed element is written: {position}");
    }

    let first = doc! { "_id": ObjectId::new(), "name": "New", "dueOn": mongodb::bson::DateTime::from_millis(0), "done": false, "weight": 1 };
    case.update(doc! { "$push": { "milestones": { "$each": [first], "$position": 0 } } }).await;
    let moved = by_position().await;
    assert_eq!(moved.len(), count + 1);
    for (position, (id, _)) in &before {
        let next = (position.parse::<usize>().expect("a position") + 1).to_string();
        assert_eq!(&moved[&next].0, id, "the element at {position} has another id after it moved");
    }

    let elements = case.document().await.get_array("milestones").expect("an array").clone();
    case.update(doc! { "$pop": { "milestones": -1 } }).await;
    assert_eq!(by_position().await.len(), count);
    case.update(doc! { "$set": { "milestones": [] } }).await;
    assert!(by_position().await.is_empty(), "an emptied array leaves no rows");
    case.update(doc! { "$set": { "milestones": elements } }).await;
    let refilled = by_position().await;
    let ids = |children: &Children| children.values().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&refilled), ids(&moved), "the same elements have the same ids again");
    case.update(doc! { "$unset": { "milestones": "" } }).await;
    assert!(by_position().await.is_empty(), "an absent array leaves no rows");
    case.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn child_rows_with_a_key_of_their_own_follow_it() {
    let many = |document: &Document| document.get_array("sources").is_ok_and(|sources| sources.len() >= 3);
    let case = Case::start("keyed", Collection::ResearchPacks, many).await;
    let by_key = async || case.children("research_sources", "research_pack_id", "key").await;
    let before = by_key().await;

    let mut sources = case.document().await.get_array("sources").expect("an array").clone();
    sources.reverse();
    sources.truncate(before.len() - 1);
    case.update(doc! { "$set": { "sources": sources } }).await;
    let after = by_key().await;
    assert_eq!(after.len(), before.len() - 1);
    for (key, (id, _)) in &after {
        assert_eq!(*id, before[key].0, "{key} has another id after the array was turned round");
    }
    case.update(doc! { "$set": { "sources": [] } }).await;
    assert!(by_key().await.is_empty());

    let packs = case.migration.collection(case.collection);
    packs.delete_one(doc! { "_id": case.id }).await.expect("delete the document");
    case.migration.quiesce(&case.daemon, DEADLINE).await;
    oracle::assert_equal(&case.migration).await;
    case.finish().await;
}
