//! What everybody may know: positions, dead letters and the last comparisons, read in one go.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Error, Session, checkpoint,
    checkpoint::Position,
    session::field,
};
use crate::log::TopicPartition;

/// What the last pass of the reconciler found in a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReconcileResult {
    /// The collection.
    pub collection: String,
    /// When the pass ended.
    pub at: Timestamp,
    /// Whether everything was compared, not a sample.
    pub full: bool,
    /// Documents compared.
    pub documents: u64,
    /// Documents without rows.
    pub missing: u64,
    /// Rows without a document.
    pub extra: u64,
    /// Documents whose rows differ.
    pub different: u64,
    /// Documents that could not be judged.
    pub undecided: u64,
}

/// Everything that the processes share through PostgreSQL.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// How far each partition was applied.
    pub positions: Vec<(TopicPartition, Position)>,
    /// Open dead letters by collection and reason; records that could not be read have no collection.
    pub dead_letters: BTreeMap<(Option<String>, String), u64>,
    /// Parked documents by collection.
    pub parked: BTreeMap<String, u64>,
    /// The newest result of each collection.
    pub results: Vec<ReconcileResult>,
}

/// Reads all of it.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn read(session: &Session) -> Result<Shared, Error> {
    let mut shared = Shared { positions: checkpoint::all(session).await?, ..Shared::default() };
    let act = "count dead letters";
    let sql = "SELECT c.name, d.reason, d.state, count(*) FROM driftless.dead_letter AS d \
                 LEFT JOIN driftless.collection AS c ON c.id = d.collection \
                WHERE d.state IN ('open', 'parked') GROUP BY 1, 2, 3";
    for row in session.query(act, sql, &[]).await? {
        let (collection, reason): (Option<String>, String) = (field(&row, 0, act)?, field(&row, 1, act)?);
        let (state, count): (&str, i64) = (field(&row, 2, act)?, field(&row, 3, act)?);
        let count = u64::try_from(count).unwrap_or(0);
        match (state, collection) {
            ("parked", Some(collection)) => *shared.parked.entry(collection).or_default() += count,
            (_, collection) => *shared.dead_letters.entry((collection, reason)).or_default() += count,
        }
    }
    let act = "read the last comparisons";
    let sql = "SELECT DISTINCT ON (collection) collection, (extract(epoch FROM finished_at) * 1000)::int8, tier, \
                      checked, missing, extra, different, undecided \
                 FROM driftless.reconcile_result ORDER BY collection, id DESC";
    for row in session.query(act, sql, &[]).await? {
        let number = |at: usize| Ok::<_, Error>(u64::try_from(field::<i64>(&row, at, act)?).unwrap_or(0));
        shared.results.push(ReconcileResult {
            collection: field(&row, 0, act)?,
            at: Timestamp::from_millisecond(field(&row, 1, act)?).unwrap_or_default(),
            full: field::<&str>(&row, 2, act)? == FULL,
            documents: number(3)?,
            missing: number(4)?,
            extra: number(5)?,
            different: number(6)?,
            undecided: number(7)?,
        });
    }
    Ok(shared)
}

const FULL: &str = "full";
const SAMPLE: &str = "sample";
/// Results kept for each collection: a day and more at the default pace, without growing for ever.
const KEPT: i64 = 10_000;

/// Writes down what a pass found, and drops the oldest results.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn store_result(
    session: &Session,
    result: &ReconcileResult,
    as_of: crate::model::ClusterTime,
    findings: &serde_json::Value,
) -> Result<(), Error> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let tier = if result.full { FULL } else { SAMPLE };
    let sql = "INSERT INTO driftless.reconcile_result (collection, tier, finished_at, as_of_t, as_of_i, checked, missing, \
                 extra, different, undecided, detail) \
               VALUES ($1, $2, to_timestamp($3::float8 / 1000), $4, $5, $6, $7, $8, $9, $10, $11)";
    session
        .execute(
            "store a comparison",
            sql,
            &[
                &result.collection,
                &tier,
                &(result.at.as_millisecond() as f64),
                &i64::from(as_of.t),
                &i64::from(as_of.i),
                &number(result.documents),
                &number(result.missing),
                &number(result.extra),
                &number(result.different),
                &number(result.undecided),
                findings,
            ],
        )
        .await?;
    let sql = "DELETE FROM driftless.reconcile_result WHERE collection = $1 AND id <= \
                 (SELECT id FROM driftless.reconcile_result WHERE collection = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)";
    session.execute("drop old comparisons", sql, &[&result.collection, &KEPT]).await?;
    Ok(())
}
