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

#[test]
fn a_misfit_in_an_array_is_one_element() {
    let column = r#"{ reference = "u", misfit = "null" }"#;
    let rows = |document| counted(column, "texts", &document, Loss::Nulled);
    assert_eq!(rows(rawdoc! { "v": ["x", 5, "y"] }), (r#"a: 1 {"x",NULL,"y"}"#.to_owned(), 1));
    // No array at all, or one that is not rectangular, is a misfit as a whole.
    assert_eq!(rows(rawdoc! { "v": "x" }), ("a: 1 -".to_owned(), 1));
    assert_eq!(rows(rawdoc! { "v": [["x"], ["y", "z"]] }), ("a: 1 -".to_owned(), 1));
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
