//! `_id`s.

use bson::{
    Binary, DateTime, Decimal128, Timestamp, doc,
    oid::ObjectId,
    raw::{RawBson, RawDocumentBuf},
    rawdoc,
    spec::BinarySubtype,
};
use driftless_testing::{DEADLINE, migration::Migration, stack::Stack, topic, wait};
use uuid::Uuid;

use crate::{
    bytes::{self, text},
    world::{World, run, run_alone},
};

const DUPLICATE_KEY: i32 = 11000;

fn uuid5(name: impl AsRef<[u8]>) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_ref()).to_string()
}

fn decimal(text: &str) -> Decimal128 {
    text.parse().expect("a decimal")
}

fn labelled(id: impl Into<RawBson>, label: &str) -> RawDocumentBuf {
    rawdoc! { "_id": id.into(), "label": label }
}

/// Writes documents that no id rule can give a row; each becomes a dead letter of its own.
async fn unsupported(world: &World, ids: Vec<RawDocumentBuf>) {
    let mut docs = Vec::new();
    for document in ids {
        docs.push(world.insert_as("any_ids", "none", document).await);
    }
    for doc in &mut docs {
        doc.is_dead("KEY_UNSUPPORTED").await;
        // A delete closes the letter, although there never was a row.
        doc.delete().await;
        doc.is_gone().await;
        assert_eq!(doc.letter_state().await.as_deref(), Some("superseded"));
    }
}

#[test]
fn input_001_object_id() {
    run(async |world| {
        let id = ObjectId::from_bytes([0x01; 12]);
        let hex = id.to_hex();
        let mut uuid = world.insert_as("any_ids", &uuid5(&hex), labelled(id, "001")).await;
        let mut digits = world.insert_as("hex_ids", &hex, labelled(id, "001")).await;
        uuid.is("label", "001").await;
        digits.is("label", "001").await;
    });
}

#[test]
fn input_002_text_like_an_object_id() {
    run(async |world| {
        let id = ObjectId::from_bytes([0x02; 12]);
        let hex = id.to_hex();
        let row = uuid5(&hex);
        let mut object_id = world.insert_as("any_ids", &row, labelled(id, "the ObjectId's")).await;
        let mut same_text = world.insert_as("any_ids", &row, labelled(hex.as_str(), "the text's")).await;
        object_id.is("label", "the ObjectId's").await;
        same_text.is_dead("KEY_UNSUPPORTED").await;
        object_id.is("label", "the ObjectId's").await;

        let mut text = world.insert("text_ids", labelled(hex.as_str(), "the text's")).await;
        let mut no_text = world.insert_as("text_ids", &hex, labelled(id, "the ObjectId's")).await;
        text.is("label", "the text's").await;
        no_text.is_dead("KEY_UNSUPPORTED").await;
        // No rule gives both a row of one column: `hex` and `uuid` cannot even be combined.
        let faults = world.check("[collections.any_ids]\nid = \"hex\"\n").await;
        assert!(faults.contains("which this id rule cannot fill"), "{faults}");
    });
}

#[test]
fn input_003_integer_and_text() {
    run(async |world| {
        let mut integer = world.insert_as("any_ids", &uuid5("3001"), labelled(3001, "the integer's")).await;
        let mut same_text = world.insert_as("any_ids", &uuid5("3001"), labelled("3001", "the text's")).await;
        same_text.is_dead("KEY_UNSUPPORTED").await;
        integer.is("label", "the integer's").await;
        let mut integer = world.insert_as("int_ids", "3001", labelled(3001, "the integer's")).await;
        let mut text = world.insert("text_ids", labelled("3001", "the text's")).await;
        integer.is("label", "the integer's").await;
        text.is("label", "the text's").await;
    });
}

#[test]
fn input_004_equal_numbers_of_other_types() {
    run(async |world| {
        let mut doc = world.insert_as("int_ids", "4001", labelled(4001, "int")).await;
        doc.is("label", "int").await;
        doc.delete().await;
        doc.is_gone().await;
        doc.remember().await;
        world.command(rawdoc! { "insert": "int_ids", "documents": [labelled(4001.0, "double")] }).await;
        doc.is("label", "double").await;
        let records = topic::records(world.migration.stack.kafka(), &world.topic("int_ids")).await;
        let of_it: Vec<_> = records.iter().filter(|one| one.key.as_deref() == Some(br#"{"id":"4001"}"#)).collect();
        assert_eq!(of_it.len(), 3, "insert, delete, insert");
        assert!(of_it.iter().all(|record| record.partition == of_it[0].partition));
    });
}

#[test]
fn input_005_beyond_the_mantissa() {
    run(async |world| {
        let long = (1_i64 << 53) + 1;
        let double = (1_i64 << 53) as f64;
        let mut odd = world.insert_as("int_ids", "9007199254740993", labelled(long, "long")).await;
        let mut even = world.insert_as("int_ids", "9007199254740992", labelled(double, "double")).await;
        odd.is("label", "long").await;
        even.is("label", "double").await;
    });
}

/// Checks that both values are one `_id`: MongoDB refuses the second while the first exists, and the row is the same.
async fn one_key(world: &World, row: &str, first: RawBson, second: RawBson) {
    let mut doc = world.insert_as("int_ids", row, labelled(first, "first")).await;
    assert_eq!(world.refused("int_ids", labelled(second.clone(), "second")).await, DUPLICATE_KEY);
    doc.is("label", "first").await;
    doc.delete().await;
    doc.is_gone().await;
    doc.remember().await;
    world.command(rawdoc! { "insert": "int_ids", "documents": [labelled(second, "second")] }).await;
    doc.is("label", "second").await;
}

#[test]
fn input_006_decimals_of_other_scale() {
    run(async |world| one_key(world, "6001", decimal("6001.0").into(), decimal("6001.00").into()).await);
}

#[test]
fn input_007_negative_zero() {
    run(async |world| one_key(world, "0", (-0.0).into(), 0.0.into()).await);
}

/// Checks that NaN is one `_id`, whatever its type and bits, and never the key of a row.
async fn nan(world: &World, collection: &str, first: RawBson, second: RawBson) {
    let mut doc = world.insert_as(collection, "none", labelled(first, "first")).await;
    doc.is_dead("NONFINITE").await;
    assert_eq!(world.refused(collection, labelled(second.clone(), "second")).await, DUPLICATE_KEY);
    doc.delete().await;
    doc.is_gone().await;
    doc.remember().await;
    doc.document = labelled(second, "second");
    world.command(rawdoc! { "insert": collection, "documents": [doc.document.clone()] }).await;
    doc.is_dead("NONFINITE").await;
}

#[test]
fn input_008_nan() {
    let other_bits = f64::from_bits(0xfff8_0000_0000_0001);
    run(async |world| nan(world, "any_ids", f64::NAN.into(), other_bits.into()).await);
}

#[test]
fn input_009_decimal_nan() {
    run(async |world| nan(world, "int_ids", f64::NAN.into(), decimal("NaN").into()).await);
}

#[test]
fn input_010_null() {
    run(async |world| unsupported(world, vec![labelled(RawBson::Null, "010")]).await);
}

#[test]
fn input_011_without_id() {
    run(async |world| {
        // Only a view lets MongoDB itself remove `_id`.
        let view = doc! { "create": "idless", "viewOn": "any_ids", "pipeline": [{ "$unset": "_id" }] };
        world.migration.source.run_command(view).await.expect("create a view");
        let mapping = "namespace = \"dns\"\n[collections.idless]\ntable = \"any_ids\"\nid = \"uuid5\"\n";
        let faults = world.check(mapping).await;
        assert!(faults.contains("is a view, which has no changes of its own"), "{faults}");

        let mut change = world.insertion("any_ids", 11, labelled("011", "without"));
        change.document = Some(rawdoc! { "label": "without" });
        let record = world.record(&change);
        world.append("any_ids", record.clone()).await;
        let mut doc = world.doc("any_ids", "none", labelled("011", "without"));
        doc.document = rawdoc! { "label": "without" };
        doc.is_dead("MALFORMED").await;

        let value = String::from_utf8(record.value.clone().expect("a value")).expect("UTF-8");
        let nameless = value.replace(r#""documentKey":{"_id":"011"}"#, r#""documentKey":{}"#);
        assert_ne!(nameless, value);
        let record = topic::Record { value: Some(nameless.into_bytes()), ..record };
        world.unreadable("any_ids", record, "MALFORMED").await;
    });
}

#[test]
fn input_012_boolean() {
    run(async |world| {
        unsupported(world, vec![labelled(true, "012"), labelled(false, "012")]).await;
        let mut yes = world.insert_as("boolean_ids", "true", labelled(true, "yes")).await;
        let mut no = world.insert_as("boolean_ids", "false", labelled(false, "no")).await;
        yes.is("label", "yes").await;
        no.is("label", "no").await;
        yes.delete().await;
        yes.is_gone().await;
    });
}

#[test]
fn input_013_distant_date() {
    let year_300000 = 9_404_909_395_200_000;
    let id = DateTime::from_millis(year_300000);
    run(async |world| {
        unsupported(world, vec![labelled(id, "013")]).await;
        let mut distant = world.insert_as("date_ids", "none", labelled(id, "distant")).await;
        let near = DateTime::from_millis(13);
        let mut near = world.insert_as("date_ids", "1970-01-01 00:00:00.013+00", labelled(near, "near")).await;
        distant.is_dead("RANGE_TS").await;
        near.is("label", "near").await;
    });
}

fn sixteen(subtype: BinarySubtype, byte: u8) -> Binary {
    Binary { subtype, bytes: vec![byte; 16] }
}

#[test]
fn input_014_uuid() {
    run(async |world| {
        let text = Uuid::from_bytes([0x14; 16]).to_string();
        let id = || sixteen(BinarySubtype::Uuid, 0x14);
        let mut own = world.insert_as("uuid_ids", &text, labelled(id(), "014")).await;
        let mut derived = world.insert_as("any_ids", &uuid5(&text), labelled(id(), "014")).await;
        own.is("label", "014").await;
        derived.is("label", "014").await;
    });
}

#[test]
fn input_015_legacy_uuid() {
    run(async |world| {
        let row = Uuid::from_bytes([0x15; 16]).to_string();
        let uuid = labelled(sixteen(BinarySubtype::Uuid, 0x15), "subtype 4");
        let legacy = labelled(sixteen(BinarySubtype::UuidOld, 0x15), "subtype 3");
        let mut uuid = world.insert_as("uuid_ids", &row, uuid).await;
        let mut legacy = world.insert_as("uuid_ids", &row, legacy).await;
        legacy.is_dead("KEY_UNSUPPORTED").await;
        uuid.is("label", "subtype 4").await;
        legacy.delete().await;
        assert!(legacy.settle().await, "it is a tombstone");
        uuid.is("label", "subtype 4").await;
    });
}

#[test]
fn input_016_empty_binary() {
    let empty = Binary { subtype: BinarySubtype::Generic, bytes: Vec::new() };
    run(async |world| {
        unsupported(world, vec![labelled(empty.clone(), "016")]).await;
        let mut doc = world.insert_as("bytes_ids", r"\x", labelled(empty, "016")).await;
        doc.is("label", "016").await;
        doc.delete().await;
        doc.is_gone().await;
    });
}

#[test]
fn input_017_order_of_fields() {
    run(async |world| {
        let ids = [rawdoc! { "a": 17, "b": 2 }, rawdoc! { "b": 2, "a": 17 }];
        unsupported(world, ids.into_iter().map(|id| labelled(id, "017")).collect()).await;
    });
}

#[test]
fn input_018_embedded_document() {
    run(async |world| {
        let id = rawdoc! { "n": 18, "list": [1, [2, { "deep": [3] }], "x"], "a.b": { "c.d": 1 } };
        unsupported(world, vec![labelled(id, "018")]).await;
    });
}

#[test]
fn input_019_long_text() {
    run(async |world| {
        let id = "0123456789abcdef019 ".repeat(500);
        let mut row = world.insert_as("any_ids", &uuid5(&id), labelled(id.as_str(), "019")).await;
        let mut dead = world.insert("text_ids", labelled(id.as_str(), "019")).await;
        row.is("label", "019").await;
        dead.is_dead("KEY_TOO_LONG").await;
        // The hash finds the row again.
        row.delete().await;
        row.is_gone().await;
    });
}

#[test]
fn input_020_text_of_megabytes() {
    run(async |world| {
        let id = "three megabytes ".repeat(3 << 16);
        let mut doc = world.insert_as("any_ids", &uuid5(&id), labelled(id.as_str(), "020")).await;
        doc.is("label", "020").await;
        doc.delete().await;
        doc.is_gone().await;

        let id = "nearly sixteen m".repeat((1 << 20) - 16);
        let doc_of_record = world.doc("any_ids", &uuid5(&id), labelled(id.as_str(), "020 record"));
        let record = world.record(&world.insertion("any_ids", 20, doc_of_record.document.clone()));
        let key = record.key.as_deref().expect("a key");
        assert!(key.len() < 100 && key.ends_with(br#"","hashed":true}"#), "the Kafka key is a hash");
        let mut doc = doc_of_record;
        doc.append(20).await;
        doc.is("label", "020 record").await;
    });
}

// An event holds the `_id` in its documentKey, and at twice its length in its resume token: MongoDB cannot report a change with
// a longer one. An oplog entry holds the `_id` twice: MongoDB refuses a document whose `_id` is longer still.
#[test]
fn input_020_longer_than_an_event_can_tell() {
    const SCHEMA: &str = "CREATE TABLE things (id uuid PRIMARY KEY, label text);";
    const MAPPING: &str = "namespace = \"dns\"\n[collections.things]\nid = \"uuid5\"\n";
    run_alone(async {
        let stack = Stack::shared().await;
        let migration = Migration::new(stack, stack.mongo_uri(), "inputs_longer", SCHEMA, MAPPING).await;
        let things = migration.collection("things");
        let refused = things.insert_one(doc! { "_id": "fourteen megabyt".repeat(14 << 16) }).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("10334")), "BSONObjectTooLarge");
        let id = "seven megabytes_".repeat(7 << 16);
        things.insert_one(doc! { "_id": &id, "label": "read by the snapshot" }).await.expect("insert");
        // A first start also reads the changes of its own instant. This write moves the clock, so that the insert above lies
        // before it.
        migration.collection("others").insert_one(doc! {}).await.expect("insert");
        let daemon = migration.daemon_with(&["source", "sink"]);
        daemon.wait_for("the snapshot is there", DEADLINE, |status| status.snapshot_complete()).await;
        let row = format!("SELECT label FROM things WHERE id = '{}'", uuid5(&id));
        wait::until("the row is there", DEADLINE, async || {
            let found = migration.texts(&row).await;
            wait::holds(found == [Some("read by the snapshot".to_owned())], format!("{found:?}"))
        })
        .await;
        let id = "seven megabytes ".repeat(7 << 16);
        things.insert_one(doc! { "_id": id }).await.expect("insert");
        let status = daemon.wait_for("the source halts", DEADLINE, |status| status.phase("source") == "halted").await;
        let role = &status.process.roles["source"];
        let (reason, hint) = (role.reason.clone().unwrap_or_default(), role.hint.clone().unwrap_or_default());
        assert!(reason.contains("it is larger than a reply may be"), "{reason}");
        assert!(hint.contains("the `_id` alone exceeds what an event may hold"), "{hint}");
        daemon.stop(3).await;
        migration.finish().await;
    });
}

#[test]
fn input_021_empty_text() {
    run(async |world| {
        let mut doc = world.insert("text_ids", labelled("", "021")).await;
        doc.is("id IS NULL", "false").await;
        doc.is("label", "021").await;
    });
}

#[test]
fn input_022_nul() {
    run(async |world| {
        let mut row = world.insert_as("any_ids", &uuid5("022\0"), labelled("022\0", "022")).await;
        let mut dead = world.insert_as("text_ids", "none", labelled("022\0", "022")).await;
        row.is("label", "022").await;
        dead.is_dead("NUL_IN_TEXT").await;
        for doc in [&mut row, &mut dead] {
            doc.delete().await;
            doc.is_gone().await;
        }
    });
}

#[test]
fn input_023_no_utf8() {
    run(async |world| {
        for (collection, byte) in [("text_ids", 0xfe), ("any_ids", 0xfe), ("text_ids", 0xff)] {
            let document =
                bytes::document(&[(0x02, b"_id", text(&[b'2', b'3', byte])), (0x02, b"label", text(b"023"))]);
            let mut doc = world.insert_as(collection, "none", document).await;
            doc.is_dead("BAD_UTF8").await;
            // An update looks the document up by these bytes.
            doc.document =
                bytes::document(&[(0x02, b"_id", text(&[b'2', b'3', byte])), (0x02, b"label", text(b"changed"))]);
            doc.update(rawdoc! { "$set": { "label": "changed" } }).await;
            doc.is_dead("BAD_UTF8").await;
            doc.delete().await;
            doc.is_gone().await;
        }
    });
}

#[test]
fn input_024_spellings_of_a_letter() {
    run(async |world| {
        let mut composed = world.insert("text_ids", labelled("024 \u{e9}", "composed")).await;
        let mut decomposed = world.insert("text_ids", labelled("024 e\u{301}", "decomposed")).await;
        composed.is("label", "composed").await;
        decomposed.is("label", "decomposed").await;
    });
}

#[test]
fn input_025_collation_that_ignores_case() {
    run(async |world| {
        let mut upper = world.insert("folded", labelled("ABC", "upper")).await;
        assert_eq!(world.refused("folded", labelled("abc", "lower")).await, DUPLICATE_KEY);
        upper.is("label", "upper").await;
        // The lookup uses another spelling than the document has.
        upper.remember().await;
        let change = rawdoc! { "q": { "_id": "aBc" }, "u": { "$set": { "label": "changed" } } };
        world.command(rawdoc! { "update": "folded", "updates": [change] }).await;
        upper.is("label", "changed").await;
        upper.delete().await;
        let mut lower = world.insert("folded", labelled("abc", "lower")).await;
        lower.is("label", "lower").await;
        upper.is_gone().await;
        lower.update(rawdoc! { "$set": { "label": "lower again" } }).await;
        lower.is("label", "lower again").await;
        assert_eq!(world.migration.texts("SELECT id FROM folded").await, [Some("abc".to_owned())]);
    });
}

#[test]
fn input_026_trailing_space() {
    run(async |world| {
        let mut plain = world.insert("text_ids", labelled("026", "plain")).await;
        let mut padded = world.insert("text_ids", labelled("026 ", "padded")).await;
        plain.is("label", "plain").await;
        padded.is("label", "padded").await;
        let expected =
            [("padded", "which this id rule cannot fill"), ("folding", "different ids would be equal there")];
        for (table, fault) in expected {
            let faults = world.check(&format!("[collections.{table}]\nid = \"text\"\n")).await;
            assert!(faults.contains(fault), "{faults}");
        }
    });
}

#[test]
fn input_027_ends_of_the_order() {
    run(async |world| {
        let timestamp = Timestamp { time: u32::MAX, increment: 27 };
        let ids = [RawBson::MinKey, RawBson::MaxKey, timestamp.into()];
        unsupported(world, ids.into_iter().map(|id| labelled(id, "027")).collect()).await;
    });
}

#[test]
fn input_028_types_that_mongodb_refuses() {
    const INVALID_ID: [i32; 2] = [2, 53];
    run(async |world| {
        let regex = bytes::document(&[(0x0b, b"_id", b"a\0\0".to_vec())]);
        for id in [rawdoc! { "_id": [28] }, rawdoc! { "_id": RawBson::Undefined }, regex] {
            let code = world.refused("any_ids", id.clone()).await;
            assert!(INVALID_ID.contains(&code), "MongoDB refuses such an `_id`: {code}");
            // The record of another `_id`, with this one in its place.
            let record = world.record(&world.insertion("any_ids", 28, rawdoc! { "_id": "028" }));
            let mut value: serde_json::Value =
                serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
            let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, id.as_bytes());
            let envelope = value.as_object_mut().expect("an object");
            envelope.insert("documentKey".to_owned(), serde_json::Value::Null);
            envelope.insert("rawKey".to_owned(), encoded.into());
            let record = topic::Record { value: Some(value.to_string().into_bytes()), ..record };
            let detail = world.unreadable("any_ids", record, "MALFORMED").await;
            assert_eq!(detail, "`documentKey` is not one `_id`");
        }
    });
}

/// Appends a record whose documentKey has shard key fields beside `_id`, as a mongos reports it. No sharded cluster runs here;
/// the source itself keeps only the `_id` of a documentKey.
async fn sharded(world: &World, number: &str, shard: &str) {
    let record = world.record(&world.insertion("any_ids", 29, labelled(number, "no row")));
    let value = String::from_utf8(record.value.clone().expect("a value")).expect("UTF-8");
    for (from, to) in [
        (format!(r#"{{"_id":"{number}"}}"#), format!(r#"{{"_id":"{number}","shard":{shard}}}"#)),
        (format!(r#"{{"_id":"{number}"}}"#), format!(r#"{{"shard":{shard},"_id":"{number}"}}"#)),
    ] {
        let changed = value.replace(&format!(r#""documentKey":{from}"#), &format!(r#""documentKey":{to}"#));
        assert_ne!(changed, value);
        let record = topic::Record { value: Some(changed.into_bytes()), ..record.clone() };
        let detail = world.unreadable("any_ids", record, "MALFORMED").await;
        assert_eq!(detail, "`documentKey` is not one `_id`");
    }
    let numbers = value.replace(&format!(r#""documentKey":{{"_id":"{number}"}}"#), &{
        let id = number.trim_start_matches('0');
        format!(r#""documentKey":{{"_id":{{"$numberInt":"{id}"}},"shard":{shard}}}"#)
    });
    assert_ne!(numbers, value);
    let record = topic::Record {
        key: Some(format!(r#"{{"id":"{}"}}"#, number.trim_start_matches('0')).into_bytes()),
        value: Some(numbers.into_bytes()),
        ..record
    };
    let detail = world.unreadable("any_ids", record, "MALFORMED").await;
    assert_eq!(detail, "`documentKey` is not one `_id`");
    assert_eq!(world.migration.number("SELECT count(*) FROM any_ids WHERE label = 'no row'").await, 0);
}

#[test]
fn input_029_shard_key() {
    run(async |world| sharded(world, "029", r#""eu""#).await);
}

#[test]
fn input_030_empty_shard_key() {
    run(async |world| {
        sharded(world, "030", "null").await;
        // If the field is missing, the documentKey is the `_id` alone.
        let mut doc = world.doc("any_ids", &uuid5("030 alone"), labelled("030 alone", "030"));
        doc.append(30).await;
        doc.is("label", "030").await;
    });
}
