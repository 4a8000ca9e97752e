//! Faults of tables and their columns.

use super::*;

#[test]
fn every_fault_at_once() {
    let mut catalog = shop();
    catalog.tables[2].columns.push(Column { not_null: true, ..Column::new("code", ColumnType::Text) });
    catalog.tables[2].columns.push(Column::new("place", ColumnType::Unsupported("point".to_owned())));
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
        hint: give each its own table, or set `shared = true` in both
    shop.toml:7:9: column "place" of "app"."users" has type point, which is not supported (also on line 20)
        hint: list it in `ignore`, or give it a type that this version writes
    shop.toml:8:35: the id column "email" of "app"."users" is citext, which this id rule cannot fill
        hint: it needs smallint, integer, bigint or numeric
    shop.toml:9:11: column "code" of "app"."users" is ignored, but it is NOT NULL and has no default
        hint: remove it from `ignore`
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

// Each text is appended to a collection `t`, or to it and its child `cs`; lines count from the collection's own.
#[rstest]
#[case::up_from_a_document("columns.a = \"^.x\"", "5:13: `^.x` leads above the document")]
#[case::up_in_a_filter("filter = { path = \"^.x\", is = 1 }", "5:19: `^.x` leads above the document")]
#[case::candidate_twice("columns.a = [\"x\", \"y\", \"x\"]", "5:24: `x` is a candidate twice")]
#[case::constant("columns.n = { constant = \"x\" }", "is int4 and cannot take this constant: TYPE_MISMATCH")]
#[case::rest("columns.a = { rest = true }", "column \"a\" of \"app\".\"t\" is text and cannot take the rest")]
#[case::null_for_not_null(
    "columns.b = { misfit = \"null\" }",
    "5:9: column \"b\" of \"app\".\"t\" is NOT NULL, and values"
)]
#[case::empty_for_not_null(
    "columns.b = { empty = \"null\" }",
    "5:9: column \"b\" of \"app\".\"t\" is NOT NULL, and values"
)]
#[case::policy("columns.n = { misfit = \"truncate\" }", "`truncate` has no effect on int4")]
#[case::own_id("columns.n = { id = \"hex\" }", "5:20: column \"n\" is int4, which this id rule cannot fill")]
#[case::reference_by(
    "columns.j = { reference = { by = \"k\", to = { x = \"tt\" } } }",
    "the reference points to `tt`, which"
)]
#[case::no_such_key("key = [\"b\"]", "5:8: no unique constraint of \"app\".\"t\" has exactly the columns of this key")]
#[case::nullable_key("key = [\"a\"]", "5:8: the key column \"a\" of \"app\".\"t\" is nullable")]
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
fn a_default_is_written_as_a_document_would_hold_it() {
    let moments = vec![
        Column::new("id", ColumnType::Text),
        Column::new("day", ColumnType::Date),
        Column::new("at", ColumnType::Timestamptz { precision: 6 }),
        Column::new("read", ColumnType::Date),
        Column::new("counted", ColumnType::Timestamptz { precision: 6 }),
        Column::new("plain", ColumnType::Date),
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

#[rstest]
#[case::another_schema("public.users", "did you mean `app.users`?")]
#[case::near("app.user", "did you mean `app.users`?")]
#[case::the_schema_alone("app.zz", "create it, or correct the name; upper and lower case count")]
fn a_table_that_may_be_meant(#[case] name: &str, #[case] hint: &str) {
    let found = faults(&format!("[collections.a]\ntable = \"{name}\"\nid = \"hex\"\n"), &shop());
    assert!(found.contains(&format!("hint: {hint}")), "{found}");
}
