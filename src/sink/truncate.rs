//! Truncations: a control record empties a collection, and keeps every older change from coming back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bson::RawDocumentBuf;
use futures_util::future::join;

use super::{
    Prepared,
    plan::Batch,
    rows::Rows,
    winner::PreviousRoot,
    write::{Touched, Way},
};
use crate::{
    model::{Key, Version},
    postgres::{Error, Session, session::field},
    retry::{Class, Classify},
};

/// The truncations of the collections of a batch. A change at or below the truncation of its collection is void.
#[derive(Default)]
pub(super) struct Truncations {
    by_collection: HashMap<usize, Version>,
    /// Whether any dead letter waits at all.
    pub(super) letters_wait: bool,
}

impl Truncations {
    /// Whether a change of that version is void.
    pub(super) fn is_void(&self, collection: usize, version: Version) -> bool {
        self.by_collection.get(&collection).is_some_and(|floor| version <= *floor)
    }

    /// Reads the truncations and holds them until the end of the transaction.
    pub(super) async fn read(session: &Session, prepared: &Prepared, batch: &Batch) -> Result<Self, Error> {
        let raised = raised(prepared, batch);
        let documents = batch.documents.iter().map(|document| document.collection);
        let letters = batch.unreadable.iter().filter_map(|unreadable| unreadable.collection);
        let concerned = documents.chain(letters).collect::<BTreeSet<_>>();
        // A truncation meets documents that are not of this batch, and so does a removal of rows. Both run alone, see `locks`.
        let alone = !raised.is_empty() || !batch.removals.is_empty();
        let ids = if !alone {
            concerned.into_iter().map(|collection| prepared.id(collection)).collect()
        } else {
            prepared.ids().to_vec()
        };
        let act = "read the truncations";
        // The stronger lock at once where it is needed: two workers that upgrade a shared one would deadlock.
        let sql = if alone { EXCLUSIVE } else { SHARED };
        let mut truncations = Self::default();
        for row in session.query(act, sql, &[&ids]).await? {
            let id: i32 = field(&row, 0, act)?;
            truncations.letters_wait = field(&row, 2, act)?;
            let version = field::<Option<&[u8]>>(&row, 1, act)?.and_then(Version::from_bytes);
            if let (Some(collection), Some(version)) = (prepared.collection_of(id), version) {
                truncations.by_collection.insert(collection, version);
            }
        }
        Ok(truncations)
    }

    /// Raises the truncations to those of the batch's control records, and empties the collections up to them.
    pub(super) async fn raise(&mut self, session: &Session, prepared: &Prepared, batch: &Batch) -> Result<(), Error> {
        for (collection, version) in raised(prepared, batch) {
            if self.by_collection.get(&collection).is_none_or(|known| *known < version) {
                empty(session, prepared, collection, version).await?;
                self.by_collection.insert(collection, version);
            }
        }
        Ok(())
    }
}

const SHARED: &str = "SELECT id, floor, EXISTS (SELECT FROM driftless.dead_letter WHERE state IN ('open', 'parked')) \
                        FROM driftless.collection WHERE id = ANY ($1) ORDER BY id FOR SHARE OF collection";
const EXCLUSIVE: &str = "SELECT id, floor, EXISTS (SELECT FROM driftless.dead_letter WHERE state IN ('open', 'parked')) \
                           FROM driftless.collection WHERE id = ANY ($1) ORDER BY id FOR UPDATE OF collection";

/// The truncations that the batch's control records ask for.
fn raised(prepared: &Prepared, batch: &Batch) -> BTreeMap<usize, Version> {
    let mut raised = BTreeMap::new();
    for control in batch.controls.iter().filter(|control| control.truncate) {
        if let Some(collection) = prepared.named(&control.namespace.collection) {
            let version = raised.entry(collection).or_insert(control.version);
            *version = (*version).max(control.version);
        }
    }
    raised
}

/// Documents removed at a time.
const DOCUMENTS_PER_STEP: i64 = 5_000;

/// A document that is to be removed.
struct Entry {
    key: Vec<u8>,
    id: Option<RawDocumentBuf>,
    root: Option<i32>,
}

impl Entry {
    fn read(row: &tokio_postgres::Row, act: &str) -> Result<Self, Error> {
        let key = field::<Vec<u8>>(row, 0, act)?;
        let id = match field::<Option<&[u8]>>(row, 1, act)? {
            Some(id) => RawDocumentBuf::from_bytes(id.to_vec()).ok(),
            None => Key::from_bytes(key.clone()).to_id(),
        };
        Ok(Self { key, id, root: field(row, 2, act)? })
    }
}

/// Removes the rows of some documents, all or none: `false` when the target refuses that, because rows of others reference
/// them.
async fn remove(session: &Session, prepared: &Prepared, collection: usize, entries: &[Entry]) -> Result<bool, Error> {
    let mut rows = Rows::none(prepared);
    for entry in entries {
        let ids = entry.id.as_ref().and_then(|id| prepared.plan(collection).keys(id).ok());
        let previous_root = PreviousRoot::new(prepared, collection, entry.root);
        rows.remove(collection, previous_root, ids.as_ref(), &entry.key);
    }
    let written = async {
        rows.write(session, Way::Upsert, &mut Touched::new()).await?;
        session.check_deferred().await
    };
    let (begun, written) = join(session.batch("set a savepoint", "SAVEPOINT emptying"), written).await;
    begun?;
    match written {
        Ok(()) => {
            session.batch("release a savepoint", "RELEASE emptying").await?;
            Ok(true)
        }
        Err(error) if error.class() == Class::Poison => {
            session.batch("roll back to a savepoint", "ROLLBACK TO emptying; RELEASE emptying").await?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Removes as many of the documents as can be removed, in halves where rows of others reference them, and leaves tombstones. Counts
/// those removed.
async fn remove_halving(
    session: &Session,
    prepared: &Prepared,
    collection: usize,
    entries: &[Entry],
) -> Result<usize, Error> {
    let mut removed = 0;
    let mut stack = vec![entries];
    while let Some(part) = stack.pop() {
        if remove(session, prepared, collection, part).await? {
            let keys = part.iter().map(|entry| entry.key.as_slice()).collect::<Vec<_>>();
            let sql = "UPDATE driftless.ledger SET deleted = true, digest = NULL, target = NULL, root = NULL, was = NULL \
                        WHERE collection = $1 AND key = ANY ($2)";
            session.execute("write tombstones", sql, &[&prepared.id(collection), &keys]).await?;
            removed += part.len();
        } else if part.len() > 1 {
            let (first, second) = part.split_at(part.len() / 2);
            stack.extend([second, first]);
        }
    }
    Ok(removed)
}

/// Removes every document of the collection at or below the version, in all partitions: the first that meets the control
/// record does it for all, and the stored version keeps changes that arrive late from bringing documents back.
///
/// A document that rows of others still reference stays, live in the ledger: the publisher reads the collection again, and
/// sends a delete for each document that is gone, which waits for the others as every delete does.
async fn empty(session: &Session, prepared: &Prepared, collection: usize, version: Version) -> Result<(), Error> {
    let id = prepared.id(collection);
    let bytes = version.to_bytes();
    let sql = "UPDATE driftless.collection SET floor = $2 WHERE id = $1";
    session.execute("raise the truncation", sql, &[&id, &&bytes[..]]).await?;
    let act = "list documents to remove";
    let list = "SELECT key, target, root FROM driftless.ledger WHERE collection = $1 AND version <= $2 AND key > $3 \
                   AND NOT (deleted AND root IS NULL) ORDER BY key LIMIT $4";
    let (mut after, mut listed, mut removed) = (Vec::new(), 0, 0);
    loop {
        let rows = session.query(act, list, &[&id, &&bytes[..], &after, &DOCUMENTS_PER_STEP]).await?;
        let entries = rows.iter().map(|row| Entry::read(row, act)).collect::<Result<Vec<_>, Error>>()?;
        let Some(last) = entries.last() else { break };
        after.clone_from(&last.key);
        listed += entries.len();
        removed += remove_halving(session, prepared, collection, &entries).await?;
        failpoint!(SINK_TRUNCATE);
    }
    let (collection, referenced) = (prepared.name(collection), listed - removed);
    tracing::warn!(collection, %version, removed, referenced, "emptied the tables of a collection that was dropped, replaced or reset");
    let sql = "UPDATE driftless.dead_letter SET state = 'superseded', closed_at = now() \
                WHERE state IN ('open', 'parked') AND collection = $1 AND version <= $2";
    session.execute("close dead letters", sql, &[&id, &&bytes[..]]).await?;
    Ok(())
}
