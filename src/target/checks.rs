//! Evaluates the CHECK constraints and domains of the target over rows that are not written.
//!
//! The rows are sent as arrays and cast as they would be when written. PostgreSQL evaluates its own expressions over them in a
//! read-only transaction. The answer has names and counts, never a value.

use crate::{
    mapping::{Row, TablePlan, target::quote_ident},
    model::Reason,
    postgres::{
        Error, Session, params,
        session::{Param, field},
        sql::{columns_as_params, numbered},
    },
};

/// Refusals of single rows (casts, domains) after which no further rows of a table are evaluated.
const MAX_VIOLATIONS: u64 = 500;
/// Column of the rows' ordinals. No column of a table has that name.
const ORDINAL: &str = "\"driftless ordinal\"";

/// The CHECK constraints of a planned table.
#[derive(Debug)]
pub(crate) struct Checks {
    act: String,
    sql: String,
    names: Vec<String>,
    width: usize,
    refused: u64,
}

/// Rows that a constraint refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The reason that a dead letter of such a row has.
    pub(crate) reason: Reason,
    /// The constraint, or the column, where PostgreSQL names one.
    pub(crate) name: Option<String>,
    /// How many rows.
    pub(crate) rows: u64,
    /// Place of the first among those that were given.
    pub(crate) first: usize,
}

const CONSTRAINTS: &str = "
SELECT k.conname::text, pg_get_expr(k.conbin, k.conrelid),
       ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))
  FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE k.contype = 'c' AND n.nspname = $1 AND c.relname = $2 ORDER BY k.conname";

impl Checks {
    /// Reads the constraints of a table, except those over columns that the mapping does not write.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn of(session: &Session, plan: &TablePlan) -> Result<Self, Error> {
        let act = format!("ask about the constraints of {}", plan.table);
        let (mut names, mut tests) = (Vec::new(), Vec::new());
        for row in session.query(&act, CONSTRAINTS, &[&plan.table.schema, &plan.table.name]).await? {
            let columns: Vec<String> = field(&row, 2, &act)?;
            if columns
                .iter()
                .all(|name| plan.columns.iter().any(|column| column.name == *name && column.lookup.is_none()))
            {
                names.push(field::<String>(&row, 0, &act)?);
                tests.push(field::<String>(&row, 1, &act)?);
            }
        }
        let sql = sql(plan, &tests);
        Ok(Self { act, sql, names, width: plan.columns.len(), refused: 0 })
    }

    /// Evaluates the constraints over rows.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause, unless that is a refusal of a value.
    pub(crate) async fn violated(&mut self, session: &Session, rows: &[Row]) -> Result<Vec<Violation>, Error> {
        let mut found = Vec::new();
        let mut open = vec![(0, rows.len())];
        while let Some((from, to)) = open.pop() {
            let range = from..to;
            if range.is_empty() || self.refused >= MAX_VIOLATIONS {
                continue;
            }
            match self.ask(session, &rows[range.clone()]).await {
                Ok(violations) => found.extend(
                    violations
                        .into_iter()
                        .map(|violation| Violation { first: range.start + violation.first, ..violation }),
                ),
                // A cast refused a value: the row is found by bisection.
                Err(error) => match error.refusal() {
                    Some(refusal) if refusal.is_of_a_value() => {
                        if range.len() == 1 {
                            self.refused += 1;
                            let name = refusal.constraint.clone().or_else(|| refusal.column.clone());
                            found.push(Violation { reason: refusal.reason(), name, rows: 1, first: range.start });
                        } else {
                            let middle = range.start + range.len() / 2;
                            open.push((middle, to));
                            open.push((from, middle));
                        }
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(found)
    }

    async fn ask(&self, session: &Session, rows: &[Row]) -> Result<Vec<Violation>, Error> {
        session.batch(&self.act, "BEGIN READ ONLY").await?;
        let arrays = params::columns(self.width, rows);
        let params: Vec<Param<'_>> = params::refs(&arrays);
        let answer = session.query_one(&self.act, &self.sql, &params).await;
        // There is nothing to keep, whatever the outcome.
        session.batch(&self.act, "ROLLBACK").await?;
        let answer = answer?;
        let mut violations = Vec::new();
        for (at, name) in self.names.iter().enumerate() {
            let rows: i64 = field(&answer, 1 + 2 * at, &self.act)?;
            if let Some(first) = field::<Option<i64>>(&answer, 2 + 2 * at, &self.act)? {
                let (rows, first) = (u64::try_from(rows).unwrap_or(0), usize::try_from(first - 1).unwrap_or(0));
                violations.push(Violation { reason: Reason::Check, name: Some(name.clone()), rows, first });
            }
        }
        Ok(violations)
    }
}

/// The statement gives one row: how many rows were cast, then for each test how many fail it and which is the first. As in a
/// CHECK, NULL passes.
fn sql(plan: &TablePlan, tests: &[String]) -> String {
    let columns = plan.columns.iter().enumerate();
    let casts = columns.map(|(at, column)| {
        let value = if column.lookup.is_some() { "NULL".to_owned() } else { format!("e.c{at}::{}", column.sql_type) };
        format!("{value} AS {}", quote_ident(&column.name))
    });
    let results = tests
        .iter()
        .map(|test| format!(", count(*) FILTER (WHERE NOT ({test})), min({ORDINAL}) FILTER (WHERE NOT ({test}))"));
    let join = |parts: &mut dyn Iterator<Item = String>| parts.collect::<Vec<_>>().join(", ");
    // A column that nothing reads would not be cast; OFFSET makes each cast happen once.
    let all = join(&mut plan.columns.iter().map(|column| format!("num_nonnulls({})", quote_ident(&column.name))));
    format!(
        "SELECT sum(greatest({all})){} FROM (SELECT e.n AS {ORDINAL}, {} FROM {} OFFSET 0) AS t",
        results.collect::<String>(),
        join(&mut { casts }),
        numbered("e", columns_as_params(plan, 1)),
    )
}
