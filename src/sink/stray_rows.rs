//! Removes rows that no document stands behind, at the request of a repair.
//!
//! ```text
//!  requests ─ not removed yet, table in the plan
//!     ├─ rows that hold their document's id: would a live entry of the ledger have that row? ─▶ refused, the row stays
//!     ├─ remembered rows: does a document own it? ───────────────────────────────────────────▶ refused, the row stays
//!     └─ none does: the row goes, with the children of a root row; their content is kept as evidence
//! ```
//! The record in the log only names the request; that says which row, and in the transaction that removes the row it becomes done. So
//! a replay removes nothing, and a target that does not know the request removes nothing either.
//!
//! The rule that makes a row's key of an `_id` leads back to none, so the whole ledger of the collection is asked whose the row is. That
//! takes a second for about 200,000 documents, and happens before the transaction: [`Explained::before`], while all others write. The
//! transaction holds the exclusive lock of all collections (see `locks`), so no other worker writes a document between the question
//! and the removal, and asks only the entries that were written since.

use std::collections::{BTreeMap, BTreeSet};

use bson::RawDocumentBuf;
use futures_util::future::join;
use serde_json::{Map, Value, json};

use super::{Prepared, stray_statements::StrayChildren, write::Touched};
use crate::{
    model::Key,
    postgres::{
        Error, Session,
        params::Column,
        session::{Param, field},
    },
    retry::{Class, Classify},
};

/// Entries of the ledger that are asked for at a time.
const PAGE_ENTRIES: i64 = 10_000;
/// How often the ledger is asked before the transaction: once for all entries, once for those that came meanwhile.
const ROUNDS_BEFORE: usize = 2;
/// Why a row stays.
const OWNED: &str = "a document has the row by now";

/// A row that is to be removed.
struct Stray {
    request: i64,
    finding: Option<i64>,
    row_key: Value,
}

/// A table of the plan: places of its collection and of itself there.
type Place = (usize, usize);

/// Requests about rows that live documents have, as far as the ledger was asked.
#[derive(Debug, Default)]
pub(super) struct Explained {
    requests: BTreeSet<i64>,
    /// Entries of transactions before this one were all seen.
    horizon: Option<String>,
}

impl Explained {
    /// Asks all entries of the ledger, and then those that were written meanwhile, so that few are left for the transaction. Nothing is
    /// locked.
    pub(super) async fn before(session: &Session, prepared: &Prepared, requests: &[i64]) -> Result<Self, Error> {
        let mut explained = Self::default();
        for _ in 0..ROUNDS_BEFORE {
            let (strays, _) = waiting(session, prepared, requests, "").await?;
            explained.ask(session, prepared, &strays).await?;
        }
        Ok(explained)
    }

    /// Asks the entries that no call before has seen.
    async fn ask(
        &mut self,
        session: &Session,
        prepared: &Prepared,
        strays: &BTreeMap<Place, Vec<Stray>>,
    ) -> Result<(), Error> {
        let act = "read the oldest transaction";
        let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text";
        let horizon: String = field(&session.query_one(act, sql, &[]).await?, 0, act)?;
        for (place, strays) in strays {
            let found = explained(session, prepared, *place, strays, self.horizon.as_deref()).await?;
            self.requests.extend(found.into_iter().filter_map(|at| strays.get(at)).map(|stray| stray.request));
        }
        self.horizon = Some(horizon);
        Ok(())
    }
}

/// Removes the rows of these requests, as far as they are rows of no document.
pub(super) async fn remove(
    session: &Session,
    prepared: &Prepared,
    requests: &[i64],
    mut explained: Explained,
    touched: &mut Touched,
) -> Result<(), Error> {
    let (strays, unmapped) = waiting(session, prepared, requests, " FOR UPDATE").await?;
    for stray in unmapped {
        refuse(session, &stray, "the mapping does not write the table").await?;
    }
    explained.ask(session, prepared, &strays).await?;
    for (place, strays) in strays {
        for stray in strays {
            match explained.requests.contains(&stray.request) {
                true => refuse(session, &stray, OWNED).await?,
                false => remove_one(session, prepared, place, &stray, touched).await?,
            }
        }
    }
    Ok(())
}

/// The rows by table, and those of tables that the plan does not write.
async fn waiting(
    session: &Session,
    prepared: &Prepared,
    requests: &[i64],
    lock: &str,
) -> Result<(BTreeMap<Place, Vec<Stray>>, Vec<Stray>), Error> {
    let act = "read requests for removals";
    let sql = format!(
        "SELECT id, collection, relation, row_key, finding FROM driftless.repair \
          WHERE id = ANY ($1) AND row_key IS NOT NULL AND removed_at IS NULL AND refused IS NULL ORDER BY id{lock}"
    );
    let (mut strays, mut unmapped) = (BTreeMap::<Place, Vec<Stray>>::new(), Vec::new());
    for row in session.query(act, &sql, &[&requests]).await? {
        let stray =
            Stray { request: field(&row, 0, act)?, finding: field(&row, 4, act)?, row_key: field(&row, 3, act)? };
        let (id, relation): (i32, String) = (field(&row, 1, act)?, field(&row, 2, act)?);
        let place = prepared.collection_of(id).and_then(|collection| {
            let mut tables = prepared.statements(collection).tables.iter();
            Some((collection, tables.position(|table| table.name == relation)?))
        });
        match place {
            Some(place) => strays.entry(place).or_default().push(stray),
            None => unmapped.push(stray),
        }
    }
    Ok((strays, unmapped))
}

/// Pages of live entries: collection, the key before, most entries.
const ENTRIES: &str =
    "SELECT key, target FROM driftless.ledger WHERE collection = $1 AND NOT deleted AND key > $2 ORDER BY key LIMIT $3";
/// The same, only of transactions that are not older than a horizon. One scan gives a page; in the order of the keys it would read the
/// whole ledger at random.
const ENTRIES_SINCE: &str = "SELECT key, target FROM (SELECT key, target FROM driftless.ledger \
      WHERE collection = $1 AND NOT deleted AND key > $2 AND age(xmin) <= age($4::text::xid8::xid) OFFSET 0) AS l \
     ORDER BY key LIMIT $3";

/// The places, among these, of rows that hold the id of a document that the ledger says is alive, by the entries since a horizon.
async fn explained(
    session: &Session,
    prepared: &Prepared,
    (collection, table): Place,
    strays: &[Stray],
    since: Option<&str>,
) -> Result<BTreeSet<usize>, Error> {
    let statements = &prepared.statements(collection).tables[table];
    let act = format!("look for the documents of rows of {}", statements.name);
    let keys: Value = strays.iter().map(|stray| stray.row_key.clone()).collect();
    let mut found = BTreeSet::new();
    let Some(explained) = &statements.stray.explained else { return Ok(found) };
    if session.query(&act, &statements.stray.present, &[&keys]).await?.is_empty() {
        return Ok(found);
    }
    let (number, mut after) = (prepared.id(collection), Vec::<u8>::new());
    loop {
        let entries = match &since {
            None => session.query(&act, ENTRIES, &[&number, &after, &PAGE_ENTRIES]).await?,
            Some(since) => session.query(&act, ENTRIES_SINCE, &[&number, &after, &PAGE_ENTRIES, since]).await?,
        };
        let Some(last) = entries.last() else { return Ok(found) };
        after = field(last, 0, &act)?;
        let mut ids = Column::default();
        for row in &entries {
            let key = Key::from_bytes(field(row, 0, &act)?);
            let target = field::<Option<Vec<u8>>>(row, 1, &act)?;
            let id = key.to_id().or_else(|| RawDocumentBuf::from_bytes(target?).ok());
            let keys = id.and_then(|id| prepared.plan(collection).keys(&id).ok());
            if let Some(id) = keys.as_ref().and_then(|keys| keys.fields().nth(statements.of).flatten()) {
                ids.push(Some(id));
            }
        }
        let params: [Param<'_>; 2] = [&keys, &ids];
        for row in session.query(&act, explained, &params).await? {
            found.insert(usize::try_from(field::<i64>(&row, 0, &act)? - 1).unwrap_or(usize::MAX));
        }
    }
}

async fn remove_one(
    session: &Session,
    prepared: &Prepared,
    place: Place,
    stray: &Stray,
    touched: &mut Touched,
) -> Result<(), Error> {
    let savepoint = session.batch("set a savepoint", "SAVEPOINT stray");
    let (begun, removed) = join(savepoint, removed(session, prepared, place, stray)).await;
    begun?;
    let rows = match removed {
        Ok(rows) => rows,
        Err(error) if error.class() == Class::Poison => {
            session.batch("roll back to a savepoint", "ROLLBACK TO stray; RELEASE stray").await?;
            let why = error.refusal().map_or_else(|| "PostgreSQL refuses it".to_owned(), ToString::to_string);
            return refuse(session, stray, &why).await;
        }
        Err(error) => return Err(error),
    };
    let statements = &prepared.statements(place.0).tables[place.1];
    let act = format!("look for rows of {}", statements.name);
    if rows.is_empty() && !session.query(&act, &statements.stray.present, &[&json!([stray.row_key])]).await?.is_empty()
    {
        return refuse(session, stray, OWNED).await;
    }
    let mut evidence = Map::new();
    for (table, row) in rows {
        touched.entry(table.clone()).or_default().1 += 1;
        if let Value::Array(rows) = evidence.entry(table).or_insert_with(|| json!([])) {
            rows.push(row);
        }
    }
    if !evidence.is_empty() {
        let sql = "INSERT INTO driftless.evidence (finding, rows) SELECT id, $2 FROM driftless.finding WHERE id = $1";
        session.execute("keep evidence", sql, &[&stray.finding, &Value::Object(evidence)]).await?;
    }
    let sql =
        "UPDATE driftless.repair SET removed_at = clock_timestamp(), done_at = coalesce(done_at, now()) WHERE id = $1";
    session.execute("record a removal", sql, &[&stray.request]).await?;
    Ok(())
}

/// Removes a row and what is below it; returns each row with its table.
async fn removed(
    session: &Session,
    prepared: &Prepared,
    (collection, table): Place,
    stray: &Stray,
) -> Result<Vec<(String, Value)>, Error> {
    let statements = &prepared.statements(collection).tables[table];
    let act = format!("remove a row from {} that no document has", statements.name);
    let mut removed = Vec::new();
    for StrayChildren { table, columns, remove } in &statements.stray.children {
        for row in session.query(&act, remove, &[&stray.row_key]).await? {
            removed.push((table.clone(), row_of(columns, field(&row, 0, &act)?)));
        }
    }
    let relation = prepared.relation_of(collection, table);
    let mut params: Vec<Param<'_>> = vec![&stray.row_key];
    if statements.owned.is_some() {
        params.push(&relation);
    }
    for row in session.query(&act, &statements.stray.remove, &params).await? {
        removed.push((statements.name.clone(), row_of(&statements.columns, field(&row, 0, &act)?)));
    }
    session.check_deferred().await?;
    Ok(removed)
}

/// A row as it is kept: {column: text}.
fn row_of(columns: &[String], texts: Vec<Option<String>>) -> Value {
    columns.iter().cloned().zip(texts.into_iter().map(Value::from)).collect::<Map<_, _>>().into()
}

async fn refuse(session: &Session, stray: &Stray, why: &str) -> Result<(), Error> {
    let sql = "UPDATE driftless.repair SET refused = $2, done_at = coalesce(done_at, now()) WHERE id = $1";
    session.execute("refuse a removal", sql, &[&stray.request, &session.storable(why)]).await?;
    Ok(())
}
