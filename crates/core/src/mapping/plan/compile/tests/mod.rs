//! Mapping files against a catalog: the plan, or every fault.

use insta::assert_snapshot;
use rstest::rstest;

use super::*;
use crate::mapping::{
    Found, TablePlan,
    target::{Column, ColumnType, Filled, ForeignKey, Table, TableName},
};

mod children;
mod digest;
mod keys;
mod plans;
mod tables;
mod variants;

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
