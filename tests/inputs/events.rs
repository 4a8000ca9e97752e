//! Events of the source and records of the log.

use base64::{Engine, prelude::BASE64_STANDARD};
use bson::{raw::RawDocumentBuf, rawdoc};
use driftless::{
    log::envelope,
    model::{Change, Op, Version},
};
use driftless_testing::{
    DEADLINE,
    migration::Migration,
    stack::Stack,
    topic::{Record, append, records},
    wait,
};
use mongodb::bson::doc;

use crate::{
    bytes::{self, text},
    world::{LONG, World, run, run_alone},
};

/// Runs writes of one document of `text_ids` in one transaction: `Some` is a label to insert or set, `None` a delete.
async fn transaction(world: &World, id: &str, there: bool, steps: &[Option<&str>]) {
    let collection = world.migration.collection("text_ids");
    let mut session = world.migration.mongo.start_session().await.expect("a session");
    session.start_transaction().await.expect("begin");
    let mut there = there;
    for step in steps {
        match step {
            None => {
                collection.delete_one(doc! { "_id": id }).session(&mut session).await.expect("delete");
            }
            Some(label) if there => {
                let update = doc! { "$set": { "label": label } };
                collection.update_one(doc! { "_id": id }, update).session(&mut session).await.expect("update");
            }
            Some(label) => {
                let document = doc! { "_id": id, "label": label };
                collection.insert_one(document).session(&mut session).await.expect("insert");
            }
        }
        there = step.is_some();
    }
    session.commit_transaction().await.expect("commit");
}

fn labelled(id: &str, label: &str) -> RawDocumentBuf {
    rawdoc! { "_id": id, "label": label }
}

/// Changes of `text_ids` that lost against newer ones.
async fn superseded(world: &World) -> f64 {
    let (_, page) = world.daemon.page("/metrics").await.expect("read the metrics");
    let counted = page.lines().find(|line| {
        let series = line.starts_with("driftless_sink_changes_total{");
        series && line.contains(r#"collection="text_ids""#) && line.contains(r#"outcome="superseded""#)
    });
    counted.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// Appends a change of a document, then one of another document in the same partition: once the second is applied, so is the
/// first.
async fn append_and_pass(world: &World, change: &Change, marker: &str) {
    world.append("text_ids", world.record(change)).await;
    let mut marker = world.doc("text_ids", marker, labelled(marker, "marker"));
    marker.append(1).await;
    marker.is("label", "marker").await;
}

#[test]
fn input_142_image_never_found() {
    run(async |world| {
        let mut doc = world.insert("text_ids", labelled("142", "first")).await;
        doc.is("label", "first").await;
        doc.remember().await;
        transaction(world, "142", true, &[Some("second"), None]).await;
        doc.is_gone().await;
        // The same where no document was there before.
        let mut other = world.doc("text_ids", "142 new", labelled("142 new", "first"));
        transaction(world, "142 new", false, &[Some("first"), Some("second"), None]).await;
        other.is_gone().await;
        assert_eq!((doc.letter_state().await, other.letter_state().await), (None, None));
        // Positions were held back for the image until the delete came; now they continue.
        let mut after = world.insert("text_ids", labelled("142 after", "after")).await;
        after.is("label", "after").await;
    });
}

#[test]
fn input_143_delete_of_an_unknown_key() {
    run(async |world| {
        let mut doc = world.doc("text_ids", "143", labelled("143", "never"));
        let delete = world.change("text_ids", Op::Delete, 143, rawdoc! { "_id": "143" });
        world.append("text_ids", world.record(&delete)).await;
        doc.is_gone().await;
        assert_eq!(doc.letter_state().await, None);
    });
}

#[test]
fn input_144_insert_of_a_living_key() {
    run(async |world| {
        let mut doc = world.doc("text_ids", "144", labelled("144", "first"));
        doc.append(144).await;
        doc.is("label", "first").await;
        doc.remember().await;
        doc.document = labelled("144", "second");
        doc.append(145).await;
        doc.is("label", "second").await;
    });
}

#[test]
fn input_145_the_same_record_again() {
    run(async |world| {
        let mut doc = world.doc("text_ids", "145", labelled("145", "once"));
        doc.append(145).await;
        doc.is("label", "once").await;
        let again = world.insertion("text_ids", 145, labelled("145", "once"));
        append_and_pass(world, &again, "145 marker").await;
        doc.is("label", "once").await;
        assert_eq!(doc.letter_state().await, None);
        assert_eq!(world.migration.number("SELECT count(*) FROM text_ids WHERE id = '145'").await, 1);
    });
}

// One event has one version, but its image is looked up again after a restart and may then be a later one. So among equal
// versions the later record wins.
#[test]
fn input_146_the_same_version_with_other_bytes() {
    run(async |world| {
        let mut doc = world.doc("text_ids", "146", labelled("146", "looked up early"));
        doc.append(146).await;
        doc.is("label", "looked up early").await;
        let again = world.insertion("text_ids", 146, labelled("146", "looked up late"));
        append_and_pass(world, &again, "146 marker").await;
        doc.is("label", "looked up late").await;
    });
}

/// Writes a document at cluster time 200, then a change of another version, which must lose and be counted.
async fn loses(world: &World, id: &str, version: Version) {
    let mut doc = world.doc("text_ids", id, labelled(id, "newer"));
    doc.append(200).await;
    doc.is("label", "newer").await;
    let before = superseded(world).await;
    let older = Change { version, ..world.insertion("text_ids", 100, labelled(id, "older")) };
    append_and_pass(world, &older, &format!("{id} insert")).await;
    doc.is("label", "newer").await;
    let older = Change { version, ..world.change("text_ids", Op::Delete, 100, rawdoc! { "_id": id }) };
    append_and_pass(world, &older, &format!("{id} delete")).await;
    doc.is("label", "newer").await;
    wait::until("both are counted", DEADLINE, async || {
        let now = superseded(world).await;
        wait::holds(now >= before + 2.0, now)
    })
    .await;
}

#[test]
fn input_147_older_after_newer() {
    run(async |world| {
        let version = world.change("text_ids", Op::Delete, 100, rawdoc! { "_id": "147" }).version;
        loses(world, "147", version).await;
    });
}

#[test]
fn input_148_deleted_and_inserted_in_a_transaction() {
    run(async |world| {
        let mut doc = world.insert("text_ids", labelled("148", "first")).await;
        doc.is("label", "first").await;
        doc.remember().await;
        transaction(world, "148", true, &[None, Some("second")]).await;
        doc.is("label", "second").await;
    });
}

#[test]
fn input_149_operations_of_one_cluster_time() {
    run(async |world| {
        let mut updated = world.doc("text_ids", "149 a", labelled("149 a", "first"));
        transaction(world, "149 a", false, &[Some("first"), None, Some("second"), Some("third")]).await;
        updated.is("label", "third").await;
        let mut deleted = world.doc("text_ids", "149 b", labelled("149 b", "first"));
        transaction(world, "149 b", false, &[Some("first"), None, Some("second"), Some("third"), None]).await;
        deleted.is_gone().await;
        // The records are in the log in an arbitrary order.
        let mut doc = world.doc("text_ids", "149 c", labelled("149 c", "fifth"));
        let at = |op, label| {
            let change = world.insertion("text_ids", 149, labelled("149 c", label));
            Change { version: Version { op, ..change.version }, ..change }
        };
        world.append("text_ids", world.record(&at(5, "fifth"))).await;
        doc.is("label", "fifth").await;
        append_and_pass(world, &at(3, "third"), "149 marker").await;
        doc.is("label", "fifth").await;
    });
}

/// Returns a valid record of a document, to be corrupted by the caller.
fn sound(world: &World, id: &str) -> Record {
    world.record(&world.insertion("text_ids", 1, labelled(id, "no row")))
}

fn with_header(record: &Record, name: &str, value: Option<&str>) -> Record {
    let mut record = record.clone();
    record.headers.retain(|(header, _)| header != name);
    record.headers.extend(value.map(|value| (name.to_owned(), value.into())));
    record
}

fn with_value(record: &Record, value: impl Into<Vec<u8>>) -> Record {
    Record { value: Some(value.into()), ..record.clone() }
}

#[test]
fn input_150_unknown_operation() {
    run(async |world| {
        for op in ["upsert", "", "INSERT"] {
            let record = with_header(&sound(world, &format!("150 {op}")), envelope::header::OP, Some(op));
            let detail = world.unreadable("text_ids", record, "UNKNOWN_OP").await;
            assert!(!detail.contains("upsert"), "names, no values: {detail}");
        }
    });
}

// A broker accepts no record without a key into a compacted topic, so this topic is not compacted.
#[test]
fn input_151_no_key() {
    run_alone(async {
        let mut migration = things("inputs_keyless").await;
        migration.set("log", "cleanup_policy", "delete");
        let daemon = migration.daemon_with(&["source", "sink"]);
        let change = first_change(&migration).await;
        let record = Record { key: None, ..change };
        append(migration.stack.kafka(), &migration.topic("things"), vec![record.clone()]).await;
        let open = "SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'";
        migration.wait_for_number(open, DEADLINE, 1).await;
        let letter = "SELECT reason, detail, value, record_key FROM driftless.dead_letter";
        let letter = migration.target.query_one(letter, &[]).await.expect("read the dead letter");
        assert_eq!((letter.get::<_, &str>(0), letter.get::<_, &str>(1)), ("MALFORMED", "the record has no key"));
        assert_eq!((letter.get::<_, Option<Vec<u8>>>(2), letter.get::<_, Option<Vec<u8>>>(3)), (record.value, None));
        daemon.stop(0).await;
        migration.finish().await;
    });
}

/// Starts a separate migration for one test: one table, one partition.
async fn things(name: &str) -> Migration {
    const SCHEMA: &str = "CREATE TABLE things (id text PRIMARY KEY, label text);";
    const MAPPING: &str = "[collections.things]\nid = \"text\"\n";
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), name, SCHEMA, MAPPING).await;
    migration.set("log", "partitions", 1);
    migration
}

/// Writes a first document; returns the record of its change once it is applied.
async fn first_change(migration: &Migration) -> Record {
    let things = migration.collection("things");
    things.insert_one(doc! { "_id": "before" }).await.expect("insert");
    // The sink's own tables may not exist yet; the application's table does.
    migration.wait_for_number("SELECT count(*) FROM things", DEADLINE, 1).await;
    let records = migration.records("things").await;
    records.into_iter().find(Record::is_change).expect("the change of the document")
}

#[test]
fn input_152_no_value() {
    run(async |world| {
        let record = Record { value: None, ..sound(world, "152") };
        assert_eq!(world.unreadable("text_ids", record, "MALFORMED").await, "the record has no value");
        // A tombstone as another producer leaves it for compaction: without headers, too.
        let bare = Record { value: None, headers: Vec::new(), ..sound(world, "152 bare") };
        world.unreadable("text_ids", bare, "MALFORMED").await;
    });
}

#[test]
fn input_153_garbage() {
    run(async |world| {
        let record = sound(world, "153");
        let whole = record.value.clone().expect("a value");
        let deep = "[".repeat(1 << 20);
        let half = &whole[..whole.len() / 2];
        for garbage in [&b"153 \x00\xff\xfe"[..], b"153", b"", b"null", b"{}", half, deep.as_bytes()] {
            world.unreadable("text_ids", with_value(&record, garbage), "MALFORMED").await;
        }
    });
}

/// Returns the record of a document with other bytes as its BSON.
fn with_bson(record: &Record, bytes: &[u8]) -> Record {
    let mut value: serde_json::Value =
        serde_json::from_slice(record.value.as_deref().expect("a value")).expect("the envelope is JSON");
    let envelope = value.as_object_mut().expect("an object");
    envelope.insert("after".to_owned(), serde_json::Value::Null);
    envelope.insert("raw".to_owned(), BASE64_STANDARD.encode(bytes).into());
    with_value(record, value.to_string())
}

#[test]
fn input_154_lengths_that_lie() {
    run(async |world| {
        let record = sound(world, "154");
        let document = labelled("154", "no row");
        for length in [0, 4, -1, i32::MIN, i32::MAX, i32::try_from(document.as_bytes().len()).expect("short") + 1] {
            let mut bytes = document.as_bytes().to_vec();
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            world.unreadable("text_ids", with_bson(&record, &bytes), "MALFORMED").await;
        }
        // An inner length is wrong: the record is a change, but its document cannot be read.
        for (at, length) in [0, -1, i32::MIN, i32::MAX, 1 << 30].into_iter().enumerate() {
            let id = format!("154 {at}");
            let mut value = text(b"short");
            value[..4].copy_from_slice(&length.to_le_bytes());
            let document = bytes::with_id(&id, 0x02, b"label", value);
            let mut doc = world.doc("text_ids", &id, document);
            doc.append(154).await;
            doc.is_dead("MALFORMED").await;
        }
    });
}

#[test]
fn input_155_bytes_behind_the_document() {
    run(async |world| {
        let mut bytes = labelled("155", "no row").into_bytes();
        bytes.push(0);
        world.unreadable("text_ids", with_bson(&sound(world, "155"), &bytes), "MALFORMED").await;
    });
}

#[test]
fn input_156_foreign_producer() {
    run(async |world| {
        // Debezium's own envelope, on which the value is modelled, without this program's headers.
        let record = Record { headers: Vec::new(), ..sound(world, "156") };
        let detail = world.unreadable("text_ids", record, "MALFORMED").await;
        assert_eq!(detail, "the record has no header `driftless.format`");
        // A record under another document's key would take part in the order and compaction of that document.
        let record = Record { key: sound(world, "156 other").key, ..sound(world, "156 a") };
        let detail = world.unreadable("text_ids", record, "MALFORMED").await;
        assert_eq!(detail, "the record's key is not the one of its `documentKey`");
    });
}

#[test]
fn input_157_newer_format() {
    run_alone(async {
        let migration = things("inputs_newer").await;
        let daemon = migration.daemon_with(&["source", "sink"]);
        let record = first_change(&migration).await;
        let newer = (envelope::FORMAT + 1).to_string();
        let record = with_header(&record, envelope::header::FORMAT, Some(&newer));
        append(migration.stack.kafka(), &migration.topic("things"), vec![record]).await;
        let status = daemon.wait_for("the sink has halted", DEADLINE, |status| status.phase("sink") == "halted").await;
        let reason = status.process.roles["sink"].reason.clone().unwrap_or_default();
        let expected =
            format!("the record has format {newer}, this version reads {}: run a newer one", envelope::FORMAT);
        assert!(reason.contains(&expected), "{reason}");

        // The position is before the record, nothing behind it was applied, and nothing was thrown away.
        migration.collection("things").insert_one(doc! { "_id": "behind" }).await.expect("insert");
        let at = "SELECT next_offset FROM driftless.position WHERE topic LIKE '%things'";
        let stands_at = migration.number(at).await;
        let there = migration.records("things").await;
        let record = there.iter().find(|record| record.header(envelope::header::FORMAT) == Some(&newer));
        assert!(stands_at <= record.expect("the record").offset);
        assert_eq!(migration.number("SELECT count(*) FROM driftless.dead_letter").await, 0);
        assert_eq!(migration.number("SELECT count(*) FROM things").await, 1);
        daemon.stop(3).await;
        migration.finish().await;
    });
}

#[test]
fn input_158_broken_version() {
    run(async |world| {
        let whole = "0".repeat(32);
        for version in ["", "zz", &whole[..30], "00000001000000010000000100000000ff", "1.2/3"] {
            let record =
                with_header(&sound(world, &format!("158 {version}")), envelope::header::VERSION, Some(version));
            let detail = world.unreadable("text_ids", record, "MALFORMED").await;
            assert_eq!(detail, "the header `driftless.version` does not parse");
        }
        let record = with_header(&sound(world, "158 none"), envelope::header::VERSION, None);
        let detail = world.unreadable("text_ids", record, "MALFORMED").await;
        assert_eq!(detail, "the record has no header `driftless.version`");
    });
}

#[test]
fn input_159_older_epoch() {
    run(async |world| {
        let version = world.change("text_ids", Op::Delete, 900, rawdoc! { "_id": "159" }).version;
        loses(world, "159", Version { epoch: 0, ..version }).await;
    });
}

#[test]
fn input_160_collection_that_is_not_mapped() {
    run(async |world| {
        let unmapped = world.migration.collection("unmapped");
        unmapped.insert_one(doc! { "_id": "160" }).await.expect("insert");
        assert_eq!(records(world.migration.stack.kafka(), &world.topic("unmapped")).await, []);
        // A record of this collection in the topic of another.
        let stray = world.insertion("unmapped", 160, labelled("160", "no row"));
        append_and_pass(world, &stray, "160 marker").await;
        assert_eq!(world.migration.number("SELECT count(*) FROM text_ids WHERE id = '160'").await, 0);
        let skipped = "skipped changes of collections that the mapping does not name";
        wait::until("it is logged", DEADLINE, async || wait::holds(world.daemon.log().contains(skipped), "not yet"))
            .await;
        assert_eq!(world.daemon.metric("driftless_sink_unmapped_changes_total").await, Some(1.0));
    });
}

#[test]
fn input_161_name_that_is_no_topic_name() {
    run(async |world| {
        let topic = world.topic(LONG);
        let legal = |letter: char| letter.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&letter);
        assert!(topic.len() == 249 && topic.chars().all(legal), "{topic}");
        let mut doc = world.insert(LONG, labelled("161", "long")).await;
        doc.is("label", "long").await;
        doc.delete().await;
        doc.is_gone().await;
    });
}

#[test]
fn input_162_names_that_differ_in_dots() {
    run(async |world| {
        assert_ne!(world.topic("a.b_c"), world.topic("a_b.c"));
        let mut first = world.insert("a.b_c", labelled("162", "a.b_c")).await;
        let mut second = world.insert("a_b.c", labelled("162", "a_b.c")).await;
        first.is("label", "a.b_c").await;
        second.is("label", "a_b.c").await;
        for (collection, other) in [("a.b_c", "a_b.c"), ("a_b.c", "a.b_c")] {
            let told_of = records(world.migration.stack.kafka(), &world.topic(collection)).await;
            let told = |name: &str| {
                let label = format!(r#""collection":"{name}""#);
                let holds = |record: &&Record| {
                    let value = record.value.as_deref().unwrap_or_default();
                    value.windows(label.len()).any(|window| window == label.as_bytes())
                };
                told_of.iter().filter(|record| record.is_change()).filter(holds).count()
            };
            assert_eq!((told(collection), told(other)), (1, 0));
        }
    });
}
