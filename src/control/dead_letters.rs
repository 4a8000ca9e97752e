//! Dead letters as operators see them: lists, groups, single letters, and decisions.
//!
//! Only [`records`] and [`show`] read values of documents. They return the stored records; the caller decides what is shown.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio_postgres::Row;

use super::{journal::record_action, repairs};
use crate::{
    log::{Fetched, ejson},
    model::{Key, Version},
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
    sink::dead_letter::{State, record},
};

/// Chooses dead letters. Every field narrows the choice; an empty list and `None` do not.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The collection is one of these.
    pub(crate) collections: Vec<String>,
    /// The reason is one of these.
    pub(crate) reasons: Vec<String>,
    /// The number is one of these.
    pub(crate) ids: Vec<i64>,
    /// The state is one of these; an empty list means open and parked.
    pub(crate) states: Vec<State>,
    /// The letter was written at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// The letter was written before this time.
    pub(crate) until: Option<Timestamp>,
}

/// The condition of a filter; parameters 1 to 7 are those of [`Filter::params`].
const CHOSEN: &str = "d.migration = (SELECT id FROM driftless.identity WHERE prefix = $7) AND (cardinality($1::text[]) = 0 OR c.name = ANY ($1)) \
     AND (cardinality($2::text[]) = 0 OR d.reason = ANY ($2)) AND (cardinality($3::int8[]) = 0 OR d.id = ANY ($3)) \
     AND d.state = ANY ($4::text[]) \
     AND ($5::int8 IS NULL OR d.created_at >= 'epoch'::timestamptz + $5 * interval '1 microsecond') \
     AND ($6::int8 IS NULL OR d.created_at < 'epoch'::timestamptz + $6 * interval '1 microsecond')";

const LETTERS: &str = "driftless.dead_letter AS d LEFT JOIN driftless.collection AS c ON c.id = d.collection";

/// The parameters of a filter, which live as long as a statement.
struct Bounds<'a> {
    prefix: &'a str,
    states: Vec<&'static str>,
    since: Option<i64>,
    until: Option<i64>,
}

impl Filter {
    fn bounds<'a>(&self, session: &'a Session) -> Bounds<'a> {
        let states = if self.states.is_empty() { &State::WAITING[..] } else { &self.states[..] };
        Bounds {
            prefix: session.prefix(),
            states: states.iter().map(|state| state.as_str()).collect(),
            since: self.since.map(Timestamp::as_microsecond),
            until: self.until.map(Timestamp::as_microsecond),
        }
    }

    fn params<'a>(&'a self, bounds: &'a Bounds<'_>) -> Vec<Param<'a>> {
        let Bounds { prefix, states, since, until } = bounds;
        vec![&self.collections, &self.reasons, &self.ids, states, since, until, prefix]
    }

    /// Returns the filter as it is recorded beside a decision.
    fn noted(&self) -> serde_json::Value {
        let Self { collections, reasons, ids, states, since, until } = self;
        serde_json::json!({
            "collections": collections, "reasons": reasons, "ids": ids, "states": states, "since": since, "until": until,
        })
    }
}

/// A dead letter without its contents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// The number of the letter.
    pub id: i64,
    /// The state of the letter.
    pub(crate) state: State,
    /// The collection; `None` if the record could not be decoded that far.
    pub(crate) collection: Option<String>,
    /// The key of the document as Extended JSON; `None` if the record could not be decoded that far.
    #[serde(serialize_with = "as_extended_json")]
    pub(crate) key: Option<Key>,
    /// See [`Reason`](crate::model::Reason).
    pub(crate) reason: String,
    /// Names of table, column, path or constraint.
    pub(crate) detail: Option<String>,
    /// Topic.
    pub(crate) topic: String,
    /// Partition.
    pub(crate) partition: i32,
    /// Offset.
    pub(crate) offset: i64,
    /// Number of attempts.
    pub(crate) attempts: i32,
    /// When the letter was written.
    pub(crate) created_at: Timestamp,
    /// When a parked letter is retried next.
    pub(crate) next_attempt_at: Option<Timestamp>,
    /// When the letter was closed.
    pub(crate) closed_at: Option<Timestamp>,
}

fn as_extended_json<S: Serializer>(key: &Option<Key>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = key.as_ref().map(ejson::id_text);
    text.and_then(|text| RawValue::from_string(text).ok()).serialize(serializer)
}

const LISTED: &str = "d.id, d.state, c.name, d.key, d.reason, d.detail, d.topic, d.partition, d.log_offset, d.attempts, \
     (extract(epoch FROM d.created_at) * 1000000)::int8, \
     CASE WHEN d.state = 'parked' THEN (extract(epoch FROM d.next_attempt_at) * 1000000)::int8 END, \
     (extract(epoch FROM d.closed_at) * 1000000)::int8";
const LISTED_COLUMNS: usize = 13;

fn listed(row: &Row, act: &str) -> Result<Listed, Error> {
    Ok(Listed {
        id: field(row, 0, act)?,
        state: State::from_name(field(row, 1, act)?),
        collection: field(row, 2, act)?,
        key: field::<Option<Vec<u8>>>(row, 3, act)?.map(Key::from_bytes),
        reason: field(row, 4, act)?,
        detail: field(row, 5, act)?,
        topic: field(row, 6, act)?,
        partition: field(row, 7, act)?,
        offset: field(row, 8, act)?,
        attempts: field(row, 9, act)?,
        created_at: time(row, 10, act)?.unwrap_or_default(),
        next_attempt_at: time(row, 11, act)?,
        closed_at: time(row, 12, act)?,
    })
}

/// Converts microseconds since 1970. PostgreSQL's range is wider than that of [`Timestamp`], but its clock is within both.
fn time(row: &Row, at: usize, act: &str) -> Result<Option<Timestamp>, Error> {
    let micros = field::<Option<i64>>(row, at, act)?;
    Ok(micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
}

/// Lists dead letters, oldest first.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn list(session: &Session, filter: &Filter, limit: u32) -> Result<Vec<Listed>, Error> {
    let act = "list dead letters";
    let sql = format!("SELECT {LISTED} FROM {LETTERS} WHERE {CHOSEN} ORDER BY d.id LIMIT $8");
    let (bounds, limit) = (filter.bounds(session), i64::from(limit));
    let mut params = filter.params(&bounds);
    params.push(&limit);
    session.query(act, &sql, &params).await?.iter().map(|row| listed(row, act)).collect()
}

/// Dead letters with the same collection, reason and detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The collection, or the topic if the record cannot be decoded.
    pub collection: String,
    /// See [`Reason`](crate::model::Reason).
    pub(crate) reason: String,
    /// Names of table, column, path or constraint.
    pub(crate) detail: Option<String>,
    /// Number of letters.
    pub(crate) count: i64,
    /// When the first letter was written.
    pub(crate) first: Timestamp,
    /// When the last letter was written.
    pub(crate) last: Timestamp,
    /// The number of the newest letter.
    pub(crate) example: i64,
}

/// Groups dead letters by collection, reason and detail, the largest group first.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn groups(session: &Session, filter: &Filter, limit: u32) -> Result<Vec<Group>, Error> {
    let act = "group dead letters";
    let sql = format!(
        "SELECT coalesce(c.name, d.topic), d.reason, d.detail, count(*), \
                (extract(epoch FROM min(d.created_at)) * 1000000)::int8, \
                (extract(epoch FROM max(d.created_at)) * 1000000)::int8, max(d.id) \
           FROM {LETTERS} WHERE {CHOSEN} GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT $8"
    );
    let (bounds, limit) = (filter.bounds(session), i64::from(limit));
    let mut params = filter.params(&bounds);
    params.push(&limit);
    let rows = session.query(act, &sql, &params).await?;
    let group = |row: &Row| {
        Ok(Group {
            collection: field(row, 0, act)?,
            reason: field(row, 1, act)?,
            detail: field(row, 2, act)?,
            count: field(row, 3, act)?,
            first: time(row, 4, act)?.unwrap_or_default(),
            last: time(row, 5, act)?.unwrap_or_default(),
            example: field(row, 6, act)?,
        })
    };
    rows.iter().map(group).collect()
}

/// Reads dead letters with their records, oldest first.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn records(session: &Session, filter: &Filter, limit: u32) -> Result<Vec<(i64, Fetched)>, Error> {
    let act = "read dead letters";
    let sql = format!(
        "SELECT d.id, d.topic, d.partition, d.log_offset, d.timestamp_ms, d.record_key, d.value, d.headers \
           FROM {LETTERS} WHERE {CHOSEN} ORDER BY d.id LIMIT $8"
    );
    let (bounds, limit) = (filter.bounds(session), i64::from(limit));
    let mut params = filter.params(&bounds);
    params.push(&limit);
    let rows = session.query(act, &sql, &params).await?;
    rows.iter().map(|row| Ok((field(row, 0, act)?, record(row, 1, act)?))).collect()
}

/// Everything about one dead letter.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The letter without its contents.
    pub(crate) listed: Listed,
    /// Version of its change; `None` if the record could not be decoded that far.
    pub(crate) version: Option<Version>,
    /// The record, unchanged.
    pub(crate) record: Fetched,
    /// Decisions of operators about the letter, oldest first.
    pub(crate) decisions: Vec<Decision>,
}

/// A decision of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Decision {
    /// When it was made.
    pub(crate) at: Timestamp,
    /// Who made it.
    pub(crate) who: String,
    /// The command.
    pub(crate) command: String,
    /// The reason in the operator's words, if the command asks for one.
    pub(crate) why: Option<String>,
}

/// Reads one dead letter, whatever its state; returns `None` if no letter has that number.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn show(session: &Session, id: i64) -> Result<Option<Shown>, Error> {
    let act = "show a dead letter";
    let sql = format!(
        "SELECT {LISTED}, d.topic, d.partition, d.log_offset, d.timestamp_ms, d.record_key, d.value, d.headers, d.version \
           FROM {LETTERS} WHERE d.id = $1 AND d.migration = (SELECT id FROM driftless.identity WHERE prefix = $2)"
    );
    let Some(row) = session.query_opt(act, &sql, &[&id, &session.prefix()]).await? else { return Ok(None) };
    let sql = "SELECT (extract(epoch FROM at) * 1000000)::int8, who, command, detail ->> 'why' FROM driftless.action \
                WHERE command LIKE 'dlq %' AND detail -> 'letters' @> to_jsonb($1::int8) ORDER BY id";
    let decision = |row: &Row| {
        Ok(Decision {
            at: time(row, 0, act)?.unwrap_or_default(),
            who: field(row, 1, act)?,
            command: field(row, 2, act)?,
            why: field(row, 3, act)?,
        })
    };
    let decisions = session.query(act, sql, &[&id]).await?.iter().map(decision).collect::<Result<_, Error>>()?;
    let version = field::<Option<&[u8]>>(&row, LISTED_COLUMNS + 7, act)?.and_then(Version::from_bytes);
    Ok(Some(Shown { listed: listed(&row, act)?, version, record: record(&row, LISTED_COLUMNS, act)?, decisions }))
}

/// Discards open and parked dead letters and records who decided it and why, in one transaction; returns their numbers.
///
/// Closed letters are left alone, whatever the filter says. The rows in the target stay as they are, so the reconciler still
/// reports the documents.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn discard(session: &Session, filter: &Filter, who: &str, why: &str) -> Result<Vec<i64>, Error> {
    let act = "discard dead letters";
    let discarded = async {
        // Workers lock letters in the order of their batches, so no worker may hold any now; see `sink::locks`.
        let sql = format!("SELECT FROM driftless.collection WHERE {OURS} ORDER BY id FOR UPDATE");
        session.execute(act, &sql, &[&session.prefix()]).await?;
        let sql = format!(
            "UPDATE driftless.dead_letter SET state = 'discarded', closed_at = now() \
              WHERE state IN ('open', 'parked') AND id IN (SELECT d.id FROM {LETTERS} WHERE {CHOSEN}) RETURNING id"
        );
        let bounds = filter.bounds(session);
        let rows = session.query(act, &sql, &filter.params(&bounds)).await?;
        let mut letters = rows.iter().map(|row| field(row, 0, act)).collect::<Result<Vec<i64>, Error>>()?;
        letters.sort_unstable();
        note(session, "dlq discard", who, Some(why), filter, &letters).await?;
        Ok(letters)
    };
    session.transaction(act, true, discarded).await
}

/// The outcome of asking for a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// The dead letters that name a document.
    pub letters: Vec<i64>,
    /// The requests for their documents, one each, to be followed with [`repairs::progress`].
    pub requests: Vec<i64>,
    /// The dead letters whose record cannot be decoded, so that their document is unknown.
    pub unreadable: Vec<i64>,
}

const RETRY: &str = "dlq retry";

/// Asks the leader of the source to read the documents of these dead letters again, and records who asked, in one transaction.
///
/// The change that applies a document closes its letters; this function does not.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn retry(session: &Session, filter: &Filter, who: &str) -> Result<Retried, Error> {
    let act = "retry dead letters";
    let asked = async {
        let sql = format!("SELECT d.id, d.collection, d.key FROM {LETTERS} WHERE {CHOSEN} ORDER BY d.id");
        let bounds = filter.bounds(session);
        let mut retried = Retried::default();
        let mut documents = BTreeSet::new();
        for row in session.query(act, &sql, &filter.params(&bounds)).await? {
            let id: i64 = field(&row, 0, act)?;
            match (field::<Option<i32>>(&row, 1, act)?, field::<Option<Vec<u8>>>(&row, 2, act)?) {
                (Some(collection), Some(key)) => {
                    retried.letters.push(id);
                    documents.insert((collection, Key::from_bytes(key)));
                }
                _ => retried.unreadable.push(id),
            }
        }
        if !documents.is_empty() {
            retried.requests = repairs::ask(session, who, RETRY, &Vec::from_iter(documents)).await?;
            note(session, RETRY, who, None, filter, &retried.letters).await?;
        }
        Ok(retried)
    };
    session.transaction(act, true, asked).await
}

async fn note(
    session: &Session,
    command: &str,
    who: &str,
    why: Option<&str>,
    filter: &Filter,
    letters: &[i64],
) -> Result<(), Error> {
    let detail = serde_json::json!({ "why": why, "filter": filter.noted(), "letters": letters });
    record_action(session, who, command, &detail).await
}
