//! Requests to read single documents again: operators write them, the leader of the source serves them and reports progress.
//!
//! ```text
//!  asked ──the leader reads the document, its change is in the log──▶ done ──the sink has passed that version──▶ applied
//!    └──────────the leader cannot (its collection is not mapped)────▶ refused
//! ```
//! A request names a document and no version. The read is newer than everything that was published before it, so a request may be
//! served twice, even by two leaders.

use std::collections::HashMap;

use bson::raw::RawDocumentBuf;
use serde::Serialize;

use crate::{
    model::{Key, Version},
    postgres::{
        Error, Session,
        identity::OURS,
        params::Column,
        session::{Param, field},
    },
};

/// How long finished requests are kept, so that their outcome can be read.
const KEPT: &str = "7 days";

/// A request to read a document again.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The number of the request.
    pub id: i64,
    /// The collection.
    pub(crate) collection: String,
    /// The document's key.
    pub(crate) key: Key,
    /// The `{_id: …}` of the document, if it does not follow from the key.
    pub(crate) target: Option<RawDocumentBuf>,
}

impl Request {
    /// Returns the `{_id: …}` of the document; `None` if the ledger does not hold it either.
    pub fn document(&self) -> Option<RawDocumentBuf> {
        self.target.clone().or_else(|| self.key.to_id())
    }
}

/// Reads the oldest waiting requests.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause, also if the schema does not exist yet.
pub async fn waiting(session: &Session, limit: usize) -> Result<Vec<Request>, Error> {
    let act = "read requests for repairs";
    let sql = format!(
        "SELECT r.id, c.name, r.key, r.target FROM driftless.repair AS r \
           JOIN driftless.collection AS c ON c.id = r.collection \
          WHERE r.done_at IS NULL AND r.key IS NOT NULL AND c.{OURS} ORDER BY r.id LIMIT $2"
    );
    let rows = session.query(act, &sql, &[&session.prefix(), &i64::try_from(limit).unwrap_or(i64::MAX)]).await?;
    let request = |row: &tokio_postgres::Row| {
        let target: Option<Vec<u8>> = field(row, 3, act)?;
        Ok(Request {
            id: field(row, 0, act)?,
            collection: field(row, 1, act)?,
            key: Key::from_bytes(field(row, 2, act)?),
            target: target.and_then(|bytes| RawDocumentBuf::from_bytes(bytes).ok()),
        })
    };
    rows.iter().map(request).collect()
}

/// A request to remove a row that no document stands behind.
#[derive(Clone, Debug, PartialEq)]
pub struct RowRequest {
    /// The number of the request.
    pub id: i64,
    /// The collection.
    pub collection: String,
    /// Its table, as its [label](crate::mapping::target::TableName::label).
    pub table: String,
    /// The row's primary key: {column: text}.
    pub row_key: serde_json::Value,
}

/// Reads the oldest waiting requests about rows.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn waiting_rows(session: &Session, limit: i64) -> Result<Vec<RowRequest>, Error> {
    let act = "read requests for repairs";
    let sql = format!(
        "SELECT r.id, c.name, r.relation, r.row_key FROM driftless.repair AS r \
           JOIN driftless.collection AS c ON c.id = r.collection \
          WHERE r.done_at IS NULL AND r.key IS NULL AND c.{OURS} ORDER BY r.id LIMIT $2"
    );
    let rows = session.query(act, &sql, &[&session.prefix(), &limit]).await?;
    let request = |row: &tokio_postgres::Row| {
        Ok(RowRequest {
            id: field(row, 0, act)?,
            collection: field(row, 1, act)?,
            table: field(row, 2, act)?,
            row_key: field(row, 3, act)?,
        })
    };
    rows.iter().map(request).collect()
}

/// Records that these requests about rows are in the log.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn logged(session: &Session, ids: &[i64]) -> Result<(), Error> {
    let sql = "UPDATE driftless.repair SET done_at = now() WHERE id = ANY ($1) AND done_at IS NULL";
    session.execute("record repairs", sql, &[&ids]).await?;
    Ok(())
}

/// Notes the ledger's entries of documents before anything of them is read; returns the versions of those that are to be reset.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn note_versions(session: &Session, ids: &[i64]) -> Result<HashMap<Key, Version>, Error> {
    let act = "note versions for repairs";
    let sql = "WITH noted AS (UPDATE driftless.repair AS r SET replaced = l.version, was = l.xmin::text::int8 \
                 FROM driftless.ledger AS l WHERE r.id = ANY ($1) AND l.collection = r.collection AND l.key = r.key \
                 RETURNING r.key, r.replaced, r.reset) SELECT key, replaced FROM noted WHERE reset";
    let mut versions = HashMap::new();
    for row in session.query(act, sql, &[&ids]).await? {
        let version = Version::from_bytes(field(&row, 1, act)?);
        versions.extend(
            version.map(|version| Ok::<_, Error>((Key::from_bytes(field(&row, 0, act)?), version))).transpose()?,
        );
    }
    Ok(versions)
}

/// Records that the documents of these requests were read at this version and are in the log.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn done(session: &Session, ids: &[i64], version: Version) -> Result<(), Error> {
    let sql = "UPDATE driftless.repair SET done_at = now(), version = $2 WHERE id = ANY ($1) AND done_at IS NULL";
    session.execute("record repairs", sql, &[&ids, &&version.to_bytes()[..]]).await?;
    Ok(())
}

/// Records that these requests cannot be served, and why.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn refuse(session: &Session, ids: &[i64], why: &str) -> Result<(), Error> {
    let sql = "UPDATE driftless.repair SET done_at = now(), refused = $2 WHERE id = ANY ($1) AND done_at IS NULL";
    session.execute("refuse repairs", sql, &[&ids, &why]).await?;
    Ok(())
}

/// Requests these documents inside the transaction of the caller; returns the numbers of the requests.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn ask(
    session: &Session,
    who: &str,
    command: &str,
    documents: &[(i32, Key)],
) -> Result<Vec<i64>, Error> {
    let act = "ask for repairs";
    let sql = format!("DELETE FROM driftless.repair WHERE done_at < now() - interval '{KEPT}'");
    session.execute(act, &sql, &[]).await?;
    let (mut collections, mut keys) = (Vec::new(), Column::default());
    for (collection, key) in documents {
        collections.push(*collection);
        keys.push(Some(key.as_bytes()));
    }
    let sql = "INSERT INTO driftless.repair (collection, key, target, who, command) \
               SELECT e.collection, e.key, l.target, $3, $4 FROM unnest($1::int4[], $2::bytea[]) AS e(collection, key) \
                 LEFT JOIN driftless.ledger AS l ON l.collection = e.collection AND l.key = e.key RETURNING id";
    let params: [Param<'_>; 4] = [&collections, &keys, &who, &command];
    session.query(act, sql, &params).await?.iter().map(|row| field(row, 0, act)).collect()
}

/// Requests what repairs these findings, inside the transaction of the caller; returns the numbers of the requests. A version that
/// nothing published can have is replaced.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn ask_for(session: &Session, who: &str, command: &str, findings: &[i64]) -> Result<Vec<i64>, Error> {
    let act = "ask for repairs";
    let sql = "INSERT INTO driftless.repair (collection, key, target, who, command, finding, reset, relation, row_key) \
               SELECT f.collection, f.key, coalesce(f.target, l.target), $2, $3, f.id, f.key IS NOT NULL, f.relation, f.row_key \
                 FROM driftless.finding AS f \
                 LEFT JOIN driftless.ledger AS l ON l.collection = f.collection AND l.key = f.key \
                WHERE f.id = ANY ($1) AND f.ended_at IS NULL ORDER BY f.id RETURNING id";
    session.query(act, sql, &[&findings, &who, &command]).await?.iter().map(|row| field(row, 0, act)).collect()
}

/// Progress of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Requests that no leader has accepted.
    pub asked: u64,
    /// Requests whose documents are in the log and not applied yet.
    pub logged: u64,
    /// Requests whose documents are applied in this or a newer version.
    pub applied: u64,
    /// Requests that cannot be served.
    pub refused: u64,
}

impl Progress {
    /// Returns whether every request has reached its end.
    pub(crate) fn ended(&self) -> bool {
        self.asked + self.logged == 0
    }
}

/// Reads the progress of these requests.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn progress(session: &Session, ids: &[i64]) -> Result<Progress, Error> {
    let act = "follow repairs";
    // An entry that is the noted one shows nothing of the request: a quiet source is read at the same time again and again.
    // A change at or below the floor of a truncated collection is void, so its ledger entry never reaches that version.
    let sql = "SELECT count(*) FILTER (WHERE r.done_at IS NULL), \
                      count(*) FILTER (WHERE r.done_at IS NOT NULL AND r.refused IS NULL AND NOT passed), \
                      count(*) FILTER (WHERE r.done_at IS NOT NULL AND r.refused IS NULL AND passed), \
                      count(*) FILTER (WHERE r.refused IS NOT NULL) \
                 FROM driftless.repair AS r JOIN driftless.collection AS c ON c.id = r.collection \
                 LEFT JOIN driftless.ledger AS l ON l.collection = r.collection AND l.key = r.key, \
                 LATERAL (SELECT coalesce(l.version >= r.version AND (r.replaced IS NULL OR l.version <> r.replaced OR \
                                           (r.replaced <= r.version AND l.xmin::text::int8 <> r.was)), false) \
                              OR coalesce(c.floor >= r.version, false) OR r.removed_at IS NOT NULL) AS p(passed) \
                WHERE r.id = ANY ($1)";
    let row = session.query_one(act, sql, &[&ids]).await?;
    let number = |at: usize| Ok::<_, Error>(u64::try_from(field::<i64>(&row, at, act)?).unwrap_or(0));
    Ok(Progress { asked: number(0)?, logged: number(1)?, applied: number(2)?, refused: number(3)? })
}

/// Reads why requests among these cannot be served, with the number for each reason.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn refusals(session: &Session, ids: &[i64]) -> Result<Vec<(String, i64)>, Error> {
    let act = "follow repairs";
    let sql = "SELECT c.name || ': ' || r.refused, count(*) FROM driftless.repair AS r \
                 JOIN driftless.collection AS c ON c.id = r.collection \
                WHERE r.id = ANY ($1) AND r.refused IS NOT NULL GROUP BY 1 ORDER BY 1";
    let rows = session.query(act, sql, &[&ids]).await?;
    rows.iter().map(|row| Ok((field(row, 0, act)?, field(row, 1, act)?))).collect()
}

/// Reads the numbers of the open and parked dead letters of these documents.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn letters(session: &Session, ids: &[i64]) -> Result<Vec<i64>, Error> {
    let act = "follow repairs";
    let sql = "SELECT d.id FROM driftless.dead_letter AS d WHERE d.state IN ('open', 'parked') \
                  AND (d.collection, d.key) IN (SELECT r.collection, r.key FROM driftless.repair AS r WHERE r.id = ANY ($1)) \
                ORDER BY d.id";
    session.query(act, sql, &[&ids]).await?.iter().map(|row| field(row, 0, act)).collect()
}
