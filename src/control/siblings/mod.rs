//! Replays into a fresh schema. Each is a migration beside the running one, a sibling: it reads the same topics with another mapping into
//! tables of its own, with a ledger, positions, findings and proofs of its own.
//!
//! ```text
//!  begin ─▶ `run --into`: sink and reconciler ─▶ in sync ─▶ swap: tables and state of the two are exchanged in one transaction
//!     └───▶ drop                                              └─▶ the old tables and their state are the sibling now
//! ```
//! So a swap can be taken back in the same way. The session is that of the running migration throughout.

mod obstacles;
mod swap;

use serde::Serialize;
use tokio_postgres::Row;

pub(crate) use self::{
    obstacles::{Obstacles, obstacles},
    swap::{Swap, Swapped},
};
use super::{guard, journal::record_action, processes::SILENT};
use crate::{
    mapping::{MappingFile, target::TableName},
    postgres::{
        Error, Session, identity, schema,
        session::{Param, field},
    },
};

/// A replay into a fresh schema, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sibling {
    /// Its number in the schema `driftless`.
    #[serde(skip)]
    pub(crate) id: i32,
    /// The schema of its tables.
    pub(crate) schema: String,
    /// When it began, in milliseconds since 1970.
    pub(crate) since_ms: i64,
    /// Who began it.
    pub(crate) who: String,
    /// Why.
    pub(crate) why: String,
    /// Whether a process works on it.
    pub(crate) runs: bool,
    /// Wall clock of the source as of which its tables are complete, in milliseconds since 1970; `None` while they are not.
    pub(crate) as_of_ms: Option<i64>,
    /// Wall clock of the source up to which every change in every collection is judged, and everything was compared before, in
    /// milliseconds since 1970.
    pub(crate) verified_ms: Option<i64>,
    /// Open findings.
    pub(crate) findings: i64,
    /// Open dead letters.
    pub(crate) dead_letters: i64,
    /// Digest of its mapping.
    #[serde(skip)]
    pub(crate) digest: Vec<u8>,
}

/// The outcome of a request to begin a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is recorded.
    Now,
    /// It was recorded before, with the same mapping.
    Before,
    /// Another mapping is being replayed into that schema.
    OtherMapping,
    /// No sink of the running migration has recorded its mapping yet.
    NotRunning,
}

/// Reads the siblings of the running migration, by schema.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn all(session: &Session) -> Result<Vec<Sibling>, Error> {
    let act = "read the replays into other schemas";
    let sql = "SELECT i.id, i.schema, (extract(epoch FROM m.at) * 1000)::int8, m.who, m.why, \
                      EXISTS (SELECT FROM driftless.process AS p WHERE p.migration = i.id \
                                 AND p.at > clock_timestamp() - $2::float8 * interval '1 second'), \
                      (SELECT CASE WHEN bool_and(p.complete AND p.as_of_ms IS NOT NULL) THEN min(p.as_of_ms) END \
                         FROM driftless.position AS p WHERE p.migration = i.id), \
                      (SELECT CASE WHEN bool_and(p.complete_ended_at IS NOT NULL AND p.void_because IS NULL AND p.verified_at IS NOT NULL) \
                                   THEN (extract(epoch FROM min(p.verified_at)) * 1000)::int8 END \
                         FROM driftless.proof AS p JOIN driftless.collection AS c ON c.id = p.collection WHERE c.migration = i.id), \
                      (SELECT count(*) FROM driftless.finding AS f JOIN driftless.collection AS c ON c.id = f.collection \
                        WHERE c.migration = i.id AND f.ended_at IS NULL), \
                      (SELECT count(*) FROM driftless.dead_letter AS d WHERE d.migration = i.id AND d.state = 'open'), \
                      m.digest \
                 FROM driftless.identity AS i JOIN driftless.identity AS r ON r.id = i.beside \
                 JOIN driftless.mapping AS m ON m.migration = i.id \
                WHERE r.prefix = $1 ORDER BY i.schema";
    let rows = session.query(act, sql, &[&session.prefix(), &SILENT.as_secs_f64()]).await?;
    rows.iter().map(|row| sibling(row, act)).collect()
}

fn sibling(row: &Row, act: &str) -> Result<Sibling, Error> {
    Ok(Sibling {
        id: field(row, 0, act)?,
        schema: field(row, 1, act)?,
        since_ms: field(row, 2, act)?,
        who: field(row, 3, act)?,
        why: field::<Option<String>>(row, 4, act)?.unwrap_or_default(),
        runs: field(row, 5, act)?,
        as_of_ms: field(row, 6, act)?,
        verified_ms: field(row, 7, act)?,
        findings: field(row, 8, act)?,
        dead_letters: field(row, 9, act)?,
        digest: field(row, 10, act)?,
    })
}

/// Reads the sibling of that schema.
///
/// # Errors
/// [`Error::NoSuchSibling`]; [`Error::Statement`] by its cause.
pub(crate) async fn find(session: &Session, schema: &str) -> Result<Sibling, Error> {
    let found = all(session).await?.into_iter().find(|sibling| sibling.schema == schema);
    found.ok_or_else(|| Error::NoSuchSibling { schema: schema.to_owned() })
}

/// Records a replay into a schema, with who begins it and why. Its sink begins at the first record of every topic.
///
/// # Errors
/// [`Error::SchemaBehind`] before the sink of the running migration has ever started; [`Error::Statement`] by its cause.
pub(crate) async fn begin(
    session: &Session,
    schema: &str,
    file: &MappingFile,
    (who, why): (&str, &str),
) -> Result<Begun, Error> {
    let act = "begin a replay into a schema";
    schema::is_current(session).await?;
    let (name, digest) = (identity::name(session.prefix(), Some(schema)), file.digest());
    let begun = async {
        session.execute(act, "SELECT pg_advisory_xact_lock($1)", &[&schema::LOCK]).await?;
        // The number of its mapping is its own, so one that is dropped and begun again has another.
        let sql = "WITH new AS (INSERT INTO driftless.identity (prefix, database, replica_set, beside, schema) \
                                SELECT $2, i.database, i.replica_set, i.id, $3 FROM driftless.identity AS i \
                                  JOIN driftless.mapping AS m ON m.migration = i.id \
                                 WHERE i.prefix = $1 ON CONFLICT DO NOTHING RETURNING id) \
                   INSERT INTO driftless.mapping (migration, number, file, digest, who, why) SELECT id, id, $4, $5, $6, $7 FROM new";
        let [text, by, reason] = [file.text(), who, why].map(|text| session.storable(text));
        let params: [Param<'_>; 7] = [&session.prefix(), &name, &schema, &text, &&digest[..], &by, &reason];
        if session.execute(act, sql, &params).await? > 0 {
            record_action(session, who, "replay into", &serde_json::json!({ "schema": schema, "why": why })).await?;
            return Ok(Begun::Now);
        }
        Ok(match find(session, schema).await {
            Ok(known) if known.digest == digest => Begun::Before,
            Ok(_) => Begun::OtherMapping,
            Err(Error::NoSuchSibling { .. }) => Begun::NotRunning,
            Err(error) => return Err(error),
        })
    };
    session.transaction(act, true, begun).await
}

/// Forgets a sibling, removes its guard, and drops its tables where that is asked for. Returns the tables, by their labels.
///
/// # Errors
/// [`Error::Statement`] by its cause: others still use a table, or the role does not own it. Then nothing has changed.
pub(crate) async fn drop(
    session: &Session,
    sibling: &Sibling,
    with_tables: bool,
    (who, why): (&str, &str),
) -> Result<Vec<String>, Error> {
    let act = "drop a replay into a schema";
    let dropped = async {
        session.batch(act, guard::LOCK_TIMEOUT).await?;
        let tables = tables(session, sibling.id).await?;
        guard::drop_triggers(session, sibling.id).await?;
        for table in tables.iter().filter(|_| with_tables) {
            session.batch(&format!("drop table {}", table.label()), &format!("DROP TABLE IF EXISTS {table}")).await?;
        }
        // Only these rows have no foreign key to their migration.
        session.execute(act, "DELETE FROM driftless.foreign_write WHERE migration = $1", &[&sibling.id]).await?;
        session.execute(act, "DELETE FROM driftless.identity WHERE id = $1", &[&sibling.id]).await?;
        let labels: Vec<String> = tables.iter().map(TableName::label).collect();
        let detail = serde_json::json!({ "schema": sibling.schema, "why": why, "tables_dropped": with_tables, "tables": labels });
        record_action(session, who, "drop a replay", &detail).await?;
        Ok(labels)
    };
    session.transaction(act, true, dropped).await
}

/// The tables that a migration writes, by its number; child tables last.
pub(crate) async fn tables(session: &Session, migration: i32) -> Result<Vec<TableName>, Error> {
    let act = "read the tables of a migration";
    let sql = "SELECT name FROM driftless.relation WHERE migration = $1 AND written ORDER BY id";
    let rows = session.query(act, sql, &[&migration]).await?;
    let names = rows.iter().map(|row| field::<String>(row, 0, act)).collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| TableName::parse(name)).collect())
}

/// The number of the running migration.
pub(crate) async fn running(session: &Session) -> Result<i32, Error> {
    identity::number(session).await?.ok_or_else(|| Error::NotRegistered("the migration".to_owned()))
}
