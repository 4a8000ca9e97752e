//! Reads the state of the target for the status page, the metrics and the verdict.

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

/// The state of the target at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// PostgreSQL's clock in milliseconds since 1970; ages are computed by it.
    pub now_ms: i64,
    /// The position of each partition.
    pub positions: Vec<PartitionStatus>,
    /// Open and parked dead letters.
    pub dead_letters: Vec<Letters>,
    /// The last result of each tier for each collection.
    pub reconcile: Vec<ReconcileResult>,
    /// The last actions of operators, newest first.
    pub actions: Vec<Action>,
}

/// The position of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The next offset; `None` is the earliest record.
    pub next_offset: Option<i64>,
    /// The watermark: every change with a lower cluster time is applied.
    pub watermark: Option<ClusterTime>,
    /// Wall clock of the source as of which the partition is complete, in milliseconds since 1970.
    pub as_of_ms: Option<i64>,
    /// Whether the snapshot of the collection is applied in this partition.
    pub complete: bool,
    /// Number of frontiers whose count did not match, since the beginning.
    pub gaps: u64,
}

/// Open or parked dead letters of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letters {
    /// The collection, or the topic if the record could not be decoded.
    pub collection: String,
    /// The reason.
    pub reason: String,
    /// `open` or `parked`.
    pub state: String,
    /// Number of letters.
    pub count: i64,
}

/// An action of an operator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Action {
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who did it.
    pub who: String,
    /// The command.
    pub command: String,
    /// The details of the command.
    pub detail: serde_json::Value,
}

/// The result of a pass of the reconciler.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReconcileResult {
    /// The collection.
    pub collection: String,
    /// The kind of comparison: counts, sample, digest, deep, …
    pub tier: String,
    /// Duration of the pass; its first read is older than its end by this much.
    pub took: Duration,
    /// Begin of the pass in milliseconds since 1970; PostgreSQL sets it when the result is stored.
    pub began_ms: i64,
    /// Age of the begin in milliseconds, by PostgreSQL's clock; never below zero.
    pub age: Duration,
    /// Digest of the compiled plan that rows were compared with.
    pub plan: Option<[u8; 16]>,
    /// The cluster time at which both sides were read.
    pub as_of: ClusterTime,
    /// Documents that were judged.
    pub checked: u64,
    /// Documents that exist.
    pub total: u64,
    /// Documents missing in the target.
    pub missing: u64,
    /// Documents only in the target.
    pub extra: u64,
    /// Documents that differ in at least one column.
    pub different: u64,
    /// Documents that could not be judged.
    pub undecided: u64,
    /// Whether the source has no such collection and the target never held a document of it.
    pub no_such_collection: bool,
    /// Further details of the tier, without values of documents.
    pub detail: serde_json::Value,
}

const ACT: &str = "read the status";

/// Reads the status; `actions` bounds the number of actions.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn read(session: &Session, actions: u32) -> Result<Status, Error> {
    let positions = checkpoint::all(session).await?.into_iter().map(|(partition, position)| PartitionStatus {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        next_offset: position.next_offset,
        watermark: position.watermark.map(|bound| bound.0),
        as_of_ms: position.as_of_ms,
        complete: position.complete,
        gaps: position.gaps,
    });
    let now = session.query_one(ACT, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8", &[]).await?;
    Ok(Status {
        now_ms: field(&now, 0, ACT)?,
        positions: positions.collect(),
        dead_letters: dead_letters(session).await?,
        reconcile: reconcile_results(session).await?,
        actions: last_actions(session, actions).await?,
    })
}

/// Counts open and parked dead letters.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn dead_letters(session: &Session) -> Result<Vec<Letters>, Error> {
    let sql = format!(
        "SELECT coalesce(c.name, d.topic), d.reason, d.state, count(*) \
           FROM driftless.dead_letter AS d LEFT JOIN driftless.collection AS c ON c.id = d.collection \
          WHERE d.state IN ('open', 'parked') AND d.{OURS} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    );
    let rows = session.query(ACT, &sql, &[&session.prefix()]).await?;
    let letters = rows.iter().map(|row| {
        Ok(Letters {
            collection: field(row, 0, ACT)?,
            reason: field(row, 1, ACT)?,
            state: field(row, 2, ACT)?,
            count: field(row, 3, ACT)?,
        })
    });
    letters.collect()
}

/// Reads the last result of each tier for each collection.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn reconcile_results(session: &Session) -> Result<Vec<ReconcileResult>, Error> {
    let sql = format!(
        "SELECT DISTINCT ON (collection, tier) collection, tier, (extract(epoch FROM finished_at - began_at) * 1000)::int8, \
                (extract(epoch FROM began_at) * 1000)::int8, \
                (extract(epoch FROM clock_timestamp() - began_at) * 1000)::int8, plan, \
                as_of_t, as_of_i, checked, total, missing, extra, different, undecided, detail, no_such_collection \
           FROM driftless.reconcile_result WHERE {OURS} ORDER BY collection, tier, id DESC"
    );
    let rows = session.query(ACT, &sql, &[&session.prefix()]).await?;
    rows.iter().map(reconcile_result).collect()
}

fn reconcile_result(row: &Row) -> Result<ReconcileResult, Error> {
    let number = |at: usize| Ok::<_, Error>(u64::try_from(field::<i64>(row, at, ACT)?).unwrap_or(0));
    Ok(ReconcileResult {
        collection: field(row, 0, ACT)?,
        tier: field(row, 1, ACT)?,
        took: Duration::from_millis(number(2)?),
        began_ms: field(row, 3, ACT)?,
        age: Duration::from_millis(number(4)?),
        plan: field::<Option<&[u8]>>(row, 5, ACT)?.and_then(|digest| digest.try_into().ok()),
        as_of: checkpoint::cluster_time(field(row, 6, ACT)?, field(row, 7, ACT)?).unwrap_or_default(),
        checked: number(8)?,
        total: number(9)?,
        missing: number(10)?,
        extra: number(11)?,
        different: number(12)?,
        undecided: number(13)?,
        detail: field(row, 14, ACT)?,
        no_such_collection: field(row, 15, ACT)?,
    })
}

/// Makes texts storable with [`Session::storable`]. An `_id` is Extended JSON, which can contain an escape.
pub(crate) fn storable(session: &Session, value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => session.storable(text).into(),
        Value::Array(values) => values.iter().map(|value| storable(session, value)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (session.storable(name), storable(session, value))).collect()
        }
        other => other.clone(),
    }
}

/// Number of results kept per collection and tier.
const RESULTS_KEPT: i64 = 1_000;

/// Stores the result of a pass and deletes the oldest results.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn store_reconcile_result(session: &Session, result: &ReconcileResult) -> Result<(), Error> {
    failpoint!(RECONCILE_RESULT);
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let sql = "INSERT INTO driftless.reconcile_result \
                 (migration, collection, tier, as_of_t, as_of_i, checked, total, missing, extra, different, undecided, detail, \
                  began_at, plan, no_such_collection) \
               SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, now() - $13::float8 * interval '1 second', $14, $15 \
                 FROM driftless.identity WHERE prefix = $1";
    session
        .execute(
            "store a result",
            sql,
            &[
                &session.prefix(),
                &result.collection,
                &result.tier,
                &i64::from(result.as_of.t),
                &i64::from(result.as_of.i),
                &number(result.checked),
                &number(result.total),
                &number(result.missing),
                &number(result.extra),
                &number(result.different),
                &number(result.undecided),
                &storable(session, &result.detail),
                &result.took.as_secs_f64(),
                &result.plan.as_ref().map(<[u8; 16]>::as_slice),
                &result.no_such_collection,
            ],
        )
        .await?;
    let sql = format!(
        "DELETE FROM driftless.reconcile_result WHERE id IN (SELECT id FROM driftless.reconcile_result \
          WHERE {OURS} AND collection = $2 AND tier = $3 ORDER BY id DESC OFFSET $4)"
    );
    let params: [Param<'_>; 4] = [&session.prefix(), &result.collection, &result.tier, &RESULTS_KEPT];
    session.execute("delete old results", &sql, &params).await?;
    Ok(())
}

async fn last_actions(session: &Session, limit: u32) -> Result<Vec<Action>, Error> {
    let sql = format!(
        "SELECT (extract(epoch FROM at) * 1000)::int8, who, command, detail \
           FROM driftless.action WHERE {OURS} ORDER BY id DESC LIMIT $2"
    );
    let rows = session.query(ACT, &sql, &[&session.prefix(), &i64::from(limit)]).await?;
    let actions = rows.iter().map(|row| {
        Ok(Action {
            at_ms: field(row, 0, ACT)?,
            who: field(row, 1, ACT)?,
            command: field(row, 2, ACT)?,
            detail: field(row, 3, ACT)?,
        })
    });
    actions.collect()
}
