//! Dead letters: every record that could not be applied, with its reason, exactly as it was.
//!
//! ```text
//!            ┌── refused for good, unreadable ──▶ open ──┬── a newer version came ──▶ superseded
//!  a record ─┤                                     ▲     ├── its document was read again and applied ▶ retried
//!            └── parent or unique value missing ▶ parked ┘── an operator's decision ─▶ discarded
//!                                        (open after so many attempts)
//! ```
//!
//! Both `open` and `parked` are named drift: the document's version is known to the ledger, its rows are those of an older
//! one. The transaction that applies the document, or a newer version of it, closes its letters.

mod parked;

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio_postgres::Row;

use super::{
    Prepared,
    plan::{Content, Document, Unreadable},
    winner::Winner,
};
use crate::{
    log::{Fetched, Headers},
    model::Reason,
    postgres::{Error, Refusal, Session, params::Column, session::field},
};

pub(crate) use parked::parked_totals;
pub use parked::{Bounds, Parked, due, freed};

/// The state of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A person has to look.
    Open,
    /// Waits for another document.
    Parked,
    /// Closed: its document was read again at an operator's request and applied, or the same version came again.
    Retried,
    /// Closed by a newer version.
    Superseded,
    /// Given up by an operator.
    Discarded,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Open, Self::Parked, Self::Retried, Self::Superseded, Self::Discarded];

    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Parked => "parked",
            Self::Retried => "retried",
            Self::Superseded => "superseded",
            Self::Discarded => "discarded",
        }
    }

    /// The states of letters that wait; the others are closed.
    pub const WAITING: [Self; 2] = [Self::Open, Self::Parked];

    pub(crate) fn from_name(name: &str) -> Self {
        // The table's CHECK allows no other word.
        Self::ALL.into_iter().find(|state| state.as_str() == name).unwrap_or(Self::Open)
    }
}

/// A dead letter about to be written.
pub(super) struct Letter<'a> {
    pub(super) record: &'a Fetched,
    pub(super) document: Option<&'a Document>,
    /// Place of the collection in the plan; none where the record lies in no topic of ours.
    pub(super) collection: Option<usize>,
    pub(super) reason: Reason,
    detail: String,
    state: State,
}

impl<'a> Letter<'a> {
    pub(super) fn unreadable(unreadable: &'a Unreadable) -> Self {
        let Unreadable { record, collection, reason, detail } = unreadable;
        Self {
            record,
            document: None,
            collection: *collection,
            reason: *reason,
            detail: detail.clone(),
            state: State::Open,
        }
    }

    pub(super) fn rejected(document: &'a Document) -> Option<Self> {
        let Content::Rejected { rejects, .. } = &document.content else { return None };
        Some(Self {
            record: &document.record,
            document: Some(document),
            collection: Some(document.collection),
            reason: rejects.first().reason,
            detail: rejects.to_string(),
            state: State::Open,
        })
    }

    pub(super) fn refused(document: &'a Document, refusal: &Refusal) -> Self {
        Self {
            record: &document.record,
            document: Some(document),
            collection: Some(document.collection),
            reason: refusal.reason(),
            detail: refusal.to_string(),
            state: if refusal.may_pass_later() { State::Parked } else { State::Open },
        }
    }
}

const WRITE: &str = "
INSERT INTO driftless.dead_letter AS d (migration, topic, partition, log_offset, collection, key, version, reason, detail,
       record_key, value, headers, timestamp_ms, state, attempts, next_attempt_at)
SELECT i.id, e.topic, e.partition, e.log_offset, e.collection, e.key, e.version, e.reason, e.detail,
       e.record_key, e.value, e.headers::jsonb, e.timestamp_ms, e.state, 1, now() + interval '1 second'
  FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int4[], $5::bytea[], $6::bytea[], $7::text[], $8::text[],
              $9::bytea[], $10::bytea[], $11::text[], $12::int8[], $13::text[])
    AS e(topic, partition, log_offset, collection, key, version, reason, detail,
         record_key, value, headers, timestamp_ms, state)
  JOIN driftless.identity AS i ON i.prefix = $15
ON CONFLICT (migration, topic, topic_id, partition, log_offset) DO UPDATE
   SET reason = excluded.reason, detail = excluded.detail, closed_at = NULL,
       -- An attempt made for the sake of another document does not count.
       attempts = d.attempts + (d.next_attempt_at <= now())::int,
       next_attempt_at = CASE WHEN d.next_attempt_at > now() THEN d.next_attempt_at
                              ELSE now() + least(d.attempts + 1, 30) * interval '1 second' END,
       state = CASE WHEN excluded.state = 'parked' AND d.attempts + (d.next_attempt_at <= now())::int >= $14 THEN 'open' ELSE excluded.state END
 WHERE d.state <> 'discarded'
RETURNING topic, partition, log_offset, state";

/// Writes the letters. Gives back the state that each has now, in their order.
pub(super) async fn write(
    session: &Session,
    prepared: &Prepared,
    letters: &[Letter<'_>],
    parked_attempts: u32,
) -> Result<Vec<State>, Error> {
    if letters.is_empty() {
        return Ok(Vec::new());
    }
    failpoint!(SINK_DEAD_LETTER);
    let each = |of: &dyn Fn(&Letter<'_>) -> Option<Vec<u8>>| {
        let mut column = Column::default();
        for letter in letters {
            column.push(of(letter).as_deref());
        }
        column
    };
    let topics = letters.iter().map(|letter| &*letter.record.topic).collect::<Vec<_>>();
    let partitions = letters.iter().map(|letter| letter.record.partition).collect::<Vec<_>>();
    let offsets = letters.iter().map(|letter| letter.record.offset).collect::<Vec<_>>();
    let collections =
        letters.iter().map(|letter| letter.collection.map(|collection| prepared.id(collection))).collect::<Vec<_>>();
    let reasons = letters.iter().map(|letter| letter.reason.as_str()).collect::<Vec<_>>();
    let details = letters.iter().map(|letter| session.storable(&letter.detail)).collect::<Vec<_>>();
    let headers = letters
        .iter()
        .map(|letter| headers_to_json(&letter.record.headers, |name| session.storable(name)))
        .collect::<Vec<_>>();
    let timestamps = letters.iter().map(|letter| letter.record.timestamp_ms).collect::<Vec<_>>();
    let states = letters.iter().map(|letter| letter.state.as_str()).collect::<Vec<_>>();
    let act = "write dead letters";
    let rows = session
        .query(
            act,
            WRITE,
            &[
                &topics,
                &partitions,
                &offsets,
                &collections,
                &each(&|letter| letter.document.map(|document| document.key.as_bytes().to_vec())),
                &each(&|letter| letter.document.map(|document| document.version.to_bytes().to_vec())),
                &reasons,
                &details,
                &each(&|letter| letter.record.key.clone()),
                &each(&|letter| letter.record.value.clone()),
                &headers,
                &timestamps,
                &states,
                &i32::try_from(parked_attempts).unwrap_or(i32::MAX),
                &session.prefix(),
            ],
        )
        .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let place = (field::<&str>(row, 0, act)?, field::<i32>(row, 1, act)?, field::<i64>(row, 2, act)?);
        found.insert(place, State::from_name(field(row, 3, act)?));
    }
    let states = letters.iter().map(|letter| {
        let place = (&*letter.record.topic, letter.record.partition, letter.record.offset);
        // A discarded letter is not touched, so nothing comes back for it.
        found.get(&place).copied().unwrap_or(State::Discarded)
    });
    Ok(states.collect())
}

const CLOSE: &str = "
UPDATE driftless.dead_letter AS d
   SET closed_at = now(),
       state = CASE WHEN d.version = e.version OR (e.repair AND e.failed_at IS NULL) THEN 'retried' ELSE 'superseded' END
  FROM unnest($1::int4[], $2::bytea[], $3::bytea[], $4::int8[], $5::bool[]) AS e(collection, key, version, failed_at, repair)
 WHERE d.state IN ('open', 'parked') AND d.collection = e.collection AND d.key = e.key AND d.version <= e.version
   AND (d.log_offset IS DISTINCT FROM e.failed_at OR d.topic_id <> '')";

/// Closes the letters that the winners replace. A document that failed again keeps only the letter of this record.
pub(super) async fn close(
    session: &Session,
    prepared: &Prepared,
    winners: &[Winner<'_>],
    letters: &[Letter<'_>],
) -> Result<(), Error> {
    let failed = letters
        .iter()
        .filter_map(|letter| letter.document.map(|document| (document.collection, &document.key)))
        .collect::<std::collections::HashSet<_>>();
    let (mut keys, mut versions) = (Column::default(), Column::default());
    let (mut collections, mut failed_at, mut repairs) = (Vec::new(), Vec::new(), Vec::new());
    for Winner { document, .. } in winners {
        collections.push(prepared.id(document.collection));
        keys.push(Some(document.key.as_bytes()));
        versions.push(Some(&document.version.to_bytes()));
        repairs.push(document.repair);
        failed_at.push(failed.contains(&(document.collection, &document.key)).then_some(document.record.offset));
    }
    session.execute("close dead letters", CLOSE, &[&collections, &keys, &versions, &failed_at, &repairs]).await?;
    Ok(())
}

/// A record out of seven columns: topic, partition, offset, timestamp, key, value, headers.
pub(crate) fn record(row: &Row, first: usize, act: &str) -> Result<Fetched, Error> {
    Ok(Fetched {
        topic: Arc::from(field::<&str>(row, first, act)?),
        partition: field(row, first + 1, act)?,
        offset: field(row, first + 2, act)?,
        timestamp_ms: field(row, first + 3, act)?,
        key: field(row, first + 4, act)?,
        value: field(row, first + 5, act)?,
        headers: headers_from_json(&field::<serde_json::Value>(row, first + 6, act)?),
    })
}

/// `[["name", "value in base64"], …]`: in order, with repetitions.
fn headers_to_json(headers: &Headers, storable: impl Fn(&str) -> String) -> String {
    let pairs = headers.iter().map(|(name, value)| [storable(name), STANDARD.encode(value)]);
    serde_json::to_string(&pairs.collect::<Vec<_>>()).unwrap_or_else(|_| "[]".to_owned())
}

fn headers_from_json(json: &serde_json::Value) -> Headers {
    let pair = |pair: &serde_json::Value| {
        Some((pair.get(0)?.as_str()?.to_owned(), STANDARD.decode(pair.get(1)?.as_str()?).ok()?))
    };
    json.as_array().map(|pairs| pairs.iter().filter_map(pair).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_with_order_repetition_and_any_bytes() {
        let headers = [("b", vec![0, 255]), ("a", vec![]), ("b", b"x".to_vec())].into_iter().collect();
        let json = serde_json::from_str(&headers_to_json(&headers, str::to_owned)).expect("JSON");
        assert_eq!(headers_from_json(&json), headers);
    }
}
