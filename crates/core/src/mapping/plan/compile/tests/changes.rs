//! Columns that a table has lost since the plan before.

use super::*;

#[test]
fn a_lost_column_is_named_with_what_restores_it() {
    let before = compile(SHOP, &shop()).expect("a plan");
    let mut narrower = shop();
    for table in &mut narrower.tables {
        table.columns.retain(|column| column.name != "tags");
    }
    let now = compile(SHOP, &narrower).expect("a plan: a field fills the column by its name alone");
    let lost = now.lost_since(&before, &narrower);
    assert_eq!(lost.len(), 1, "{lost:?}");
    for part in [
        "ALTER TABLE \"app\".\"plans\" ADD COLUMN \"tags\" text[])",
        "`driftless replay --collection plans --to-earliest",
    ] {
        assert!(lost[0].hint.contains(part), "{part}: {}", lost[0].hint);
    }
    assert!(lost[0].what.contains("column \"tags\" of \"app\".\"plans\""), "{}", lost[0].what);
}
