//! The tables and columns that a plan contains.

use super::*;

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
        hint: use timestamp with time zone, which stores instants
    "#);
}

#[test]
fn input_170_what_postgresql_fills_is_left_alone() {
    let mut counted = Column::new("number", ColumnType::Int8);
    counted.filled = Filled::Identity;
    let catalog = Catalog { tables: vec![table("a", &["id"], vec![Column::new("id", ColumnType::Text), counted])] };
    let plan = compile("[collections.a]\ntable = \"app.a\"\nid = \"text\"", &catalog).expect("a plan");
    assert_eq!(plan.collections()[0].tables[0].columns.len(), 1);
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
