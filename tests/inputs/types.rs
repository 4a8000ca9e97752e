//! Types that have no counterpart in SQL.

use bson::{
    Binary,
    oid::ObjectId,
    raw::{RawBson, RawJavaScriptCodeWithScope},
    rawdoc,
    spec::BinarySubtype,
};
use mongodb::bson::doc;

use crate::{
    bytes::{binary, text, with_id},
    world::run,
};

#[test]
fn input_100_undefined() {
    run(async |world| {
        world.typed("100", &[("j", RawBson::Undefined, Ok(r#"{"$driftless": "undefined"}"#))]).await;
        let mut doc = world.insert("typed", rawdoc! { "_id": "100", "i4": RawBson::Undefined }).await;
        doc.is_null("i4").await;
    });
}

#[test]
fn input_101_symbol() {
    run(async |world| {
        let symbol = || RawBson::Symbol("sym".to_owned());
        world.typed("101", &[("s", symbol(), Ok("sym")), ("j", symbol(), Ok(r#""sym""#))]).await;
    });
}

#[test]
fn input_102_pointer() {
    run(async |world| {
        let id = "0102030405060708090a0b0c";
        let value = [text(b"db.things"), hex::decode(id).expect("hex")].concat();
        let wrapped = format!(r#"{{"$driftless": "dbPointer", "namespace": "db.things", "id": "{id}"}}"#);
        let json = with_id("102 j", 0x0c, b"j", value.clone());
        let column = with_id("102 s", 0x0c, b"s", value);
        world.outcomes(vec![(json, ("j", Ok(&wrapped))), (column, ("s", Err("TYPE_MISMATCH")))]).await;
    });
}

#[test]
fn input_103_code() {
    run(async |world| {
        let code = || RawBson::JavaScriptCode("f()".to_owned());
        let wrapped = r#"{"$driftless": "code", "code": "f()"}"#;
        world.typed("103", &[("s", code(), Ok("f()")), ("j", code(), Ok(wrapped))]).await;
    });
}

#[test]
fn input_104_code_with_a_deep_scope() {
    run(async |world| {
        let mut scope = rawdoc! { "end": true };
        let mut json = r#"{"end": true}"#.to_owned();
        for _ in 1..90 {
            scope = rawdoc! { "a": scope };
            json = format!(r#"{{"a": {json}}}"#);
        }
        let value: RawBson = RawJavaScriptCodeWithScope { code: "f()".to_owned(), scope }.into();
        let wrapped = format!(r#"{{"$driftless": "codeWithScope", "code": "f()", "scope": {json}}}"#);
        world.typed("104", &[("j", value.clone(), Ok(&wrapped)), ("s", value, Err("TYPE_MISMATCH"))]).await;
    });
}

#[test]
fn input_105_ends_of_the_order() {
    run(async |world| {
        let refused = Err("TYPE_MISMATCH");
        let cases = [
            ("s", RawBson::MinKey, refused),
            ("i4", RawBson::MaxKey, refused),
            ("j", RawBson::MinKey, Ok(r#"{"$driftless": "minKey"}"#)),
            ("j", RawBson::MaxKey, Ok(r#"{"$driftless": "maxKey"}"#)),
        ];
        world.typed("105", &cases).await;
    });
}

#[test]
fn input_106_regex_with_odd_flags() {
    run(async |world| {
        let value = |id: &str, name: &[u8]| with_id(id, 0x0b, name, b"^a\"b\0zx\0".to_vec());
        let wrapped = r#"{"$driftless": "regex", "pattern": "^a\"b", "options": "zx"}"#;
        let cases = vec![
            (value("106 j", b"j"), ("j", Ok(wrapped))),
            (value("106 s", b"s"), ("s", Ok("/^a\"b/zx"))),
            (value("106 b", b"b"), ("b", Err("TYPE_MISMATCH"))),
        ];
        world.outcomes(cases).await;
    });
}

#[test]
fn input_107_inner_length_lies() {
    run(async |world| {
        for (at, name) in [b"bytes".as_slice(), b"j"].into_iter().enumerate() {
            let id = format!("107 {at}");
            let document = with_id(&id, 0x05, name, binary(2, &[9, 0, 0, 0, 1]));
            let mut doc = world.doc("typed", &id, document);
            doc.append(107).await;
            doc.is_dead("MALFORMED").await;
        }
    });
}

#[test]
fn input_108_encrypted() {
    run(async |world| {
        let secret = b"a secret of subtype six";
        let value = || Binary { subtype: BinarySubtype::Encrypted, bytes: secret.to_vec() }.into();
        let (hex, base64) = (hex::encode(secret), "YSBzZWNyZXQgb2Ygc3VidHlwZSBzaXg=");
        let wrapped = format!(r#"{{"$driftless": "binary", "subtype": 6, "base64": "{base64}"}}"#);
        let cases =
            [("bytes", value(), Ok(hex.as_str())), ("j", value(), Ok(&wrapped)), ("s", value(), Err("TYPE_MISMATCH"))];
        world.typed("108", &cases).await;
        let log = world.daemon.log();
        assert!(!["a secret of", &hex, base64].iter().any(|form| log.contains(form)), "it is never logged");
    });
}

#[test]
fn input_109_other_subtypes() {
    run(async |world| {
        for subtype in [7, 8, 9, 0x80, 0xff] {
            let id = |name| format!("109 {subtype} {name}");
            let value = || binary(subtype, &[1, 0, 255]);
            let wrapped = format!(r#"{{"$driftless": "binary", "subtype": {subtype}, "base64": "AQD/"}}"#);
            let column = with_id(&id("bytes"), 0x05, b"bytes", value());
            let json = with_id(&id("j"), 0x05, b"j", value());
            world.outcomes(vec![(column, ("bytes", Ok("0100ff"))), (json, ("j", Ok(&wrapped)))]).await;
        }
    });
}

#[test]
fn input_110_reference() {
    run(async |world| {
        let id = ObjectId::from_bytes([0xab; 12]);
        let value = rawdoc! { "$ref": "things", "$id": id, "$db": "other" };
        let json = r#"{"$ref": "things", "$id": "abababababababababababab", "$db": "other"}"#;
        world.typed("110", &[("j", value.into(), Ok(json))]).await;
    });
}

#[test]
fn input_111_unknown_type() {
    run(async |world| {
        let mut doc = world.doc("docs", "111", with_id("111", 0x20, b"a", vec![1, 2, 3, 4]));
        doc.append(111).await;
        doc.is_dead("MALFORMED").await;
    });
}

#[test]
fn input_112_collections_of_encryption() {
    run(async |world| {
        let names = ["enxcol_.docs.esc", "enxcol_.docs.ecoc", "enxcol_.docs.ecc"];
        for name in names {
            let document =
                doc! { "_id": "112", "value": Binary { subtype: BinarySubtype::Generic, bytes: vec![1; 32] } };
            world.migration.collection(name).insert_one(document).await.expect("MongoDB takes it");
        }
        // The document written after them has arrived, and they have left nothing.
        let mut after = world.insert("docs", rawdoc! { "_id": "112" }).await;
        after.is_json("doc", r#"{"_id": "112"}"#).await;
        let known = "SELECT name FROM driftless.collection WHERE name LIKE 'enxcol%'";
        assert_eq!(world.migration.texts(known).await, [] as [Option<String>; 0]);
        for name in names {
            let records = driftless_testing::topic::records(world.migration.stack.kafka(), &world.topic(name)).await;
            assert_eq!(records, []);
        }
    });
}

#[test]
fn input_113_gridfs_chunks() {
    run(async |world| {
        let data: Vec<u8> = (0..261_120_u32).map(|at| (at * 7 % 251) as u8).collect();
        let (id, file) = (ObjectId::from_bytes([0x71; 12]), ObjectId::from_bytes([0x72; 12]));
        let value = Binary { subtype: BinarySubtype::Generic, bytes: data.clone() };
        let row = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, id.to_hex().as_bytes()).to_string();
        let chunk = rawdoc! { "_id": id, "files_id": file, "n": 0, "data": value };
        let mut doc = world.insert_as("fs.chunks", &row, chunk).await;
        doc.is("files_id || ' ' || n", &format!("{} 0", file.to_hex())).await;
        doc.is("encode(data, 'hex')", &hex::encode(&data)).await;
    });
}
