//! One instant of the target: positions, ledger and dead letters.
//!
//! A [`TargetReader`] is one repeatable-read transaction, so all its answers belong together; or each of them is a statement of its
//! own, which saves the requests that begin and end a transaction.

use std::{collections::HashMap, sync::Arc};

use bson::raw::{RawDocument, RawDocumentBuf};
use tokio_postgres::Row;

use crate::{
    model::{ClusterTime, Frontier, Key, Version},
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
    sink::{Prepared, checkpoint},
};

/// Reads of the mapped tables and of everything the sink keeps about them, mostly in one repeatable-read transaction.
pub struct TargetReader<'a> {
    pub(super) session: &'a Session,
    pub(super) prepared: &'a Prepared,
}

/// The ledger's entry for a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Version of the last change.
    pub version: Version,
    /// Whether that was a delete.
    pub deleted: bool,
    /// Its document may contain operations up to this cluster time.
    pub upper: ClusterTime,
    /// Number of the transaction that wrote the entry. It changes whenever a change is applied, even the same one again.
    pub applied: i64,
}

/// A document by its key, and by its `_id` as far as that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentId {
    /// Its key.
    pub key: Key,
    /// `{_id: …}`; `None` where the key is a hash and the ledger does not have the `_id`.
    pub id: Option<RawDocumentBuf>,
}

impl DocumentId {
    /// Creates it of a key and, where that is a hash, of the `{_id: …}` that is kept beside it.
    pub fn new(key: Vec<u8>, target: Option<Vec<u8>>) -> Self {
        let key = Key::from_bytes(key);
        let id = key.to_id().or_else(|| target.and_then(|bytes| RawDocumentBuf::from_bytes(bytes).ok()));
        Self { key, id }
    }

    /// Returns the `_id` where the key does not hold it.
    pub(crate) fn stored_id(&self) -> Option<&RawDocument> {
        self.id.as_deref().filter(|_| self.key.is_hashed())
    }
}

/// A page of the ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LivePage {
    /// Its live documents.
    pub documents: Vec<DocumentId>,
    /// All its entries.
    pub entries: u64,
    /// The last key of the page, live or not; `None` behind the end.
    pub until: Option<Key>,
}

/// A waiting dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingLetter {
    /// Its number.
    pub id: i64,
    /// Whether it is open, which is drift with a known reason; else it is parked.
    pub open: bool,
}

impl<'a> TargetReader<'a> {
    /// Begins the transaction. Give it back with [`Self::end`]; when it is dropped, the session is spent.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn begin(session: &'a Session, prepared: &'a Prepared) -> Result<Self, Error> {
        session.batch("begin a read", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(Self { session, prepared })
    }

    /// Reads without a transaction: every statement shows an instant of its own.
    pub fn apart(session: &'a Session, prepared: &'a Prepared) -> Self {
        Self { session, prepared }
    }

    /// Ends the transaction.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn end(self) -> Result<(), Error> {
        self.session.batch("end a read", "COMMIT").await
    }

    /// The bound below which every change of the topic is applied; `None` while a partition has none, or the snapshot of
    /// the collection is not applied everywhere.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn watermark(&self, topic: &str, partitions: i32) -> Result<Option<Frontier>, Error> {
        let act = "read the watermark";
        let sql = format!(
            "SELECT watermark_t, watermark_i FROM driftless.position \
              WHERE {OURS} AND topic = $2 AND partition < $3 AND complete AND watermark_t IS NOT NULL \
              ORDER BY watermark_t, watermark_i"
        );
        let rows = self.session.query(act, &sql, &[&self.session.prefix(), &topic, &partitions]).await?;
        match rows.first() {
            Some(row) if i32::try_from(rows.len()) == Ok(partitions) => {
                Ok(checkpoint::cluster_time(field(row, 0, act)?, field(row, 1, act)?).map(Frontier))
            }
            _ => Ok(None),
        }
    }

    /// The bounds of several topics, each with the number of its partitions; see [`Self::watermark`].
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn watermarks(&self, topics: &[(Arc<str>, i32)]) -> Result<Vec<Option<Frontier>>, Error> {
        let act = "read the watermarks";
        let sql = format!(
            "SELECT topic, partition, watermark_t, watermark_i FROM driftless.position \
              WHERE {OURS} AND topic = ANY ($2) AND complete AND watermark_t IS NOT NULL"
        );
        let names: Vec<&str> = topics.iter().map(|(topic, _)| &**topic).collect();
        let mut found: HashMap<String, Vec<(i32, Frontier)>> = HashMap::new();
        for row in &self.session.query(act, &sql, &[&self.session.prefix(), &names]).await? {
            let bound = checkpoint::cluster_time(field(row, 2, act)?, field(row, 3, act)?).unwrap_or_default();
            found.entry(field(row, 0, act)?).or_default().push((field(row, 1, act)?, Frontier(bound)));
        }
        let watermark = |(topic, partitions): &(Arc<str>, i32)| {
            let ours = found.get(&**topic)?.iter().filter(|(partition, _)| partition < partitions);
            let bounds: Vec<Frontier> = ours.map(|(_, bound)| *bound).collect();
            (i32::try_from(bounds.len()) == Ok(*partitions)).then(|| bounds.into_iter().min()).flatten()
        };
        Ok(topics.iter().map(watermark).collect())
    }

    /// The ledger's entries of these keys; a key that it does not know is left out.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn entries(&self, collection: usize, keys: &[Key]) -> Result<HashMap<Key, Entry>, Error> {
        let act = "read the ledger";
        let sql = "SELECT key, version, deleted, upper_t, upper_i, xmin::text::int8 FROM driftless.ledger \
                    WHERE collection = $1 AND key = ANY ($2)";
        let rows = self.session.query(act, sql, &[&self.prepared.id(collection), &bytes(keys)]).await?;
        let mut entries = HashMap::with_capacity(rows.len());
        for row in &rows {
            let version = field::<&[u8]>(row, 1, act)?;
            let entry = Entry {
                version: Version::from_bytes(version).unwrap_or(Version {
                    epoch: u32::MAX,
                    time: ClusterTime { t: u32::MAX, i: u32::MAX },
                    op: u32::MAX,
                }),
                deleted: field(row, 2, act)?,
                upper: checkpoint::cluster_time(field(row, 3, act)?, field(row, 4, act)?).unwrap_or_default(),
                applied: field(row, 5, act)?,
            };
            entries.insert(Key::from_bytes(field(row, 0, act)?), entry);
        }
        Ok(entries)
    }

    /// Those of the keys whose last change waits as a dead letter.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn dead_letters(&self, collection: usize, keys: &[Key]) -> Result<HashMap<Key, WaitingLetter>, Error> {
        let act = "read dead letters";
        let sql = "SELECT key, id, state = 'open' FROM driftless.dead_letter \
                    WHERE state IN ('open', 'parked') AND collection = $1 AND key = ANY ($2) ORDER BY id";
        let rows = self.session.query(act, sql, &[&self.prepared.id(collection), &bytes(keys)]).await?;
        let letter = |row| Ok::<_, Error>(WaitingLetter { id: field(row, 1, act)?, open: field(row, 2, act)? });
        rows.iter().map(|row| Ok((Key::from_bytes(field(row, 0, act)?), letter(row)?))).collect()
    }

    /// Whether any document of the collection was ever applied, deletes included.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn knows_any(&self, collection: usize) -> Result<bool, Error> {
        let act = "look for the collection in the ledger";
        let sql = "SELECT EXISTS (SELECT FROM driftless.ledger WHERE collection = $1)";
        field(&self.session.query_one(act, sql, &[&self.prepared.id(collection)]).await?, 0, act)
    }

    /// Reads the next page of the ledger, in the order of the bytes of the keys.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn live_documents(&self, collection: usize, after: Option<&Key>) -> Result<LivePage, Error> {
        let act = "read the live documents of the ledger";
        // Tombstones count towards a page, because many of them in a row would make it as long as the ledger.
        let sql = "SELECT key, CASE WHEN deleted THEN NULL ELSE target END, deleted FROM \
                     (SELECT *, sum(octet_length(target)) OVER \
                        (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before \
                        FROM (SELECT key, target, deleted FROM driftless.ledger \
                               WHERE collection = $1 AND key > $2 ORDER BY key LIMIT $3) AS page) AS page \
                    WHERE coalesce(before, 0) < $4 ORDER BY key";
        let after = after.map_or(&[][..], Key::as_bytes);
        let params: [Param<'_>; 4] = [&self.prepared.id(collection), &after, &PAGE_ENTRIES, &PAGE_BYTES];
        let rows = self.session.query(act, sql, &params).await?;
        let mut documents = Vec::with_capacity(rows.len());
        for row in &rows {
            if !field::<bool>(row, 2, act)? {
                documents.push(document_id(row, act)?);
            }
        }
        let until = rows.last().map(|row| Ok::<_, Error>(Key::from_bytes(field(row, 0, act)?))).transpose()?;
        Ok(LivePage { documents, entries: rows.len() as u64, until })
    }

    /// Documents of the source without an entry in the ledger, as far as they are recorded: those found missing, and undecided ones.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn without_entry(&self, collection: usize) -> Result<Vec<DocumentId>, Error> {
        let act = "read the documents without an entry in the ledger";
        let sql = "SELECT d.key, d.target FROM \
                     (SELECT key, target FROM driftless.finding \
                       WHERE collection = $1 AND ended_at IS NULL AND kind = 'missing' AND version IS NULL \
                      UNION SELECT key, target FROM driftless.undecided WHERE collection = $1) AS d \
                    WHERE NOT EXISTS (SELECT FROM driftless.ledger AS l WHERE l.collection = $1 AND l.key = d.key) \
                    LIMIT $2";
        let rows = self.session.query(act, sql, &[&self.prepared.id(collection), &MAX_WITHOUT_ENTRY]).await?;
        rows.iter().map(|row| document_id(row, act)).collect()
    }

    /// Random live documents, each as likely as any other.
    ///
    /// In a large ledger random pages are read, with many times more rows than wanted, and a few rows are taken of them, so that
    /// neighbours on a page rarely come together.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn sample(&self, collection: usize, count: usize) -> Result<Vec<DocumentId>, Error> {
        let act = "sample the ledger";
        let sql = "SELECT greatest(reltuples, 0)::float8 FROM pg_class WHERE oid = 'driftless.ledger'::regclass";
        let estimate: f64 = field(&self.session.query_one(act, sql, &[]).await?, 0, act)?;
        let percent = 100.0 * (count as f64) * OVERSAMPLING / estimate.max(1.0);
        if percent < 50.0 {
            let sample = self.sample_from(&format!("TABLESAMPLE SYSTEM ({percent})"), collection, count).await?;
            // A collection that is a small part of the ledger is not met often enough.
            if sample.len() == count {
                return Ok(sample);
            }
        }
        self.sample_from("", collection, count).await
    }

    async fn sample_from(&self, pages: &str, collection: usize, count: usize) -> Result<Vec<DocumentId>, Error> {
        let act = "sample the ledger";
        let sql = format!(
            "SELECT key, target FROM driftless.ledger {pages} WHERE collection = {} AND NOT deleted \
              ORDER BY random() LIMIT {count}",
            self.prepared.id(collection)
        );
        // Not prepared for reuse: the text is new each time.
        let rows = self.session.query_once(act, &sql).await?;
        rows.iter().map(|row| document_id(row, act)).collect()
    }
}

/// Entries of a page of the ledger: a statement costs more than some thousand entries.
const PAGE_ENTRIES: i64 = 5_000;
/// Bytes of `_id`s whose keys are hashes, after which a page ends.
const PAGE_BYTES: i64 = 1 << 20;

/// Documents without an entry that are read: more of them than findings are kept mean that the mapping is wrong, or the ledger lost.
const MAX_WITHOUT_ENTRY: i64 = 20_000;

/// Rows read for each that is wanted.
const OVERSAMPLING: f64 = 50.0;

/// A document out of two columns of the ledger: key and target.
fn document_id(row: &Row, act: &str) -> Result<DocumentId, Error> {
    Ok(DocumentId::new(field(row, 0, act)?, field(row, 1, act)?))
}

fn bytes(keys: &[Key]) -> Vec<&[u8]> {
    keys.iter().map(Key::as_bytes).collect()
}
