use proptest::prelude::*;
use rstest::rstest;

use super::{rule::Strip, *};
use crate::mapping::{
    At, IdFile, LookupFile,
    target::{ColumnType, TableName},
    value::raw::{Raw, Value},
};
use crate::model::Reason;

const OID: [u8; 12] = [0x50, 0x7f, 0x1f, 0x77, 0xbc, 0xf8, 0x6c, 0xd7, 0x99, 0x43, 0x90, 0x11];
const HEX: &str = "507f1f77bcf86cd799439011";
const GUID: &str = "c02bb386-0c9e-5f4e-a2b9-7e8f3a6d1c05";
const GUID_BYTES: &[u8] = &0xc02b_b386_0c9e_5f4e_a2b9_7e8f_3a6d_1c05_u128.to_be_bytes();

fn step(rule: IdRule) -> IdStep {
    IdStep { rule, only: None, namespace: Uuid::NAMESPACE_DNS, lookup: None, strip: None }
}

fn only(rule: IdRule, only: IdType) -> IdStep {
    IdStep { only: Some(only), ..step(rule) }
}

fn uuid5(name: &str) -> Result<Id<'static>, Reason> {
    Ok(Id::Uuid(Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes())))
}

fn text(text: &str) -> Result<Id<'_>, Reason> {
    Ok(Id::Text(text.into()))
}

fn guid() -> Uuid {
    Uuid::try_parse(GUID).expect("a UUID")
}

// The UUIDs that Python's `uuid.uuid5(uuid.NAMESPACE_DNS, name)` gives.
#[rstest]
#[case("python.org", "886313e1-3b8a-5372-9b90-0c9aee199e5d")]
#[case(HEX, "ee0ed452-9acc-551c-beeb-f7c8d6d00853")]
fn golden_uuid5(#[case] name: &str, #[case] expected: &str) {
    let step = only(IdRule::Uuid5, IdType::String);
    assert_eq!(step.own(Value::String(name.as_bytes())), Ok(Id::Uuid(Uuid::try_parse(expected).expect("a UUID"))));
}

const NONE: Result<Id<'static>, Reason> = Err(Reason::KeyUnsupported);

#[rstest]
#[case::input_001_object_id(step(IdRule::Uuid5), Value::ObjectId(OID), uuid5(HEX))]
#[case::input_002_text_like_an_object_id(step(IdRule::Uuid5), Value::String(HEX.as_bytes()), NONE)]
#[case::input_002_in_upper_case(step(IdRule::Uuid5), Value::String(b"507F1F77BCF86CD799439011"), NONE)]
#[case::input_002_nothing_but_texts(only(IdRule::Uuid5, IdType::String), Value::String(HEX.as_bytes()), uuid5(HEX))]
#[case::input_002_text_rule(step(IdRule::Text), Value::ObjectId(OID), NONE)]
#[case::input_003_integer(step(IdRule::Uuid5), Value::Int32(1), uuid5("1"))]
#[case::input_003_text_like_an_integer(step(IdRule::Uuid5), Value::String(b"1"), NONE)]
#[case::input_004_equal_double(step(IdRule::Uuid5), Value::Double(1.0), uuid5("1"))]
#[case::input_005_exact(step(IdRule::Integer), Value::Int64((1 << 53) + 1), Ok(Id::Integer((1 << 53) + 1)))]
#[case::input_007_negative_zero(step(IdRule::Integer), Value::Double(-0.0), Ok(Id::Integer(0)))]
#[case::input_008_nan(step(IdRule::Uuid5), Value::Double(f64::NAN), Err(Reason::NonFinite))]
#[case::input_010_null(step(IdRule::Uuid5), Value::Null, NONE)]
#[case::input_012_boolean(step(IdRule::Uuid5), Value::Bool(true), NONE)]
#[case::input_013_date(step(IdRule::Uuid5), Value::DateTime(0), NONE)]
#[case::input_014_uuid(step(IdRule::Uuid), Value::Binary { subtype: 4, bytes: GUID_BYTES }, Ok(Id::Uuid(guid())))]
#[case::input_014_uuid5(step(IdRule::Uuid5), Value::Binary { subtype: 4, bytes: GUID_BYTES }, uuid5(GUID))]
#[case::input_015_legacy(step(IdRule::Uuid), Value::Binary { subtype: 3, bytes: GUID_BYTES }, NONE)]
#[case::input_016_empty_binary(step(IdRule::Uuid5), Value::Binary { subtype: 0, bytes: b"" }, NONE)]
#[case::input_018_document(step(IdRule::Uuid5), Value::Document(Raw::new(&[5, 0, 0, 0, 0])), NONE)]
#[case::input_021_empty_text(step(IdRule::Text), Value::String(b""), text(""))]
#[case::input_023_no_utf8(step(IdRule::Text), Value::String(&[0xff]), Err(Reason::BadUtf8))]
#[case::input_026_trailing_space(step(IdRule::Text), Value::String(b"a "), text("a "))]
#[case::input_027_min_key(step(IdRule::Uuid5), Value::MinKey, NONE)]
#[case::hex(step(IdRule::Hex), Value::ObjectId(OID), text(HEX))]
#[case::hex_of_text(step(IdRule::Hex), Value::String(HEX.as_bytes()), NONE)]
#[case::fraction(step(IdRule::Integer), Value::Double(1.5), Err(Reason::Lossy))]
#[case::uuid_text(step(IdRule::Uuid), Value::String(GUID.as_bytes()), NONE)]
#[case::uuid_text_allowed(only(IdRule::Uuid, IdType::String), Value::String(GUID.as_bytes()), Ok(Id::Uuid(guid())))]
#[case::uuid_in_upper_case(
    only(IdRule::Uuid, IdType::String),
    Value::String(b"C02BB386-0C9E-5F4E-A2B9-7E8F3A6D1C05"),
    NONE
)]
fn own_ids(#[case] step: IdStep, #[case] value: Value<'_>, #[case] expected: Result<Id<'_>, Reason>) {
    assert_eq!(step.own(value), expected);
}

// The expected values come from Python's `hashlib` and `uuid`.
#[rstest]
#[case(Value::ObjectId(OID), "e9b89e5b-13fd-a71c-49ef-084cb302ce94")]
#[case(Value::String(b"plan-1"), "1d4e0e9a-8d3b-32d4-f4db-809ac153bc46")]
#[case(Value::Int64(7), "8f14e45f-ceea-167a-5a36-dedd4bea2543")]
#[case(Value::Binary { subtype: 4, bytes: GUID_BYTES }, "ff8d0d77-7452-2dcb-5ac1-9f45e21ebb95")]
fn golden_md5(#[case] value: Value<'_>, #[case] expected: &str) {
    let expected = Uuid::try_parse(expected).expect("a UUID").into_bytes();
    assert_eq!(step(IdRule::Md5).own(value), Ok(Id::Md5(expected)));
    assert_eq!(step(IdRule::Md5).reference(value), Ok(Id::Md5(expected)));
}

#[rstest]
#[case(IdRule::PadLeft, "00000000-507f-1f77-bcf8-6cd799439011")]
#[case(IdRule::PadRight, "507f1f77-bcf8-6cd7-9943-901100000000")]
fn golden_padding(#[case] rule: IdRule, #[case] expected: &str) {
    let expected = Ok(Id::Uuid(Uuid::try_parse(expected).expect("a UUID")));
    assert_eq!(step(rule).own(Value::ObjectId(OID)), expected);
    assert_eq!(step(rule).reference(Value::String(HEX.as_bytes())), expected);
    assert_eq!(step(rule).own(Value::String(HEX.as_bytes())), NONE);
    assert_eq!(step(rule).own(Value::Int32(1)), NONE);
}

fn bytes(bytes: &[u8]) -> Result<Id<'_>, Reason> {
    Ok(Id::Bytes(bytes.into()))
}

#[rstest]
#[case(step(IdRule::Bytes), Value::ObjectId(OID), bytes(&OID))]
#[case(step(IdRule::Bytes), Value::Binary { subtype: 4, bytes: GUID_BYTES }, NONE)]
#[case(only(IdRule::Bytes, IdType::Uuid), Value::Binary { subtype: 4, bytes: GUID_BYTES }, bytes(GUID_BYTES))]
#[case(only(IdRule::Bytes, IdType::Uuid), Value::ObjectId(OID), NONE)]
#[case::input_016_empty(only(IdRule::Bytes, IdType::Binary), Value::Binary { subtype: 0, bytes: b"" }, bytes(b""))]
#[case(only(IdRule::Bytes, IdType::Binary), Value::Binary { subtype: 5, bytes: b"x" }, NONE)]
#[case(only(IdRule::Bytes, IdType::Binary), Value::Binary { subtype: 0, bytes: &[7; 2601] }, Err(Reason::KeyTooLong))]
#[case::md5_of_a_text_like_an_object_id(step(IdRule::Md5), Value::String(HEX.as_bytes()), NONE)]
#[case::binary_has_no_text(step(IdRule::Md5), Value::Binary { subtype: 0, bytes: b"x" }, NONE)]
#[case::wanted(step(IdRule::Lookup), Value::ObjectId(OID), Ok(Id::Wanted(HEX.into())))]
#[case::wanted_number(step(IdRule::Lookup), Value::Double(7.0), Ok(Id::Wanted("7".into())))]
#[case::wanted_text_like_an_object_id(step(IdRule::Lookup), Value::String(HEX.as_bytes()), NONE)]
fn more_own_ids(#[case] step: IdStep, #[case] value: Value<'_>, #[case] expected: Result<Id<'_>, Reason>) {
    assert_eq!(step.own(value), expected);
}

#[test]
fn each_rule_fits_the_columns_that_hold_its_keys() {
    let kinds = [ColumnType::Uuid, ColumnType::Varchar(Some(32)), ColumnType::Bytea, ColumnType::Int8];
    for (rule, expected) in [
        (IdRule::Md5, [true, true, false, false]),
        (IdRule::PadLeft, [true, false, false, false]),
        (IdRule::PadRight, [true, false, false, false]),
        (IdRule::Bytes, [false, false, true, false]),
        (IdRule::Lookup, [true, true, true, true]),
    ] {
        assert_eq!(kinds.each_ref().map(|kind| step(rule).fits(kind)), expected, "{rule:?}");
    }
    assert!(!step(IdRule::Lookup).fits(&ColumnType::Array(Box::new(ColumnType::Uuid))));
}

#[test]
fn a_lookup_names_its_table() {
    let at = |text: &str| At { value: text.to_owned(), line: 1, column: 1 };
    let file = IdFile {
        rule: IdRule::Lookup,
        only: None,
        namespace: Uuid::nil(),
        strip_prefix: None,
        strip_suffix: None,
        lookup: Some(LookupFile {
            table: At { value: TableName::new("app", "ids"), line: 1, column: 1 },
            from: at("old_id"),
            to: at("new_id"),
        }),
        column: None,
    };
    let expected = Lookup {
        table: TableName::new("app", "ids"),
        from: ("old_id".to_owned(), String::new()),
        to: "new_id".to_owned(),
    };
    assert_eq!(file.step().lookup(), Some(&expected));
}

#[test]
fn what_a_rule_strips_off() {
    let strips = |rule| IdStep {
        strip: Some(Box::new(Strip { prefix: Some("user:".to_owned()), suffix: None })),
        ..only(rule, IdType::String)
    };
    let value = |text: &'static str| Value::String(text.as_bytes());
    for (rule, own) in [(IdRule::Text, text("abc")), (IdRule::Uuid5, uuid5("abc"))] {
        assert_eq!(strips(rule).own(value("user:abc")), own);
        assert_eq!(strips(rule).reference(value("user:abc")), own);
        for other in [value("abc"), value("user:"), value("User:abc"), Value::Int32(1), Value::ObjectId(OID)] {
            assert_eq!(strips(rule).own(other), NONE);
            assert_eq!(strips(rule).reference(other), NO_REFERENCE);
        }
    }
    assert_eq!(strips(IdRule::Uuid).own(value("user:c02bb386-0c9e-5f4e-a2b9-7e8f3a6d1c05")), Ok(Id::Uuid(guid())));
}

const NO_REFERENCE: Result<Id<'static>, Reason> = Err(Reason::TypeMismatch);

#[rstest]
#[case(step(IdRule::Uuid5), Value::ObjectId(OID), uuid5(HEX))]
#[case::hex_text(step(IdRule::Uuid5), Value::String(HEX.as_bytes()), uuid5(HEX))]
#[case::upper_case(step(IdRule::Uuid5), Value::String(b"507F1F77BCF86CD799439011"), uuid5(HEX))]
#[case::uuid_in_upper_case(step(IdRule::Uuid5), Value::String(b"C02BB386-0C9E-5F4E-A2B9-7E8F3A6D1C05"), uuid5(GUID))]
#[case::other_text(step(IdRule::Uuid5), Value::String(b"plan-1"), uuid5("plan-1"))]
#[case::texts_only(
    only(IdRule::Uuid5, IdType::String),
    Value::String(b"507F1F77BCF86CD799439011"),
    uuid5("507F1F77BCF86CD799439011")
)]
#[case::no_object_id(only(IdRule::Uuid5, IdType::ObjectId), Value::String(b"plan-1"), NO_REFERENCE)]
#[case::object_ids_only(only(IdRule::Uuid5, IdType::ObjectId), Value::String(HEX.as_bytes()), uuid5(HEX))]
#[case::hex(step(IdRule::Hex), Value::String(b"507F1F77BCF86CD799439011"), text(HEX))]
#[case::hex_of_other_text(step(IdRule::Hex), Value::String(b"x"), NO_REFERENCE)]
#[case::text(step(IdRule::Text), Value::String(HEX.as_bytes()), text(HEX))]
#[case::text_of_object_id(step(IdRule::Text), Value::ObjectId(OID), NO_REFERENCE)]
#[case::integer(step(IdRule::Integer), Value::Double(7.0), Ok(Id::Integer(7)))]
#[case::integer_of_text(step(IdRule::Integer), Value::String(b"7"), NO_REFERENCE)]
#[case::uuid_text(step(IdRule::Uuid), Value::String(GUID.as_bytes()), Ok(Id::Uuid(guid())))]
#[case::input_052_no_uuid(step(IdRule::Uuid), Value::String(b"zz"), NO_REFERENCE)]
#[case::document(step(IdRule::Uuid5), Value::Document(Raw::new(&[5, 0, 0, 0, 0])), NO_REFERENCE)]
fn references(#[case] step: IdStep, #[case] value: Value<'_>, #[case] expected: Result<Id<'_>, Reason>) {
    assert_eq!(step.reference(value), expected);
}

#[test]
fn input_019_a_key_of_10_kb() {
    let long = vec![b'x'; 10_000];
    assert_eq!(step(IdRule::Text).own(Value::String(&long)), Err(Reason::KeyTooLong));
    assert!(step(IdRule::Uuid5).own(Value::String(&long)).is_ok());
}

#[test]
fn input_026_padded_and_folding_keys_are_refused() {
    for kind in [ColumnType::Bpchar(Some(40)), ColumnType::Citext] {
        assert!(!step(IdRule::Text).fits(&kind) && !step(IdRule::Hex).fits(&kind));
    }
    assert!(!step(IdRule::Hex).fits(&ColumnType::Varchar(Some(23))));
    assert!(step(IdRule::Hex).fits(&ColumnType::Varchar(Some(24))));
}

#[test]
fn child_ids_tell_kinds_and_paths_apart() {
    let root = guid();
    let ids = [
        child(root, "a", Value::Int32(1)),
        child(root, "a", Value::String(b"1")),
        Ok(child_at(root, "a", 1)),
        child(root, "b", Value::Int32(1)),
        child(Uuid::NAMESPACE_DNS, "a", Value::Int32(1)),
    ];
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id));
    }
    assert_eq!(child(root, "a", Value::Int32(1)), child(root, "a", Value::Double(1.0)));
    assert_eq!(child(root, "a", Value::Null), Err(Reason::KeyUnsupported));
}

proptest! {
    #[test]
    fn ids_of_different_documents_differ(a in any::<[u8; 12]>(), b in "[0-9a-f-]{0,36}", c: i64, d: u128) {
        let step = step(IdRule::Uuid5);
        let uuid = Uuid::from_u128(d);
        let ids: Vec<_> = [
            Value::ObjectId(a),
            Value::String(b.as_bytes()),
            Value::Int64(c),
            Value::Binary { subtype: 4, bytes: uuid.as_bytes() },
        ]
        .into_iter()
        .filter_map(|value| step.own(value).ok())
        .collect();
        for (at, id) in ids.iter().enumerate() {
            prop_assert!(!ids[..at].contains(id));
        }
    }

    #[test]
    fn a_reference_finds_its_document(id in any::<[u8; 12]>()) {
        for rule in [IdRule::Uuid5, IdRule::Hex] {
            let step = step(rule);
            let own = step.own(Value::ObjectId(id));
            let text = hex::encode_upper(id);
            prop_assert_eq!(&own, &step.reference(Value::ObjectId(id)));
            prop_assert_eq!(&own, &step.reference(Value::String(text.as_bytes())));
        }
    }
}
