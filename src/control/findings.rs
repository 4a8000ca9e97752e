//! Findings: differences that a comparison proved, from when they are found to what ended them.
//!
//! ```text
//!  judged unequal ──▶ record ──▶ open ──judged unequal again──▶ confirmed
//!                                  └─────judged equal─────────▶ ended, with its cause
//! ```
//! A finding ends by itself, and the cause follows from what happened since: a repair, a newer version, a foreign write. One that
//! ends without a cause was none, or somebody else wrote the target unseen: that is counted and logged as an error.
//!
//! Everything runs inside the transaction of the caller. Nothing here holds a value of a document but `_id`s and primary keys.

use std::collections::HashSet;

use bson::raw::RawDocumentBuf;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_postgres::Row;

use crate::{
    log::ejson,
    metrics as names,
    model::{ClusterTime, Key, Version},
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
    sink::checkpoint,
    target::DocumentId,
};

/// Open findings of one collection that are kept: a wrong mapping makes every document drift, and the first ones say which.
pub const MAX_OPEN: i64 = 10_000;
/// How long ended findings are kept. One with evidence of a repair stays as long as that.
const ENDED_KEPT: &str = "30 days";
/// Findings without a cause that one log line names.
const MAX_NAMED: usize = 10;

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The document has no rows.
    Missing,
    /// Rows without a document: of one that the source does not have, or of none at all.
    Extra,
    /// The rows of the document differ.
    Different,
    /// The ledger's version is higher than anything that the source has done, so every later change would lose.
    Version,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Extra, Self::Different, Self::Version];

    /// Returns the word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
            Self::Version => "version",
        }
    }

    /// Returns the kind of this word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The subject of a finding.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A document.
    Document(DocumentId),
    /// A row that no document stands behind.
    Row {
        /// `schema.table`, each quoted where SQL needs it.
        table: String,
        /// Its primary key: {column: text}.
        row_key: Value,
    },
}

impl Subject {
    /// Returns the words by which an operator knows it: the `_id` as Extended JSON, or table and primary key.
    pub fn label(&self) -> String {
        match self {
            Self::Document(document) => ejson::id_text(&document.key),
            Self::Row { table, row_key } => format!("{table} {row_key}"),
        }
    }
}

/// A difference, as it was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The columns that differ.
    pub subject: Subject,
    /// How.
    pub kind: Kind,
    /// The columns that differ, `schema.table.column`; `schema.table` for child rows that are missing or not expected.
    pub columns: Vec<String>,
    /// Cluster time as of which it was judged.
    pub as_of: ClusterTime,
    /// Version and transaction of the ledger entry that was judged; `None` if there was none.
    pub entry: Option<(Version, i64)>,
    /// The dead letter that waits for the document.
    pub letter: Option<i64>,
    /// Why PostgreSQL refuses even to compare the values.
    pub refused: Option<String>,
}

/// Who compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// A pass over everything.
    Baseline,
    /// The judgement of keys that changed.
    Delta,
    /// A command of an operator.
    Command,
}

impl FoundBy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Delta => "delta",
            Self::Command => "command",
        }
    }
}

/// The collection whose findings are meant, under one plan.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Its number in the ledger.
    pub collection: i32,
    /// Its name.
    pub name: &'a str,
    /// Digest of the compiled plan.
    pub plan: [u8; 16],
    /// Its tables, written as in `driftless.foreign_write`.
    pub tables: &'a [String],
}

/// The outcome of [`record`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Findings that were not open before.
    pub new: Vec<Subject>,
    /// Findings beyond [`MAX_OPEN`], which are not stored. A pass that left any out proves nothing, even if all stored ones end.
    pub left_out: u64,
}

/// Opens findings and confirms those that are open. `found` names no subject twice.
///
/// A chunk is judged as of a time that may lie before a later judgement of the same document, so the caller has the documents of
/// new findings judged again.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn record(session: &Session, scope: &Scope<'_>, by: FoundBy, found: &[Found]) -> Result<Recorded, Error> {
    let (documents, rows): (Vec<_>, Vec<_>) =
        found.iter().partition(|found| matches!(found.subject, Subject::Document(_)));
    let mut recorded = Recorded::default();
    for (found, subject) in [(documents, OF_DOCUMENTS), (rows, OF_ROWS)] {
        if !found.is_empty() {
            record_of(session, scope, by, &found, subject, &mut recorded).await?;
        }
    }
    Ok(recorded)
}

/// How open findings of one sort of subject are found again, and their unique index.
struct Sort {
    matches: &'static str,
    arbiter: &'static str,
}

const OF_DOCUMENTS: Sort = Sort {
    matches: "f.key IS NOT NULL AND f.key = decode(e.key, 'hex')",
    arbiter: "(collection, key) WHERE ended_at IS NULL AND key IS NOT NULL",
};
const OF_ROWS: Sort = Sort {
    matches: "f.key IS NULL AND f.relation = e.relation AND f.row_key = e.row_key",
    arbiter: "(collection, relation, row_key) WHERE ended_at IS NULL AND key IS NULL",
};

const FOUND: &str = "jsonb_to_recordset($2::jsonb) AS e(key text, target text, relation text, row_key jsonb, kind text, \
     columns text[], t int8, i int8, version text, applied int8, letter int8, refused text)";

async fn record_of(
    session: &Session,
    scope: &Scope<'_>,
    by: FoundBy,
    found: &[&Found],
    Sort { matches, arbiter }: Sort,
    recorded: &mut Recorded,
) -> Result<(), Error> {
    let act = "record findings";
    let rows = session.storable_json(&found.iter().map(|found| stored(found)).collect());
    let confirm = format!(
        "UPDATE driftless.finding AS f \
            SET kind = e.kind, columns = e.columns, as_of_t = e.t, as_of_i = e.i, version = decode(e.version, 'hex'), \
                applied = e.applied, letter = e.letter, refused = e.refused, plan = $3, confirmed_at = clock_timestamp() \
           FROM {FOUND} WHERE f.collection = $1 AND f.ended_at IS NULL AND {matches}"
    );
    let confirmed = session.execute(act, &confirm, &[&scope.collection, &rows, &&scope.plan[..]]).await?;
    let open = format!(
        "INSERT INTO driftless.finding \
           (collection, key, target, relation, row_key, kind, columns, as_of_t, as_of_i, version, applied, letter, refused, \
            plan, found_by) \
         SELECT $1, decode(e.key, 'hex'), decode(e.target, 'hex'), e.relation, e.row_key, e.kind, e.columns, e.t, e.i, \
                decode(e.version, 'hex'), e.applied, e.letter, e.refused, $3, $4 \
           FROM {FOUND} WHERE NOT EXISTS (SELECT FROM driftless.finding AS f \
                                            WHERE f.collection = $1 AND f.ended_at IS NULL AND {matches}) \
          LIMIT (SELECT greatest($5 - count(*), 0) FROM driftless.finding WHERE collection = $1 AND ended_at IS NULL) \
         ON CONFLICT {arbiter} DO UPDATE SET confirmed_at = excluded.confirmed_at \
         RETURNING key, target, relation, row_key"
    );
    let params: [Param<'_>; 5] = [&scope.collection, &rows, &&scope.plan[..], &by.as_str(), &MAX_OPEN];
    let opened = session.query(act, &open, &params).await?;
    for row in &opened {
        recorded.new.push(subject(row, 0, act)?);
    }
    let total = found.len() as u64;
    recorded.left_out += total.saturating_sub(confirmed).saturating_sub(opened.len() as u64);
    Ok(())
}

/// A finding as its row is written.
fn stored(found: &Found) -> Value {
    let (key, target, relation, row_key) = match &found.subject {
        Subject::Document(DocumentId { key, id }) => {
            let target = id.as_ref().filter(|_| key.is_hashed()).map(|id| hex::encode(id.as_bytes()));
            (Some(hex::encode(key.as_bytes())), target, None, None)
        }
        Subject::Row { table, row_key } => (None, None, Some(table), Some(row_key)),
    };
    json!({
        "key": key, "target": target, "relation": relation, "row_key": row_key,
        "kind": found.kind.as_str(), "columns": found.columns, "t": found.as_of.t, "i": found.as_of.i,
        "version": found.entry.map(|(version, _)| hex::encode(version.to_bytes())),
        "applied": found.entry.map(|(_, applied)| applied), "letter": found.letter, "refused": found.refused,
    })
}

/// Reads a subject out of four columns: key, target, relation, row_key.
fn subject(row: &Row, at: usize, act: &str) -> Result<Subject, Error> {
    match field::<Option<Vec<u8>>>(row, at, act)? {
        Some(key) => {
            let key = Key::from_bytes(key);
            let target = field::<Option<Vec<u8>>>(row, at + 1, act)?;
            let id = key.to_id().or_else(|| target.and_then(|bytes| RawDocumentBuf::from_bytes(bytes).ok()));
            Ok(Subject::Document(DocumentId { key, id }))
        }
        None => Ok(Subject::Row { table: field(row, at + 2, act)?, row_key: field(row, at + 3, act)? }),
    }
}

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

/// Ends the open findings of rows of a table that a complete look at it did not meet again: those that [`record`] has not
/// confirmed since `began`, in microseconds since 1970 by PostgreSQL's clock.
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

/// A stored finding that is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its number.
    pub id: i64,
    /// The number of its collection in the ledger.
    pub collection_id: i32,
    /// Its collection.
    pub collection: String,
    /// The difference.
    pub found: Found,
    /// When it was found, in milliseconds since 1970.
    pub found_ms: i64,
    /// When it was confirmed last, in milliseconds since 1970.
    pub confirmed_ms: i64,
}

/// The columns of a finding, for [`finding`].
const STORED: &str = "f.id, f.key, f.target, f.relation, f.row_key, c.id, c.name, f.kind, f.columns, f.as_of_t, f.as_of_i, \
     f.version, f.applied, f.letter, f.refused, (extract(epoch FROM f.found_at) * 1000)::int8, \
     (extract(epoch FROM f.confirmed_at) * 1000)::int8";

/// Reads open findings, oldest first; of all collections of the migration, or of one.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn open(session: &Session, collection: Option<i32>, limit: i64) -> Result<Vec<Finding>, Error> {
    let act = "read findings";
    let sql = format!(
        "SELECT {STORED} FROM driftless.finding AS f JOIN driftless.collection AS c ON c.id = f.collection \
          WHERE c.{OURS} AND f.ended_at IS NULL AND ($2::int4 IS NULL OR f.collection = $2) ORDER BY f.id LIMIT $3"
    );
    let rows = session.query(act, &sql, &[&session.prefix(), &collection, &limit]).await?;
    rows.iter().map(|row| finding(row, act)).collect()
}

/// Chooses open findings. Every field narrows the choice; an empty list does not.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The collection is one of these.
    pub collections: Vec<String>,
    /// The kind is one of these.
    pub kinds: Vec<Kind>,
    /// The document is one of these.
    pub keys: Vec<Key>,
}

/// Reads the open findings of a choice, oldest first.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn chosen(session: &Session, choice: &Choice) -> Result<Vec<Finding>, Error> {
    let act = "read findings";
    let sql = format!(
        "SELECT {STORED} FROM driftless.finding AS f JOIN driftless.collection AS c ON c.id = f.collection \
          WHERE c.{OURS} AND f.ended_at IS NULL AND (cardinality($2::text[]) = 0 OR c.name = ANY ($2)) \
            AND (cardinality($3::text[]) = 0 OR f.kind = ANY ($3)) AND (cardinality($4::bytea[]) = 0 OR f.key = ANY ($4)) \
          ORDER BY f.id"
    );
    let kinds: Vec<_> = choice.kinds.iter().map(|kind| kind.as_str()).collect();
    let keys: Vec<_> = choice.keys.iter().map(Key::as_bytes).collect();
    let params: [Param<'_>; 4] = [&session.prefix(), &choice.collections, &kinds, &keys];
    let rows = session.query(act, &sql, &params).await?;
    rows.iter().map(|row| finding(row, act)).collect()
}

fn finding(row: &Row, act: &str) -> Result<Finding, Error> {
    let version = field::<Option<&[u8]>>(row, 11, act)?.and_then(Version::from_bytes);
    Ok(Finding {
        id: field(row, 0, act)?,
        collection_id: field(row, 5, act)?,
        collection: field(row, 6, act)?,
        found: Found {
            subject: subject(row, 1, act)?,
            kind: Kind::from_name(field(row, 7, act)?).unwrap_or(Kind::Different),
            columns: field(row, 8, act)?,
            as_of: checkpoint::cluster_time(field(row, 9, act)?, field(row, 10, act)?).unwrap_or_default(),
            entry: version.zip(field(row, 12, act)?),
            letter: field(row, 13, act)?,
            refused: field(row, 14, act)?,
        },
        found_ms: field(row, 15, act)?,
        confirmed_ms: field(row, 16, act)?,
    })
}

/// The keys of documents with open findings, at most [`MAX_OPEN`]: only for these it is worth while to call [`end_documents`].
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn open_keys(session: &Session, collection: i32) -> Result<HashSet<Key>, Error> {
    let act = "read findings";
    let sql = "SELECT key FROM driftless.finding WHERE collection = $1 AND ended_at IS NULL AND key IS NOT NULL";
    let rows = session.query(act, sql, &[&collection]).await?;
    rows.iter().map(|row| Ok(Key::from_bytes(field(row, 0, act)?))).collect()
}

/// The number of open findings of one kind in one collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The collection.
    pub collection: String,
    /// The kind.
    pub kind: Kind,
    /// Open findings.
    pub open: u64,
}

/// Counts the open findings by collection and kind.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn counts(session: &Session) -> Result<Vec<Count>, Error> {
    let act = "count findings";
    // One branch for each partial index: there may be many more findings that have ended.
    let open = |what: &str| {
        format!("SELECT f.collection, f.kind FROM driftless.finding AS f WHERE f.ended_at IS NULL AND f.key {what}")
    };
    let sql = format!(
        "SELECT c.name, f.kind, count(*) FROM ({} UNION ALL {}) AS f JOIN driftless.collection AS c ON c.id = f.collection \
          WHERE c.{OURS} GROUP BY 1, 2 ORDER BY 1, 2",
        open("IS NOT NULL"),
        open("IS NULL")
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let count = |row: &Row| {
        Ok(Count {
            collection: field(row, 0, act)?,
            kind: Kind::from_name(field(row, 1, act)?).unwrap_or(Kind::Different),
            open: u64::try_from(field::<i64>(row, 2, act)?).unwrap_or(0),
        })
    };
    rows.iter().map(count).collect()
}
