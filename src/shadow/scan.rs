//! Asks PostgreSQL for the plan of a statement: which large tables it scans as a whole, and whether an index is missing.
//!
//! The planner answers the second question itself. It is asked again while sequential scans are disabled: if it still reads the whole
//! table to find what a condition asks for, no index fits that condition.

use serde::Serialize;
use serde_json::Value;

use super::{Error, explain};
use crate::postgres::{
    Session,
    session::{Param, field},
};

/// A large table that a statement scans as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Scan {
    /// The table.
    pub(crate) table: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Whether no index fits the condition of the scan.
    pub(crate) missing_index: bool,
}

/// Looks at the plan of a statement with these parameters, in a transaction that is not kept. Tables of at most `above` bytes are left
/// out.
pub(super) async fn look(session: &Session, sql: &str, params: &[Param<'_>], above: u64) -> Result<Vec<Scan>, Error> {
    let usual = explain::scans(&plan(session, sql, params).await?, false);
    let mut large = Vec::new();
    for scanned in usual {
        let act = "read the size of a table";
        let sql = "SELECT coalesce(pg_table_size(to_regclass($1::text)), 0)";
        let row = session.query_one(act, sql, &[&scanned.table.to_string()]).await?;
        let bytes = u64::try_from(field::<i64>(&row, 0, act)?).unwrap_or(0);
        if bytes > above {
            large.push((scanned, bytes));
        }
    }
    if large.is_empty() {
        return Ok(Vec::new());
    }
    session.batch("disable sequential scans", "SET LOCAL enable_seqscan = off").await?;
    let forced = explain::scans(&plan(session, sql, params).await?, true);
    session.batch("enable sequential scans", "SET LOCAL enable_seqscan = on").await?;
    let scan = |(scanned, bytes): (explain::Scanned, u64)| Scan {
        missing_index: scanned.filtered && forced.iter().any(|still| still.filtered && still.table == scanned.table),
        table: scanned.table.label(),
        bytes,
    };
    Ok(large.into_iter().map(scan).collect())
}

async fn plan(session: &Session, sql: &str, params: &[Param<'_>]) -> Result<Value, Error> {
    let act = "read the plan of a statement";
    let row = session.query_one(act, &format!("EXPLAIN (FORMAT JSON, VERBOSE)\n{sql}"), params).await?;
    Ok(field(&row, 0, act)?)
}

impl std::fmt::Display for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, bytes, missing_index } = self;
        let index =
            if *missing_index { "an index is missing" } else { "no index would help, or the planner prefers the scan" };
        write!(f, "{table} ({}) as a whole: {index}", bytesize::ByteSize(*bytes))
    }
}
