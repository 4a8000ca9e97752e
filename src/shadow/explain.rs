//! Reads plans of PostgreSQL: which tables a statement scans as a whole. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::mapping::target::TableName;

/// A table that a plan scans as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scanned {
    pub(super) table: TableName,
    /// Whether rows are left out of the result of the scan: only then an index could help.
    pub(super) filtered: bool,
}

/// Returns the tables that a plan scans as a whole. `indexed` also counts a walk over a whole index that a condition filters: what is
/// left where no index fits the condition and the planner is kept from a sequential scan.
pub(super) fn scans(plan: &Value, indexed: bool) -> BTreeSet<Scanned> {
    let mut found = BTreeSet::new();
    walk(plan, indexed, &mut found);
    found
}

fn walk(value: &Value, indexed: bool, found: &mut BTreeSet<Scanned>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| walk(value, indexed, found)),
        Value::Object(node) => {
            let text = |name: &str| node.get(name).and_then(Value::as_str);
            let filtered = node.contains_key("Filter");
            let whole = match text("Node Type") {
                Some("Seq Scan") => true,
                Some("Index Scan" | "Index Only Scan") => indexed && filtered && !node.contains_key("Index Cond"),
                _ => false,
            };
            if let (true, Some(schema), Some(name)) = (whole, text("Schema"), text("Relation Name")) {
                found.insert(Scanned { table: TableName::new(schema, name), filtered });
            }
            node.values().for_each(|value| walk(value, indexed, found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(kind: &str, table: &str, more: Value) -> Value {
        let mut node = json!({ "Node Type": kind, "Schema": "app", "Relation Name": table });
        more.as_object().into_iter().flatten().for_each(|(name, value)| node[name] = value.clone());
        node
    }

    #[test]
    fn whole_scans_are_found_wherever_they_are() {
        let filter = json!({ "Filter": "(x = 1)" });
        let plan = json!([{ "Plan": { "Node Type": "Hash Join", "Plans": [
            node("Seq Scan", "a", filter.clone()),
            { "Node Type": "Hash", "Plans": [node("Seq Scan", "b", json!({})), node("Index Scan", "c", filter)] },
            node("Index Scan", "d", json!({ "Index Cond": "(id = 1)", "Filter": "(x = 1)" })),
        ] } }]);
        let named = |indexed| -> Vec<(String, bool)> {
            scans(&plan, indexed).into_iter().map(|scanned| (scanned.table.name, scanned.filtered)).collect()
        };
        assert_eq!(named(false), [("a".to_owned(), true), ("b".to_owned(), false)]);
        assert_eq!(named(true), [("a".to_owned(), true), ("b".to_owned(), false), ("c".to_owned(), true)]);
    }
}
