//! A pair of queries, checked against the mapping and both servers: every column and every parameter has its conversion.

use std::collections::BTreeSet;

use bson::doc;
use serde::Serialize;
use tokio_postgres::Statement;

use super::{
    Error,
    columns::ResultColumn,
    command::Command,
    compare::{self, ComparedColumn},
    draw::{Drawn, draw},
    file::{ColumnName, Fault, QueryFile, ShadowFile},
    parameters::Parameter,
    scan::{self, Scan},
};
use crate::{
    mapping::{CollectionPlan, PlanColumn, TablePlan, target::TableName},
    postgres::{Session, params, session::field},
    reconcile::Both,
};

/// A pair of queries, ready to be asked.
pub(super) struct Query {
    pub(super) name: String,
    pub(super) command: Command,
    pub(super) sql: String,
    pub(super) order: bool,
    pub(super) parameters: Vec<Parameter>,
    pub(super) columns: Vec<ResultColumn>,
    /// The comparison by place, and without places.
    pub(super) placed: String,
    pub(super) unplaced: String,
    /// The collections that either side reads, by place in the plan.
    pub(super) collections: Vec<usize>,
    /// Drawn parameters; never empty.
    pub(super) drawn: Vec<Drawn>,
    /// Tables that the statement scans as a whole.
    pub(super) scans: Vec<Scan>,
}

/// All pairs of a file, ready to be asked.
pub(crate) struct Compiled {
    pub(super) search_path: String,
    pub(super) queries: Vec<Query>,
}

/// A pair that fits both servers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    /// Its name.
    pub(crate) name: String,
    /// The collections that it reads.
    pub(crate) collections: Vec<String>,
    /// Large tables that the statement scans as a whole.
    pub(crate) scans: Vec<Scan>,
}

impl Compiled {
    /// The pairs, for a person.
    pub(crate) fn checked(&self, both: &Both) -> Vec<Checked> {
        let checked = |query: &Query| Checked {
            name: query.name.clone(),
            collections: query.collections.iter().map(|place| both.plan(*place).collection.clone()).collect(),
            scans: query.scans.clone(),
        };
        self.queries.iter().map(checked).collect()
    }
}

/// Unequal rows that are read; their number is always known.
pub(super) const MOST_ROWS: usize = 20;

/// Checks all pairs of a file against both servers, and draws parameters for `draws` runs.
///
/// # Errors
/// The faults of the file, or the error of a server that is not about it.
pub(crate) async fn compile(
    both: &Both,
    session: &Session,
    file: ShadowFile,
    draws: usize,
    scan_above: u64,
) -> Result<Result<Compiled, Vec<Fault>>, Error> {
    let (mut queries, mut faults) = (Vec::new(), Vec::new());
    let search_path = file.search_path;
    for query in file.queries {
        let name = query.name.clone();
        let compiler = Compiler { both, session, search_path: &search_path };
        match compiler.query(query, draws, scan_above).await {
            Ok(query) => queries.push(query),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Faults(found)) => {
                let named = |fault: Fault| Fault { what: format!("query `{name}`: {}", fault.what), ..fault };
                faults.extend(found.into_iter().map(named));
            }
        }
    }
    Ok(if faults.is_empty() { Ok(Compiled { search_path, queries }) } else { Err(faults) })
}

/// Why a pair is not compiled.
pub(super) enum Stop {
    Faults(Vec<Fault>),
    Error(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Stops with one fault.
pub(super) fn fault(line: usize, what: impl Into<String>, hint: impl Into<String>) -> Stop {
    Stop::Faults(vec![Fault { line, what: what.into(), hint: hint.into() }])
}

/// Begins the transaction in which statements of a person are looked at.
async fn begin(session: &Session, search_path: &str) -> Result<(), Error> {
    session.batch("begin a read", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let sql = "SELECT set_config('search_path', $1, true)";
    session.query("set the search path", sql, &[&search_path]).await?;
    Ok(())
}

const DESCRIBE: &str = "prepare a statement of the file";

pub(super) struct Compiler<'a> {
    pub(super) both: &'a Both,
    pub(super) session: &'a Session,
    search_path: &'a str,
}

/// A column that the mapping writes.
#[derive(Clone, Copy)]
pub(super) struct Planned<'p> {
    pub(super) plan: &'p CollectionPlan,
    pub(super) table: &'p TablePlan,
    /// Place of the column in its table.
    pub(super) at: usize,
}

impl<'p> Planned<'p> {
    fn find(plan: &'p CollectionPlan, of: &ColumnName) -> Option<Self> {
        let tables = plan.tables.iter().filter(|table| table.table == of.table);
        let place = |table: &TablePlan| table.columns.iter().position(|column| column.name == of.column);
        tables.filter_map(|table| Some(Self { plan, table, at: place(table)? })).next()
    }

    pub(super) fn column(&self) -> &'p PlanColumn {
        &self.table.columns[self.at]
    }
}

impl Compiler<'_> {
    async fn query(&self, file: QueryFile, draws: usize, scan_above: u64) -> Result<Query, Stop> {
        begin(self.session, self.search_path).await?;
        let compiled = self.inside(file, draws, scan_above).await;
        // There is nothing to keep, whatever the outcome.
        self.session.batch("end a read", "ROLLBACK").await?;
        compiled
    }

    async fn inside(&self, file: QueryFile, draws: usize, scan_above: u64) -> Result<Query, Stop> {
        let line = file.line;
        let statement = self.described(&file.sql, file.sql_line, "correct `sql`").await?;
        let (columns, parameters) = (self.columns(&file, &statement).await, self.parameters(&file, &statement));
        let (columns, parameters) = match (columns, parameters) {
            (Ok(columns), Ok(parameters)) => (columns, parameters),
            (Err(Stop::Faults(mut faults)), Err(Stop::Faults(more))) => {
                faults.extend(more);
                return Err(Stop::Faults(faults));
            }
            (Err(stop), _) | (_, Err(stop)) => return Err(stop),
        };
        let compared: Vec<ComparedColumn> = columns.iter().map(|column| column.compared.clone()).collect();
        let comparison = |placed| compare::statement(&file.sql, &compared, parameters.len() + 1, placed, MOST_ROWS);
        let (placed, unplaced) = (comparison(true), comparison(false));
        for sql in [&placed, &unplaced] {
            self.described(sql, file.sql_line, "write one SELECT; give columns of unlike types a `column`").await?;
        }
        let drawn = draw(&self.both.reader, &parameters, draws).await?;
        self.accepted(&file, &parameters, &drawn[0]).await?;
        let values = drawn[0].params();
        let scans = scan::look(self.session, &file.sql, &params::borrowed(&values), scan_above).await?;
        let collections = self.concerned(line, &file.command).await?;
        let QueryFile { name, command, sql, order, .. } = file;
        Ok(Query { name, command, sql, order, parameters, columns, placed, unplaced, collections, drawn, scans })
    }

    /// Prepares a statement; a refusal is a fault of the file.
    async fn described(&self, sql: &str, line: usize, hint: &str) -> Result<Statement, Stop> {
        match self.session.describe(DESCRIBE, sql).await {
            Ok(statement) => Ok(statement),
            Err(error) => match error.refusal() {
                Some(refusal) => Err(fault(line, format!("PostgreSQL refuses the statement: {refusal}"), hint)),
                None => Err(error.into()),
            },
        }
    }

    /// MongoDB plans the command without running it; a refusal is a fault of the file.
    async fn accepted(&self, file: &QueryFile, parameters: &[Parameter], drawn: &Drawn) -> Result<(), Stop> {
        let command = file.command.filled(&drawn.named(parameters));
        let explain = doc! { "explain": command, "verbosity": "queryPlanner" };
        let database = self.both.source.database_name();
        match self.both.source.command(database, "plan a command of the file", explain).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let Some(code) = error.command_code() else { return Err(error.into()) };
                // Without parameters the message can quote nothing but the file.
                let message = error.command_message().filter(|_| parameters.is_empty());
                let what = message.map_or(code.clone(), |message| format!("{code}: {message}"));
                Err(fault(file.line, format!("MongoDB refuses the command: {what}"), "correct `mongodb`"))
            }
        }
    }

    /// The collections that the command names, and those whose rows the statement reads.
    async fn concerned(&self, line: usize, command: &Command) -> Result<Vec<usize>, Stop> {
        let mut places = BTreeSet::new();
        for collection in &command.collections {
            match self.both.prepared.named(collection) {
                Some(place) => drop(places.insert(place)),
                None => {
                    let hint = "map it, or leave it out: nothing of it is in PostgreSQL";
                    return Err(fault(line, format!("the collection `{collection}` is not mapped"), hint));
                }
            }
        }
        // Planning has locked every relation of the statement, also behind views.
        let act = "read which tables a statement reads";
        let sql = "SELECT DISTINCT n.nspname::text, c.relname::text FROM pg_locks AS l \
                     JOIN pg_class AS c ON c.oid = l.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                    WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND n.nspname <> 'pg_catalog'";
        for row in self.session.query(act, sql, &[]).await? {
            let table = TableName::new(field::<String>(&row, 0, act)?, field::<String>(&row, 1, act)?);
            let plans = self.plans().enumerate();
            places.extend(
                plans.filter(|(_, plan)| plan.tables.iter().any(|known| known.table == table)).map(|(at, _)| at),
            );
        }
        Ok(places.into_iter().collect())
    }

    fn plans(&self) -> impl Iterator<Item = &CollectionPlan> {
        self.both.prepared.all().collections().iter()
    }

    /// The column as the mapping writes it; the named collection comes first.
    pub(super) fn planned(&self, of: &ColumnName, first: &str) -> Option<Planned<'_>> {
        let own = self.plans().filter(|plan| plan.collection == first);
        own.chain(self.plans()).find_map(|plan| Planned::find(plan, of))
    }
}
