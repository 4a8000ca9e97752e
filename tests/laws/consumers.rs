//! Consumers of other makers take the topics as they take Debezium's: its JDBC sink with the unwrap transform, a program in Python, and
//! kcat. Each record is compared, field for field, with the one that Debezium's own connector writes of the same change.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mongodb::bson::{Document, doc, oid::ObjectId};
use serde_json::Value;
use tokio::process::Command;

use crate::support::{
    DEADLINE,
    connect::Connect,
    migration::Migration,
    packages,
    stack::{self, root},
    topic::{self, Record},
    wait,
};

const SCHEMA: &str = "
CREATE TABLE orders (id text PRIMARY KEY, item text, qty integer, price float8, paid boolean, at timestamptz(3));
CREATE TABLE visits (id integer PRIMARY KEY, label text);
CREATE TABLE their_orders (id text PRIMARY KEY, _id text, item text, qty integer, price float8, paid boolean, at timestamptz(3));
CREATE TABLE their_visits (id integer PRIMARY KEY, _id integer, label text);
CREATE TABLE their_visits_2 (id integer PRIMARY KEY, _id integer, label text);
";
const MAPPING: &str = r#"
[collections.orders]
id = "hex"
[collections.visits]
id = "integer"
"#;
/// Theirs, ours, and the columns that both have.
const COPIES: [(&str, &str, &str); 3] = [
    ("their_orders", "orders", "id, item, qty, price, paid, at"),
    ("their_visits", "visits", "id, label"),
    ("their_visits_2", "visits", "id, label"),
];
/// Longest start of Kafka Connect, its connectors and the first rows, on a busy machine.
const CONNECTED: Duration = Duration::from_secs(300);
/// Documents of each collection that the snapshot reads.
const BEFORE: i32 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_other_makers_take_the_topics() {
    let stack = stack::Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "consumers", SCHEMA, MAPPING).await;
    for setting in ["schemas", "tombstones"] {
        migration.set("log", setting, true);
    }
    let ids: Vec<ObjectId> = (0..BEFORE).map(|_| ObjectId::new()).collect();
    let order = |id: ObjectId, qty: i32| {
        let at = mongodb::bson::DateTime::from_millis(1_700_000_000_123 + i64::from(qty));
        doc! { "_id": id, "item": format!("item {qty}"), "qty": qty, "price": 1.5 * f64::from(qty), "paid": qty % 2 == 0, "at": at }
    };
    let (orders, visits) = (migration.collection("orders"), migration.collection("visits"));
    orders.insert_many(ids.iter().zip(0..).map(|(id, qty)| order(*id, qty))).await.expect("insert orders");
    let visit = |id: i32| doc! { "_id": id, "label": format!("visit {id}") };
    visits.insert_many((0..BEFORE).map(visit)).await.expect("insert visits");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;

    let connect = Connect::start(stack, migration.mapping().parent().expect("a folder"), &connectors(&migration)).await;
    equal(&migration, CONNECTED).await;
    wait_for_debezium(&migration, BEFORE as usize).await;
    orders.insert_one(order(ObjectId::new(), 99)).await.expect("insert");
    let change = doc! { "$set": { "item": "changed", "price": 7.25 } };
    orders.update_one(doc! { "_id": ids[1] }, change).await.expect("update");
    orders.replace_one(doc! { "_id": ids[2] }, order(ids[2], 42)).await.expect("replace");
    orders.delete_one(doc! { "_id": ids[3] }).await.expect("delete");
    visits.insert_one(visit(99)).await.expect("insert");
    visits.update_one(doc! { "_id": 1 }, doc! { "$set": { "label": "changed" } }).await.expect("update");
    visits.delete_one(doc! { "_id": 3 }).await.expect("delete");
    migration.quiesce(&daemon, DEADLINE).await;
    equal(&migration, DEADLINE).await;
    let gone = format!("SELECT count(*) FROM their_orders WHERE id = '{}'", ids[3].to_hex());
    assert_eq!(migration.number(&gone).await, 0);

    // A control record, and every document once more.
    migration.succeed(&["reset", "--collection", "visits", "--confirm", "visits", "--why", "a test"]).await;
    wait::until("the reset is in the log", DEADLINE, async || {
        let records = migration.records("visits").await;
        wait::holds(records.iter().any(|record| record.header("driftless.op") == Some("control")), records.len())
    })
    .await;
    visits.insert_one(visit(100)).await.expect("insert");
    migration.quiesce(&daemon, DEADLINE).await;
    equal(&migration, DEADLINE).await;

    // Four changes and the tombstone of the delete.
    let theirs = wait_for_debezium(&migration, BEFORE as usize + 5).await;
    let ours = migration.records("orders").await;
    as_debezium(&migration, &ours, &theirs);
    drop(connect);
    // Its frontiers would move the end of each partition while these programs look for it.
    daemon.stop(0).await;
    for collection in ["orders", "visits"] {
        python(&migration, collection).await;
    }
    kcat(&migration, &ours).await;
    migration.finish().await;
}

/// Debezium's source, which reads the same collection, and its sink for each of our topics. One sink turns deletes into tombstones itself.
fn connectors(migration: &Migration) -> Vec<Vec<(&'static str, String)>> {
    let name = &migration.name;
    let mut connectors = vec![vec![
        ("name", format!("{name}-source")),
        ("connector.class", "io.debezium.connector.mongodb.MongoDbConnector".to_owned()),
        ("mongodb.connection.string", migration.stack.mongo_uri().to_owned()),
        ("topic.prefix", format!("{name}.debezium")),
        ("collection.include.list", format!("{name}.orders")),
        ("capture.mode", "change_streams_update_full".to_owned()),
        ("topic.creation.default.partitions", "1".to_owned()),
        ("topic.creation.default.replication.factor", "1".to_owned()),
    ]];
    let url = migration.stack.postgres_url(name);
    let (_, address) = url.rsplit_once('@').expect("the URL names a user");
    connectors.extend(COPIES.iter().map(|(theirs, ours, _)| {
        let mut sink: Vec<(&'static str, String)> = vec![
            ("name", format!("{name}-{theirs}")),
            ("topics", migration.topic(ours)),
            ("connection.url", format!("jdbc:postgresql://{address}")),
            ("collection.name.format", (*theirs).to_owned()),
        ];
        let fixed = [
            ("connector.class", "io.debezium.connector.jdbc.JdbcSinkConnector"),
            ("connection.username", "postgres"),
            ("connection.password", "postgres"),
            ("consumer.override.isolation.level", "read_committed"),
            ("insert.mode", "upsert"),
            ("primary.key.mode", "record_key"),
            ("delete.enabled", "true"),
            ("schema.evolution", "none"),
            ("transforms", "unwrap"),
            ("transforms.unwrap.type", "io.debezium.connector.mongodb.transforms.ExtractNewDocumentState"),
        ];
        sink.extend(fixed.map(|(key, value)| (key, value.to_owned())));
        if theirs.ends_with("_2") {
            sink.push(("transforms.unwrap.delete.tombstone.handling.mode", "delete-to-tombstone".to_owned()));
        }
        sink
    }));
    connectors
}

/// Waits until each of their tables equals ours.
async fn equal(migration: &Migration, within: Duration) {
    for (theirs, ours, columns) in COPIES {
        let rows =
            |one: &str, other: &str| format!("SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other}");
        let differing =
            format!("SELECT count(*) FROM (({}) UNION ALL ({})) AS d", rows(theirs, ours), rows(ours, theirs));
        migration.wait_for_number(&differing, within, 0).await;
        assert!(migration.number(&format!("SELECT count(*) FROM {theirs}")).await >= i64::from(BEFORE));
    }
}

/// Waits until Debezium has written that many records of the orders; returns them.
async fn wait_for_debezium(migration: &Migration, count: usize) -> Vec<Record> {
    let topic = format!("{0}.debezium.{0}.orders", migration.name);
    wait::until(format!("Debezium has written {count} records"), DEADLINE, async || {
        let records = topic::records(migration.stack.kafka(), &topic).await;
        if records.len() >= count { Ok(records) } else { Err(records.len()) }
    })
    .await
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// Returns the records of each key in their order: key and value, `None` for a tombstone.
fn by_key(records: &[Record], topic: &str) -> BTreeMap<String, Vec<(Value, Option<Value>)>> {
    let mut keys: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for record in records {
        let without_topic = |bytes: &[u8]| json(String::from_utf8_lossy(bytes).replace(topic, "topic").as_bytes());
        let key = without_topic(record.key.as_deref().expect("a key"));
        let id = key["payload"]["id"].as_str().expect("an id").to_owned();
        keys.entry(id).or_default().push((key, record.value.as_deref().map(without_topic)));
    }
    keys
}

/// Checks that each of our records says what Debezium's says, in the same fields and under the same schema.
fn as_debezium(migration: &Migration, ours: &[Record], theirs: &[Record]) {
    let changes: Vec<Record> = ours.iter().filter(|record| record.is_change()).cloned().collect();
    assert!(changes.len() < ours.len(), "the topic has frontiers");
    let ours = by_key(&changes, &migration.topic("orders"));
    let theirs = by_key(theirs, &format!("{0}.debezium.{0}.orders", migration.name));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (id, theirs) in &theirs {
        let ours = &ours[id];
        assert_eq!(ours.len(), theirs.len(), "{id}: as many records, tombstones included");
        for ((our_key, our_value), (their_key, their_value)) in ours.iter().zip(theirs) {
            assert_eq!(our_key, their_key);
            assert_eq!(our_value.is_some(), their_value.is_some(), "{id}: a tombstone where Debezium has one");
            if let (Some(our), Some(their)) = (our_value, their_value) {
                assert_eq!(our["schema"], their["schema"]);
                same_payload(&our["payload"], &their["payload"]);
            }
        }
    }
}

fn same_payload(ours: &Value, theirs: &Value) {
    let fields = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
    let more = BTreeSet::from(["documentKey".to_owned()]);
    assert_eq!(fields(ours), &fields(theirs) | &more);
    assert_eq!(fields(&ours["source"]), fields(&theirs["source"]));
    for field in ["op", "before", "transaction"] {
        assert_eq!(ours[field], theirs[field], "{field}");
    }
    assert_eq!(document(&ours["after"]), document(&theirs["after"]));
    for field in ["removedFields", "truncatedArrays"] {
        assert_eq!(ours["updateDescription"][field], theirs["updateDescription"][field], "{field}");
    }
    let updated = |value: &Value| document(&value["updateDescription"]["updatedFields"]);
    assert_eq!(updated(ours), updated(theirs));
    // A snapshot reads at times of its own, and Debezium calls the first and the last of its rows so.
    let streamed = ["snapshot", "ts_ms", "ts_us", "ts_ns", "ord", "wallTime"].iter().filter(|_| ours["op"] != "r");
    for field in ["connector", "db", "collection", "sequence", "lsid", "txnNumber"].iter().chain(streamed) {
        assert_eq!(ours["source"][field], theirs["source"][field], "source.{field} of {ours}");
    }
}

/// Returns a document that is Extended JSON in a text, relaxed or canonical.
fn document(text: &Value) -> Option<Document> {
    text.as_str().map(|text| serde_json::from_str(text).expect("Extended JSON"))
}

/// Checks that a program in Python that reads the topic ends with the documents of the collection.
async fn python(migration: &Migration, collection: &str) {
    let programs = root().join("tests/laws/consumers");
    let mut python = packages::python(&programs.join("requirements.txt"), &programs.join("reader.py")).await;
    let read = output(python.args([migration.stack.kafka(), &migration.topic(collection)])).await;
    let read: Vec<Document> = serde_json::from_str(&read).expect("Extended JSON");
    let mut expected = 0;
    let mut documents = migration.collection(collection).find(doc! {}).await.expect("read the collection");
    while documents.advance().await.expect("read the collection") {
        let document = documents.deserialize_current().expect("a document");
        assert!(read.contains(&document), "{document} in {read:?}");
        expected += 1;
    }
    assert_eq!(read.len(), expected);
}

/// Checks that kcat shows each of these records of the orders as JSON.
async fn kcat(migration: &Migration, ours: &[Record]) {
    let (brokers, topic) = (migration.stack.kafka(), migration.topic("orders"));
    let folder = stack::fetch("kcat".as_ref()).await;
    let mut kcat = Command::new(folder.join("kcat"));
    kcat.env("LD_LIBRARY_PATH", &folder).args(["-C", "-q", "-e", "-J", "-o", "beginning", "-b", brokers, "-t", &topic]);
    let shown = output(&mut kcat).await;
    let mut with_value = 0;
    for line in shown.lines() {
        let record = json(line.as_bytes());
        let key = json(record["key"].as_str().expect("a key").as_bytes());
        let id = key["payload"]["id"].as_str().expect("an id");
        assert!(serde_json::from_str::<Value>(id).is_ok(), "Extended JSON: {id}");
        match record["payload"].as_str() {
            Some(value) => {
                assert!(json(value.as_bytes())["payload"]["op"].is_string());
                with_value += 1;
            }
            None => assert!(record["payload"].is_null()),
        }
    }
    assert_eq!(with_value, ours.iter().filter(|record| record.value.is_some()).count());
}

async fn output(command: &mut Command) -> String {
    let ended = wait::soon("the end of the consumer", command.kill_on_drop(true).output()).await.expect("start it");
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{complaint}");
    String::from_utf8(ended.stdout).expect("UTF-8")
}
