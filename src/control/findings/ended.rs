//! The end of findings, each with its cause.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Scope, Subject, subject};
use crate::{
    metrics as names,
    model::{Key, Version},
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
};

/// How long ended findings are kept. One with evidence of a repair stays as long as that.
const ENDED_KEPT: &str = "30 days";
/// Findings without a cause that one log line names.
const MAX_NAMED: usize = 10;

/// The cause that ended a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A newer change of the document was applied.
    NewVersion,
    /// The same change was applied again: a replay, or the retry of a dead letter.
    AppliedAgain,
    /// A repair was asked for and applied.
    Repair,
    /// Somebody else wrote a table of the collection.
    ForeignWrite,
    /// It was the finding of a dead letter that is closed.
    DeadLetter,
    /// The mapping changed.
    Plan,
    /// The source has come to what the target holds.
    Source,
    /// None: a fault of ours, or an unseen write of somebody else.
    NoCause,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::NewVersion,
        Self::AppliedAgain,
        Self::Repair,
        Self::ForeignWrite,
        Self::DeadLetter,
        Self::Plan,
        Self::Source,
        Self::NoCause,
    ];

    /// Returns the words that are stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewVersion => "new version",
            Self::AppliedAgain => "applied again",
            Self::Repair => "repair",
            Self::ForeignWrite => "foreign write",
            Self::DeadLetter => "dead letter",
            Self::Plan => "plan",
            Self::Source => "source",
            Self::NoCause => "no cause",
        }
    }

    fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name).unwrap_or(Self::NoCause)
    }
}

/// A finding that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Its number.
    pub id: i64,
    /// Its subject.
    pub subject: Subject,
    /// The cause that ended it.
    pub cause: Cause,
}

/// Whether somebody else wrote one of the tables in parameter 4 since a finding was opened.
const WRITTEN: &str = "EXISTS (SELECT FROM driftless.foreign_write AS w JOIN driftless.collection AS c ON c.migration = w.migration \
     WHERE c.id = f.collection AND w.relation = ANY ($4) AND w.at >= f.found_at)";

/// Ends the open findings of documents that were judged equal, or absent on both sides. Each comes with the version and the
/// transaction of its ledger entry, as the judgement saw it.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn end_documents(
    session: &Session,
    scope: &Scope<'_>,
    judged: &[(Key, Option<(Version, i64)>)],
) -> Result<Vec<Ended>, Error> {
    if judged.is_empty() {
        return Ok(Vec::new());
    }
    let now = judged.iter().map(|(key, entry)| {
        let version = entry.map(|(version, _)| hex::encode(version.to_bytes()));
        json!({ "key": hex::encode(key.as_bytes()), "version": version, "applied": entry.map(|(_, applied)| applied) })
    });
    // A version that went down needs a repair. An image of the same version that is equal now, although nothing was written,
    // means that the source has moved: it had the document and has it no more, or the other way round.
    let sql = format!(
        "UPDATE driftless.finding AS f SET ended_at = clock_timestamp(), ended_by = CASE \
           WHEN EXISTS (SELECT FROM driftless.repair AS r WHERE r.collection = f.collection AND r.key = f.key \
                           AND r.done_at >= f.found_at AND r.version <= n.version) THEN 'repair' \
           WHEN n.version > f.version OR (f.version IS NULL AND n.version IS NOT NULL) THEN 'new version' \
           WHEN n.version = f.version AND n.applied <> f.applied THEN 'applied again' \
           WHEN NOT EXISTS (SELECT FROM driftless.dead_letter AS d WHERE d.id = f.letter AND d.state IN ('open', 'parked')) \
                AND f.letter IS NOT NULL THEN 'dead letter' \
           WHEN f.plan <> $3 THEN 'plan' \
           WHEN {WRITTEN} THEN 'foreign write' \
           WHEN n.version IS NOT DISTINCT FROM f.version AND CASE f.kind WHEN 'version' THEN true \
                WHEN 'missing' THEN n.deleted IS NOT FALSE WHEN 'extra' THEN n.deleted IS FALSE ELSE false END THEN 'source' \
           ELSE 'no cause' END \
          FROM (SELECT decode(e.key, 'hex') AS key, decode(e.version, 'hex') AS version, e.applied, l.deleted \
                  FROM jsonb_to_recordset($2::jsonb) AS e(key text, version text, applied int8) \
                  LEFT JOIN driftless.ledger AS l ON l.collection = $1 AND l.key = decode(e.key, 'hex')) AS n \
         WHERE f.collection = $1 AND f.ended_at IS NULL AND f.key IS NOT NULL AND f.key = n.key \
        RETURNING f.id, f.key, f.target, f.relation, f.row_key, f.ended_by"
    );
    let now = Value::from_iter(now);
    let params: [Param<'_>; 4] = [&scope.collection, &now, &&scope.plan[..], &scope.tables];
    ended(session, scope, &sql, &params).await
}

/// Ends the open findings of rows of a table that a complete look at it did not meet again: those that [`record`](super::record)
/// has not confirmed since `began`, in microseconds since 1970 by PostgreSQL's clock.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn end_rows(session: &Session, scope: &Scope<'_>, table: &str, began: i64) -> Result<Vec<Ended>, Error> {
    // A row that belongs to a document by now is one that a change has written since.
    let sql = format!(
        "UPDATE driftless.finding AS f SET ended_at = clock_timestamp(), ended_by = CASE \
           WHEN EXISTS (SELECT FROM driftless.repair AS r WHERE r.collection = f.collection AND r.relation = f.relation \
                           AND r.row_key = f.row_key AND r.done_at >= f.found_at AND r.refused IS NULL) THEN 'repair' \
           WHEN f.plan <> $3 THEN 'plan' \
           WHEN {WRITTEN} THEN 'foreign write' \
           ELSE 'new version' END \
         WHERE f.collection = $1 AND f.ended_at IS NULL AND f.key IS NULL AND f.relation = $2 \
           AND f.confirmed_at < 'epoch'::timestamptz + $5::int8::float8 * interval '1 microsecond' \
        RETURNING f.id, f.key, f.target, f.relation, f.row_key, f.ended_by"
    );
    let params: [Param<'_>; 5] = [&scope.collection, &table, &&scope.plan[..], &scope.tables, &began];
    ended(session, scope, &sql, &params).await
}

/// Ends open findings of rows that the source has documents behind: they are not extra.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn end_owned(session: &Session, findings: &[i64]) -> Result<u64, Error> {
    let sql = "UPDATE driftless.finding SET ended_at = clock_timestamp(), ended_by = 'source' \
                WHERE id = ANY ($1) AND ended_at IS NULL AND key IS NULL";
    session.execute("end findings", sql, &[&findings]).await
}

/// Ends the open findings of rows that the sink has removed at the request of a repair; returns how many.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn end_removed(session: &Session) -> Result<u64, Error> {
    let sql = format!(
        "UPDATE driftless.finding AS f SET ended_at = clock_timestamp(), ended_by = 'repair' \
           FROM driftless.repair AS r JOIN driftless.collection AS c ON c.id = r.collection \
          WHERE c.{OURS} AND f.id = r.finding AND f.ended_at IS NULL AND f.key IS NULL AND r.removed_at > f.confirmed_at"
    );
    session.execute("end findings", &sql, &[&session.prefix()]).await
}

/// Ends findings by a statement, reports those without a cause, and removes the oldest ended ones.
async fn ended(session: &Session, scope: &Scope<'_>, sql: &str, params: &[Param<'_>]) -> Result<Vec<Ended>, Error> {
    let act = "end findings";
    let mut ended = Vec::new();
    for row in session.query(act, sql, params).await? {
        let cause = Cause::from_name(field(&row, 5, act)?);
        ended.push(Ended { id: field(&row, 0, act)?, subject: subject(&row, 1, act)?, cause });
    }
    let healed: Vec<_> = ended.iter().filter(|ended| ended.cause == Cause::NoCause).collect();
    if !healed.is_empty() {
        let keys: Vec<_> = healed.iter().take(MAX_NAMED).map(|ended| ended.subject.label()).collect();
        tracing::error!(
            collection = scope.name,
            count = healed.len(),
            keys = keys.join(" "),
            "drift healed without a cause: the watermark was wrong, or somebody else wrote the target"
        );
        metrics::counter!(names::DRIFT_HEALED, "collection" => scope.name.to_owned()).increment(healed.len() as u64);
    }
    if !ended.is_empty() {
        let sql = format!(
            "DELETE FROM driftless.finding AS f WHERE ended_at < now() - interval '{ENDED_KEPT}' \
                AND NOT EXISTS (SELECT FROM driftless.evidence AS e WHERE e.finding = f.id)"
        );
        session.execute("remove old findings", &sql, &[]).await?;
    }
    Ok(ended)
}
