//! Mapping files against a catalog: the plan, or every fault.

use insta::assert_snapshot;
use rstest::rstest;

use super::*;
use crate::mapping::{
    Found, TablePlan,
    target::{Column, ColumnType, Filled, ForeignKey, Table, TableName},
};

mod changes;
mod children;
mod digest;
mod keys;
mod partly;
mod plans;
mod remapped;
mod tables;
mod variants;

fn table(name: &str, key: &[&str], columns: Vec<Column>) -> Table {
    Table::new(TableName::new("app", name), key, columns)
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
            Column::new("id", ColumnType::Uuid),
            Column::new("email", ColumnType::Citext),
            Column::new("manager_id", ColumnType::Uuid),
            Column { filled: Filled::Generated, ..Column::new("search", ColumnType::Text) },
            Column::new("created", ColumnType::Timestamp { precision: 6 }),
        ],
    );
    users.foreign_keys = vec![foreign_key("manager_id", "users")];
    users.uniques = vec![vec!["email".to_owned()]];
    let mut plans = table(
        "plans",
        &["id"],
        vec![
            Column::new("id", ColumnType::Uuid),
            Column::new("owner_id", ColumnType::Uuid),
            Column::new("tags", ColumnType::Array(Box::new(ColumnType::Text))),
        ],
    );
    plans.foreign_keys = vec![foreign_key("owner_id", "users")];
    let parts = table(
        "parts",
        &["id"],
        vec![
            Column::new("id", ColumnType::Uuid),
            Column::new("plan_id", ColumnType::Uuid),
            Column::new("position", ColumnType::Int4),
            Column { not_null: true, ..Column::new("title", ColumnType::Varchar(Some(80))) },
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

/// `app.t` (id, a, b NOT NULL, j, n NOT NULL UNIQUE), `app.c` keyed (t_id, at), `app.g` keyed (id), and `app.ids`.
fn language() -> Catalog {
    let not_null = |name, kind| Column { not_null: true, ..Column::new(name, kind) };
    let mut t = table(
        "t",
        &["id"],
        vec![
            Column::new("id", ColumnType::Uuid),
            Column::new("a", ColumnType::Text),
            not_null("b", ColumnType::Text),
            Column::new("j", ColumnType::Jsonb),
            not_null("n", ColumnType::Int4),
        ],
    );
    t.uniques = vec![vec!["n".to_owned()], vec!["a".to_owned()]];
    let c = table(
        "c",
        &["t_id", "at"],
        vec![
            Column::new("t_id", ColumnType::Uuid),
            Column::new("at", ColumnType::Int4),
            Column::new("v", ColumnType::Text),
        ],
    );
    let g = table("g", &["id"], vec![Column::new("id", ColumnType::Uuid), Column::new("c_id", ColumnType::Uuid)]);
    let ids = table("ids", &[], vec![Column::new("old", ColumnType::Text), Column::new("new", ColumnType::Uuid)]);
    Catalog { tables: vec![t, c, g, ids] }
}

const T: &str = "namespace = \"dns\"\n[collections.t]\ntable = \"app.t\"\nid = \"uuid5\"\n";
const C: &str = "[collections.t.children.cs]\ntable = \"app.c\"\nparent = \"t_id\"\norder = \"at\"\n";
