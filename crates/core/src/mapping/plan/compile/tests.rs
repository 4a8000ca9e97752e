use insta::assert_snapshot;
use rstest::rstest;

use super::*;
use crate::mapping::{Found, TablePlan, plan::target::ForeignKey};

fn column(name: &str, kind: ColumnType) -> Column {
    let sql_type = kind.to_string();
    Column {
        name: name.to_owned(),
        folds: false,
        kind,
        sql_type,
        not_null: false,
        has_default: false,
        filled: Filled::ByUs,
    }
}

fn table(name: &str, key: &[&str], columns: Vec<Column>) -> Table {
    Table {
        name: TableName::new("app", name),
        columns,
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
        uniques: Vec::new(),
        foreign_keys: Vec::new(),
    }
}

fn foreign_key(column: &str, parent: &str) -> ForeignKey {
    ForeignKey {
        name: format!("{column}_fkey"),
        columns: vec![column.to_owned()],
        parent: TableName::new("app", parent),
        parent_columns: vec!["id".to_owned()],
    }
}

fn shop() -> Catalog {
    let mut users = table(
        "users",
        &["id"],
        vec![
            column("id", ColumnType::Uuid),
            column("email", ColumnType::Citext),
            column("manager_id", ColumnType::Uuid),
            Column { filled: Filled::Generated, ..column("search", ColumnType::Text) },
            column("created", ColumnType::Timestamp { precision: 6 }),
        ],
    );
    users.foreign_keys = vec![foreign_key("manager_id", "users")];
    users.uniques = vec![vec!["email".to_owned()]];
    let mut plans = table(
        "plans",
        &["id"],
        vec![
            column("id", ColumnType::Uuid),
            column("owner_id", ColumnType::Uuid),
            column("tags", ColumnType::Array(Box::new(ColumnType::Text))),
        ],
    );
    plans.foreign_keys = vec![foreign_key("owner_id", "users")];
    let parts = table(
        "parts",
        &["id"],
        vec![
            column("id", ColumnType::Uuid),
            column("plan_id", ColumnType::Uuid),
            column("position", ColumnType::Int4),
            Column { not_null: true, ..column("title", ColumnType::Varchar(Some(80))) },
        ],
    );
    Catalog { tables: vec![parts, plans, users] }
}

const SHOP: &str = r#"
namespace = "dns"
[collections.plans]
table = "app.plans"
id = "uuid5"
[collections.plans.columns]
owner_id = { path = "owner", reference = "users" }
[collections.plans.children.parts]
table = "app.parts"
parent = "plan_id"
order = "position"
id = "id"
[collections.users]
table = "app.users"
id = "uuid5"
[collections.users.columns]
manager_id = { path = "manager", reference = "users" }
"#;

fn compile(text: &str, catalog: &Catalog) -> Result<Plan, Vec<Fault>> {
    Plan::compile(&MappingFile::parse(text, "shop.toml").expect("a mapping file"), catalog)
}

fn faults(text: &str, catalog: &Catalog) -> String {
    let faults = compile(text, catalog).expect_err("faults");
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_plan_names_columns_keys_and_order() {
    let plan = compile(SHOP, &shop()).expect("a plan");
    let [plans, users] = plan.collections() else { panic!("two collections") };
    assert_eq!((plans.collection.as_str(), users.collection.as_str()), ("plans", "users"));
    let [root, parts] = plans.tables.as_slice() else { panic!("two tables") };
    let names = |table: &TablePlan| table.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(root), ["id", "owner_id", "tags"]);
    assert_eq!(names(parts), ["id", "plan_id", "position", "title"]);
    assert_eq!(names(&users.tables[0]), ["id", "email", "manager_id", "created"]);
    assert_eq!((root.key.as_slice(), root.found), (&[0][..], Found::ById { key: 0, column: 0 }));
    assert_eq!((parts.key.as_slice(), parts.found), (&[0][..], Found::ById { key: 0, column: 1 }));
    assert_eq!((users.tables[0].depth, root.depth, parts.depth), (0, 1, 2));
    assert!(users.tables[0].uniques && !root.uniques);
    let tags = &root.columns[2];
    assert_eq!((tags.param_type.as_str(), tags.param_oid, tags.sql_type.as_str()), ("text", Some(25), "text[]"));
    assert!(plan.collection("users").is_some() && plan.collection("nobody").is_none());
}

#[test]
fn input_096_a_column_without_a_time_zone_is_a_warning() {
    let plan = compile(SHOP, &shop()).expect("a plan");
    let warnings: Vec<_> = plan.warnings().iter().map(ToString::to_string).collect();
    assert_snapshot!(warnings.join("\n"), @r#"
    shop.toml:14:9: column "created" of "app"."users" has no time zone: instants are stored in UTC
        hint: timestamp with time zone says so itself
    "#);
}

#[test]
fn every_fault_at_once() {
    let mut catalog = shop();
    catalog.tables[2].columns.push(Column { not_null: true, ..column("code", ColumnType::Text) });
    catalog.tables[2].columns.push(column("place", ColumnType::Unsupported("point".to_owned())));
    let text = r#"
namespace = "dns"
[collections.plans]
table = "app.plan"
id = "uuid5"
[collections.users]
table = "app.users"
id = { rule = "integer", column = "email" }
ignore = ["code", "emial"]
[collections.users.columns]
search = "name"
manager_id = { reference = "user" }
created = { default = "yesterday" }
nickname = "nick"
[collections.users.children.parts]
table = "app.parts"
parent = "plan"
order = "title"
[collections.others]
table = "app.users"
id = "text"
"#;
    assert_snapshot!(faults(text, &catalog), @r#"
    shop.toml:4:9: table "app"."plan" does not exist
        hint: did you mean `app.plans`?
    shop.toml:7:9: table "app"."users" is written twice, for `others` (line 20) and for `users` (line 7)
        hint: give each its own table, or say `shared = true` in both
    shop.toml:7:9: column "place" of "app"."users" has type point, which is not supported (also on line 20)
        hint: list it in `ignore`, or give it a type that this version writes
    shop.toml:8:35: the id column "email" of "app"."users" is citext, which this id rule cannot fill
        hint: it needs smallint, integer, bigint or numeric
    shop.toml:9:11: column "code" of "app"."users" is ignored, but it is NOT NULL and has no default
        hint: take it off `ignore`
    shop.toml:9:19: table "app"."users" has no column "emial"
        hint: did you mean `email`?
    shop.toml:11:1: column "search" of "app"."users" is filled by PostgreSQL
        hint: remove it from `columns`
    shop.toml:12:28: the reference points to `user`, which is not mapped
        hint: did you mean `users`?
    shop.toml:13:23: column "created" of "app"."users" is timestamp and cannot take this default: TYPE_MISMATCH
        hint: write it as a document would hold it
    shop.toml:14:1: table "app"."users" has no column "nickname"
        hint: add it to the table, or remove it here; the table has id, email, manager_id, search, created, code, place
    shop.toml:17:10: table "app"."parts" has no column "plan"
        hint: did you mean `plan_id`?
    shop.toml:18:9: the order column "title" of "app"."parts" is varchar
        hint: it takes the element's index: make it integer
    shop.toml:21:6: the primary key "id" of "app"."users" is uuid, which this id rule cannot fill
        hint: it needs text or varchar
    "#);
}

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
        hint: take it off `ignore`
    shop.toml:10:22: column "title" of "app"."parts" is ignored, but it is NOT NULL and has no default
        hint: take it off `ignore`
    "#);
}

#[rstest]
#[case::input_002_object_ids_and_texts_never_share_a_key("hex", ColumnType::Uuid)]
#[case::input_026_padded_text("text", ColumnType::Bpchar(Some(10)))]
#[case::folding_text("text", ColumnType::Citext)]
#[case::number("uuid5", ColumnType::Int4)]
#[case::text("integer", ColumnType::Text)]
#[case::short("hex", ColumnType::Varchar(Some(23)))]
fn a_key_must_fit_its_rule(#[case] rule: &str, #[case] kind: ColumnType) {
    let catalog = Catalog { tables: vec![table("a", &["id"], vec![column("id", kind)])] };
    let text = format!("namespace = \"dns\"\n[collections.a]\ntable = \"app.a\"\nid = \"{rule}\"");
    assert!(faults(&text, &catalog).contains("which this id rule cannot fill"));
}

#[rstest]
#[case::none(&[], Filled::ByUs, "no primary key")]
#[case::several(&["id", "b"], Filled::ByUs, "a primary key of several columns")]
#[case::input_170_generated(&["id"], Filled::Generated, "is filled by PostgreSQL")]
#[case::input_170_identity(&["id"], Filled::Identity, "is filled by PostgreSQL")]
fn a_key_must_be_ours(#[case] key: &[&str], #[case] filled: Filled, #[case] expected: &str) {
    let id = Column { filled, ..column("id", ColumnType::Text) };
    let catalog = Catalog { tables: vec![table("a", key, vec![id, column("b", ColumnType::Text)])] };
    let found = faults("[collections.a]\ntable = \"app.a\"\nid = \"text\"", &catalog);
    assert!(found.contains(expected), "{found}");
}

#[test]
fn input_170_what_postgresql_fills_is_left_alone() {
    let mut counted = column("number", ColumnType::Int8);
    counted.filled = Filled::Identity;
    let catalog = Catalog { tables: vec![table("a", &["id"], vec![column("id", ColumnType::Text), counted])] };
    let plan = compile("[collections.a]\ntable = \"app.a\"\nid = \"text\"", &catalog).expect("a plan");
    assert_eq!(plan.collections()[0].tables[0].columns.len(), 1);
}

/// `app.t` (id, a, b NOT NULL, j, n NOT NULL UNIQUE), `app.c` keyed (t_id, at), `app.g` keyed (id), and `app.ids`.
fn language() -> Catalog {
    let not_null = |name, kind| Column { not_null: true, ..column(name, kind) };
    let mut t = table(
        "t",
        &["id"],
        vec![
            column("id", ColumnType::Uuid),
            column("a", ColumnType::Text),
            not_null("b", ColumnType::Text),
            column("j", ColumnType::Jsonb),
            not_null("n", ColumnType::Int4),
        ],
    );
    t.uniques = vec![vec!["n".to_owned()], vec!["a".to_owned()]];
    let c = table(
        "c",
        &["t_id", "at"],
        vec![column("t_id", ColumnType::Uuid), column("at", ColumnType::Int4), column("v", ColumnType::Text)],
    );
    let g = table("g", &["id"], vec![column("id", ColumnType::Uuid), column("c_id", ColumnType::Uuid)]);
    let ids = table("ids", &[], vec![column("old", ColumnType::Text), column("new", ColumnType::Uuid)]);
    Catalog { tables: vec![t, c, g, ids] }
}

const T: &str = "namespace = \"dns\"\n[collections.t]\ntable = \"app.t\"\nid = \"uuid5\"\n";
const C: &str = "[collections.t.children.cs]\ntable = \"app.c\"\nparent = \"t_id\"\norder = \"at\"\n";

// What is appended to a collection `t`, or to it and its child `cs`; lines count from the collection's own.
#[rstest]
#[case::up_from_a_document("columns.a = \"^.x\"", "5:13: `^.x` leads above the document")]
#[case::up_in_a_filter("filter = { path = \"^.x\", is = 1 }", "5:19: `^.x` leads above the document")]
#[case::candidate_twice("columns.a = [\"x\", \"y\", \"x\"]", "5:24: `x` is a candidate twice")]
#[case::constant("columns.n = { constant = \"x\" }", "is int4 and cannot take this constant: TYPE_MISMATCH")]
#[case::rest("columns.a = { rest = true }", "column \"a\" of \"app\".\"t\" is text and cannot take the rest")]
#[case::null_for_not_null(
    "columns.b = { misfit = \"null\" }",
    "5:9: column \"b\" of \"app\".\"t\" is NOT NULL, and what"
)]
#[case::empty_for_not_null(
    "columns.b = { empty = \"null\" }",
    "5:9: column \"b\" of \"app\".\"t\" is NOT NULL, and what"
)]
#[case::policy("columns.n = { misfit = \"truncate\" }", "`truncate` means nothing for int4")]
#[case::own_id("columns.n = { id = \"hex\" }", "5:20: column \"n\" is int4, which this id rule cannot fill")]
#[case::reference_by(
    "columns.j = { reference = { by = \"k\", to = { x = \"tt\" } } }",
    "the reference points to `tt`, which"
)]
#[case::no_such_key("key = [\"b\"]", "5:8: no unique constraint of \"app\".\"t\" has exactly the columns of this key")]
#[case::nullable_key("key = [\"a\"]", "5:8: the key column \"a\" of \"app\".\"t\" takes NULL")]
#[case::unknown_key("key = [\"m\"]", "5:8: table \"app\".\"t\" has no column \"m\"")]
#[case::unfilled_key("key = [\"n\"]", "nothing fills the key column \"n\" of \"app\".\"t\"")]
#[case::lookup_column(
    "columns.a = { id = { rule = \"lookup\", table = \"app.ids\", from = \"oldd\", to = \"new\" } }",
    "table \"app\".\"ids\" has no column \"oldd\"\n    hint: did you mean `old`?"
)]
#[case::lookup_of_what_is_not_unique(
    "columns.a = { id = { rule = \"lookup\", table = \"app.ids\", from = \"old\", to = \"new\" } }",
    "column \"old\" of \"app\".\"ids\" is not unique: an id could be found twice"
)]
fn faults_of_a_table(#[case] text: &str, #[case] expected: &str) {
    let found = faults(&format!("{T}{text}"), &language());
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

#[rstest]
#[case::whole("path = \"$\"", "`$` is the document itself, not something in it")]
#[case::path_up("path = \"^.x\"", "`^.x` leads up, and what is embedded is below")]
#[case::two_up("columns.v = \"^^.x\"", "`^^.x` leads above the document")]
#[case::document_in_order("shape = \"document\"", "a document has no order")]
#[case::names_of_an_array("map_key = \"v\"", "only a map has names for `map_key`")]
#[case::names_as_numbers("shape = \"map\"\nmap_key = \"at\"", "the map_key column \"at\" of \"app\".\"c\" is int4")]
#[case::two_rules("root = \"t_id\"", "column \"t_id\" is filled by two rules")]
#[case::rule_does_not_fit("id = { column = \"v\", rule = \"integer\" }", "which this id rule cannot fill")]
#[case::looked_up("id = { column = \"v\", rule = \"lookup\" }", "the id of an element is not looked up")]
#[case::type_without_rule("id = { column = \"v\", type = \"string\" }", "`type` says nothing without a `rule`")]
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

#[rstest]
#[case::one_side("shared = true", "", "table \"app\".\"t\" is shared, but `u` does not say so")]
#[case::other_side("", "shared = true", "table \"app\".\"t\" is shared, but `t` does not say so")]
#[case::neither("", "", "table \"app\".\"t\" is written twice, for `t` (line 3) and for `u` (line 7)")]
fn who_shares_says_so(#[case] first: &str, #[case] second: &str, #[case] expected: &str) {
    let text = format!("{T}{first}\n[collections.u]\ntable = \"app.t\"\nid = \"uuid5\"\n{second}");
    let found = faults(&text, &language());
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(found.contains(expected), "{found}");
}

#[test]
fn faults_of_variants() {
    let text = r#"
namespace = "dns"
[collections.t]
id = "uuid5"
split = { by = "^.kind" }
[collections.t.variants.a]
is = ["a", 1]
table = "app.t"
[collections.t.variants.b]
is = 1.0
table = "app.g"
id_column = "c"
[collections.u]
split = { by = "kind" }
[collections.u.variants.x]
table = "app.c"
columns.t_id = { path = "t", reference = "u" }
"#;
    assert_snapshot!(faults(text, &language()), @r#"
    shop.toml:5:16: `^.kind` leads above the document
        hint: only a child has something around it
    shop.toml:10:6: variant `b` never gets this value: it means `a`
        hint: a value means one variant
    shop.toml:12:13: table "app"."g" has no column "c"
        hint: add it to the table, or remove it here; the table has id, c_id
    shop.toml:16:9: collection `u` has no `id`, and nothing fills the key column "at" of "app"."c"
        hint: add `id`, which says what the `_id` becomes, or add the column to `columns`
    shop.toml:17:42: the reference points to `u`, which has no id rule
        hint: say how the value is converted: `id` instead of `reference`
    "#);
}

#[test]
fn a_key_of_a_unique_constraint() {
    let text = format!("{T}key = [\"n\"]\ncolumns.n = \"number\"");
    let plan = compile(&text, &language()).expect("a plan");
    let root = &plan.collections()[0].tables[0];
    assert_eq!((root.key.as_slice(), root.found, root.uniques), (&[4][..], Found::Remembered, true));
}

#[test]
fn every_column_has_its_line() {
    let text = format!("{T}columns.b = \"x\"\n{C}");
    let plan = compile(&text, &language()).expect("a plan");
    let lines = |at: usize| -> Vec<u32> {
        let columns = plan.collections()[0].tables[at].columns.iter();
        columns.map(|column| column.place.as_ref().map_or(0, |place| place.line)).collect()
    };
    assert_eq!((lines(0), lines(1)), (vec![4, 3, 5, 3, 3], vec![8, 9, 7]));
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
        let mut table = table(name, &["id"], vec![column("id", ColumnType::Uuid), column("plan_id", ColumnType::Text)]);
        table.columns[1].not_null = true;
        table
    };
    let plans = table("plans", &["id"], vec![column("id", ColumnType::Text)]);
    let catalog = Catalog { tables: vec![plans, child("a"), child("b"), child("c")] };
    let children = |rule: &str| {
        let child = |name| {
            format!("[collections.plans.children.{name}]\ntable = \"app.{name}\"\nparent = \"plan_id\"\nid = \"id\"\n")
        };
        format!("[collections.plans]\ntable = \"app.plans\"\n{rule}\n{}", ["a", "b", "c"].map(child).concat())
    };
    assert_snapshot!(faults(&children("id = \"hex\""), &catalog), @r#"
    shop.toml:7:6: ids of child rows need a namespace, because the ids of the rows around them are no UUIDs (also on lines 11 and 15)
        hint: set `namespace` at the top of the file: dns, url, oid, x500 or a UUID
    "#);
    let plan = compile(&children("id = \"hex\"\nnamespace = \"dns\""), &catalog);
    assert!(plan.is_ok(), "{plan:?}");
}

#[test]
fn an_id_below_an_element_whose_id_is_no_uuid_needs_a_namespace() {
    let plans = table("plans", &["id"], vec![column("id", ColumnType::Uuid)]);
    let mut parts = table("parts", &["id"], vec![column("id", ColumnType::Text), column("plan_id", ColumnType::Uuid)]);
    parts.columns[1].not_null = true;
    let bits = table("bits", &["id"], vec![column("id", ColumnType::Uuid), column("part_id", ColumnType::Text)]);
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
    shop.toml:12:6: ids of child rows need a namespace, because the ids of the rows around them are no UUIDs
        hint: set `namespace` at the top of the file: dns, url, oid, x500 or a UUID
    "#);
}

#[test]
fn a_default_is_written_as_a_document_would_hold_it() {
    let moments = vec![
        column("id", ColumnType::Text),
        column("day", ColumnType::Date),
        column("at", ColumnType::Timestamptz { precision: 6 }),
        column("read", ColumnType::Date),
        column("counted", ColumnType::Timestamptz { precision: 6 }),
        column("plain", ColumnType::Date),
    ];
    let catalog = Catalog { tables: vec![table("moments", &["id"], moments)] };
    let text = r#"
[collections.moments]
table = "app.moments"
id = "text"
[collections.moments.columns]
day = { default = 2020-02-29 }
at = { default = 2020-02-29T12:00:00+01:00 }
read = { coerce = "date", default = "2020-02-29" }
counted = { epoch = "seconds", default = 1582934400 }
PLAIN
"#;
    let plan = compile(&text.replace("PLAIN", ""), &catalog).expect("a plan");
    let rows = plan.collections()[0].map(&bson::rawdoc! { "_id": "a" }).expect("rows");
    let fields: Vec<_> = rows.tables[0][0].fields().map(|field| field.map(hex::encode)).collect();
    // 7,364 days and 636,292,800 seconds after 2000-01-01, the second one hour less and 12 more.
    let (day, midnight, noon) = (7_364_i32, 636_249_600_000_000_i64, 636_289_200_000_000_i64);
    let hex = |bytes: &[u8]| Some(hex::encode(bytes));
    assert_eq!(
        fields[1..],
        [
            hex(&day.to_be_bytes()),
            hex(&noon.to_be_bytes()),
            hex(&day.to_be_bytes()),
            hex(&midnight.to_be_bytes()),
            None
        ]
    );
    assert_snapshot!(faults(&text.replace("PLAIN", "plain = { default = \"2020-02-29\" }"), &catalog), @r#"
    shop.toml:10:21: column "plain" of "app"."moments" is date and cannot take this default: TYPE_MISMATCH
        hint: write it as a document would hold it
    "#);
}

#[test]
fn two_kinds_for_documents_without_one_are_a_fault() {
    let tables = ["a", "b"].map(|name| table(name, &["id"], vec![column("id", ColumnType::Text)]));
    let catalog = Catalog { tables: tables.to_vec() };
    let text = r#"
[collections.things]
id = "text"
split = { by = "__t" }
[collections.things.variants.missing]
table = "app.a"
[collections.things.variants.thing]
table = "app.b"
missing = true
"#;
    assert_snapshot!(faults(text, &catalog), @r#"
    shop.toml:7:30: variant `thing` never gets a document without `__t`: it means `missing`
        hint: let one variant say so; a variant named `missing` does without `is`
    "#);
}

#[test]
fn empty_elements_are_those_of_an_array() {
    let catalog = Catalog {
        tables: vec![table("a", &["id"], vec![column("id", ColumnType::Text), column("v", ColumnType::Text)])],
    };
    let text = "[collections.a]\ntable = \"app.a\"\nid = \"text\"\ncolumns.v = { empty_elements = \"drop\" }";
    assert_snapshot!(faults(text, &catalog), @r#"
    shop.toml:4:32: `empty_elements` means nothing for text
        hint: it is for columns that hold an array, and for children
    "#);
}

#[rstest]
#[case::another_schema("public.users", "did you mean `app.users`?")]
#[case::near("app.user", "did you mean `app.users`?")]
#[case::the_schema_alone("app.zz", "create it, or correct the name; upper and lower case count")]
fn a_table_that_may_be_meant(#[case] name: &str, #[case] hint: &str) {
    let found = faults(&format!("[collections.a]\ntable = \"{name}\"\nid = \"hex\"\n"), &shop());
    assert!(found.contains(&format!("hint: {hint}")), "{found}");
}

#[test]
fn two_children_that_write_one_table_are_told_apart() {
    let child =
        |name: &str| format!("[collections.t.children.{name}]\ntable = \"app.c\"\nparent = \"t_id\"\norder = \"at\"\n");
    let found = faults(&format!("{T}{}{}", child("new"), child("old")), &language());
    assert!(found.contains("is written twice, for `t.new` (line 6) and for `t.old` (line 10)"), "{found}");
}

fn digest(text: &str, name: &str, catalog: &Catalog) -> [u8; 16] {
    let file = MappingFile::parse(text, name).expect("a mapping file");
    Plan::compile(&file, catalog).expect("a plan").collection("plans").expect("the collection").digest()
}

#[rstest]
#[case::a_comment_above("namespace", "# Why this file is as it is.\n\nnamespace")]
#[case::a_comment_inside("owner_id =", "# The owner.\nowner_id =")]
#[case::white_space("owner_id = {", "owner_id   =   {")]
#[case::another_collection("[collections.users.columns]", "[collections.users.columns]\nemail = \"mail\"")]
fn a_digest_does_not_change_with_the_layout_of_the_file(#[case] from: &str, #[case] to: &str) {
    let changed = SHOP.replace(from, to);
    assert_ne!(changed, SHOP);
    assert_eq!(digest(&changed, "moved/shop.toml", &shop()), digest(SHOP, "shop.toml", &shop()));
}

#[rstest]
#[case::a_path("path = \"owner\"", "path = \"owners[0]\"")]
#[case::a_condition(
    "reference = \"users\" }\n[collections.plans.ch",
    "reference = \"users\", when = { path = \"a\", is = 1 } }\n[collections.plans.ch"
)]
#[case::a_default(
    "path = \"owner\", reference = \"users\"",
    "path = \"owner\", misfit = \"null\", reference = \"users\""
)]
#[case::a_rule("table = \"app.plans\"\nid = \"uuid5\"", "table = \"app.plans\"\nid = \"md5\"")]
#[case::a_namespace("namespace = \"dns\"", "namespace = \"url\"")]
#[case::the_rule_of_a_referenced_collection(
    "table = \"app.users\"\nid = \"uuid5\"",
    "table = \"app.users\"\nid = \"pad_left\""
)]
#[case::a_column_that_is_left_out("order = \"position\"", "ignore = [\"position\"]")]
fn a_digest_changes_with_the_meaning_of_the_mapping(#[case] from: &str, #[case] to: &str) {
    let changed = SHOP.replace(from, to);
    assert_ne!(changed, SHOP);
    assert_ne!(digest(&changed, "shop.toml", &shop()), digest(SHOP, "shop.toml", &shop()));
}

#[test]
fn a_digest_changes_with_the_catalog() {
    let mut narrower = shop();
    let parts = narrower.tables.iter_mut().find(|table| table.name.name == "parts").expect("the table");
    parts.columns[3].kind = ColumnType::Varchar(Some(40));
    assert_ne!(digest(SHOP, "shop.toml", &narrower), digest(SHOP, "shop.toml", &shop()));
}
