//! Values that say nothing, are of another type, or carry what is no part of them.

use super::*;

fn with_id(document: &RawDocumentBuf) -> RawDocumentBuf {
    let mut with_id = rawdoc! { "_id": 1 };
    for field in document {
        let (name, value) = field.expect("a field");
        with_id.append(name, value);
    }
    with_id
}

/// The rows of a document with one column `v`, and how often something was counted.
fn counted(column: &str, kind: &str, document: &RawDocumentBuf, loss: Loss) -> (String, u64) {
    let text = format!("[collections.a]\nid = \"integer\"\ncolumns.v = {column}\n[collections.u]\nid = \"text\"");
    let plan = compile(&text, &[("a", 1, &format!("id:int! v:{kind}")), ("u", 1, "id:text!")]);
    let document = with_id(document);
    (rows(&plan, &document).join("\n"), plan.map(&document).map_or(0, |rows| rows.losses.of(loss)))
}

#[rstest]
#[case::an_empty_text_is_a_text(r#"["x", "y"]"#, rawdoc! { "x": "", "y": "b" }, "a: 1 ", 0)]
#[case::passed_over(r#"{ path = ["x", "y"], empty = "null" }"#, rawdoc! { "x": "", "y": "b" }, "a: 1 b", 1)]
#[case::first_counts(r#"{ path = ["x", "y"], empty = "null" }"#, rawdoc! { "x": "a", "y": "" }, "a: 1 a", 0)]
#[case::spaces(r#"{ path = ["x", "y"], empty = "null", trim = true }"#, rawdoc! { "x": " ", "y": "b" }, "a: 1 b", 1)]
#[case::spaces_are_a_text(r#"{ path = ["x", "y"], empty = "null" }"#, rawdoc! { "x": " ", "y": "b" }, "a: 1  ", 0)]
#[case::all_empty(r#"{ path = ["x", "y"], empty = "null" }"#, rawdoc! { "x": "", "y": "" }, "a: 1 -", 2)]
#[case::default(r#"{ path = ["x", "y"], empty = "null", default = "d" }"#, rawdoc! { "x": "" }, "a: 1 d", 1)]
#[case::blocked_refuses(
    r#"{ path = ["x", "y.z"], empty = "null" }"#,
    rawdoc! { "x": "", "y": 1 },
    r#"TYPE_MISMATCH in column "v" at path "y.z""#,
    0
)]
#[case::named_values(r#"{ path = ["x", "y"], null_values = ["N/A", "0"] }"#, rawdoc! { "x": "N/A", "y": 0 }, "a: 1 -", 2)]
#[case::named_value_gives_way(r#"{ path = ["x", "y"], null_values = "-" }"#, rawdoc! { "x": "-", "y": "b" }, "a: 1 b", 1)]
#[case::other_values(r#"{ path = "x", null_values = "N/A" }"#, rawdoc! { "x": "n/a" }, "a: 1 n/a", 0)]
#[case::reference(r#"{ path = "x", reference = "u", empty = "null" }"#, rawdoc! { "x": "" }, "a: 1 -", 1)]
fn values_that_say_nothing(
    #[case] column: &str,
    #[case] document: RawDocumentBuf,
    #[case] expected: &str,
    #[case] emptied: u64,
) {
    assert_eq!(counted(column, "text", &document, Loss::Emptied), (expected.to_owned(), emptied));
}

#[test]
fn an_empty_text_gives_way_in_json_too() {
    let column = r#"{ path = ["x", "y"], empty = "null" }"#;
    let rows = |document| counted(column, "jsonb", &document, Loss::Emptied).0;
    assert_eq!(rows(rawdoc! { "x": "", "y": [1] }), "a: 1 [1]");
    assert_eq!(rows(rawdoc! { "x": "", "y": null }), "a: 1 null");
    assert_eq!(rows(rawdoc! { "x": "" }), "a: 1 -");
}

const REFUSED: &str = r#"TYPE_MISMATCH in column "v" at path "x""#;

#[rstest]
#[case::taken(r#"{ path = "x", type = ["objectId", "string"] }"#, rawdoc! { "x": "a" }, "a: 1 a")]
#[case::refused(r#"{ path = "x", type = ["objectId", "string"] }"#, rawdoc! { "x": 5 }, REFUSED)]
#[case::null_is_no_value(r#"{ path = "x", type = "string" }"#, rawdoc! { "x": null }, "a: 1 -")]
#[case::else_null(r#"{ path = "x", type = ["objectId", "string"], misfit = "null" }"#, rawdoc! { "x": 5 }, "a: 1 -")]
#[case::number(r#"{ path = "x", type = "number" }"#, rawdoc! { "x": 5.5 }, "a: 1 5.5")]
#[case::when(r#"{ path = "x", when = { path = "x", type = ["objectId", "string"] } }"#, rawdoc! { "x": 5 }, "a: 1 -")]
#[case::when_it_holds(r#"{ path = "x", when = { path = "x", type = "int" } }"#, rawdoc! { "x": 5 }, "a: 1 5")]
#[case::mixed_id(r#"{ path = "_id", type = "string", misfit = "null" }"#, rawdoc! {}, "a: 1 -")]
#[case::prefix(r#"{ path = "x", strip_prefix = "_User$" }"#, rawdoc! { "x": "_User$abc" }, "a: 1 abc")]
#[case::other_prefix(r#"{ path = "x", strip_prefix = "_User$" }"#, rawdoc! { "x": "Team$abc" }, REFUSED)]
#[case::prefix_alone(r#"{ path = "x", strip_prefix = "_User$" }"#, rawdoc! { "x": "_User$" }, REFUSED)]
#[case::no_text(r#"{ path = "x", strip_prefix = "_User$" }"#, rawdoc! { "x": 5 }, REFUSED)]
#[case::else_null(r#"{ path = "x", strip_prefix = "_User$", misfit = "null" }"#, rawdoc! { "x": "abc" }, "a: 1 -")]
#[case::missing(r#"{ path = "x", strip_prefix = "_User$" }"#, rawdoc! {}, "a: 1 -")]
#[case::both_ends(
    r#"{ path = "x", strip_prefix = "ObjectId('", strip_suffix = "')" }"#,
    rawdoc! { "x": "ObjectId('abc')" },
    "a: 1 abc"
)]
#[case::overlapping(r#"{ path = "x", strip_prefix = "aba", strip_suffix = "bab" }"#, rawdoc! { "x": "abab" }, REFUSED)]
#[case::trimmed_first(r#"{ path = "x", strip_prefix = "p:", trim = true }"#, rawdoc! { "x": " p:a " }, "a: 1 a")]
#[case::then_translated(
    r#"{ path = "x", strip_prefix = "p:", translate = { a = "b" } }"#,
    rawdoc! { "x": "p:a" },
    "a: 1 b"
)]
#[case::then_referred_to(
    r#"{ path = "x", strip_prefix = "_User$", reference = "u" }"#,
    rawdoc! { "x": "_User$abc" },
    "a: 1 abc"
)]
#[case::never_hashed(r#"{ path = "x", strip_prefix = "_User$", reference = "u" }"#, rawdoc! { "x": "abc" }, REFUSED)]
fn types_and_prefixes(#[case] column: &str, #[case] document: RawDocumentBuf, #[case] expected: &str) {
    assert_eq!(counted(column, "text", &document, Loss::Nulled).0, expected);
}

#[rstest]
#[case::as_before("{}", r#"{"a","",NULL}"#, 0)]
#[case::drop(r#"{ empty_elements = "drop" }"#, r#"{"a"}"#, 2)]
#[case::null(r#"{ empty_elements = "null" }"#, r#"{"a",NULL,NULL}"#, 0)]
#[case::reject(r#"{ empty_elements = "reject" }"#, r#"NOT_NULL in column "v" at path "v""#, 0)]
#[case::by_empty(r#"{ empty = "null" }"#, r#"{"a",NULL,NULL}"#, 0)]
#[case::drop_beside_empty(r#"{ empty_elements = "drop", empty = "null" }"#, r#"{"a"}"#, 2)]
fn empty_elements(#[case] column: &str, #[case] expected: &str, #[case] dropped: u64) {
    let (found, counted) = counted(column, "texts", &rawdoc! { "v": ["a", "", null] }, Loss::Dropped);
    assert_eq!((found.trim_start_matches("a: 1 "), counted), (expected, dropped));
}

#[rstest]
#[case::all(rawdoc! { "v": ["", null] }, "a: 1 {}")]
#[case::named_and_trimmed(rawdoc! { "v": ["x", " ", "N/A"] }, r#"a: 1 {"x"}"#)]
#[case::rectangular(rawdoc! { "v": [["x", ""], [null, "y"]] }, r#"a: 1 {{"x"},{"y"}}"#)]
#[case::ragged(rawdoc! { "v": [["x", ""], ["y", "z"]] }, r#"TYPE_MISMATCH in column "v" at path "v""#)]
#[case::nested_and_empty(rawdoc! { "v": [[""], [null]] }, "a: 1 {}")]
fn dropped_elements_have_no_place(#[case] document: RawDocumentBuf, #[case] expected: &str) {
    let column = r#"{ empty_elements = "drop", trim = true, null_values = "N/A" }"#;
    assert_eq!(counted(column, "texts", &document, Loss::Dropped).0, expected);
}

const JUNCTION: &str = r#"
[collections.a]
id = "integer"
[collections.a.children.w]
table = "w"
parent = "a_id"
KEYS
columns.user = { path = "$", reference = "u" }
[collections.u]
id = "text"
"#;

#[rstest]
#[case::as_before("", r#"NOT_NULL in column "user" at path "w.$""#, 0)]
#[case::drop(r#"empty_elements = "drop""#, "a: 1\nw: 1 x; 1 y", 2)]
#[case::reject(r#"empty_elements = "reject""#, r#"NOT_NULL at path "w""#, 0)]
#[case::filter(r#"filter = { path = "$", type = "string" }"#, "a: 1\nw: 1 x; 1 ; 1 y", 0)]
#[case::filter_values(r#"filter = [{ path = "$", exists = true }, { path = "$", not = "" }]"#, "a: 1\nw: 1 x; 1 y", 0)]
fn empty_elements_of_a_child(#[case] keys: &str, #[case] expected: &str, #[case] dropped: u64) {
    let tables = [("a", 1, "id:int!"), ("w", 2, "a_id:int! user:text!"), ("u", 1, "id:text!")];
    let plan = compile(&JUNCTION.replace("KEYS", keys), &tables);
    let document = rawdoc! { "_id": 1, "w": ["x", "", null, "y"] };
    assert_eq!(rows(&plan, &document).join("\n"), expected);
    assert_eq!(plan.map(&document).map_or(0, |rows| rows.losses.of(Loss::Dropped)), dropped);
}

#[test]
fn a_dropped_element_leaves_its_place() {
    let text = "[collections.a]\nid = \"integer\"\n[collections.a.children.p]\ntable = \"p\"\nparent = \"a\"\norder = \"at\"\n\
                empty_elements = \"drop\"\ncolumns.v = { path = \"$\", trim = true, null_values = \"-\" }";
    let plan = compile(text, &[("a", 1, "id:int!"), ("p", 2, "a:int! at:int! v:text")]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "p": ["x", null, " ", "-", "y"] }), ["a: 1", "p: 1 0 x; 1 4 y"]);
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

#[rstest]
#[case("value", r#"{ path = "$", exists = true }"#, true)]
#[case("value", r#"{ path = "$", type = "object" }"#, true)]
#[case("value", r#"{ path = "$", is = "value" }"#, false)]
fn the_whole_document_in_a_filter(#[case] value: &str, #[case] filter: &str, #[case] expected: bool) {
    let plan = compile(&format!("[collections.a]\nid = \"integer\"\nfilter = {filter}"), &[("a", 1, "id:int!")]);
    assert_eq!(!rows(&plan, &rawdoc! { "_id": 1, "k": value }).is_empty(), expected);
}

#[test]
fn a_misfit_in_an_array_is_one_element() {
    let column = r#"{ reference = "u", misfit = "null" }"#;
    let rows = |document| counted(column, "texts", &document, Loss::Nulled);
    assert_eq!(rows(rawdoc! { "v": ["x", 5, "y"] }), (r#"a: 1 {"x",NULL,"y"}"#.to_owned(), 1));
    // No array at all, or one that is not rectangular, is a misfit as a whole.
    assert_eq!(rows(rawdoc! { "v": "x" }), ("a: 1 -".to_owned(), 1));
    assert_eq!(rows(rawdoc! { "v": [["x"], ["y", "z"]] }), ("a: 1 -".to_owned(), 1));
}

#[rstest]
#[case::own_id(rawdoc! { "_id": "s" }, "settings/string:s")]
#[case::none(rawdoc! { "theme": "dark" }, "settings/index:0")]
fn ids_of_an_embedded_document(#[case] settings: RawDocumentBuf, #[case] name: &str) {
    let text = "[collections.a]\nid = \"uuid5\"\n[collections.a.children.settings]\nshape = \"document\"\ntable = \"s\"\nid = \"id\"";
    let plan = compile(text, &[("a", 1, "id:uuid!"), ("s", 1, "id:uuid! theme:text")]);
    let root = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"r");
    let own = Uuid::new_v5(&root, name.as_bytes()).simple().to_string()[..4].to_owned();
    let found = rows(&plan, &rawdoc! { "_id": "r", "settings": settings });
    assert!(found[1].starts_with(&format!("s: {own} ")), "{found:?}");
}

/// A whole double is the same number in every sort of column, in comparisons and in translations.
#[test]
fn a_whole_double_is_one_number_everywhere() {
    let text = r#"
[collections.a]
id = "integer"
columns.text = "n"
columns.json = "n"
columns.texts = "ns"
columns.known = { path = "n", translate = { 4611686018427387904 = "2^62" } }
columns.equal = { constant = true, when = { path = "n", is = 4611686018427387904 } }
"#;
    let plan = compile(text, &[("a", 1, "id:int! text:text json:jsonb texts:texts known:text equal:bool")]);
    let n = 4_611_686_018_427_387_904_i64;
    let long = rows(&plan, &rawdoc! { "_id": 1, "n": n, "ns": [n] });
    assert_eq!(long, [format!("a: 1 {n} {n} {{\"{n}\"}} 2^62 true")]);
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "n": n as f64, "ns": [n as f64] }), long);
}

#[rstest]
#[case::object_id("010101010101010101010101", "a: 1\nm: 1 010101010101010101010101 5")]
#[case::upper_case_is_the_same("0A0A0A0A0A0A0A0A0A0A0A0A", "a: 1\nm: 1 0a0a0a0a0a0a0a0a0a0a0a0a 5")]
#[case::no_id("x", "TYPE_MISMATCH in column \"user\" at path \"m\"")]
fn names_of_a_map_that_are_ids(#[case] name: &str, #[case] expected: &str) {
    for key in [r#"{ column = "user", reference = "u" }"#, r#"{ column = "user", id = "hex" }"#] {
        let text = format!(
            "[collections.a]\nid = \"integer\"\n[collections.a.children.m]\nshape = \"map\"\ntable = \"m\"\nparent = \"a_id\"\n\
             map_key = {key}\ncolumns.v = \"$\"\n[collections.u]\nid = \"hex\""
        );
        let plan = compile(&text, &[("a", 1, "id:int!"), ("m", 2, "a_id:int! user:text! v:int"), ("u", 1, "id:text!")]);
        let mut entries = RawDocumentBuf::new();
        entries.append(bson::raw::CString::try_from(name).expect("no NUL"), 5);
        assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "m": entries }).join("\n"), expected);
    }
}

#[rstest]
#[case::ids(r#"{ column = "user", reference = "u" }"#, "text", "0a0a0a0a0a0a0a0a0a0a0a0a", "0A0A0A0A0A0A0A0A0A0A0A0A")]
#[case::uuids(r#""user""#, "uuid", "c02bb386-0c9e-5f4e-a2b9-7e8f3a6d1c05", "C02BB386-0C9E-5F4E-A2B9-7E8F3A6D1C05")]
fn two_names_of_one_id_are_one_key(#[case] key: &str, #[case] kind: &str, #[case] lower: &str, #[case] upper: &str) {
    let text = format!(
        "[collections.a]\nid = \"integer\"\n[collections.a.children.m]\nshape = \"map\"\ntable = \"m\"\nparent = \"a_id\"\n\
         map_key = {key}\ncolumns.v = \"$\"\n[collections.u]\nid = \"hex\""
    );
    let m = format!("a_id:int! user:{kind}! v:int");
    let plan = compile(&text, &[("a", 1, "id:int!"), ("m", 2, &m), ("u", 1, "id:text!")]);
    let mut entries = RawDocumentBuf::new();
    for name in [lower, upper] {
        entries.append(bson::raw::CString::try_from(name).expect("no NUL"), 5);
    }
    assert_eq!(rows(&plan, &rawdoc! { "_id": 1, "m": entries }), ["UNIQUE_CONFLICT at path \"m\""]);
}
