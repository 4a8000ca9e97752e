use bson::{raw::RawBson, rawdoc};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn text(value: Value<'_>) -> Result<String, Reason> {
    let mut out = Vec::new();
    write(value, &mut Losses::default(), &mut out)?;
    Ok(String::from_utf8(out).expect("UTF-8"))
}

fn of(value: impl Into<RawBson>) -> String {
    let document = rawdoc! { "v": value.into() };
    let (_, value) = Raw::new(document.as_bytes()).fields().next().expect("a field").expect("a value");
    text(value).expect("JSON")
}

fn binary(subtype: u8, bytes: &[u8]) -> bson::Binary {
    bson::Binary { subtype: subtype.into(), bytes: bytes.to_vec() }
}

fn decimal(text: &str) -> bson::Decimal128 {
    text.parse().expect("a decimal")
}

#[rstest]
#[case::input_062_beyond_the_mantissa((1_i64 << 53) + 1, "9007199254740993")]
#[case(i64::MIN, "-9223372036854775808")]
#[case(1.5, "1.5")]
#[case::whole_double(1_700_000_000_000.0, "1700000000000")]
#[case(0.1, "0.1")]
#[case(1e22, "10000000000000000000000")]
#[case(4_611_686_018_427_387_904.0, "4611686018427387904")]
#[case::input_065_negative_zero(-0.0, "-0")]
#[case::input_066_nan(f64::NAN, r#"{"$driftless":"double","value":"NaN"}"#)]
#[case::input_067_infinity(f64::NEG_INFINITY, r#"{"$driftless":"double","value":"-Infinity"}"#)]
#[case(decimal("1.10"), "1.10")]
#[case(decimal("1E+6144"), "1.000000000000000000000000000000000E+6144")]
#[case::input_073(decimal("NaN"), r#"{"$driftless":"decimal","value":"NaN"}"#)]
#[case::input_048("null", "\"null\"")]
#[case::input_031_nul("a\0b", r#"{"$driftless":"text","base64":"YQBi"}"#)]
#[case::input_032_nul_only("\0", r#"{"$driftless":"text","base64":"AA=="}"#)]
#[case::input_033_six_characters("\\u0000", r#""\\u0000""#)]
#[case::input_040_noncharacters("\u{fffe}\u{ffff}", "\"\u{fffe}\u{ffff}\"")]
#[case::input_041_emoji("🦀", "\"🦀\"")]
#[case::input_042_bidi("\u{202e}\u{200b}", "\"\u{202e}\u{200b}\"")]
#[case::input_043_escapes("\u{1b}[31m\r\n\t\"", r#""\u001b[31m\r\n\t\"""#)]
#[case::input_101_symbol(RawBson::Symbol("s".to_owned()), "\"s\"")]
#[case::input_103_code(RawBson::JavaScriptCode("f()".into()), r#"{"$driftless":"code","code":"f()"}"#)]
#[case::input_100_undefined(RawBson::Undefined, r#"{"$driftless":"undefined"}"#)]
#[case::input_105_min_key(RawBson::MinKey, r#"{"$driftless":"minKey"}"#)]
#[case::input_105_max_key(RawBson::MaxKey, r#"{"$driftless":"maxKey"}"#)]
#[case::input_099_unsigned(bson::Timestamp { time: u32::MAX, increment: u32::MAX }, r#"{"$driftless":"timestamp","t":4294967295,"i":4294967295}"#)]
#[case::input_098_zero(bson::Timestamp { time: 0, increment: 0 }, r#"{"$driftless":"timestamp","t":0,"i":0}"#)]
#[case(bson::DateTime::from_millis(-1), "\"1969-12-31T23:59:59.999Z\"")]
#[case::input_086_date(bson::DateTime::from_millis(i64::MIN), r#"{"$driftless":"date","ms":-9223372036854775808}"#)]
#[case(bson::oid::ObjectId::from_bytes([0xab; 12]), "\"abababababababababababab\"")]
#[case::input_014_uuid(binary(4, &[0x11; 16]), "\"11111111-1111-1111-1111-111111111111\"")]
#[case::input_015_legacy_uuid(binary(3, &[0x11; 16]), r#"{"$driftless":"binary","subtype":3,"base64":"EREREREREREREREREREREQ=="}"#)]
#[case::uuid_of_three_bytes(binary(4, &[1, 2, 3]), r#"{"$driftless":"binary","subtype":4,"base64":"AQID"}"#)]
#[case::input_016_empty(binary(0, &[]), r#"{"$driftless":"binary","subtype":0,"base64":""}"#)]
#[case::input_109_user_subtype(binary(0x80, &[1]), r#"{"$driftless":"binary","subtype":128,"base64":"AQ=="}"#)]
#[case::input_106_regex(
    bson::Regex { pattern: bson::raw::cstr!("^\"a").into(), options: bson::raw::cstr!("zx").into() },
    r#"{"$driftless":"regex","pattern":"^\"a","options":"zx"}"#
)]
#[case::input_131_empty(rawdoc! {}, "{}")]
#[case::input_130_empty_arrays(bson::raw::RawArrayBuf::new(), "[]")]
#[case::input_134_null_and_undefined(rawdoc! { "a": null, "b": RawBson::Undefined }, r#"{"a":null,"b":{"$driftless":"undefined"}}"#)]
#[case::input_115_empty_name(rawdoc! { "": 1 }, r#"{"":1}"#)]
#[case::input_117_119_odd_names(rawdoc! { "$set": 1, "a\";--": 2, "a.b": 3 }, r#"{"$set":1,"a\";--":2,"a.b":3}"#)]
#[case::input_137_looks_like_an_object_id(rawdoc! { "$oid": "x" }, r#"{"$oid":"x"}"#)]
#[case::input_138_looks_like_a_decimal(rawdoc! { "$numberDecimal": "abc" }, r#"{"$numberDecimal":"abc"}"#)]
#[case::input_110_reference(rawdoc! { "$ref": "c", "$id": 1 }, r#"{"$ref":"c","$id":1}"#)]
#[case::looks_like_a_wrapper(rawdoc! { "$driftless": "text", "b": [1, {}] }, r#"{"$driftless":"object","fields":[["$driftless","text"],["b",[1,{}]]]}"#)]
#[case::scope(
    RawBson::JavaScriptCodeWithScope(bson::raw::RawJavaScriptCodeWithScope { code: "f".into(), scope: rawdoc! { "$driftless": 1 } }),
    r#"{"$driftless":"codeWithScope","code":"f","scope":{"$driftless":"object","fields":[["$driftless",1]]}}"#
)]
fn values(#[case] value: impl Into<RawBson>, #[case] expected: &str) {
    assert_eq!(of(value), expected);
}

#[rstest]
#[case::input_035_lone_surrogate(&[0xed, 0xa0, 0x80])]
#[case::input_036_low_surrogate(&[0xed, 0xb0, 0x80])]
#[case::input_037_overlong_nul(&[0xc0, 0x80])]
#[case::input_038_no_utf8(&[0xff])]
#[case::input_039_cut(&[0xf0, 0x9f, 0xa6])]
fn invalid_texts_are_wrapped(#[case] bytes: &[u8]) {
    let expected = format!(r#"{{"$driftless":"text","base64":"{}"}}"#, BASE64_STANDARD.encode(bytes));
    assert_eq!(text(Value::String(bytes)), Ok(expected));
}

#[test]
fn input_102_pointer() {
    let value = Value::DbPointer { namespace: b"a.b", id: [1; 12] };
    let expected = r#"{"$driftless":"dbPointer","namespace":"a.b","id":"010101010101010101010101"}"#;
    assert_eq!(text(value).as_deref(), Ok(expected));
}

#[test]
fn input_104_a_scope_of_90_levels() {
    let scope = nested(90);
    let value = Value::CodeWithScope { code: b"f", scope: Raw::new(&scope) };
    let text = text(value).expect("JSON");
    assert!(text.starts_with(r#"{"$driftless":"codeWithScope","code":"f","scope":{"#));
    assert_eq!(text.matches('{').count(), 91);
}

#[test]
fn input_141_more_than_jsonb_holds() {
    // Two texts of control characters, each six times as long in JSON.
    let half = "\u{1}".repeat(MAX_BYTES / 12);
    let mut array = bson::raw::RawArrayBuf::new();
    array.push(half.as_str());
    array.push(half.as_str());
    assert_eq!(text(Value::Array(Raw::new(array.as_bytes()))), Err(Reason::TooBig));
}

#[test]
fn a_name_that_is_no_utf8_wraps_its_object() {
    // {"\xff": null}
    let bytes = [8, 0, 0, 0, 0x0a, 0xff, 0, 0];
    let expected = r#"{"$driftless":"object","fields":[[{"$driftless":"text","base64":"/w=="},null]]}"#;
    assert_eq!(text(Value::Document(Raw::new(&bytes))).as_deref(), Ok(expected));
}

fn nested(levels: usize) -> Vec<u8> {
    let mut document = vec![5, 0, 0, 0, 0];
    for _ in 1..levels {
        let length = i32::try_from(document.len() + 8).expect("short").to_le_bytes();
        document = [&length[..], &[3, b'a', 0], &document, &[0]].concat();
    }
    document
}

#[rstest]
#[case::input_124(100, true)]
#[case::input_125(180, true)]
#[case(250, true)]
#[case(251, false)]
#[case::input_126(5000, false)]
fn depth(#[case] levels: usize, #[case] fits: bool) {
    let document = nested(levels);
    let expected = if fits { Ok(levels) } else { Err(Reason::Depth) };
    assert_eq!(text(Value::Document(Raw::new(&document))).map(|text| text.matches('{').count()), expected);
}

#[test]
fn input_079_many_huge_decimals() {
    let mut array = bson::raw::RawArrayBuf::new();
    for _ in 0..200_000 {
        array.push(decimal("1E+6144"));
    }
    assert_eq!(text(Value::Array(Raw::new(array.as_bytes()))), Err(Reason::Amplify));
}

#[test]
fn input_045_control_characters_grow_sixfold() {
    let bytes = vec![1; 1 << 20];
    assert_eq!(text(Value::String(&bytes)).map(|text| text.len()), Ok(6 * bytes.len() + 2));
}

#[test]
fn input_065_a_lost_sign_is_counted() {
    let mut losses = Losses::default();
    write(Value::Double(-0.0), &mut losses, &mut Vec::new()).expect("JSON");
    assert_eq!(losses.of(Loss::ZeroSign), 1);
}

/// Takes wrappers off again, as their reader would; what has none in JSON stays a JSON value.
fn unwrapped(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Array(values) => values.into_iter().map(unwrapped).collect(),
        serde_json::Value::Object(mut fields) => match fields.get("$driftless").and_then(|tag| tag.as_str()) {
            Some("object") => {
                let pairs: Vec<(String, serde_json::Value)> =
                    serde_json::from_value(fields.remove("fields").expect("fields")).expect("pairs");
                pairs.into_iter().map(|(name, value)| (name, unwrapped(value))).collect()
            }
            Some("text") => {
                let bytes = BASE64_STANDARD.decode(fields["base64"].as_str().expect("a text")).expect("base64");
                json!(String::from_utf8(bytes).expect("UTF-8"))
            }
            Some(other) => panic!("no wrapper of these values: {other}"),
            None => fields.into_iter().map(|(name, value)| (name, unwrapped(value))).collect(),
        },
        other => other,
    }
}

fn plain_json() -> impl Strategy<Value = serde_json::Value> {
    let name = prop_oneof![3 => "[a-z.$\"\\\\é]{0,4}", 1 => Just("$driftless".to_owned())];
    let leaf = prop_oneof![
        any::<String>().prop_map(|text| json!(text)),
        Just(json!("object")),
        any::<i64>().prop_map(|value| json!(value)),
        any::<bool>().prop_map(|value| json!(value)),
        Just(json!(null)),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(|values| json!(values)),
            proptest::collection::btree_map(name.clone(), inner, 0..5).prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    #[test]
    fn unwrapping_is_exact(value in plain_json()) {
        let stored = bson::serialize_to_raw_document_buf(&std::collections::BTreeMap::from([("v", &value)])).expect("BSON");
        let (_, raw) = Raw::new(stored.as_bytes()).fields().next().expect("a field").expect("a value");
        let written: serde_json::Value = serde_json::from_str(&text(raw).expect("JSON")).expect("valid JSON");
        prop_assert_eq!(unwrapped(written), value);
    }

    #[test]
    fn arbitrary_bytes_give_json_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = text(Value::Document(Raw::new(&bytes))) {
            serde_json::from_str::<serde_json::Value>(&text).expect("valid JSON");
        }
    }
}
