//! Prints rows that are not written, as PostgreSQL would print them, for a person who looks at the result of a mapping.
//!
//! The parameters are sent as they are when rows are written, and cast to the columns' types in a read-only transaction. A
//! refusal by a cast (a label that an enum lacks, a domain's CHECK) shows here; the constraints of tables are not evaluated.

use crate::{
    mapping::{Row, TablePlan},
    postgres::{
        Error, Refusal, Session, params,
        session::{Param, field},
        sql::{columns_as_params, looked_up, unnest},
    },
};

/// A row as text, parallel to the columns of its plan; `None` is NULL.
pub(crate) type Printed = Vec<Option<String>>;

/// Prints rows of one table, each as its texts or as the refusal that it met.
///
/// # Errors
/// [`Error::Statement`] by its cause, unless that is a refusal of a value.
pub(crate) async fn print_rows(
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
        // There is nothing to keep, whatever the outcome.
        session.batch(&act, "ROLLBACK").await?;
        printed.push(match outcome {
            Ok(texts) => Ok(texts),
            Err(error) => match error.refusal() {
                Some(refusal) if refusal.is_of_a_value() => Err(refusal.clone()),
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
    let texts = plan.columns.iter().enumerate().map(|(at, column)| {
        let element = format!("e.c{at}");
        let value = column.lookup.as_ref().map_or(element.clone(), |lookup| looked_up(lookup, &element));
        format!("({value}::{})::text", column.sql_type)
    });
    format!("SELECT {} FROM {}", texts.collect::<Vec<_>>().join(", "), unnest("e", columns_as_params(plan, 1)))
}
