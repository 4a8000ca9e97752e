//! The ledger: the version of every document, and who wins.
//!
//! The guard is one comparison of bytes, made by PostgreSQL under the row's lock: a change at or above the known version
//! wins (equal ones are the same fact and are applied again), one below loses, whatever order they come in. A deleted
//! document stays as a tombstone, so that a late change of it loses too. Documents that should be new are copied in; should
//! one of them be known, the primary key says so, and all of them go the first way.
//!
//! It also says which table holds a document's root row, because that may follow from any of its fields. The last answer is
//! kept beside the new one: it tells what a change has to remove, and it is put back when the change is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bson::RawDocumentBuf;
use futures_util::future::join;

use super::{
    Prepared,
    plan::{Batch, Content, Document},
    write,
};
use crate::{
    mapping::Row,
    model::{Key, Version},
    postgres::{
        Error, Session,
        params::{self, Column, refs},
        session::field,
    },
    retry::{Class, Classify},
};

/// A document that is to be written.
#[derive(Clone, Copy)]
pub(super) struct Winner<'a> {
    /// The document.
    pub(super) document: &'a Document,
    /// Whether the ledger had never heard of it, so that it has no rows to remove.
    pub(super) fresh: bool,
    /// Where the root row is that it has.
    pub(super) had: PreviousRoot,
}

/// Where a document's root row is, before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PreviousRoot {
    /// It has none.
    Nowhere,
    /// In this root table of its collection.
    In(usize),
    /// Unknown, so all are looked into: the ledger never heard of the document, or the plan no longer names the table.
    Anywhere,
}

impl PreviousRoot {
    fn new(prepared: &Prepared, collection: usize, relation: Option<i32>) -> Self {
        match relation {
            None => Self::Nowhere,
            Some(relation) => prepared.root_named(collection, relation).map_or(Self::Anywhere, Self::In),
        }
    }

    /// Whether it may be in that root table.
    pub(super) fn may_be(self, root: usize) -> bool {
        match self {
            Self::Nowhere => false,
            Self::In(known) => known == root,
            Self::Anywhere => true,
        }
    }
}

const TAKE: &str = "
INSERT INTO driftless.ledger AS l (collection, key, version, deleted, upper_t, upper_i, digest, target, root)
SELECT * FROM unnest($1::int4[], $2::bytea[], $3::bytea[], $4::bool[], $5::int8[], $6::int8[], $7::bytea[], $8::bytea[], $9::int4[])
ON CONFLICT (collection, key) DO UPDATE
   SET version = excluded.version, deleted = excluded.deleted, upper_t = excluded.upper_t, upper_i = excluded.upper_i,
       digest = excluded.digest, target = excluded.target, root = excluded.root, was = l.root
 WHERE l.version <= excluded.version
RETURNING collection, key, xmax = 0, was";

/// As many columns as [`TAKE`] and [`ADD`] name.
const WIDTH: usize = 9;
/// A little more than the bytes of a usual entry.
const EXPECTED_BYTES: usize = 160;
const TABLE: &str = "driftless.ledger";
const ADD: &str = "COPY driftless.ledger \
    (collection, key, version, deleted, upper_t, upper_i, digest, target, root) FROM STDIN BINARY";

/// Writes the versions of the batch and gives back the documents that win.
pub(super) async fn take<'a>(
    session: &Session,
    prepared: &Prepared,
    truncations: &Truncations,
    batch: &'a Batch,
) -> Result<Vec<Winner<'a>>, Error> {
    let candidates = batch.documents.iter().filter(|document| !truncations.void(document)).collect::<Vec<_>>();
    let new = candidates.iter().copied().filter(|document| document.new).collect::<Vec<_>>();
    let may_add = new.len() >= write::COPY_FROM && prepared.may_copy(TABLE);
    let copied = may_add && add(session, prepared, &new).await?;
    let added = |document: &Document| copied && document.new;
    let asked = candidates.iter().filter(|document| !added(document));
    let entries = asked.map(|document| entry(prepared, document)).collect::<Vec<_>>();
    let rows = if entries.is_empty() {
        Vec::new()
    } else {
        session.query("write the ledger", TAKE, &refs(&params::columns(WIDTH, &entries))).await?
    };
    let mut taken = HashMap::with_capacity(rows.len());
    for row in &rows {
        let act = "read the ledger";
        let was = (field::<bool>(row, 2, act)?, field::<Option<i32>>(row, 3, act)?);
        taken.insert((field::<i32>(row, 0, act)?, field::<&[u8]>(row, 1, act)?), was);
    }
    let won = candidates.into_iter().filter_map(|document| {
        let (fresh, was) = if added(document) {
            (true, None)
        } else {
            *taken.get(&(prepared.id(document.collection), document.key.as_bytes()))?
        };
        let had = match &document.content {
            // A row that was there before this ledger belongs to the document all the same.
            Content::Gone(_) if fresh => PreviousRoot::Anywhere,
            _ => PreviousRoot::new(prepared, document.collection, was),
        };
        Some(Winner { document, fresh, had })
    });
    Ok(won.collect())
}

/// Copies documents in that should be new: a third of what [`TAKE`] costs. `false`, and nothing written, when one is known.
async fn add(session: &Session, prepared: &Prepared, documents: &[&Document]) -> Result<bool, Error> {
    let entries = documents.iter().map(|document| entry(prepared, document)).collect::<Vec<_>>();
    let copy = session.copy("write the ledger", ADD, params::copy_pieces(WIDTH, entries.iter()));
    let (begun, copied) = join(session.batch("set a savepoint", "SAVEPOINT ledger"), copy).await;
    begun?;
    match copied {
        Ok(_) => Ok(true),
        Err(error) if error.refusal().is_some_and(|refusal| refusal.code == "23505") => {
            session.batch("roll back to a savepoint", "ROLLBACK TO ledger; RELEASE ledger").await?;
            prepared.copy_refused(TABLE, false);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The row of a document.
fn entry(prepared: &Prepared, document: &Document) -> Row {
    let (deleted, digest, root) = match &document.content {
        Content::Rows { digest, rows } => (false, Some(digest), prepared.root_of(document.collection, rows)),
        Content::Rejected { digest, .. } => (false, Some(digest), None),
        Content::Gone(_) => (true, None, None),
    };
    let relation = root.and_then(|root| prepared.relation(document.collection, root));
    let mut row = Row::with_capacity(EXPECTED_BYTES);
    row.push(Some(&prepared.id(document.collection).to_be_bytes()));
    row.push(Some(document.key.as_bytes()));
    row.push(Some(&document.version.to_bytes()));
    row.push(Some(&[u8::from(deleted)]));
    row.push(Some(&i64::from(document.upper.t).to_be_bytes()));
    row.push(Some(&i64::from(document.upper.i).to_be_bytes()));
    row.push(digest.map(<[u8; 16]>::as_slice));
    row.push(document.id.as_ref().map(|id| id.as_bytes()));
    row.push(relation.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
    row
}

/// Of documents whose last change was refused: their rows are where they were.
pub(super) async fn keep_roots(
    session: &Session,
    prepared: &Prepared,
    refused: impl Iterator<Item = &Document>,
) -> Result<(), Error> {
    let (mut collections, mut keys) = (Vec::new(), Column::default());
    for document in refused {
        collections.push(prepared.id(document.collection));
        keys.push(Some(document.key.as_bytes()));
    }
    if keys.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE driftless.ledger AS l SET root = l.was FROM unnest($1::int4[], $2::bytea[]) AS e(collection, key) \
                WHERE l.collection = e.collection AND l.key = e.key";
    session.execute("write the ledger", sql, &[&collections, &keys]).await?;
    Ok(())
}

/// Below or at its floor a change of a collection is void.
#[derive(Default)]
pub(super) struct Truncations {
    by_collection: HashMap<usize, Version>,
    /// Whether any dead letter waits at all.
    pub(super) letters_wait: bool,
}

impl Truncations {
    fn void(&self, document: &Document) -> bool {
        self.by_collection.get(&document.collection).is_some_and(|floor| document.version <= *floor)
    }

    /// Reads the truncations and holds them until the end of the transaction.
    pub(super) async fn read(session: &Session, prepared: &Prepared, batch: &Batch) -> Result<Self, Error> {
        let raised = raised(prepared, batch);
        let documents = batch.documents.iter().map(|document| document.collection);
        let letters = batch.unreadable.iter().filter_map(|unreadable| unreadable.collection);
        let concerned = documents.chain(letters).collect::<BTreeSet<_>>();
        // What empties a collection meets documents that are not of this batch, so it runs alone, see `locks`.
        let ids = if raised.is_empty() {
            concerned.into_iter().map(|collection| prepared.id(collection)).collect()
        } else {
            prepared.ids().to_vec()
        };
        let act = "read the truncations";
        // The stronger lock at once where it will be needed: two workers that upgrade a shared one would deadlock.
        let sql = if raised.is_empty() { SHARED } else { EXCLUSIVE };
        let mut truncations = Self::default();
        for row in session.query(act, sql, &[&ids]).await? {
            let id: i32 = field(&row, 0, act)?;
            truncations.letters_wait = field(&row, 2, act)?;
            let floor = field::<Option<&[u8]>>(&row, 1, act)?.and_then(Version::from_bytes);
            if let (Some(collection), Some(floor)) = (prepared.collection_of(id), floor) {
                truncations.by_collection.insert(collection, floor);
            }
        }
        Ok(truncations)
    }

    /// Raises those that the batch's controls raise, and empties what is below.
    pub(super) async fn raise(&mut self, session: &Session, prepared: &Prepared, batch: &Batch) -> Result<(), Error> {
        for (collection, version) in raised(prepared, batch) {
            if self.by_collection.get(&collection).is_none_or(|floor| *floor < version) {
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
const ROWS_PER_STEP: i64 = 5_000;

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
    let mut gone = write::Rows::none(prepared);
    for entry in entries {
        let ids = entry.id.as_ref().and_then(|id| prepared.plan(collection).keys(id).ok());
        let had = PreviousRoot::new(prepared, collection, entry.root);
        gone.remove(collection, had, ids.as_ref(), &entry.key);
    }
    let written = async {
        gone.write(session, write::Way::Upsert, &mut write::Touched::new()).await?;
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

/// Removes every document of the collection at or below the version, in all partitions: the first that meets the control
/// record does it for all, and the floor keeps what comes late from coming back.
///
/// A document that rows of others still reference stays, live in the ledger: the publisher reads the collection again, and
/// sends a delete for each document that is gone, which waits for the others as every delete does.
async fn empty(session: &Session, prepared: &Prepared, collection: usize, floor: Version) -> Result<(), Error> {
    let id = prepared.id(collection);
    let bytes = floor.to_bytes();
    let sql = "UPDATE driftless.collection SET floor = $2 WHERE id = $1";
    session.execute("raise the floor", sql, &[&id, &&bytes[..]]).await?;
    let act = "list documents to remove";
    let list = "SELECT key, target, root FROM driftless.ledger WHERE collection = $1 AND version <= $2 AND key > $3 \
                   AND NOT (deleted AND root IS NULL) ORDER BY key LIMIT $4";
    let (mut after, mut listed, mut removed) = (Vec::new(), 0, 0);
    loop {
        let rows = session.query(act, list, &[&id, &&bytes[..], &after, &ROWS_PER_STEP]).await?;
        let entries = rows.iter().map(|row| Entry::read(row, act)).collect::<Result<Vec<_>, Error>>()?;
        let Some(last) = entries.last() else { break };
        after.clone_from(&last.key);
        listed += entries.len();
        let mut stack = vec![&entries[..]];
        while let Some(part) = stack.pop() {
            if remove(session, prepared, collection, part).await? {
                let keys = part.iter().map(|entry| entry.key.as_slice()).collect::<Vec<_>>();
                let sql = "UPDATE driftless.ledger SET deleted = true, digest = NULL, target = NULL, root = NULL, \
                           was = NULL WHERE collection = $1 AND key = ANY ($2)";
                session.execute("write tombstones", sql, &[&id, &keys]).await?;
                removed += part.len();
            } else if part.len() > 1 {
                let (first, second) = part.split_at(part.len() / 2);
                stack.extend([second, first]);
            }
        }
        failpoint!(SINK_TRUNCATE);
    }
    let (collection, referenced) = (prepared.name(collection), listed - removed);
    tracing::warn!(collection, version = %floor, removed, referenced, "emptied the tables of a collection that was dropped or replaced");
    let sql = "UPDATE driftless.dead_letter SET state = 'superseded', closed_at = now() \
                WHERE state IN ('open', 'parked') AND collection = $1 AND version <= $2";
    session.execute("close dead letters", sql, &[&id, &&bytes[..]]).await?;
    Ok(())
}
