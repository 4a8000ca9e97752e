//! Faults of keys, ids and their namespaces.

use super::*;

#[rstest]
#[case::input_002_object_ids_and_texts_never_share_a_key("hex", ColumnType::Uuid)]
#[case::input_026_padded_text("text", ColumnType::Bpchar(Some(10)))]
#[case::folding_text("text", ColumnType::Citext)]
#[case::number("uuid5", ColumnType::Int4)]
#[case::text("integer", ColumnType::Text)]
#[case::short("hex", ColumnType::Varchar(Some(23)))]
fn a_key_must_fit_its_rule(#[case] rule: &str, #[case] kind: ColumnType) {
    let catalog = Catalog { tables: vec![table("a", &["id"], vec![Column::new("id", kind)])] };
    let text = format!("namespace = \"dns\"\n[collections.a]\ntable = \"app.a\"\nid = \"{rule}\"");
    assert!(faults(&text, &catalog).contains("which this id rule cannot fill"));
}

#[rstest]
#[case::none(&[], Filled::ByUs, "no primary key")]
#[case::several(&["id", "b"], Filled::ByUs, "a primary key of several columns")]
#[case::input_170_generated(&["id"], Filled::Generated, "is filled by PostgreSQL")]
#[case::input_170_identity(&["id"], Filled::Identity, "is filled by PostgreSQL")]
fn a_key_must_be_ours(#[case] key: &[&str], #[case] filled: Filled, #[case] expected: &str) {
    let id = Column { filled, ..Column::new("id", ColumnType::Text) };
    let catalog = Catalog { tables: vec![table("a", key, vec![id, Column::new("b", ColumnType::Text)])] };
    let found = faults("[collections.a]\ntable = \"app.a\"\nid = \"text\"", &catalog);
    assert!(found.contains(expected), "{found}");
}

#[test]
fn ids_are_not_looked_up_into_an_array() {
    let mut catalog = language();
    let a = catalog.tables[0].columns.iter_mut().find(|column| column.name == "a").expect("the column");
    a.kind = ColumnType::Array(Box::new(ColumnType::Text));
    let rule = "columns.a = { id = { rule = \"lookup\", table = \"app.ids\", from = \"old\", to = \"new\" } }";
    let found = faults(&format!("{T}{rule}"), &catalog);
    assert!(found.contains("5:20: column \"a\" is text[], which this id rule cannot fill"), "{found}");
}

#[test]
fn ids_that_are_looked_up() {
    let mut catalog = language();
    catalog.tables[3].primary_key = vec!["old".to_owned()];
    let text = "namespace = \"dns\"\n[collections.t]\ntable = \"app.t\"\n\
                id = { rule = \"lookup\", table = \"app.ids\", from = \"old\", to = \"new\" }\n\
                [collections.t.children.cs]\ntable = \"app.c\"\nparent = \"t_id\"\norder = \"at\"";
    let plan = compile(text, &catalog).expect("a plan");
    for (table, column) in [(0, 0), (1, 0)] {
        let column = &plan.collections()[0].tables[table].columns[column];
        let lookup = column.lookup.as_ref().expect("a lookup");
        assert_eq!((lookup.from.0.as_str(), lookup.from.1.as_str(), lookup.to.as_str()), ("old", "text", "new"));
        assert_eq!((column.param_type.as_str(), column.sql_type.as_str()), ("text", "uuid"));
    }
}

#[test]
fn one_missing_namespace_is_one_fault() {
    let child = |name: &str| {
        let mut table =
            table(name, &["id"], vec![Column::new("id", ColumnType::Uuid), Column::new("plan_id", ColumnType::Text)]);
        table.columns[1].not_null = true;
        table
    };
    let plans = table("plans", &["id"], vec![Column::new("id", ColumnType::Text)]);
    let catalog = Catalog { tables: vec![plans, child("a"), child("b"), child("c")] };
    let children = |rule: &str| {
        let child = |name| {
            format!("[collections.plans.children.{name}]\ntable = \"app.{name}\"\nparent = \"plan_id\"\nid = \"id\"\n")
        };
        format!("[collections.plans]\ntable = \"app.plans\"\n{rule}\n{}", ["a", "b", "c"].map(child).concat())
    };
    assert_snapshot!(faults(&children("id = \"hex\""), &catalog), @r#"
    shop.toml:7:6: ids of child rows need a namespace, because the ids of the rows around them are not UUIDs (also on lines 11 and 15)
        hint: set `namespace` at the top of the file: dns, url, oid, x500 or a UUID
    "#);
    let plan = compile(&children("id = \"hex\"\nnamespace = \"dns\""), &catalog);
    assert!(plan.is_ok(), "{plan:?}");
}

#[test]
fn an_id_below_an_element_whose_id_is_no_uuid_needs_a_namespace() {
    let plans = table("plans", &["id"], vec![Column::new("id", ColumnType::Uuid)]);
    let mut parts =
        table("parts", &["id"], vec![Column::new("id", ColumnType::Text), Column::new("plan_id", ColumnType::Uuid)]);
    parts.columns[1].not_null = true;
    let bits =
        table("bits", &["id"], vec![Column::new("id", ColumnType::Uuid), Column::new("part_id", ColumnType::Text)]);
    let catalog = Catalog { tables: vec![plans, parts, bits] };
    let text = r#"
[collections.plans]
table = "app.plans"
id = "pad_left"
[collections.plans.children.parts]
table = "app.parts"
parent = "plan_id"
id = { column = "id", rule = "hex" }
[collections.plans.children.parts.children.bits]
table = "app.bits"
parent = "part_id"
id = "id"
"#;
    assert_snapshot!(faults(text, &catalog), @r#"
    shop.toml:12:6: ids of child rows need a namespace, because the ids of the rows around them are not UUIDs
        hint: set `namespace` at the top of the file: dns, url, oid, x500 or a UUID
    "#);
}

#[test]
fn a_key_that_pads_is_refused_with_what_to_do_and_so_is_what_refers_to_it() {
    let char = |name: &str| Column::new(name, ColumnType::Bpchar(Some(2)));
    let tables = vec![
        table("a", &["id"], vec![char("id"), char("other")]),
        table("b", &["a_id", "at"], vec![char("a_id"), Column::new("at", ColumnType::Int4)]),
    ];
    let text = "namespace = \"dns\"\n[collections.a]\ntable = \"app.a\"\nid = \"text\"\n\
                columns.other = { path = \"o\", reference = \"a\" }\n\
                [collections.a.children.bs]\ntable = \"app.b\"\nparent = \"a_id\"\norder = \"at\"";
    let found = faults(text, &Catalog { tables });
    assert!(found.contains("cannot hold an id of `a`"), "{found}");
    assert!(!found.contains("it takes is"), "{found}");
    assert_eq!(
        found.matches("it needs text or varchar: char(n) pads").count(),
        found.matches("hint: ").count(),
        "{found}"
    );
}
