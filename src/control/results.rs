//! Results of the reconciler's passes, stored for every process to read.

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Row;

use crate::{
    model::ClusterTime,
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
    sink::checkpoint,
};

/// The result of a pass of the reconciler over one collection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReconcileResult {
    /// Collection.
    pub collection: String,
    /// Whether everything was compared, not a sample.
    pub full: bool,
    /// How long the pass took: its first read is older than its end by that.
    pub took: Duration,
    /// When it began, in milliseconds since 1970. PostgreSQL sets it when the result is stored.
    pub began_ms: i64,
    /// How long ago that is by PostgreSQL's clock; never below zero.
    pub age: Duration,
    /// Digest of the compiled plan that made the expected rows.
    pub plan: Option<[u8; 16]>,
    /// Cluster time of the newest read.
    pub as_of: ClusterTime,
    /// Documents compared.
    pub checked: u64,
    /// Missing in the target.
    pub missing: u64,
    /// In the target only.
    pub extra: u64,
    /// Different in at least one column.
    pub different: u64,
    /// Not judged.
    pub undecided: u64,
    /// Whether the source has no such collection and never had a document of it.
    pub no_such_collection: bool,
    /// The first findings; no values of documents.
    pub detail: serde_json::Value,
}

/// The stored words for how much was compared.
const FULL: &str = "full";
const SAMPLE: &str = "sample";

impl ReconcileResult {
    fn tier(&self) -> &'static str {
        if self.full { FULL } else { SAMPLE }
    }
}

/// Whether a pass found drift, in SQL. A clean sample says nothing about drift that an earlier one found, so both are kept.
const DRIFTS: &str = "missing + extra + different > 0";
/// Results kept of each collection and tier, with drift and without.
const RESULTS_KEPT: i64 = 1_000;

/// Reads the results that may still hold: of each collection, tier and plan the last one that found drift, and the last one
/// that found none.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn last(session: &Session) -> Result<Vec<ReconcileResult>, Error> {
    let sql = format!(
        "SELECT DISTINCT ON (collection, tier, plan, {DRIFTS}) collection, tier, \
                (extract(epoch FROM finished_at - began_at) * 1000)::int8, (extract(epoch FROM began_at) * 1000)::int8, \
                (extract(epoch FROM clock_timestamp() - began_at) * 1000)::int8, plan, \
                as_of_t, as_of_i, checked, missing, extra, different, undecided, detail, no_such_collection \
           FROM driftless.reconcile_result WHERE {OURS} ORDER BY collection, tier, plan, {DRIFTS}, id DESC"
    );
    let rows = session.query(READ, &sql, &[&session.prefix()]).await?;
    rows.iter().map(result).collect()
}

const READ: &str = "read the results of the reconciler";

fn result(row: &Row) -> Result<ReconcileResult, Error> {
    let number = |at: usize| Ok::<_, Error>(u64::try_from(field::<i64>(row, at, READ)?).unwrap_or(0));
    Ok(ReconcileResult {
        collection: field(row, 0, READ)?,
        full: field::<&str>(row, 1, READ)? == FULL,
        took: Duration::from_millis(number(2)?),
        began_ms: field(row, 3, READ)?,
        age: Duration::from_millis(number(4)?),
        plan: field::<Option<&[u8]>>(row, 5, READ)?.and_then(|digest| digest.try_into().ok()),
        as_of: checkpoint::cluster_time(field(row, 6, READ)?, field(row, 7, READ)?).unwrap_or_default(),
        checked: number(8)?,
        missing: number(9)?,
        extra: number(10)?,
        different: number(11)?,
        undecided: number(12)?,
        detail: field(row, 13, READ)?,
        no_such_collection: field(row, 14, READ)?,
    })
}

/// Stores the result of a pass, and removes the oldest ones.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn store(session: &Session, result: &ReconcileResult) -> Result<(), Error> {
    failpoint!(RECONCILE_RESULT);
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let sql = "INSERT INTO driftless.reconcile_result \
                 (migration, collection, tier, as_of_t, as_of_i, checked, missing, extra, different, undecided, detail, \
                  began_at, plan, no_such_collection) \
               SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now() - $12::float8 * interval '1 second', $13, $14 \
                 FROM driftless.identity WHERE prefix = $1";
    session
        .execute(
            "store a result",
            sql,
            &[
                &session.prefix(),
                &result.collection,
                &result.tier(),
                &i64::from(result.as_of.t),
                &i64::from(result.as_of.i),
                &number(result.checked),
                &number(result.missing),
                &number(result.extra),
                &number(result.different),
                &number(result.undecided),
                &session.storable_json(&result.detail),
                &result.took.as_secs_f64(),
                &result.plan.as_ref().map(<[u8; 16]>::as_slice),
                &result.no_such_collection,
            ],
        )
        .await?;
    let sql = format!(
        "DELETE FROM driftless.reconcile_result WHERE id IN (SELECT id FROM driftless.reconcile_result \
          WHERE {OURS} AND collection = $2 AND tier = $3 AND ({DRIFTS}) = $4 ORDER BY id DESC OFFSET $5)"
    );
    let drifts = result.missing + result.extra + result.different > 0;
    let params: [Param<'_>; 5] = [&session.prefix(), &result.collection, &result.tier(), &drifts, &RESULTS_KEPT];
    session.execute("remove old results", &sql, &params).await?;
    Ok(())
}
