//! Results of shadow reads: kept for the gate and the status.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::postgres::{Error, Session, identity::OURS, session::field};

/// Results of a file that are kept.
const KEPT: i64 = 20;

/// The outcome of a query or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// All answers are equal.
    Equal,
    /// None is proven different, and not all could be judged.
    Undecided,
    /// One is proven different.
    Different,
}

impl Outcome {
    /// The name in reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Undecided => "undecided",
            Self::Different => "different",
        }
    }
}

/// The result of a query in one run of its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueryResult {
    /// Its name.
    pub(crate) name: String,
    /// Its outcome.
    pub(crate) outcome: Outcome,
    /// Answers that were equal.
    equal: u64,
    /// Answers that were proven different.
    different: u64,
    /// Answers that could not be judged.
    undecided: u64,
    /// Latencies of PostgreSQL.
    pub(crate) postgresql: Percentiles,
    /// Latencies of MongoDB.
    pub(crate) mongodb: Percentiles,
}

/// Latencies in milliseconds that 50, 95 and 99 of 100 answers did not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

/// The result of one run of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShadowRun {
    /// Name of the file, without its folder.
    pub(crate) file: String,
    /// Queries whose answers are proven different.
    pub(crate) different: Vec<String>,
    /// Queries whose answers could not be judged.
    pub(crate) undecided: Vec<String>,
    /// Its queries, in their order.
    pub(crate) queries: Vec<QueryResult>,
    /// Digests of the plans of the collections that the queries read, in hex.
    pub(crate) plans: BTreeMap<String, String>,
    /// How long ago it ended, by PostgreSQL's clock.
    pub(crate) age: Duration,
}

impl ShadowRun {
    /// Returns the same result, older by `since`.
    #[must_use]
    pub(crate) fn grown_old(&self, since: Duration) -> Self {
        Self { age: self.age + since, ..self.clone() }
    }
}

/// A result to be kept.
pub(crate) struct NewRun<'r> {
    pub(crate) file: &'r str,
    pub(crate) who: &'r str,
    pub(crate) began_at: Timestamp,
    pub(crate) different: Vec<&'r str>,
    pub(crate) undecided: Vec<&'r str>,
    pub(crate) plans: BTreeMap<String, String>,
    pub(crate) report: Value,
}

/// Keeps a result, and removes the oldest ones of the file.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn store(session: &Session, run: &NewRun<'_>) -> Result<(), Error> {
    let act = "keep a result of shadow reads";
    let sql = "INSERT INTO driftless.shadow_run (migration, file, who, began_at, different, undecided, plans, report) \
               SELECT id, $2, $3, to_timestamp($4::float8), $5, $6, $7, $8 FROM driftless.identity WHERE prefix = $1";
    let NewRun { file, who, began_at, different, undecided, plans, report } = run;
    let began = began_at.as_millisecond() as f64 / 1_000.0;
    let (plans, report) = (serde_json::json!(plans), session.storable_json(report));
    let file = session.storable(file);
    session.execute(act, sql, &[&session.prefix(), &file, who, &began, different, undecided, &plans, &report]).await?;
    let sql = format!(
        "DELETE FROM driftless.shadow_run AS old WHERE {OURS} AND file = $2 AND id <= \
           (SELECT id FROM driftless.shadow_run WHERE {OURS} AND file = $2 ORDER BY id DESC OFFSET $3 LIMIT 1)"
    );
    session.execute(act, &sql, &[&session.prefix(), &file, &KEPT]).await?;
    Ok(())
}

/// Reads the last result of each file.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn latest(session: &Session) -> Result<Vec<ShadowRun>, Error> {
    let act = "read the results of shadow reads";
    let sql = format!(
        "SELECT file, different, undecided, plans, greatest(extract(epoch FROM clock_timestamp() - ended_at), 0)::float8, \
                (SELECT coalesce(jsonb_agg(q - 'examples' #- '{{postgresql,all_ms}}' #- '{{mongodb,all_ms}}' ORDER BY place), '[]') \
                   FROM jsonb_array_elements(report -> 'queries') WITH ORDINALITY AS e (q, place)) \
           FROM (SELECT DISTINCT ON (file) * FROM driftless.shadow_run WHERE {OURS} ORDER BY file, id DESC) AS last"
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let run = |row| {
        let plans: Value = field(row, 3, act)?;
        let plans = plans.as_object().into_iter().flatten();
        Ok(ShadowRun {
            file: field(row, 0, act)?,
            different: field(row, 1, act)?,
            undecided: field(row, 2, act)?,
            plans: plans.filter_map(|(name, digest)| Some((name.clone(), digest.as_str()?.to_owned()))).collect(),
            age: Duration::from_secs_f64(field(row, 4, act)?),
            queries: serde_json::from_value(field(row, 5, act)?).unwrap_or_default(),
        })
    };
    rows.iter().map(run).collect()
}
