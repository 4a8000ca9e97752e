//! Documents that a filter leaves out.

use super::*;
use crate::mapping::Reject;
use crate::model::Reason;

#[rstest]
#[case(r#"{ path = "k", is = "a" }"#, true, false, false)]
#[case(r#"{ path = "k", not = "a" }"#, false, true, true)]
#[case(r#"{ path = "k", exists = true }"#, true, true, false)]
#[case(r#"[{ path = "k", exists = true }, { path = "k", not = "a" }]"#, false, true, false)]
fn filters(#[case] filter: &str, #[case] a: bool, #[case] b: bool, #[case] null: bool) {
    let plan = compile(&format!("[collections.a]\nid = \"integer\"\nfilter = {filter}"), &[("a", 1, "id:int! k:text")]);
    let has_row = |document: RawDocumentBuf| {
        let rows = plan.map(&document).expect("rows");
        // A document that is left out must still be found, so that its rows can be removed.
        assert_eq!(rows.key, plan.keys(&rawdoc! { "_id": 1 }).expect("a key"));
        !rows.tables[0].is_empty()
    };
    let found = [
        has_row(rawdoc! { "_id": 1, "k": "a" }),
        has_row(rawdoc! { "_id": 1, "k": "b" }),
        has_row(rawdoc! { "_id": 1, "k": null }),
        has_row(rawdoc! { "_id": 1 }),
    ];
    assert_eq!(found, [a, b, null, null]);
}

#[test]
fn what_is_left_out_needs_no_key() {
    let text = "[collections.a]\nid = \"integer\"\nfilter = { path = \"k\", is = \"a\" }";
    let plan = compile(text, &[("a", 1, "id:int!")]);
    let rows = plan.map(&rawdoc! { "_id": "text" }).expect("no rows");
    assert_eq!((rows.tables, rows.key.fields().collect::<Vec<_>>()), (vec![vec![]], vec![None]));
    let rejects = plan.map(&rawdoc! { "k": "b" }).expect_err("no _id");
    assert_eq!(rejects.iter().collect::<Vec<_>>(), [&Reject::new(Reason::Malformed)]);
}

#[rstest]
#[case("value", r#"{ path = "$", exists = true }"#, true)]
#[case("value", r#"{ path = "$", type = "object" }"#, true)]
#[case("value", r#"{ path = "$", is = "value" }"#, false)]
fn the_whole_document_in_a_filter(#[case] value: &str, #[case] filter: &str, #[case] expected: bool) {
    let plan = compile(&format!("[collections.a]\nid = \"integer\"\nfilter = {filter}"), &[("a", 1, "id:int!")]);
    assert_eq!(!rows(&plan, &rawdoc! { "_id": 1, "k": value }).is_empty(), expected);
}
