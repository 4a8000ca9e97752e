//! Shapes of documents.

use bson::{
    oid::ObjectId,
    raw::{CString, RawArrayBuf, RawBson, RawDocumentBuf},
    rawdoc,
};

use crate::{
    bytes::{self, text, with_id},
    world::{Doc, World, run},
};

/// Just below MongoDB's limit for one document.
const SIXTEEN_MB: usize = 16_777_216 - 100;

fn append(document: &mut RawDocumentBuf, name: &str, value: impl Into<RawBson>) {
    document.append(CString::try_from(name).expect("no NUL"), value.into());
}

/// Writes `{_id, <name>: <value>}` into `docs`, and checks that it becomes this JSON beside the `_id`.
async fn kept(world: &World, id: &str, name: &str, value: impl Into<RawBson>, json: &str) {
    let mut document = rawdoc! { "_id": id };
    append(&mut document, name, value);
    let mut doc = world.insert("docs", document).await;
    doc.is_json("doc - '_id'", json).await;
}

#[test]
fn input_114_a_name_twice() {
    run(async |world| {
        let twice = |id: &str, name: &[u8], values: [i32; 2]| {
            let [first, second] = values.map(|value| (0x10, name, value.to_le_bytes().to_vec()));
            bytes::document(&[(0x02, b"_id", text(id.as_bytes())), first, second])
        };
        let mut column = world.insert("typed", twice("114", b"i4", [1, 2])).await;
        let mut json = world.insert("docs", twice("114", b"a", [1, 2])).await;
        column.is("i4", "2").await;
        json.is_json("doc", r#"{"_id": "114", "a": 2}"#).await;
    });
}

#[test]
fn input_115_empty_name() {
    run(async |world| kept(world, "115", "", 1, r#"{"": 1}"#).await);
}

#[test]
fn input_116_dot_in_a_name() {
    run(async |world| {
        let document = rawdoc! { "_id": "116", "a.b": 1, "a": { "b": 2 } };
        let mut doc = world.insert("select", document).await;
        doc.is("dotted || ' ' || nested", "1 2").await;
        kept(world, "116", "a.b", 1, r#"{"a.b": 1}"#).await;
    });
}

#[test]
fn input_117_dollar_name() {
    run(async |world| kept(world, "117", "$set", rawdoc! { "$inc": 1 }, r#"{"$set": {"$inc": 1}}"#).await);
}

#[test]
fn input_118_names_alike_for_63_bytes() {
    run(async |world| {
        let name = "a".repeat(64);
        let mut document = rawdoc! { "_id": "118" };
        append(&mut document, &format!("{name}1"), 1);
        append(&mut document, &format!("{name}2"), 2);
        let mut doc = world.insert("select", document).await;
        doc.is("first_long || ' ' || second_long", "1 2").await;
        // PostgreSQL would truncate both to one name; the mapping does not.
        let faults = world.check(&format!("[collections.long_names]\nid = \"text\"\ncolumns.{name}1 = \"x\"\n")).await;
        assert!(faults.contains(&format!("has no column \\\"{name}1\\\"")), "{faults}");
    });
}

#[test]
fn input_119_quotes_in_a_name() {
    let name = r#"a"; DROP TABLE docs; --'\"#;
    let json = serde_json::json!({ name: 1 }).to_string();
    run(async |world| kept(world, "119", name, 1, &json).await);
}

#[test]
fn input_120_reserved_words() {
    run(async |world| {
        let document = rawdoc! { "_id": "120", "order": "by", "constraint": "check" };
        let mut doc = world.insert("select", document).await;
        doc.is(r#""order" || ' ' || constraint_"#, "by check").await;
    });
}

#[test]
fn input_121_case_of_names() {
    run(async |world| {
        let mut doc = world.insert("select", rawdoc! { "_id": "121", "Name": "upper", "name": "lower" }).await;
        doc.is(r#""Name" || ' ' || "name""#, "upper lower").await;
    });
}

#[test]
fn input_122_name_of_a_megabyte() {
    let name = "n".repeat(1 << 20);
    run(async |world| kept(world, "122", &name, 1, &format!(r#"{{"{name}": 1}}"#)).await);
}

#[test]
fn input_123_many_fields() {
    run(async |world| {
        let mut document = rawdoc! { "_id": "123" };
        for at in 0..10_000 {
            append(&mut document, &format!("field{at}"), at);
        }
        append(&mut document, "i4", 7);
        let mut json = world.insert("docs", document.clone()).await;
        let mut column = world.insert("typed", document).await;
        json.is("(SELECT count(*) FROM jsonb_each(doc)) || ' ' || (doc->>'field9999')", "10002 9999").await;
        column.is("i4", "7").await;
    });
}

/// Makes a document of `levels` levels, itself the first.
fn nested(id: &str, levels: usize) -> (RawDocumentBuf, String) {
    let (mut inner, mut json) = (rawdoc! { "end": 1 }, r#"{"end": 1}"#.to_owned());
    for _ in 2..levels {
        inner = rawdoc! { "a": inner };
        json = format!(r#"{{"a": {json}}}"#);
    }
    (rawdoc! { "_id": id, "a": inner }, format!(r#"{{"a": {json}}}"#))
}

#[test]
fn input_124_hundred_levels() {
    run(async |world| {
        let (document, json) = nested("124", 100);
        let mut doc = world.insert("docs", document).await;
        doc.is_json("doc - '_id'", &json).await;
    });
}

#[test]
fn input_125_hundred_and_eighty_levels() {
    run(async |world| {
        let (document, json) = nested("125", 180);
        let mut doc = world.insert("docs", document).await;
        doc.is_json("doc - '_id'", &json).await;
    });
}

#[test]
fn input_126_five_thousand_levels() {
    run(async |world| {
        let (document, _) = nested("126", 5_000);
        let command = rawdoc! { "insert": "docs", "documents": [document.clone()] };
        let refused = world.migration.source.run_raw_command(command).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("nest")), "MongoDB refuses it");
        let mut doc = world.doc("docs", "126", document);
        doc.append(126).await;
        doc.is_dead("DEPTH").await;
    });
}

#[test]
fn input_127_a_million_elements() {
    run(async |world| {
        let mut array = RawArrayBuf::new();
        (0..1_000_000).for_each(|at| array.push(at));
        let mut column = world.insert("typed", rawdoc! { "_id": "127", "ints": array.clone() }).await;
        let mut json = world.insert("large", rawdoc! { "_id": "127", "j": array }).await;
        column.is("cardinality(ints) || ' ' || ints[1000000]", "1000000 999999").await;
        column.is("(SELECT sum(i) FROM unnest(ints) AS i)", "499999500000").await;
        json.is("jsonb_array_length(j) || ' ' || (j->>999999)", "1000000 999999").await;
    });
}

fn array(elements: impl IntoIterator<Item = RawBson>) -> RawBson {
    let mut array = RawArrayBuf::new();
    elements.into_iter().for_each(|element| array.push(element));
    array.into()
}

#[test]
fn input_128_mixed_array() {
    run(async |world| {
        let cases = [
            ("ints", array([1.into(), "a".into(), RawBson::Null]), Err("TYPE_MISMATCH")),
            ("ints", array([1.into(), RawBson::Null, 3.0.into()]), Ok("{1,NULL,3}")),
            ("j", array([1.into(), "a".into(), RawBson::Null]), Ok(r#"[1, "a", null]"#)),
        ];
        world.typed("128", &cases).await;
    });
}

#[test]
fn input_129_ragged_array() {
    run(async |world| {
        let (pair, one) = (|| array([1.into(), 2.into()]), || array([3.into()]));
        let cases = [
            ("ints", array([pair(), one()]), Err("TYPE_MISMATCH")),
            ("ints", array([pair(), 3.into()]), Err("TYPE_MISMATCH")),
            ("ints", array([pair(), pair()]), Ok("{{1,2},{1,2}}")),
            ("j", array([pair(), one()]), Ok("[[1, 2], [3]]")),
        ];
        world.typed("129", &cases).await;
    });
}

#[test]
fn input_130_empty_arrays() {
    run(async |world| {
        let (empty, nested) = (|| array([]), || array([array([])]));
        let cases = [
            ("ints", empty(), Ok("{}")),
            ("ints", nested(), Ok("{}")),
            ("j", empty(), Ok("[]")),
            ("j", nested(), Ok("[[]]")),
        ];
        world.typed("130", &cases).await;
    });
}

#[test]
fn input_131_empty_document() {
    run(async |world| {
        let cases = [("j", rawdoc! {}.into(), Ok("{}")), ("js", rawdoc! { "a": {} }.into(), Ok(r#"{"a": {}}"#))];
        world.typed("131", &cases).await;
    });
}

#[test]
fn input_132_another_order_of_fields() {
    run(async |world| {
        let mut doc = world.insert("calm", rawdoc! { "_id": "132", "a": 1, "b": { "c": 1, "d": 2 } }).await;
        let json = r#"{"_id": "132", "a": 1, "b": {"c": 1, "d": 2}}"#;
        doc.is_json("doc", json).await;
        doc.replace(rawdoc! { "_id": "132", "b": { "d": 2, "c": 1 }, "a": 1 }).await;
        doc.is_json("doc", json).await;
        world.migration.succeed(&["reconcile", "--full", "--collection", "calm"]).await;
    });
}

#[test]
fn input_133_a_type_that_changes() {
    run(async |world| {
        let mut doc = world.insert("typed", rawdoc! { "_id": "133", "i4": 1 }).await;
        doc.is("i4", "1").await;
        for wrong in [RawBson::from("text"), rawdoc! { "n": 1 }.into()] {
            doc.replace(rawdoc! { "_id": "133", "i4": wrong }).await;
            doc.is_dead("TYPE_MISMATCH").await;
            assert_eq!(doc.stored("i4").await, Some(Some("1".to_owned())), "the last good row stays");
        }
        doc.replace(rawdoc! { "_id": "133", "i4": 2 }).await;
        doc.is("i4", "2").await;
        assert_eq!(doc.letter_state().await.as_deref(), Some("superseded"));
    });
}

#[test]
fn input_134_missing_null_and_undefined() {
    run(async |world| {
        let states = [
            (rawdoc! { "_id": "134 a" }, "{}"),
            (rawdoc! { "_id": "134 b", "standard": RawBson::Null }, r#"{"standard": null}"#),
            (
                rawdoc! { "_id": "134 c", "standard": RawBson::Undefined },
                r#"{"standard": {"$driftless": "undefined"}}"#,
            ),
        ];
        for (document, json) in states {
            let mut column = world.insert("typed", document.clone()).await;
            let mut whole = world.insert("docs", document).await;
            column.is_null("standard").await;
            whole.is_json("doc - '_id'", json).await;
        }
    });
}

/// Checks that `s` is this letter, `count` times.
async fn is_filled(doc: &mut Doc<'_>, letter: char, count: usize) {
    let expression = format!("length(s) || ' ' || (s = repeat('{letter}', length(s)))");
    doc.is(&expression, &format!("{count} true")).await;
}

#[test]
fn input_135_nearly_sixteen_megabytes() {
    run(async |world| {
        let fill = |letter: char| letter.to_string().repeat(SIXTEEN_MB - 200);
        let mut doc = world.insert("large", rawdoc! { "_id": "135", "s": fill('a') }).await;
        is_filled(&mut doc, 'a', SIXTEEN_MB - 200).await;
        doc.replace(rawdoc! { "_id": "135", "s": fill('b') }).await;
        is_filled(&mut doc, 'b', SIXTEEN_MB - 200).await;
        doc.update(rawdoc! { "$set": { "s": fill('c') } }).await;
        is_filled(&mut doc, 'c', SIXTEEN_MB - 200).await;
        doc.delete().await;
        doc.is_gone().await;
    });
}

// Servers from 6.0.9 on split events above 16 MB. The daemon never requests the pre-image, so this update fits into one event
// of any server.
#[test]
fn input_136_large_update_with_pre_image() {
    run(async |world| {
        let fill = |letter: char| letter.to_string().repeat(15_000_000);
        let mut doc = world.insert("imaged", rawdoc! { "_id": "136", "s": fill('a') }).await;
        is_filled(&mut doc, 'a', 15_000_000).await;
        doc.update(rawdoc! { "$set": { "s": fill('b') } }).await;
        is_filled(&mut doc, 'b', 15_000_000).await;
        doc.delete().await;
        doc.is_gone().await;
    });
}

#[test]
fn input_137_looks_like_an_object_id() {
    run(async |world| {
        let id = ObjectId::from_bytes([0x37; 12]);
        let value = rawdoc! { "$oid": id.to_hex() };
        kept(world, "137 a", "v", value, &format!(r#"{{"v": {{"$oid": "{}"}}}}"#, id.to_hex())).await;
        kept(world, "137 b", "v", id, &format!(r#"{{"v": "{}"}}"#, id.to_hex())).await;
    });
}

#[test]
fn input_138_looks_like_a_decimal() {
    run(async |world| {
        let value = rawdoc! { "$numberDecimal": "abc" };
        kept(world, "138", "v", value, r#"{"v": {"$numberDecimal": "abc"}}"#).await;
    });
}

#[test]
fn input_139_nothing_but_an_id() {
    run(async |world| {
        let mut column = world.insert("typed", rawdoc! { "_id": "139" }).await;
        let mut json = world.insert("docs", rawdoc! { "_id": "139" }).await;
        column.is("num_nonnulls(s, i4, n, b, d, tz, ints, j, js, standard)", "0").await;
        json.is_json("doc", r#"{"_id": "139"}"#).await;
    });
}

#[test]
fn input_140_names_of_the_envelope() {
    run(async |world| {
        let document = rawdoc! { "_id": "140", "op": "d", "ts": 1, "before": {}, "after": RawBson::Null, "source": [] };
        let mut doc = world.insert("docs", document).await;
        let json = r#"{"_id": "140", "op": "d", "ts": 1, "before": {}, "after": null, "source": []}"#;
        doc.is_json("doc", json).await;
    });
}

#[test]
fn input_141_json_beyond_the_limit() {
    run(async |world| {
        // Three bytes of BSON become 67 bytes of JSON.
        let field = [0x06, 0xff, 0x00].repeat(4_200_000);
        let value = bytes::bytes(&[]);
        let length = i32::try_from(field.len() + 5).expect("short").to_le_bytes();
        let value = [&length[..], &field, &value[4..]].concat();
        let mut doc = world.insert("large", with_id("141", 0x03, b"j", value)).await;
        doc.is_dead("TOO_BIG").await;
        doc.delete().await;
        doc.is_gone().await;
    });
}
