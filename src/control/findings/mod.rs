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

mod ended;

use std::collections::HashSet;

use bson::raw::RawDocumentBuf;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_postgres::Row;

use crate::{
    log::ejson,
    model::{ClusterTime, Key, Version},
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
    sink::checkpoint,
    target::DocumentId,
};

pub use self::ended::{Cause, Ended, end_documents, end_owned, end_removed, end_rows};

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
        /// Its table, as its [label](crate::mapping::target::TableName::label).
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
    /// The document or row that differs.
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

impl Found {
    /// A row that belongs to no document.
    pub(crate) fn row(table: String, row_key: Value, as_of: ClusterTime) -> Self {
        let subject = Subject::Row { table, row_key };
        Self { subject, kind: Kind::Extra, columns: Vec::new(), as_of, entry: None, letter: None, refused: None }
    }
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
    /// Open findings that are kept.
    pub kept: u32,
}

/// The outcome of [`record`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Findings that were not open before.
    pub new: Vec<Subject>,
    /// Findings beyond [`Scope::kept`], which are only counted, in `driftless.proof`: until a complete baseline has met no such
    /// difference, the collection drifts.
    pub left_out: u64,
}

/// Opens findings and confirms those that are open. `found` names no subject twice.
///
/// A judgement is recorded some time after it was made. It opens no finding that a later judgement of the document has ended; others
/// may have been overtaken, too, so the caller has the documents of new findings judged again.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn record(session: &Session, scope: &Scope<'_>, by: FoundBy, found: &[Found]) -> Result<Recorded, Error> {
    let (mut documents, rows): (Vec<_>, Vec<_>) =
        found.iter().partition(|found| matches!(found.subject, Subject::Document(_)));
    let overtaken = overtaken(session, scope, &documents).await?;
    documents.retain(|found| !matches!(&found.subject, Subject::Document(one) if overtaken.contains(&one.key)));
    let mut recorded = Recorded::default();
    for (found, subject) in [(documents, OF_DOCUMENTS), (rows, OF_ROWS)] {
        if !found.is_empty() {
            record_of(session, scope, by, &found, subject, &mut recorded).await?;
        }
    }
    if recorded.left_out > 0 {
        // A pass meets each document once. Others meet the same ones again and again, behind a pass and perhaps behind the chunks of
        // the one under way.
        let count = match by {
            FoundBy::Baseline => "left_out = left_out + $2",
            FoundBy::Delta | FoundBy::Command => {
                "left_out = greatest(left_out, $2), complete_left_out = greatest(complete_left_out, $2)"
            }
        };
        let sql = format!("UPDATE driftless.proof SET {count} WHERE collection = $1");
        let left_out = i64::try_from(recorded.left_out).unwrap_or(i64::MAX);
        session.execute("count findings", &sql, &[&scope.collection, &left_out]).await?;
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

/// How long an ended finding says that a judgement of its document may have been overtaken; longer than a judgement waits to be
/// recorded.
const ENDED_LATELY: &str = "interval '1 minute'";

/// Returns those of the documents whose finding has ended since they were judged: it ended lately, and the ledger has another entry by
/// now than the judgement saw.
async fn overtaken(session: &Session, scope: &Scope<'_>, found: &[&Found]) -> Result<HashSet<Key>, Error> {
    if found.is_empty() {
        return Ok(HashSet::new());
    }
    let act = "look for findings that have ended";
    let rows = session.storable_json(&found.iter().map(|found| stored(found)).collect());
    let sql = format!(
        "SELECT l.key FROM {FOUND} JOIN driftless.ledger AS l ON l.collection = $1 AND l.key = decode(e.key, 'hex') \
          WHERE (l.version, l.xmin::text::int8) IS DISTINCT FROM (decode(e.version, 'hex'), e.applied) \
            AND EXISTS (SELECT FROM driftless.finding AS f WHERE f.collection = $1 AND f.key = l.key \
                           AND f.ended_at > clock_timestamp() - {ENDED_LATELY})"
    );
    let rows = session.query(act, &sql, &[&scope.collection, &rows]).await?;
    rows.iter().map(|row| Ok(Key::from_bytes(field(row, 0, act)?))).collect()
}

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
    let params: [Param<'_>; 5] = [&scope.collection, &rows, &&scope.plan[..], &by.as_str(), &i64::from(scope.kept)];
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

/// The number of open findings of one kind in one collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The collection.
    pub collection: String,
    /// The kind.
    pub kind: Kind,
    /// Open findings.
    pub open: u64,
    /// When the oldest of them was found, in milliseconds since 1970.
    pub(crate) since_ms: i64,
}

/// Counts the open findings by collection and kind.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn counts(session: &Session) -> Result<Vec<Count>, Error> {
    let act = "count findings";
    // One branch for each partial index: there may be many more findings that have ended.
    let open = |what: &str| {
        format!(
            "SELECT f.collection, f.kind, f.found_at FROM driftless.finding AS f WHERE f.ended_at IS NULL AND f.key {what}"
        )
    };
    let sql = format!(
        "SELECT c.name, f.kind, count(*), (extract(epoch FROM min(f.found_at)) * 1000)::int8 \
           FROM ({} UNION ALL {}) AS f JOIN driftless.collection AS c ON c.id = f.collection \
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
            since_ms: field(row, 3, act)?,
        })
    };
    rows.iter().map(count).collect()
}
