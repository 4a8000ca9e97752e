//! Faults of children.

use super::*;

#[test]
fn children_are_checked() {
    let mut catalog = shop();
    catalog.tables[0].primary_key = vec!["plan_id".to_owned()];
    catalog.tables[0].columns[0].kind = ColumnType::Int4;
    let text = r#"
[collections.plans]
table = "app.plans"
id = "uuid"
[collections.plans.children.parts]
table = "app.parts"
parent = "plan_id"
order = "plan_id"
id = "id"
ignore = ["plan_id", "title"]
"#;
    assert_snapshot!(faults(text, &catalog), @r#"
    shop.toml:5:29: column "plan_id" is filled by two rules
        hint: name it once
    shop.toml:6:9: the primary key column "plan_id" of "app"."parts" is not written
        hint: fill it by `id`, `order`, `parent` or a column
    shop.toml:8:9: the order column "plan_id" of "app"."parts" is uuid
        hint: it takes the element's index: make it integer
    shop.toml:9:6: the id column "id" of "app"."parts" is int4
        hint: ids of child rows are UUIDs: make it uuid or text
    shop.toml:10:11: column "plan_id" of "app"."parts" is ignored, but it is filled by a rule of this mapping
        hint: remove it from `ignore`
    shop.toml:10:22: column "title" of "app"."parts" is ignored, but it is NOT NULL and has no default
        hint: remove it from `ignore`
    "#);
}

#[rstest]
#[case::whole("path = \"$\"", "`$` is the document itself, not a value in it")]
#[case::path_up("path = \"^.x\"", "`^.x` leads up, but a child is below its document")]
#[case::two_up("columns.v = \"^^.x\"", "`^^.x` leads above the document")]
#[case::document_in_order("shape = \"document\"", "a document has no order")]
#[case::names_of_an_array("map_key = \"v\"", "only a map has names for `map_key`")]
#[case::names_as_numbers("shape = \"map\"\nmap_key = \"at\"", "the map_key column \"at\" of \"app\".\"c\" is int4")]
#[case::two_rules("root = \"t_id\"", "column \"t_id\" is filled by two rules")]
#[case::rule_does_not_fit("id = { column = \"v\", rule = \"integer\" }", "which this id rule cannot fill")]
#[case::looked_up("id = { column = \"v\", rule = \"lookup\" }", "the id of an element is not looked up")]
#[case::type_without_rule("id = { column = \"v\", type = \"string\" }", "`type` has no effect without a `rule`")]
#[case::no_id_around(
    "[collections.t.children.cs.children.g]\ntable = \"app.g\"\nparent = \"c_id\"\nid = \"id\"",
    "`parent` has no id to take: the row around has none, and its key has several columns"
)]
#[case::other_type_around(
    "id = \"v\"\n[collections.t.children.cs.children.g]\ntable = \"app.g\"\nparent = \"c_id\"\nid = \"id\"",
    "the parent column \"c_id\" of \"app\".\"g\" is uuid, but the id it takes is text"
)]
fn faults_of_a_child(#[case] text: &str, #[case] expected: &str) {
    let text = format!("{T}{C}{text}");
    let found = match MappingFile::parse(&text, "shop.toml") {
        Ok(file) => Plan::compile(&file, &language()).expect_err("faults"),
        Err(faults) => faults,
    };
    let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(found.contains(expected), "{found}");
}

#[test]
fn empty_elements_are_those_of_an_array() {
    let catalog = Catalog {
        tables: vec![table(
            "a",
            &["id"],
            vec![Column::new("id", ColumnType::Text), Column::new("v", ColumnType::Text)],
        )],
    };
    let text = "[collections.a]\ntable = \"app.a\"\nid = \"text\"\ncolumns.v = { empty_elements = \"drop\" }";
    assert_snapshot!(faults(text, &catalog), @r#"
    shop.toml:4:32: `empty_elements` has no effect on text
        hint: it is for columns that hold an array, and for children
    "#);
}

#[test]
fn two_children_that_write_one_table_are_told_apart() {
    let child =
        |name: &str| format!("[collections.t.children.{name}]\ntable = \"app.c\"\nparent = \"t_id\"\norder = \"at\"\n");
    let found = faults(&format!("{T}{}{}", child("new"), child("old")), &language());
    assert!(found.contains("is written twice, for `t.new` (line 6) and for `t.old` (line 10)"), "{found}");
}
