//! Rows that are not written, as PostgreSQL would print them: for a person who wants to see what a mapping makes.
//!
//! The parameters travel as they do when rows are written, and are cast to the columns' types, in a transaction that may not
//! write. What casts refuse (a label that an enum lacks, a domain's CHECK) shows here; constraints of tables do not.

use super::{
    Error, Refusal, Session, params,
    session::{Param, field},
};
use crate::mapping::{PlanColumn, Row, TablePlan, target::quote_ident};

/// A row as text, parallel to the columns of its plan; `None` is NULL.
pub type Printed = Vec<Option<String>>;

/// Prints rows of one table, each as its texts or as the refusal that it met.
///
/// # Errors
/// [`Error::Statement`] by its cause, unless that is a refusal of a value.
pub async fn print_rows(
    session: &Session,
    plan: &TablePlan,
    rows: &[Row],
) -> Result<Vec<Result<Printed, Refusal>>, Error> {
    let act = format!("print rows of {}", plan.table);
    let sql = sql(plan);
    let mut printed = Vec::with_capacity(rows.len());
    for row in rows {
        session.batch(&act, "BEGIN READ ONLY").await?;
        let outcome = print_row(session, &act, &sql, plan, row).await;
        // Nothing to keep, whatever came of it.
        session.batch(&act, "ROLLBACK").await?;
        printed.push(match outcome {
            Ok(texts) => Ok(texts),
            Err(error) => match error.refusal() {
                Some(refusal) if ["22", "23", "54"].iter().any(|class| refusal.code.starts_with(class)) => {
                    Err(refusal.clone())
                }
                _ => return Err(error),
            },
        });
    }
    Ok(printed)
}

async fn print_row(session: &Session, act: &str, sql: &str, plan: &TablePlan, row: &Row) -> Result<Printed, Error> {
    let arrays = params::columns(plan.columns.len(), [row]);
    let params: Vec<Param<'_>> = params::refs(&arrays);
    let found = session.query_one(act, sql, &params).await?;
    (0..plan.columns.len()).map(|at| field(&found, at, act)).collect()
}

fn sql(plan: &TablePlan) -> String {
    let columns = plan.columns.iter().enumerate();
    let (values, arrays): (Vec<_>, Vec<_>) =
        columns.map(|(at, column)| (value(column, at), format!("${}::{}[]", at + 1, column.param_type))).unzip();
    let names = (0..plan.columns.len()).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
    format!("SELECT {} FROM unnest({}) AS e({names})", values.join(", "), arrays.join(", "))
}

fn value(column: &PlanColumn, at: usize) -> String {
    match &column.lookup {
        None => format!("(e.c{at}::{})::text", column.sql_type),
        Some(lookup) => format!(
            "(SELECT l.{}::{}::text FROM {} AS l WHERE l.{} = e.c{at}::{})",
            quote_ident(&lookup.to),
            column.sql_type,
            lookup.table,
            quote_ident(&lookup.from.0),
            lookup.from.1
        ),
    }
}
