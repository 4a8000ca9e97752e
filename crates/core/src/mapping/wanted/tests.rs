//! Wanted tables of whole mapping files.

use insta::assert_snapshot;

use super::{
    WantedColumn,
    difference::Difference,
    statements::{add_column, create_table},
};
use crate::mapping::{
    MappingFile, Plan,
    target::{Catalog, Column, ColumnType, Table, TableName},
};

const MAPPING: &str = r#"
namespace = "dns"
[collections.users]
table = "app.users"
id = "uuid5"
columns.name = "full.name"
columns.city = "address.city"
[collections.plans]
table = "app.plans"
id = "hex"
ignore = ["note"]
columns.owner_id = { path = "owner", reference = "users" }
columns.due = { epoch = "seconds" }
columns.raw = "$"
columns.odd = "never"
[collections.plans.children.steps]
table = "app.steps"
parent = "plan_id"
order = "position"
id = "id"
columns.title = "t"
[collections.plans.children.watchers]
table = "app.plan_watchers"
parent = "plan_id"
columns.user_id = { path = "$", reference = "users" }
[collections.plans.children.labels]
table = "app.plan_labels"
parent = "plan_id"
order = "position"
columns.label = "$"
[collections.plans.children.daily]
table = "app.plan_days"
shape = "map"
parent = "plan_id"
map_key = "day"
columns.points = "p"
"#;

fn catalog() -> Catalog {
    let not_null = |name, kind| Column { not_null: true, ..Column::new(name, kind) };
    let columns = vec![
        not_null("id", ColumnType::Text),
        Column::new("note", ColumnType::Text),
        not_null("status", ColumnType::Text),
        Column::new("owner_id", ColumnType::Uuid),
    ];
    let users = vec![not_null("id", ColumnType::Uuid), Column::new("name", ColumnType::Text)];
    let other = Table::new(TableName::new("app", "invoices"), &[], Vec::new());
    Catalog {
        tables: vec![
            Table::new(TableName::new("app", "plans"), &["id"], columns),
            Table::new(TableName::new("app", "users"), &["id"], users),
            other,
        ],
    }
}

/// Types as a sample of documents would give them.
fn types(column: &WantedColumn) -> Option<String> {
    let (collection, paths) = column.paths()?;
    let path = paths.iter().map(|path| path.join(".")).collect::<Vec<_>>().join("|");
    (path != "never").then(|| format!("type_of({collection}:{path})"))
}

#[test]
fn types_come_from_the_mapping_where_it_says_them_and_else_from_the_documents() {
    let file = MappingFile::parse(MAPPING, "m.toml").expect("a mapping file");
    let (plan, _) = Plan::compile_partly(&file, &catalog());
    let difference = Difference::new(&file.wanted(&catalog()), &catalog(), &plan, &|_, _| None);
    let tables = difference.tables.iter().map(|table| create_table(table, &types));
    let columns = difference.columns.iter().map(|(table, column)| add_column(table, column, &types));
    let told = tables
        .chain(columns)
        .map(|statement| statement.map_or_else(|why| format!("-- {why}\n"), |sql| format!("{sql};\n")));
    assert_snapshot!(told.collect::<String>(), @r#"
    CREATE TABLE "app"."plan_days" (
        "plan_id" text,
        "day" text,
        "points" type_of(plans:daily.*.p),
        PRIMARY KEY ("plan_id", "day")
    );
    CREATE TABLE "app"."plan_labels" (
        "plan_id" text,
        "position" integer,
        "label" type_of(plans:labels.[]),
        PRIMARY KEY ("plan_id", "position")
    );
    CREATE TABLE "app"."plan_watchers" (
        "plan_id" text,
        "user_id" uuid,
        PRIMARY KEY ("plan_id", "user_id")
    );
    CREATE TABLE "app"."steps" (
        "plan_id" text,
        "position" integer,
        "id" uuid,
        "title" type_of(plans:steps.[].t),
        PRIMARY KEY ("id")
    );
    ALTER TABLE "app"."plans" ADD COLUMN "due" timestamp with time zone;
    -- column "odd" of app.plans is missing, and no document says its type: add it by hand
    ALTER TABLE "app"."plans" ADD COLUMN "raw" jsonb;
    ALTER TABLE "app"."users" ADD COLUMN "city" type_of(users:address.city);
    "#);
    let references = difference
        .references
        .iter()
        .map(|(table, column, parent)| format!("{}.{column} {}", table.label(), parent.label()));
    assert_eq!(references.collect::<Vec<_>>(), ["app.plans.owner_id app.users"]);
    assert_eq!(difference.unwritten, [TableName::new("app", "invoices")]);
    assert!(!difference.is_complete());
}

#[test]
fn columns_that_nothing_fills_are_named_those_that_refuse_null_first() {
    let mapping = MAPPING.split("columns.due").next().expect("the first part");
    let file =
        MappingFile::parse(&mapping.replace("columns.city = \"address.city\"", ""), "m.toml").expect("a mapping file");
    let (plan, faults) = Plan::compile_partly(&file, &catalog());
    assert_eq!(faults, []);
    let fills = |_: &TableName, column: &str| (column != "id").then_some(matches!(column, "owner_id" | "name"));
    let difference = Difference::new(&file.wanted(&catalog()), &catalog(), &plan, &fills);
    let unfilled: Vec<_> =
        difference.unfilled.iter().map(|one| (one.column.as_str(), one.refuses, one.ignored)).collect();
    assert_eq!(unfilled, [("status", true, false), ("note", false, true)]);
}
