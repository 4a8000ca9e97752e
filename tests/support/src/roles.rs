//! The scripts of `deploy/roles` for roles of PostgreSQL and MongoDB, with their variables filled in as `psql` and `mongosh` do.

use mongodb::bson::Document;

use crate::stack::root;

/// Returns the statements of a script for PostgreSQL; each variable becomes a quoted name.
///
/// # Panics
/// Panics if a variable of the script is missing.
pub fn postgresql(script: &str, variables: &[(&str, &str)]) -> String {
    let text = read(&format!("postgresql/{script}"));
    let statements: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let filled = variables.iter().fold(statements.join("\n"), |text, (name, value)| {
        text.replace(&format!(":\"{name}\""), &format!("\"{}\"", value.replace('"', "\"\"")))
    });
    assert!(!filled.contains(":\""), "{script}: a variable has no value: {filled}");
    filled
}

/// Returns the command that makes the role of MongoDB for this database.
pub fn mongodb(database: &str) -> Document {
    let mut command: serde_json::Value = serde_json::from_str(&read("mongodb/role.json")).expect("JSON");
    for privilege in command["privileges"].as_array_mut().expect("privileges") {
        if privilege["resource"]["db"] != "local" {
            privilege["resource"]["db"] = database.into();
        }
    }
    mongodb::bson::serialize_to_document(&command).expect("a command")
}

fn read(script: &str) -> String {
    std::fs::read_to_string(root().join("deploy/roles").join(script)).expect("read the script")
}
