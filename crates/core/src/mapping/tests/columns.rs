//! Columns: paths, defaults, conditions, references, the rest of a document.

use super::*;

// One text column `v`, filled as the case says; the row without its id.
#[rstest]
#[case::renamed(r#""x""#, rawdoc! { "x": "a" }, "a")]
#[case::first_candidate(r#"["x", "y"]"#, rawdoc! { "x": "a", "y": "b" }, "a")]
#[case::second_candidate(r#"["x", "y"]"#, rawdoc! { "y": "b" }, "b")]
#[case::null_is_passed_over(r#"{ path = ["x", "y"] }"#, rawdoc! { "x": null, "y": "b" }, "b")]
#[case::no_candidate(r#"["x", "y"]"#, rawdoc! {}, "-")]
#[case::blocked_gives_way(r#"["x.z", "x"]"#, rawdoc! { "x": "a" }, "a")]
#[case::blocked_refuses(r#"["x.z", "y"]"#, rawdoc! { "x": "a" }, r#"TYPE_MISMATCH in column "v" at path "x.z""#)]
#[case::the_chosen_path_is_named(r#"["x", "y"]"#, rawdoc! { "y": true }, r#"TYPE_MISMATCH in column "v" at path "y""#)]
#[case::default(r#"{ path = ["x", "y"], default = "d" }"#, rawdoc! { "x": null }, "d")]
#[case::constant(r#"{ constant = "c" }"#, rawdoc! { "v": "a" }, "c")]
#[case::index(r#""x.y[1]""#, rawdoc! { "x": { "y": ["a", "b"] } }, "b")]
#[case::index_beyond(r#""x.y[2]""#, rawdoc! { "x": { "y": ["a", "b"] } }, "-")]
#[case::index_of_no_array(r#""x[0]""#, rawdoc! { "x": "a" }, r#"TYPE_MISMATCH in column "v" at path "x[0]""#)]
#[case::bracket_in_a_name(r#"'x\[0]'"#, rawdoc! { "x[0]": "a" }, "a")]
#[case::when_it_holds(r#"{ path = "x", when = { path = "k", is = "a" } }"#, rawdoc! { "x": "v", "k": "a" }, "v")]
#[case::when_it_does_not(r#"{ path = "x", when = { path = "k", is = "a" } }"#, rawdoc! { "x": "v", "k": "b" }, "-")]
#[case::when_with_default(
    r#"{ path = "x", default = "d", when = { path = "k", not = ["a", 1] } }"#,
    rawdoc! { "x": "v", "k": 1.0 },
    "d"
)]
#[case::constant_when(r#"{ constant = "c", when = { path = "k", exists = true } }"#, rawdoc! { "k": null }, "-")]
#[case::when_of_several(
    r#"{ path = "x", when = [{ path = "k", is = ["a", "b"] }, { path = "l", exists = false }] }"#,
    rawdoc! { "x": "v", "k": "b" },
    "v"
)]
fn columns(#[case] column: &str, #[case] document: RawDocumentBuf, #[case] expected: &str) {
    let plan =
        compile(&format!("[collections.a]\nid = \"integer\"\ncolumns.v = {column}"), &[("a", 1, "id:int! v:text")]);
    let mut with_id = rawdoc! { "_id": 1 };
    for field in &document {
        let (name, value) = field.expect("a field");
        with_id.append(name, value);
    }
    let found = rows(&plan, &with_id);
    let expected = if expected.contains("column") { expected.to_owned() } else { format!("a: 1 {expected}") };
    assert_eq!(found, [expected]);
}

const REST: &str = r#"
[collections.a]
id = "integer"
[collections.a.columns]
city = "place.city"
other = { rest = true }
when = { path = "day", when = { path = "kind", is = "x" } }
[collections.a.children.parts]
table = "parts"
parent = "a_id"
order = "at"
columns.rest = { rest = true }
columns.of = "^.owner.name"
"#;

#[rstest]
#[case::nothing_left(rawdoc! { "_id": 1 }, "{}", &[])]
#[case::below_a_path(
    rawdoc! { "_id": 1, "place": { "city": "x", "zip": 5, "at": { "city": 1 } }, "kind": "a", "day": "d" },
    r#"{"place":{"zip":5,"at":{"city":1}},"kind":"a"}"#,
    &[]
)]
#[case::children_are_read(rawdoc! { "_id": 1, "parts": [{ "x": 1 }, {}], "y": 2 }, r#"{"y":2}"#, &[r#"{"x":1}"#, "{}"])]
#[case::what_a_child_reads_above(
    rawdoc! { "_id": 1, "parts": [{ "owner": 5 }], "owner": { "name": "n", "age": 3 } },
    r#"{"owner":{"age":3}}"#,
    &[r#"{"owner":5}"#]
)]
#[case::twice(rawdoc! { "_id": 1, "y": 1, "y": 2 }, r#"{"y":1,"y":2}"#, &[])]
fn rest(#[case] document: RawDocumentBuf, #[case] expected: &str, #[case] parts: &[&str]) {
    let tables =
        [("a", 1, "id:int! city:text other:jsonb when:text"), ("parts", 2, "a_id:int! at:int! rest:jsonb of:text")];
    let plan = compile(REST, &tables);
    let rows = plan.map(&document).expect("rows");
    let json = |row: &Row, at| String::from_utf8(row.field(at).expect("JSON")[1..].to_vec()).expect("UTF-8");
    assert_eq!(json(&rows.tables[0][0], 2), expected);
    assert_eq!(rows.tables[1].iter().map(|row| json(row, 2)).collect::<Vec<_>>(), parts);
}

#[test]
fn a_whole_document_and_a_whole_element() {
    let text = "[collections.a]\nid = \"integer\"\ncolumns.doc = \"$\"\n[collections.a.children.p]\ntable = \"p\"\n\
                parent = \"a_id\"\norder = \"at\"\ncolumns.doc = \"$\"\ncolumns.all = \"^.$\"";
    let plan = compile(text, &[("a", 1, "id:int! doc:jsonb"), ("p", 2, "a_id:int! at:int! doc:jsonb all:jsonb")]);
    let document = rawdoc! { "_id": 1, "p": [[1], null, "x"] };
    let all = r#"{"_id":1,"p":[[1],null,"x"]}"#;
    assert_eq!(
        rows(&plan, &document),
        [format!("a: 1 {all}"), format!("p: 1 0 [1] {all}; 1 1 null {all}; 1 2 \"x\" {all}")]
    );
}

const REFERENCES: &str = r#"
[collections.a]
id = "integer"
[collections.a.columns]
owner = { path = "o", id = "hex" }
owners = { path = "os", id = "uuid5" }
target = { path = "t", reference = { by = "kind", to = { user = "users", plan = "plans" } } }
user = { path = "t", reference = "users", when = { path = "kind", is = "user" } }
[collections.users]
id = "hex"
[collections.plans]
id = "text"
"#;

#[rstest]
#[case::own_rule(rawdoc! { "_id": 1, "o": oid(1) }, "a: 1 010101010101010101010101 - - -".to_owned())]
#[case::elements(
    rawdoc! { "_id": 1, "os": [oid(2)] },
    format!("a: 1 - {{\"{}\"}} - -", Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"020202020202020202020202"))
)]
#[case::user(rawdoc! { "_id": 1, "t": oid(3), "kind": "user" }, "a: 1 - - 030303030303030303030303 030303030303030303030303".to_owned())]
#[case::plan(rawdoc! { "_id": 1, "t": "p", "kind": "plan" }, "a: 1 - - p -".to_owned())]
#[case::wrong_rule(rawdoc! { "_id": 1, "t": "p", "kind": "user" },
    "TYPE_MISMATCH in column \"target\" at path \"t\"; TYPE_MISMATCH in column \"user\" at path \"t\"".to_owned())]
#[case::unknown_kind(rawdoc! { "_id": 1, "t": "p", "kind": "x" }, "TYPE_MISMATCH in column \"target\" at path \"t\"".to_owned())]
#[case::no_kind(rawdoc! { "_id": 1, "t": "p" }, "TYPE_MISMATCH in column \"target\" at path \"t\"".to_owned())]
#[case::nothing_to_convert(rawdoc! { "_id": 1, "kind": "x" }, "a: 1 - - - -".to_owned())]
fn references(#[case] document: RawDocumentBuf, #[case] expected: String) {
    let tables = [
        ("a", 1, "id:int! owner:text owners:uuids target:text user:text"),
        ("users", 1, "id:text!"),
        ("plans", 1, "id:text!"),
    ];
    assert_eq!(rows(&compile(REFERENCES, &tables), &document), [expected]);
}

#[rstest]
#[case::absent(rawdoc! { "_id": 1, "t": "p" }, "a: 1 p")]
#[case::null(rawdoc! { "_id": 1, "t": "p", "kind": null }, "a: 1 p")]
#[case::named(rawdoc! { "_id": 1, "t": oid(3), "kind": "user" }, "a: 1 030303030303030303030303")]
#[case::another(rawdoc! { "_id": 1, "t": "p", "kind": "x" }, "TYPE_MISMATCH in column \"v\" at path \"t\"")]
fn a_reference_without_a_kind(#[case] document: RawDocumentBuf, #[case] expected: &str) {
    let text = "[collections.a]\nid = \"integer\"\n\
                columns.v = { path = \"t\", reference = { by = \"kind\", to = { user = \"users\", missing = \"plans\" } } }\n\
                [collections.users]\nid = \"hex\"\n[collections.plans]\nid = \"text\"";
    let tables = [("a", 1, "id:int! v:text"), ("users", 1, "id:text!"), ("plans", 1, "id:text!")];
    assert_eq!(rows(&compile(text, &tables), &document), [expected]);
}

#[test]
fn losses_name_their_column() {
    let text =
        "[collections.a]\nid = \"integer\"\n[collections.a.children.p]\ntable = \"p\"\nparent = \"a\"\norder = \"at\"";
    let plan = compile(text, &[("a", 1, "id:int! n:int"), ("p", 2, "a:int! at:int! n:int")]);
    let rows = plan.map(&rawdoc! { "_id": 1, "n": -0.0, "p": [{ "n": -0.0 }, { "n": -0.0 }] }).expect("rows");
    let mut places: Vec<_> = rows.losses.iter().map(|loss| (loss.table, loss.column, loss.count)).collect();
    places.sort_unstable();
    assert_eq!(places, [(0, 1, 1), (1, 2, 2)]);
}
