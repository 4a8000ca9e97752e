//! What the sink knows of itself, read for the status page, the metrics and the gate of a cutover.

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

/// The sink at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// PostgreSQL's clock, milliseconds since 1970: the one that ages are counted by.
    pub now_ms: i64,
    /// How far each partition is applied.
    pub positions: Vec<PartitionStatus>,
    /// Waiting dead letters.
    pub dead_letters: Vec<Letters>,
    /// The last result of each tier for each collection.
    pub reconcile: Vec<ReconcileResult>,
    /// What operators did last, newest first.
    pub actions: Vec<Action>,
}

/// How far a partition is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Where to go on; `None` is the earliest.
    pub next_offset: Option<i64>,
    /// Every change with a lower cluster time is applied.
    pub watermark: Option<ClusterTime>,
    /// Source wall clock as of which the partition is complete, milliseconds since 1970.
    pub as_of_ms: Option<i64>,
    /// Whether the snapshot of the collection is applied here.
    pub complete: bool,
    /// Frontiers whose count was not met, ever.
    pub gaps: u64,
}

/// Waiting dead letters of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letters {
    /// Collection; the topic where the record could not be read.
    pub collection: String,
    /// Reason.
    pub reason: String,
    /// `open` or `parked`.
    pub state: String,
    /// How many.
    pub count: i64,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Action {
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub who: String,
    /// Which command.
    pub command: String,
    /// With what.
    pub detail: serde_json::Value,
}

/// What a pass of the reconciler found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReconcileResult {
    /// Collection.
    pub collection: String,
    /// Which kind of comparison: counts, sample, digest, deep, …
    pub tier: String,
    /// How long the pass took; what it read first is older than its end by that.
    pub took: Duration,
    /// When it began, milliseconds since 1970; set by PostgreSQL when the result is stored.
    pub began_ms: i64,
    /// How long ago that is by PostgreSQL's clock, likewise; never below zero.
    pub age: Duration,
    /// Digest of the compiled plan that rows were held against.
    pub plan: Option<[u8; 16]>,
    /// The cluster time both sides were read at.
    pub as_of: ClusterTime,
    /// Documents judged.
    pub checked: u64,
    /// Documents there are.
    pub total: u64,
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
    /// Whatever else the tier has to tell; no values of documents.
    pub detail: serde_json::Value,
}

const ACT: &str = "read the status";

/// Reads the status; `actions` bounds the number of actions.
///
/// # Errors
/// [`Error::Statement`] by its cause.
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

/// Counts waiting dead letters.
///
/// # Errors
/// [`Error::Statement`] by its cause.
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

/// The last result of each tier for each collection.
///
/// # Errors
/// [`Error::Statement`] by its cause.
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

/// Texts as [`Session::storable`] makes them: an `_id` is written as Extended JSON, of which an escape is a part.
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

/// Results kept per collection and tier.
const RESULTS_KEPT: i64 = 1_000;

/// Stores what a pass found, and forgets the oldest.
///
/// # Errors
/// [`Error::Statement`] by its cause.
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
    session.execute("forget old results", &sql, &params).await?;
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
