//! The ledger: the version of every document, and who wins.
//!
//! The guard is one comparison of bytes, made by PostgreSQL under the row's lock: a change at or above the known version
//! wins (equal ones are the same fact and are applied again), one below loses, whatever order they come in. A deleted
//! document stays as a tombstone, so that a late change of it loses too.

use std::collections::{BTreeMap, HashMap};

use super::{
    Error,
    apply::Prepared,
    params::Column,
    plan::{Batch, Content, Document},
    session::{Session, field},
    write,
};
use crate::model::{Key, Version};

/// A document that is to be written.
#[derive(Clone, Copy)]
pub(super) struct Winner<'a> {
    /// The document.
    pub(super) document: &'a Document,
    /// Whether the ledger had never heard of it, so that it has no child rows to remove.
    pub(super) fresh: bool,
}

const TAKE: &str = "
INSERT INTO driftless.ledger AS l (collection, key, version, deleted, upper_t, upper_i, digest, target)
SELECT * FROM unnest($1::int4[], $2::bytea[], $3::bytea[], $4::bool[], $5::int8[], $6::int8[], $7::bytea[], $8::bytea[])
ON CONFLICT (collection, key) DO UPDATE
   SET version = excluded.version, deleted = excluded.deleted, upper_t = excluded.upper_t, upper_i = excluded.upper_i,
       digest = excluded.digest, target = excluded.target
 WHERE l.version <= excluded.version
RETURNING collection, key, xmax = 0";

/// Writes the versions of the batch and gives back the documents that win.
pub(super) async fn take<'a>(
    session: &Session,
    prepared: &Prepared,
    floors: &Floors,
    batch: &'a Batch,
) -> Result<Vec<Winner<'a>>, Error> {
    let candidates = batch.documents.iter().filter(|document| !floors.void(document)).collect::<Vec<_>>();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let mut entries = Entries::default();
    for document in &candidates {
        entries.push(prepared.id(document.collection), document);
    }
    let rows = session.query("write the ledger", TAKE, &entries.params()).await?;
    let mut taken = HashMap::with_capacity(rows.len());
    for row in &rows {
        let act = "read the ledger";
        taken.insert((field::<i32>(row, 0, act)?, field::<&[u8]>(row, 1, act)?), field::<bool>(row, 2, act)?);
    }
    let won = candidates.into_iter().filter_map(|document| {
        let fresh = *taken.get(&(prepared.id(document.collection), document.key.as_bytes()))?;
        Some(Winner { document, fresh })
    });
    Ok(won.collect())
}

#[derive(Default)]
struct Entries {
    collections: Vec<i32>,
    bytes: [Column; 4],
    deleted: Vec<bool>,
    upper: [Vec<i64>; 2],
}

impl Entries {
    fn push(&mut self, collection: i32, document: &Document) {
        let (deleted, digest, target) = match &document.content {
            Content::Rows { digest, tables } => (false, Some(digest), tables.first().and_then(|rows| rows.first())),
            Content::Rejected { digest, .. } => (false, Some(digest), None),
            Content::Gone(_) => (true, None, None),
        };
        self.collections.push(collection);
        let [keys, versions, digests, targets] = &mut self.bytes;
        keys.push(Some(document.key.as_bytes()));
        versions.push(Some(&document.version.to_bytes()));
        digests.push(digest.map(<[u8; 16]>::as_slice));
        // The root row as a whole: its key columns are found in it by the plan.
        targets.push(target.filter(|_| document.key.is_hashed()).map(crate::mapping::Row::as_bytes));
        self.deleted.push(deleted);
        let [seconds, ordinals] = &mut self.upper;
        seconds.push(i64::from(document.upper.t));
        ordinals.push(i64::from(document.upper.i));
    }

    fn params(&self) -> Vec<super::session::Param<'_>> {
        let [keys, versions, digests, targets] = &self.bytes;
        let [seconds, ordinals] = &self.upper;
        vec![&self.collections, keys, versions, &self.deleted, seconds, ordinals, digests, targets]
    }
}

/// Below or at its floor a change of a collection is void.
#[derive(Default)]
pub(super) struct Floors {
    by_collection: HashMap<usize, Version>,
    /// Whether any dead letter waits at all.
    pub(super) letters_wait: bool,
}

impl Floors {
    fn void(&self, document: &Document) -> bool {
        self.by_collection.get(&document.collection).is_some_and(|floor| document.version <= *floor)
    }

    /// Reads the floors and holds them until the end of the transaction; raises those that the batch's controls raise.
    pub(super) async fn settle(session: &Session, prepared: &Prepared, batch: &Batch) -> Result<Self, Error> {
        let raised = raised(prepared, batch);
        let mut concerned = batch.documents.iter().map(|document| document.collection).collect::<Vec<_>>();
        concerned.extend(raised.keys());
        concerned.sort_unstable();
        concerned.dedup();
        let ids = concerned.iter().map(|&collection| prepared.id(collection)).collect::<Vec<_>>();
        let act = "read the floors";
        // The stronger lock at once where it will be needed: two workers that upgrade a shared one would deadlock.
        let sql = if raised.is_empty() { SHARED } else { EXCLUSIVE };
        let mut floors = Self::default();
        for row in session.query(act, sql, &[&ids]).await? {
            let id: i32 = field(&row, 0, act)?;
            floors.letters_wait = field(&row, 2, act)?;
            let floor = field::<Option<&[u8]>>(&row, 1, act)?.and_then(Version::from_bytes);
            if let (Some(collection), Some(floor)) = (prepared.collection_of(id), floor) {
                floors.by_collection.insert(collection, floor);
            }
        }
        for (collection, version) in raised {
            if floors.by_collection.get(&collection).is_none_or(|floor| *floor < version) {
                empty(session, prepared, collection, version).await?;
                floors.by_collection.insert(collection, version);
            }
        }
        Ok(floors)
    }
}

const SHARED: &str = "SELECT id, floor, EXISTS (SELECT FROM driftless.dead_letter WHERE state IN ('open', 'parked')) \
                        FROM driftless.collection WHERE id = ANY ($1) ORDER BY id FOR SHARE OF collection";
const EXCLUSIVE: &str = "SELECT id, floor, EXISTS (SELECT FROM driftless.dead_letter WHERE state IN ('open', 'parked')) \
                           FROM driftless.collection WHERE id = ANY ($1) ORDER BY id FOR UPDATE OF collection";

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

/// Documents emptied at a time.
const STEP: i64 = 5_000;

/// Removes every document of the collection at or below the version, in all partitions: the first that meets the control
/// record does it for all, and the floor keeps what comes late from coming back.
async fn empty(session: &Session, prepared: &Prepared, collection: usize, floor: Version) -> Result<(), Error> {
    let id = prepared.id(collection);
    let bytes = floor.to_bytes();
    let sql = "UPDATE driftless.collection SET floor = $2 WHERE id = $1";
    session.execute("raise the floor", sql, &[&id, &&bytes[..]]).await?;
    let act = "list documents to remove";
    let list = "SELECT key, target FROM driftless.ledger \
                 WHERE collection = $1 AND NOT deleted AND version <= $2 AND key > $3 ORDER BY key LIMIT $4";
    let mut after = Vec::new();
    loop {
        let rows = session.query(act, list, &[&id, &&bytes[..], &after, &STEP]).await?;
        let mut keys = Vec::with_capacity(rows.len());
        let mut roots = write::RootKeys::new(prepared, collection);
        for row in &rows {
            let key = field::<Vec<u8>>(row, 0, act)?;
            match field::<Option<&[u8]>>(row, 1, act)? {
                Some(root) => roots.push_root(root),
                None => {
                    let id = Key::from_bytes(key.clone()).to_id();
                    if let Some(root) = id.and_then(|id| prepared.plan(collection).keys(&id).ok()) {
                        roots.push(&root);
                    }
                }
            }
            keys.push(key);
        }
        let Some(last) = keys.last() else { break };
        after.clone_from(last);
        write::remove(session, &roots).await?;
        let sql = "UPDATE driftless.ledger SET deleted = true, digest = NULL, target = NULL \
                    WHERE collection = $1 AND key = ANY ($2)";
        session.execute("write tombstones", sql, &[&id, &keys]).await?;
    }
    let sql = "UPDATE driftless.dead_letter SET state = 'superseded', closed_at = now() \
                WHERE state IN ('open', 'parked') AND collection = $1 AND version <= $2";
    session.execute("close dead letters", sql, &[&id, &&bytes[..]]).await?;
    Ok(())
}
