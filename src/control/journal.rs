//! The journal of the migration: what operators asked for and what the processes did, by whom and why, newest first.

use serde::Serialize;
use serde_json::Value;

use crate::postgres::{
    Error, Session,
    identity::{self, OURS},
    session::field,
};

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Entry {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// The operator or the process.
    pub(crate) who: String,
    /// A command, a change of reads, or an event of a process.
    pub(crate) what: String,
    /// Its details: the collections, the reason and the like.
    pub(crate) detail: Value,
}

/// Reads the last entries.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn latest(session: &Session, limit: u32) -> Result<Vec<Entry>, Error> {
    let act = "read the journal";
    let sql = format!(
        "SELECT (extract(epoch FROM at) * 1000)::int8, who, what, detail FROM ( \
           (SELECT at, who, command AS what, detail FROM driftless.action WHERE {OURS} ORDER BY id DESC LIMIT $2) \
           UNION ALL \
           (SELECT at, who, 'reads of ' || unit || ': ' || action, \
                   jsonb_strip_nulls(jsonb_build_object('share', share, 'why', why, 'forced', nullif(forced, false))) \
              FROM driftless.read_change WHERE {OURS} ORDER BY id DESC LIMIT $2)) AS entry \
          ORDER BY at DESC LIMIT $2"
    );
    let rows = session.query(act, &sql, &[&session.prefix(), &i64::from(limit)]).await?;
    let entries = rows.iter().map(|row| {
        Ok(Entry {
            at_ms: field(row, 0, act)?,
            who: field(row, 1, act)?,
            what: field(row, 2, act)?,
            detail: field(row, 3, act)?,
        })
    });
    entries.collect()
}

/// Records an event of a process, or an action. Returns whether it is recorded: not before the migration is known to the target.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn record(session: &Session, who: &str, what: &str, detail: &Value) -> Result<bool, Error> {
    let sql = "INSERT INTO driftless.action (migration, who, command, detail) \
               SELECT id, $2, $3, $4 FROM driftless.identity WHERE prefix = $1";
    let (who, detail) = (session.storable(who), session.storable_json(detail));
    let recorded = session.execute("write the journal", sql, &[&session.prefix(), &who, &what, &detail]).await?;
    Ok(recorded > 0)
}

/// Records an action of an operator.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn record_action(session: &Session, who: &str, command: &str, detail: &Value) -> Result<(), Error> {
    identity::ensure(session).await?;
    record(session, who, command, detail).await.map(|_| ())
}
