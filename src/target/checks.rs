//! Evaluates the CHECK constraints and domains of the target over rows that are not written.
//!
//! The rows are sent as arrays and cast as they would be when written. PostgreSQL evaluates its own expressions over them in a
//! read-only transaction. The answer has names and counts, never a value.

use std::fmt;

use crate::{
    mapping::{Row, TablePlan, target::quote_ident},
    model::Reason,
    postgres::{
        Error, Refusal, Session, params,
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
    /// Casts whole rows and evaluates the constraints.
    sql: String,
    constraints: Vec<Constraint>,
    /// For each column its name, and a statement that casts it alone.
    columns: Vec<(String, String)>,
    refused: u64,
}

#[derive(Debug)]
struct Constraint {
    name: String,
    columns: Vec<String>,
}

/// Rows that a constraint or a cast refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The reason that a dead letter of such a row has.
    pub(crate) reason: Reason,
    /// The constraint, where PostgreSQL names one.
    pub(crate) constraint: Option<String>,
    /// The columns of the constraint, or the column whose cast refuses its value.
    pub(crate) columns: Vec<String>,
    /// Places of the rows among those that were given.
    pub(crate) rows: Vec<usize>,
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
        let (mut constraints, mut tests) = (Vec::new(), Vec::new());
        for row in session.query(&act, CONSTRAINTS, &[&plan.table.schema, &plan.table.name]).await? {
            let columns: Vec<String> = field(&row, 2, &act)?;
            if columns
                .iter()
                .all(|name| plan.columns.iter().any(|column| column.name == *name && column.lookup.is_none()))
            {
                constraints.push(Constraint { name: field(&row, 0, &act)?, columns });
                tests.push(field::<String>(&row, 1, &act)?);
            }
        }
        let columns = plan.columns.iter().enumerate().map(|(at, column)| (column.name.clone(), cast_of(plan, at)));
        Ok(Self { act, sql: sql(plan, &tests), constraints, columns: columns.collect(), refused: 0 })
    }

    /// Returns whether so many rows were refused by casts that further rows are not evaluated.
    pub(crate) fn is_cut(&self) -> bool {
        self.refused >= MAX_VIOLATIONS
    }

    /// Evaluates the constraints over rows, and returns every violation of each row.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause, unless that is a refusal of a value.
    pub(crate) async fn violated(&mut self, session: &Session, rows: &[Row]) -> Result<Vec<Violation>, Error> {
        let mut found = Vec::new();
        let mut open = vec![(0, rows.len())];
        while let Some((from, to)) = open.pop() {
            if from == to || self.is_cut() {
                continue;
            }
            match of_a_value(self.ask(session, &rows[from..to]).await)? {
                Ok(violations) => found.extend(violations.into_iter().map(|violation| violation.moved(from))),
                Err(refusal) if to - from == 1 => {
                    self.refused += 1;
                    let violations = self.casts(session, &rows[from], &refusal).await?;
                    found.extend(violations.into_iter().map(|violation| violation.moved(from)));
                }
                // A cast refused a value: the row is found by bisection.
                Err(_) => {
                    let middle = from + (to - from) / 2;
                    open.extend([(middle, to), (from, middle)]);
                }
            }
        }
        Ok(found)
    }

    /// Returns every column of a row whose cast refuses its value, and the constraints that the other columns violate.
    async fn casts(&self, session: &Session, row: &Row, refusal: &Refusal) -> Result<Vec<Violation>, Error> {
        let mut found = Vec::new();
        let mut rest = Row::default();
        for ((name, sql), value) in self.columns.iter().zip(row.fields()) {
            let refused = of_a_value(self.answer(session, sql, std::slice::from_ref(row)).await)?.err();
            rest.push(value.filter(|_| refused.is_none()));
            found.extend(refused.map(|refusal| Violation {
                reason: refusal.reason(),
                constraint: refusal.constraint,
                columns: vec![name.clone()],
                rows: vec![0],
            }));
        }
        if found.is_empty() {
            let (reason, constraint) = (refusal.reason(), refusal.constraint.clone());
            return Ok(vec![Violation { reason, constraint, columns: Vec::new(), rows: vec![0] }]);
        }
        // NULL violates no CHECK.
        if let Ok(violations) = of_a_value(self.ask(session, &[rest]).await)? {
            found.extend(violations);
        }
        Ok(found)
    }

    async fn ask(&self, session: &Session, rows: &[Row]) -> Result<Vec<Violation>, Error> {
        let answer = self.answer(session, &self.sql, rows).await?;
        let mut violations = Vec::new();
        for (at, Constraint { name, columns }) in self.constraints.iter().enumerate() {
            if let Some(rows) = field::<Option<Vec<i64>>>(&answer, 1 + at, &self.act)? {
                let rows = rows.into_iter().filter_map(|ordinal| usize::try_from(ordinal - 1).ok()).collect();
                let (constraint, columns) = (Some(name.clone()), columns.clone());
                violations.push(Violation { reason: Reason::Check, constraint, columns, rows });
            }
        }
        Ok(violations)
    }

    /// Runs one of the statements over rows, in a transaction that keeps nothing.
    async fn answer(&self, session: &Session, sql: &str, rows: &[Row]) -> Result<tokio_postgres::Row, Error> {
        session.batch(&self.act, "BEGIN READ ONLY").await?;
        let arrays = params::columns(self.columns.len(), rows);
        let params: Vec<Param<'_>> = params::refs(&arrays);
        let answer = session.query_one(&self.act, sql, &params).await;
        // There is nothing to keep, whatever the outcome.
        session.batch(&self.act, "ROLLBACK").await?;
        answer
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(constraint) = &self.constraint {
            write!(f, " by {constraint}")?;
        }
        if self.columns.is_empty() { Ok(()) } else { write!(f, " in ({})", self.columns.join(", ")) }
    }
}

impl Violation {
    /// Returns the same of rows that begin at this place.
    fn moved(mut self, by: usize) -> Self {
        self.rows.iter_mut().for_each(|row| *row += by);
        self
    }
}

/// Separates a refusal of a value from errors of the statement.
fn of_a_value<T>(answer: Result<T, Error>) -> Result<Result<T, Refusal>, Error> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) => match error.refusal().filter(|refusal| refusal.is_of_a_value()) {
            Some(refusal) => Ok(Err(refusal.clone())),
            None => Err(error),
        },
    }
}

/// Returns a statement that casts a column alone. The other parameters only have their types.
fn cast_of(plan: &TablePlan, at: usize) -> String {
    let column = &plan.columns[at];
    let value = if column.lookup.is_some() { "NULL".to_owned() } else { format!("e.c{at}::{}", column.sql_type) };
    format!("SELECT num_nonnulls({value}) FROM {}", numbered("e", columns_as_params(plan, 1)))
}

/// The statement gives one row: how many values were cast, then for each test the ordinals of the rows that fail it. As in a CHECK,
/// NULL passes.
fn sql(plan: &TablePlan, tests: &[String]) -> String {
    let columns = plan.columns.iter().enumerate();
    let casts = columns.map(|(at, column)| {
        let value = if column.lookup.is_some() { "NULL".to_owned() } else { format!("e.c{at}::{}", column.sql_type) };
        format!("{value} AS {}", quote_ident(&column.name))
    });
    let results = tests.iter().map(|test| format!(", array_agg({ORDINAL}) FILTER (WHERE NOT ({test}))"));
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
