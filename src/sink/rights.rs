//! What the sink's role must be allowed to do, asked before anything runs.

use super::{Error, Session, session::field};
use crate::mapping::Plan;

/// A right that the role lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// Which one, and on what.
    pub what: String,
    /// The statement that grants it.
    pub hint: String,
}

const TABLE_RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Names every right that the role lacks: on the tables of the plan, and to keep its own schema.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn missing_rights(session: &Session, plan: &Plan) -> Result<Vec<MissingRight>, Error> {
    let act = "ask what the role may do";
    let tables: Vec<String> =
        plan.collections().iter().flat_map(|plan| &plan.tables).map(|plan| plan.table.to_string()).collect();
    let sql = "SELECT t.name, r.right_name, quote_ident(current_user) \
                 FROM unnest($1::text[]) WITH ORDINALITY AS t(name, n), unnest($2::text[]) WITH ORDINALITY AS r(right_name, n) \
                WHERE NOT has_table_privilege(t.name, r.right_name) ORDER BY t.n, r.n";
    let mut missing = Vec::new();
    for row in session.query(act, sql, &[&tables, &&TABLE_RIGHTS[..]]).await? {
        let (table, right): (&str, &str) = (field(&row, 0, act)?, field(&row, 1, act)?);
        let role: &str = field(&row, 2, act)?;
        missing.push(MissingRight {
            what: format!("the role {role} lacks {right} on {table}"),
            hint: format!("GRANT {right} ON {table} TO {role}"),
        });
    }
    let sql = "SELECT quote_ident(current_database()), quote_ident(current_user) \
                WHERE to_regnamespace('driftless') IS NULL AND NOT has_database_privilege(current_database(), 'CREATE')";
    if let Some(row) = session.query_opt(act, sql, &[]).await? {
        let (database, role): (&str, &str) = (field(&row, 0, act)?, field(&row, 1, act)?);
        missing.push(MissingRight {
            what: format!("the role {role} may not create the schema driftless"),
            hint: format!(
                "GRANT CREATE ON DATABASE {database} TO {role}, or CREATE SCHEMA driftless AUTHORIZATION {role}"
            ),
        });
    }
    Ok(missing)
}
