//! One mapping with children: the rows, keys and refusals of its documents.

use bson::{RawBson, raw::RawDocument};

use super::*;
use crate::mapping::{Losses, Reject, Rejects, Rows, digest};
use crate::model::Reason;

const MAPPING: &str = r#"
namespace = "dns"
[collections.plans]
table = "app.plans"
id = "uuid5"
[collections.plans.columns]
city = "profile.address.city"
status = { default = "active" }
prefs = "settings"
owner_id = { path = "owner", reference = "plans" }
team_ids = { path = "teams", reference = "plans" }
[collections.plans.children.parts]
table = "app.parts"
parent = "plan_id"
order = "position"
id = "id"
[collections.plans.children.parts.columns]
title = "name"
[collections.plans.children.tags]
table = "app.tags"
parent = "plan_id"
[collections.plans.children.tags.columns]
tag = "$"
[collections.plans.children."inner.keyed"]
table = "app.keyed"
parent = "plan_id"
id = { column = "id", from = "code" }
"#;

fn column(name: &str, kind: ColumnType) -> Column {
    Column { has_default: true, ..Column::new(name, kind) }
}

fn required(name: &str, kind: ColumnType) -> Column {
    Column { not_null: true, ..column(name, kind) }
}

fn table(name: &str, key: &[&str], columns: Vec<Column>) -> Table {
    Table::new(TableName::new("app", name), key, columns)
}

fn plan() -> CollectionPlan {
    let catalog = Catalog {
        tables: vec![
            table(
                "plans",
                &["id"],
                vec![
                    required("id", ColumnType::Uuid),
                    required("title", ColumnType::Text),
                    column("city", ColumnType::Text),
                    required("status", ColumnType::Text),
                    column("prefs", ColumnType::Jsonb),
                    column("owner_id", ColumnType::Uuid),
                    column("team_ids", ColumnType::Array(Box::new(ColumnType::Uuid))),
                ],
            ),
            table(
                "parts",
                &["id"],
                vec![
                    required("id", ColumnType::Uuid),
                    required("plan_id", ColumnType::Uuid),
                    required("position", ColumnType::Int2),
                    column("title", ColumnType::Text),
                ],
            ),
            table(
                "tags",
                &["plan_id", "tag"],
                vec![required("plan_id", ColumnType::Uuid), required("tag", ColumnType::Text)],
            ),
            table(
                "keyed",
                &["id"],
                vec![
                    required("id", ColumnType::Uuid),
                    required("plan_id", ColumnType::Uuid),
                    column("code", ColumnType::Int4),
                ],
            ),
        ],
    };
    let file = MappingFile::parse(MAPPING, "plans.toml").expect("a mapping file");
    let plan = Plan::compile(&file, &catalog).expect("a plan");
    plan.collection("plans").expect("the collection").clone()
}

fn id() -> ObjectId {
    ObjectId::from_bytes([0xab; 12])
}

fn uuid5(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes())
}

fn fields(row: &Row) -> Vec<Option<&[u8]>> {
    row.fields().collect()
}

fn mapped(document: &RawDocumentBuf) -> Rows {
    plan().map(document).expect("rows")
}

fn refused(document: &RawDocumentBuf) -> (Reason, String, String) {
    let reject = plan().map(document).expect_err("a reject").first().clone();
    (reject.reason, reject.column.unwrap_or_default(), reject.path.unwrap_or_default())
}

/// The ids of the parts, which come first in their rows.
fn part_ids(document: &RawDocumentBuf) -> Vec<Uuid> {
    let rows = mapped(document);
    rows.tables[2].iter().map(|row| Uuid::from_slice(fields(row)[0].expect("an id")).expect("a UUID")).collect()
}

#[test]
fn a_document_becomes_its_rows() {
    let rows = mapped(&rawdoc! {
        "_id": id(),
        "title": "first",
        "profile": { "name": "x", "address": { "zip": 1, "city": "Bonn" } },
        "settings": { "a": [1, 2.5] },
        "owner": ObjectId::from_bytes([1; 12]),
        "teams": [ObjectId::from_bytes([2; 12]), "020202020202020202020202", null],
        "unmapped": { "anything": [1, 2, 3] },
        "parts": [{ "name": "one" }, { "_id": 7, "name": null }],
        "tags": ["a", "b"],
        "inner": { "keyed": [{ "code": 5 }] },
    });
    let root = uuid5("abababababababababababab");
    let team = uuid5("020202020202020202020202");
    let teams = format!("{{\"{team}\",\"{team}\",NULL}}");
    assert_eq!(
        fields(&rows.tables[0][0]),
        [
            Some(&root.as_bytes()[..]),
            Some(b"first"),
            Some(b"Bonn"),
            Some(b"active"),
            Some(b"\x01{\"a\":[1,2.5]}"),
            Some(uuid5("010101010101010101010101").as_bytes()),
            Some(teams.as_bytes()),
        ]
    );
    let [keyed, parts, tags] = &rows.tables[1..] else { panic!("three children, in the order of their paths") };
    let parts: Vec<_> = parts.iter().map(fields).collect();
    let first = Uuid::new_v5(&root, b"parts/index:0");
    let second = Uuid::new_v5(&root, b"parts/integer:7");
    assert_eq!(parts[0], [Some(&first.as_bytes()[..]), Some(root.as_bytes()), Some(&[0, 0]), Some(b"one")]);
    assert_eq!(parts[1], [Some(&second.as_bytes()[..]), Some(root.as_bytes()), Some(&[0, 1]), None]);
    let tags: Vec<_> = tags.iter().map(fields).collect();
    assert_eq!(tags, [[Some(&root.as_bytes()[..]), Some(b"a")], [Some(&root.as_bytes()[..]), Some(b"b")]]);
    let id = Uuid::new_v5(&root, b"inner.keyed/integer:5");
    assert_eq!(fields(&keyed[0]), [Some(&id.as_bytes()[..]), Some(root.as_bytes()), Some(&[0, 0, 0, 5])]);
    assert_eq!(rows.losses, Losses::default());
}

#[test]
fn input_134_absent_null_and_undefined() {
    let document = |settings: Option<RawBson>| {
        let mut document = rawdoc! { "_id": id(), "title": "t", "status": null, "profile": null };
        if let Some(settings) = settings {
            document.append(bson::raw::cstr!("settings"), settings);
        }
        let rows = mapped(&document);
        let row = fields(&rows.tables[0][0]).into_iter().map(|field| field.map(<[u8]>::to_vec)).collect::<Vec<_>>();
        assert_eq!((row[2].as_deref(), row[3].as_deref(), row[6].as_deref()), (None, Some(&b"active"[..]), None));
        row[4].clone().map(|json| String::from_utf8(json[1..].to_vec()).expect("UTF-8"))
    };
    assert_eq!(document(None), None);
    assert_eq!(document(Some(RawBson::Null)).as_deref(), Some("null"));
    assert_eq!(document(Some(RawBson::Undefined)).as_deref(), Some(r#"{"$driftless":"undefined"}"#));
}

#[rstest]
#[case::input_167_absent(rawdoc! { "_id": 1 }, Reason::NotNull, "title", "title")]
#[case::input_167_null(rawdoc! { "_id": 1, "title": null }, Reason::NotNull, "title", "title")]
#[case::input_031(rawdoc! { "_id": 1, "title": "\0" }, Reason::NulInText, "title", "title")]
#[case::no_id(rawdoc! { "title": "" }, Reason::Malformed, "", "")]
#[case::input_010(rawdoc! { "_id": null, "title": "" }, Reason::KeyUnsupported, "id", "_id")]
#[case::input_133_blocked(rawdoc! { "_id": 1, "title": "", "profile": 5 }, Reason::TypeMismatch, "city", "profile.address.city")]
#[case::input_128(rawdoc! { "_id": 1, "title": "", "teams": [[1], 2] }, Reason::TypeMismatch, "team_ids", "teams")]
#[case::scalar_among_documents(rawdoc! { "_id": 1, "title": "", "parts": [5] }, Reason::TypeMismatch, "", "parts")]
#[case::no_array(rawdoc! { "_id": 1, "title": "", "parts": {} }, Reason::TypeMismatch, "", "parts")]
#[case::bad_element(rawdoc! { "_id": 1, "title": "", "parts": [{ "name": true }] }, Reason::TypeMismatch, "title", "parts.name")]
#[case::twice(rawdoc! { "_id": 1, "title": "", "tags": ["a", "a"] }, Reason::UniqueConflict, "tag", "tags")]
#[case::same_element_id(rawdoc! { "_id": 1, "title": "", "parts": [{ "_id": 1 }, { "_id": 1.0 }] }, Reason::UniqueConflict, "id", "parts")]
#[case::no_key(rawdoc! { "_id": 1, "title": "", "inner": { "keyed": [{}] } }, Reason::NotNull, "id", "inner.keyed")]
fn refusals(#[case] document: RawDocumentBuf, #[case] reason: Reason, #[case] column: &str, #[case] path: &str) {
    assert_eq!(refused(&document), (reason, column.to_owned(), path.to_owned()));
}

#[test]
fn input_114_the_last_of_two_names_wins() {
    let rows = mapped(&rawdoc! { "_id": 1, "title": "a", "title": "b" });
    assert_eq!(fields(&rows.tables[0][0])[1], Some(&b"b"[..]));
    assert_eq!(rows.losses.of(Loss::DuplicateName), 1);
}

#[test]
fn input_024_spellings_of_one_letter_are_two_keys() {
    let key = |id: &str| plan().keys(&rawdoc! { "_id": id }).expect("a key");
    assert_ne!(key("caf\u{e9}"), key("cafe\u{301}"));
}

#[test]
fn input_122_123_140_fields_that_lead_nowhere_are_skipped() {
    let plain = mapped(&rawdoc! { "_id": 1, "title": "t" });
    let mut crowded = rawdoc! { "_id": 1, "op": "d", "ts": 1, "before": null, "": 5 };
    for at in 0..10_000 {
        crowded.append(bson::raw::CString::try_from(format!("field{at}")).expect("no NUL"), at);
    }
    crowded.append(bson::raw::CString::try_from("n".repeat(1 << 20)).expect("no NUL"), 1);
    crowded.append(bson::raw::cstr!("title"), "t");
    assert_eq!(mapped(&crowded), plain);
}

#[test]
fn input_127_a_million_elements() {
    let array: bson::RawArrayBuf = (0..1_000_000).map(RawBson::Int32).collect();
    let rows = mapped(&rawdoc! { "_id": 1, "title": "t", "settings": array });
    assert_eq!(fields(&rows.tables[0][0])[4].map(<[u8]>::len), Some(6_888_892));
}

#[test]
fn input_126_a_deep_document() {
    let mut deep = rawdoc! {};
    for _ in 0..5000 {
        deep = rawdoc! { "a": deep };
    }
    assert_eq!(refused(&rawdoc! { "_id": 1, "title": "", "settings": deep }).0, Reason::Depth);
}

/// Returns every refusal of a document, with the element that it is in.
fn all_refused(document: &RawDocumentBuf) -> Vec<String> {
    let rejects = plan().map(document).expect_err("a refusal");
    rejects
        .iter()
        .map(|reject| format!("{reject} ({}, {})", reject.element.as_deref().unwrap_or("no element"), reject.times))
        .collect()
}

#[test]
fn every_refusal_of_a_document_is_named() {
    let part = |name: RawBson| rawdoc! { "_id": 1, "name": name };
    let document = rawdoc! {
        "_id": 1,
        "profile": "no object",
        "owner": true,
        "parts": [part("a".into()), part(1.into()), part(RawBson::Array([1].into_iter().collect())), part(true.into()), "no object"],
        "tags": ["x", true],
        "inner": { "keyed": [{ "code": "no number" }] },
    };
    assert_eq!(
        all_refused(&document),
        [
            r#"NOT_NULL in column "title" at path "title" (no element, 1)"#,
            r#"TYPE_MISMATCH in column "city" at path "profile.address.city" (no element, 1)"#,
            r#"TYPE_MISMATCH in column "owner_id" at path "owner" (no element, 1)"#,
            r#"TYPE_MISMATCH in column "code" at path "inner.keyed.code" (inner.keyed[0].code, 1)"#,
            r#"TYPE_MISMATCH in column "title" at path "parts.name" (parts[2].name, 2)"#,
            r#"TYPE_MISMATCH at path "parts" (parts[4], 1)"#,
            r#"TYPE_MISMATCH in column "tag" at path "tags.$" (tags[1], 1)"#,
        ]
    );
}

#[test]
fn what_only_follows_from_a_refusal_is_none() {
    // Without an id, neither the row nor those below it have one.
    let document = rawdoc! { "_id": RawBson::Null, "title": "t", "tags": ["x", "x"], "parts": [{}] };
    assert_eq!(all_refused(&document), [r#"KEY_UNSUPPORTED in column "id" at path "_id" (no element, 1)"#]);
}

#[test]
fn a_text_of_many_refusals_is_bounded() {
    let reject = |name: &str| Reject { column: Some(name.to_owned()), ..Reject::new(Reason::NotNull) };
    let mut all = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "b"] {
        Rejects::note(&mut all, reject(name));
    }
    let text = Rejects::new(all).expect("refusals").to_string();
    assert!(text.starts_with("NOT_NULL in column \"a\"; ") && text.ends_with("\"e\"; and 2 more"), "{text}");
}

#[test]
fn child_ids_stay_when_other_elements_change() {
    let part = |id: i32| rawdoc! { "_id": id };
    let before = part_ids(&rawdoc! { "_id": 1, "title": "", "parts": [part(1), part(2), part(3)] });
    let after = part_ids(&rawdoc! { "_id": 1, "title": "", "parts": [part(9), part(3), part(2)] });
    assert_eq!((after[1], after[2]), (before[2], before[1]));
    assert!(!before.contains(&after[0]));
    let other = part_ids(&rawdoc! { "_id": 2, "title": "", "parts": [part(1)] });
    assert!(!before.contains(&other[0]));
}

#[test]
fn the_key_of_a_delete_is_the_key_of_its_row() {
    for id in [RawBson::ObjectId(id()), RawBson::Int32(5), RawBson::String("plan".to_owned())] {
        let document = rawdoc! { "_id": id.clone(), "title": "" };
        let rows = mapped(&document);
        let key = plan().keys(&rawdoc! { "_id": id }).expect("a key");
        assert_eq!(fields(&key), [fields(&rows.tables[0][0])[0]]);
        assert_eq!(rows.key, key);
    }
    assert_eq!(
        plan().keys(&rawdoc! { "_id": RawBson::Null }).map_err(|reject| reject.reason),
        Err(Reason::KeyUnsupported)
    );
    assert_eq!(plan().keys(&rawdoc! {}).map_err(|reject| reject.reason), Err(Reason::Malformed));
}

#[test]
fn a_digest_follows_the_bytes() {
    let (a, b) = (rawdoc! { "a": 1, "b": 2 }, rawdoc! { "b": 2, "a": 1 });
    assert_eq!(digest(&a), digest(&a.clone()));
    assert_ne!(digest(&a), digest(&b));
}

fn value() -> impl Strategy<Value = RawBson> {
    let leaf = prop_oneof![
        any::<String>().prop_map(RawBson::String),
        any::<i32>().prop_map(RawBson::Int32),
        any::<i64>().prop_map(RawBson::Int64),
        any::<f64>().prop_map(RawBson::Double),
        any::<bool>().prop_map(RawBson::Boolean),
        any::<[u8; 12]>().prop_map(|id| RawBson::ObjectId(ObjectId::from_bytes(id))),
        any::<i64>().prop_map(|ms| RawBson::DateTime(bson::DateTime::from_millis(ms))),
        any::<[u8; 16]>().prop_map(|bytes| RawBson::Decimal128(bson::Decimal128::from_bytes(bytes))),
        Just(RawBson::Null),
        Just(RawBson::Undefined),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| RawBson::Array(values.into_iter().collect())),
            proptest::collection::vec(("(_id|name|code|[^\0]{0,3})", inner), 0..4)
                .prop_map(|fields| RawBson::Document(document(fields))),
        ]
    })
}

fn document(fields: Vec<(String, RawBson)>) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    for (name, value) in fields {
        document.append(bson::raw::CString::try_from(name).expect("no NUL"), value);
    }
    document
}

proptest! {
    #[test]
    fn a_legal_document_gives_rows_or_a_reason(
        fields in proptest::collection::vec(("(_id|title|settings|owner|teams|parts|tags|inner|[^\0]{0,3})", value()), 0..10)
    ) {
        let plan = plan();
        if let Ok(rows) = plan.map(&document(fields)) {
            prop_assert_eq!(rows.tables.len(), plan.tables.len());
            prop_assert_eq!(rows.tables[0].len(), 1);
            for (rows, table) in rows.tables.iter().zip(&plan.tables) {
                for row in rows {
                    prop_assert_eq!(row.fields().count(), table.columns.len());
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let plan = plan();
        let mut framed = ((bytes.len() + 5) as i32).to_le_bytes().to_vec();
        framed.extend(&bytes);
        framed.push(0);
        let _ = plan.map(RawDocument::from_bytes(&framed).expect("framed"));

        let legal = rawdoc! {
            "_id": 1, "title": "t", "settings": { "a": [1, { "b": "c" }] }, "teams": ["x"], "parts": [{ "_id": 1 }],
        };
        let mut broken = legal.as_bytes().to_vec();
        let end = broken.len() - 1;
        for (at, byte) in flips {
            let at = 4 + at % (end - 4);
            broken[at] = byte;
        }
        let _ = plan.map(RawDocument::from_bytes(&broken).expect("framed"));
    }
}

#[test]
fn every_refused_element_of_an_array_column_is_counted_and_the_first_is_named() {
    let plan = compile(
        "[collections.a]\nid = \"uuid5\"\n[collections.a.children.items]\ntable = \"i\"\nid = \"id\"\n",
        &[("a", 1, "id:uuid! tags:texts ids:uuids"), ("i", 1, "id:uuid! tags:texts")],
    );
    let document = rawdoc! {
        "_id": 1, "tags": ["a", { "b": 1 }, "c", true], "ids": [5],
        "items": [{ "tags": [] }, { "tags": ["x", "y", [1, {}]] }],
    };
    let rejects = plan.map(&document).expect_err("refused");
    let told: Vec<_> = rejects.iter().map(|one| (one.element.clone().unwrap_or_default(), one.times)).collect();
    // The array of the last one is refused as a whole: it is not rectangular.
    assert_eq!(told[..2], [("tags[1]".to_owned(), 2), ("ids[0]".to_owned(), 1)]);
    assert_eq!(rejects.iter().nth(2).and_then(|one| one.path.as_deref()), Some("items.tags"));
}

#[test]
fn an_element_that_repeats_a_key_is_named_with_its_column() {
    let mapping = "[collections.a]\nid = \"uuid5\"\n[collections.a.children.items]\ntable = \"i\"\nparent = \"a_id\"\n\
                   filter = { path = \"code\", exists = true }\n";
    let plan = compile(mapping, &[("a", 1, "id:uuid!"), ("i", 2, "a_id:uuid! code:text!")]);
    let document = rawdoc! { "_id": 1, "items": [{ "code": "x" }, {}, { "code": "x" }, { "code": "x" }] };
    let rejects = plan.map(&document).expect_err("refused");
    let reject = rejects.first();
    assert_eq!(
        (reject.column.as_deref(), reject.element.as_deref(), reject.times),
        (Some("code"), Some("items[2]"), 2)
    );
}

#[test]
fn a_row_knows_the_element_that_it_is_made_of() {
    let mapping = "[collections.a]\nid = \"uuid5\"\n[collections.a.children.items]\ntable = \"i\"\nid = \"id\"\ndistinct = true\n\
                   [collections.a.children.items.children.parts]\ntable = \"p\"\nid = \"id\"\n\
                   [collections.a.children.one]\ntable = \"o\"\nshape = \"document\"\nid = \"id\"\n";
    let plan = compile(
        mapping,
        &[("a", 1, "id:uuid!"), ("i", 1, "id:uuid! x:int"), ("p", 1, "id:uuid! x:int"), ("o", 1, "id:uuid! x:int")],
    );
    let document = rawdoc! {
        "_id": 1, "one": { "x": 1 },
        "items": [{ "_id": 7 }, { "_id": 7 }, { "_id": 8, "parts": [{ "x": 1 }, { "x": 2 }] }],
    };
    let (rows, places) = plan.map_placed(&document).expect("rows");
    assert_eq!(rows, plan.map(&document).expect("rows"));
    assert_eq!(places[0], [""]);
    assert_eq!(places[1], ["items[0]", "items[2]"]);
    assert_eq!(places[2], ["items[2].parts[0]", "items[2].parts[1]"]);
    assert_eq!(places[3], ["one"]);
}
