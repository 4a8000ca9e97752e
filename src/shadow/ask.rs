//! Asks both sides once, and judges their answers.

use std::{collections::BTreeMap, time::Duration};

use bson::raw::RawDocumentBuf;
use tokio::time::{Instant, timeout};

use super::{Error, columns::ResultColumn, compile::Query, draw::Drawn};
use crate::{
    mapping::{Row, value_at},
    model::{ClusterTime, Reason},
    postgres::{
        Session,
        params::{self, Field},
        session::{Param, field},
    },
    reconcile::Both,
    retry::Backoff,
    source::{self, KeyStream, OnDrop, ReadTime, Scope},
    target::TargetReader,
};

/// Asks pairs of queries, in a session of its own.
pub(super) struct Asker<'a> {
    pub(super) both: &'a Both,
    pub(super) session: &'a Session,
    pub(super) search_path: &'a str,
    pub(super) backoff: Backoff,
}

/// Both answers, judged.
pub(super) struct Asked {
    pub(super) judgement: Judgement,
    /// Time of each side; `None` for one that has not answered.
    pub(super) postgresql: Option<Duration>,
    pub(super) mongodb: Option<Duration>,
}

/// The judgement of two answers.
pub(super) enum Judgement {
    Equal,
    /// Proven.
    Different(Difference),
    /// Not proven, for this reason.
    Undecided(String),
}

/// How two answers differ.
pub(super) struct Difference {
    /// Cluster time of both.
    pub(super) as_of: ClusterTime,
    /// Whether the rows are the same in another order.
    pub(super) order: bool,
    /// Rows without counterpart, the first of them.
    pub(super) rows: Vec<Unequal>,
    /// How many there are.
    pub(super) count: u64,
    /// The result column that cannot hold a value of MongoDB's answer.
    pub(super) refused: Option<(String, Reason)>,
}

/// A row of one answer that the other one lacks.
pub(super) struct Unequal {
    /// Whether MongoDB's answer has it; else PostgreSQL's.
    pub(super) expected: bool,
    /// Its place, from 1.
    pub(super) place: i64,
    pub(super) texts: Vec<Option<String>>,
    pub(super) digests: Vec<i64>,
}

/// The contents of one snapshot of the target.
struct Seen {
    postgresql: Duration,
    mongodb: Duration,
    difference: Option<Difference>,
    /// No change that the snapshot holds is later.
    until: ClusterTime,
}

const RUN: &str = "run a statement of the file";
const COMPARE: &str = "compare both answers";
/// Longest wait until the source has told whether anything changed meanwhile: an idle one writes to its oplog every ten seconds.
const QUIET_TIMEOUT: Duration = Duration::from_secs(12);

impl Asker<'_> {
    /// Asks both sides once.
    ///
    /// # Errors
    /// Those of either side that are not about this pair.
    pub(super) async fn ask(&self, query: &Query, drawn: &Drawn) -> Result<Asked, Error> {
        let undecided =
            |reason: String| Asked { judgement: Judgement::Undecided(reason), postgresql: None, mongodb: None };
        let reader = TargetReader::begin(self.session, &self.both.prepared).await?;
        let seen = match self.in_snapshot(query, drawn, &reader).await {
            Ok(seen) => {
                reader.end().await?;
                seen
            }
            Err(error) => {
                let Some(reason) = of_this_pair(&error) else { return Err(error) };
                self.session.batch("end a read", "ROLLBACK").await?;
                return Ok(undecided(reason));
            }
        };
        let Some(Seen { postgresql, mongodb, difference, until }) = seen else {
            return Ok(undecided("the snapshot of a collection is not applied".to_owned()));
        };
        let judgement = match difference {
            None => Judgement::Equal,
            Some(difference) => match self.quiet(query, difference.as_of, until).await? {
                Some(true) => Judgement::Different(difference),
                Some(false) => Judgement::Undecided("its collections change all the time".to_owned()),
                None => Judgement::Undecided("MongoDB does not say in time whether anything has changed".to_owned()),
            },
        };
        Ok(Asked { judgement, postgresql: Some(postgresql), mongodb: Some(mongodb) })
    }

    /// Both answers; `None` while the snapshot of a collection is not applied.
    async fn in_snapshot(
        &self,
        query: &Query,
        drawn: &Drawn,
        reader: &TargetReader<'_>,
    ) -> Result<Option<Seen>, Error> {
        let set = "SELECT set_config('search_path', $1, true)";
        self.session.query("set the search path", set, &[&self.search_path]).await?;
        let values = drawn.params();
        let began = Instant::now();
        self.session.query(RUN, &query.sql, &params::borrowed(&values)).await?;
        let postgresql = began.elapsed();
        // Read behind the snapshot: it holds nothing that happened later.
        let until = self.both.reader.latest().await?;
        let topics: Vec<_> = query.collections.iter().map(|collection| self.both.topic(*collection)).collect();
        let watermarks = reader.watermarks(&topics).await?;
        let lowest = watermarks.into_iter().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
        let Some(as_of) = lowest.and_then(|watermark| watermark.last_covered()) else { return Ok(None) };
        let command = query.command.fill(&drawn.named(&query.parameters));
        let command = command.ok_or(source::Error::Reply { act: "fill in a command", field: "_id" })?;
        let began = Instant::now();
        let answer = self.both.reader.answer(command, ReadTime::At(as_of)).await?.value;
        let mongodb = began.elapsed();
        let difference = match rows(&query.columns, &answer) {
            Ok(expected) => self.compare(query, &values, &expected, as_of).await?,
            Err(refused) => {
                Some(Difference { as_of, order: false, rows: Vec::new(), count: 0, refused: Some(refused) })
            }
        };
        Ok(Some(Seen { postgresql, mongodb, difference, until }))
    }

    /// Compares the answer in PostgreSQL, in the snapshot of the transaction.
    async fn compare(
        &self,
        query: &Query,
        values: &[Field],
        expected: &[Row],
        as_of: ClusterTime,
    ) -> Result<Option<Difference>, Error> {
        let arrays = params::columns(query.columns.len(), expected);
        let params: Vec<Param<'_>> = params::borrowed(values).into_iter().chain(params::refs(&arrays)).collect();
        let (rows, count) = self.unequal(&query.unplaced, &params).await?;
        if count > 0 || !query.order {
            return Ok((count > 0).then_some(Difference { as_of, order: false, rows, count, refused: None }));
        }
        let (rows, count) = self.unequal(&query.placed, &params).await?;
        Ok((count > 0).then_some(Difference { as_of, order: true, rows, count, refused: None }))
    }

    async fn unequal(&self, sql: &str, params: &[Param<'_>]) -> Result<(Vec<Unequal>, u64), Error> {
        let (mut rows, mut count) = (Vec::new(), 0);
        for row in self.session.query(COMPARE, sql, params).await? {
            rows.push(Unequal {
                expected: field::<i32>(&row, 0, COMPARE)? == 1,
                place: field(&row, 1, COMPARE)?,
                texts: field(&row, 2, COMPARE)?,
                digests: field(&row, 3, COMPARE)?,
            });
            count = u64::try_from(field::<i64>(&row, 4, COMPARE)?).unwrap_or_default();
        }
        Ok((rows, count))
    }

    /// Whether nothing changed behind `from` and up to `to` in the collections of a pair; `None` if the source does not say in time.
    async fn quiet(&self, query: &Query, from: ClusterTime, to: ClusterTime) -> Result<Option<bool>, Error> {
        if to <= from {
            return Ok(Some(true));
        }
        let names = query.collections.iter().map(|place| (self.both.plan(*place).collection.clone(), OnDrop::Ignore));
        let (database, epoch) = (self.both.source.database_name().to_owned(), self.both.source.epoch());
        let scope = Scope { database, collections: names.collect(), epoch, since: BTreeMap::new() };
        let mut stream = KeyStream::open(&self.both.source, scope, Err(from.next()), self.backoff);
        let look = async {
            loop {
                let batch = stream.next().await?;
                let changed = batch.keys.iter().map(|key| key.time);
                if changed.chain(batch.replaced.iter().map(|replaced| replaced.time)).any(|time| time <= to) {
                    return Ok::<_, source::Error>(false);
                }
                if batch.frontier.covers(to) {
                    return Ok(true);
                }
            }
        };
        match timeout(QUIET_TIMEOUT, look).await {
            Ok(quiet) => Ok(Some(quiet?)),
            Err(_elapsed) => Ok(None),
        }
    }
}

/// Why this pair cannot be asked now, without a value; `None` for an error of another kind.
fn of_this_pair(error: &Error) -> Option<String> {
    match error {
        Error::Target(error) => error.refusal().map(|refusal| format!("PostgreSQL refuses the statement: {refusal}")),
        Error::Source(source::Error::SnapshotTooOld { .. }) => {
            Some("MongoDB can no longer read the instant that PostgreSQL has reached".to_owned())
        }
        Error::Source(error) => error.command_code().map(|code| format!("MongoDB refuses the command: {code}")),
    }
}

/// The rows that an answer of MongoDB becomes.
///
/// # Errors
/// The column that cannot hold a value, and the reason.
fn rows(columns: &[ResultColumn], answer: &[RawDocumentBuf]) -> Result<Vec<Row>, (String, Reason)> {
    let row = |document: &RawDocumentBuf| {
        let mut row = Row::default();
        for column in columns {
            write(column, document, &mut row).map_err(|reason| (column.name.clone(), reason))?;
        }
        Ok(row)
    };
    answer.iter().map(row).collect()
}

/// Appends the first value that is there, as a column of the mapping chooses among its paths.
fn write(column: &ResultColumn, document: &RawDocumentBuf, row: &mut Row) -> Result<(), Reason> {
    let mut blocked = None;
    for path in &column.paths {
        match value_at(document, path, false) {
            Ok(Some(value)) if !column.rule.passes_over(value) => return column.rule.write(Some(value), row),
            Ok(_) => {}
            Err(reason) => blocked = Some(reason),
        }
    }
    match blocked {
        Some(reason) => Err(reason),
        None => column.rule.write(None, row),
    }
}
