//! Collections with several kinds of documents.

use super::*;

const SPLIT: &str = r#"
[collections.a]
id = "integer"
filter = { path = "deleted", not = true }
split = { by = "kind", unlisted = "UNLISTED" }
[collections.a.variants.login]
is = ["login", "logout", 3]
table = "logins"
[collections.a.variants.buy]
table = "buys"
id_column = "event"
key = ["event"]
[collections.a.variants.buy.children.items]
table = "items"
parent = "buy"
columns.name = "$"
"#;

const SPLIT_TABLES: [(&str, usize, &str); 3] =
    [("logins", 1, "id:int! who:text"), ("buys", 1, "event:int! price:int"), ("items", 2, "buy:int! name:text!")];

#[rstest]
#[case::login(rawdoc! { "_id": 1, "kind": "logout", "who": "x" }, &["logins: 1 x"])]
#[case::number(rawdoc! { "_id": 1, "kind": 3.0, "who": "x" }, &["logins: 1 x"])]
#[case::buy(rawdoc! { "_id": 1, "kind": "buy", "price": 5, "items": ["p", "q"] }, &["buys: 1 5", "items: 1 p; 1 q"])]
#[case::unlisted(rawdoc! { "_id": 1, "kind": "x" }, &["TYPE_MISMATCH at path \"kind\""])]
#[case::no_kind(rawdoc! { "_id": 1 }, &["TYPE_MISMATCH at path \"kind\""])]
#[case::left_out(rawdoc! { "_id": 1, "kind": "x", "deleted": true }, &[])]
fn variants(#[case] document: RawDocumentBuf, #[case] expected: &[&str]) {
    let plan = compile(&SPLIT.replace("UNLISTED", "reject"), &SPLIT_TABLES);
    assert_eq!(rows(&plan, &document), expected);
    assert_eq!(plan.roots().map(|table| table.table.name.as_str()).collect::<Vec<_>>(), ["buys", "logins"]);
    let by = |key, column| Found::ById { key, column };
    assert_eq!(plan.tables.iter().map(|table| table.found).collect::<Vec<_>>(), [by(0, 0), by(0, 0), by(1, 0)]);
    let key = plan.keys(&document).expect("a key");
    assert_eq!(key.fields().collect::<Vec<_>>(), [Some(&[0, 0, 0, 1][..]); 2]);
    if let Ok(rows) = plan.map(&document) {
        assert_eq!(rows.key, key);
    }
}

#[test]
fn a_kind_that_is_not_listed_may_be_ignored() {
    let plan = compile(&SPLIT.replace("UNLISTED", "ignore"), &SPLIT_TABLES);
    let rows = plan.map(&rawdoc! { "_id": 1, "kind": "x" }).expect("no rows");
    assert_eq!(rows.tables, vec![Vec::<Row>::new(); 3]);
    assert_eq!(rows.losses.of(Loss::Unlisted), 1);
    assert_eq!(rows.key.fields().flatten().count(), 2);
}

const KINDS: &str = r#"
[collections.a]
id = "integer"
split = { by = "__t" }
[collections.a.variants.missing]
table = "people"
[collections.a.variants.Teacher]
table = "teachers"
"#;

#[rstest]
#[case::absent(rawdoc! { "_id": 1 }, "people: 1")]
#[case::null(rawdoc! { "_id": 1, "__t": null }, "people: 1")]
#[case::named(rawdoc! { "_id": 1, "__t": "Teacher" }, "teachers: 1")]
#[case::another(rawdoc! { "_id": 1, "__t": "Student" }, "TYPE_MISMATCH at path \"__t\"")]
#[case::the_word(rawdoc! { "_id": 1, "__t": "missing" }, "TYPE_MISMATCH at path \"__t\"")]
fn documents_without_a_kind(#[case] document: RawDocumentBuf, #[case] expected: &str) {
    let plan = compile(KINDS, &[("people", 1, "id:int!"), ("teachers", 1, "id:int!")]);
    assert_eq!(rows(&plan, &document), [expected]);
}

#[rstest]
#[case::value(r#"is = "missing""#, rawdoc! { "_id": 1, "__t": "missing" }, "people: 1")]
#[case::value_alone(r#"is = "missing""#, rawdoc! { "_id": 1 }, "TYPE_MISMATCH at path \"__t\"")]
#[case::both("is = \"Person\"\nmissing = true", rawdoc! { "_id": 1, "__t": "Person" }, "people: 1")]
#[case::both_missing("is = \"Person\"\nmissing = true", rawdoc! { "_id": 1 }, "people: 1")]
fn a_kind_with_and_without_a_value(#[case] keys: &str, #[case] document: RawDocumentBuf, #[case] expected: &str) {
    let text = KINDS.replace("table = \"people\"", &format!("table = \"people\"\n{keys}"));
    let plan = compile(&text, &[("people", 1, "id:int!"), ("teachers", 1, "id:int!")]);
    assert_eq!(rows(&plan, &document), [expected]);
}

#[test]
fn a_path_to_the_kind_that_leads_nowhere_is_no_missing_kind() {
    let plan = compile(&KINDS.replace("__t", "k.t"), &[("people", 1, "id:int!"), ("teachers", 1, "id:int!")]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "k": "x" }), ["TYPE_MISMATCH at path \"k.t\""]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "k": {} }), ["people: 1"]);
}
