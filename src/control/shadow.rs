//! Results of shadow reads: kept for the gate and for people.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::postgres::{Error, Session, identity::OURS, session::field};

/// Results of a file that are kept.
const KEPT: i64 = 20;

/// The result of one run of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShadowRun {
    /// Name of the file, without its folder.
    pub(crate) file: String,
    /// Queries whose answers are proven different.
    pub(crate) different: Vec<String>,
    /// Queries whose answers could not be judged.
    pub(crate) undecided: Vec<String>,
    /// Digests of the plans of the collections that the queries read, in hex.
    pub(crate) plans: BTreeMap<String, String>,
    /// How long ago it ended, by PostgreSQL's clock.
    pub(crate) age: Duration,
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
        "SELECT DISTINCT ON (file) file, different, undecided, plans, \
                greatest(extract(epoch FROM clock_timestamp() - ended_at), 0)::float8 \
           FROM driftless.shadow_run WHERE {OURS} ORDER BY file, id DESC"
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
        })
    };
    rows.iter().map(run).collect()
}
