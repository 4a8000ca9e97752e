//! The ledger: the version of every document, and who wins.
//!
//! The guard is one comparison of bytes, made by PostgreSQL under the row's lock: a change at or above the known version
//! wins (equal ones are the same fact and are applied again), one below loses, whatever order they come in. A deleted
//! document stays as a tombstone, so that a late change of it loses too. Documents that should be new are copied in; should
//! the ledger know one of them, the primary key says so, and all of them are upserted.
//!
//! The ledger also says which table holds a document's root row, because that may follow from any of its fields. The previous
//! answer is kept beside the new one: it says what a change has to remove, and it is restored when the change is refused.

use std::collections::HashMap;

use futures_util::future::join;

use super::{
    Prepared,
    plan::{Batch, Content, Document},
    truncate::Truncations,
    winner::{PreviousRoot, Winner},
    write,
};
use crate::{
    mapping::Row,
    postgres::{
        Error, Session,
        params::{self, Column, refs},
        session::{Param, field},
    },
};

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
    lower(session, prepared, truncations, batch).await?;
    let valid = |document: &&Document| !truncations.is_void(document.collection, document.version);
    let candidates = batch.documents.iter().filter(valid).collect::<Vec<_>>();
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
        let previous = (field::<bool>(row, 2, act)?, field::<Option<i32>>(row, 3, act)?);
        taken.insert((field::<i32>(row, 0, act)?, field::<&[u8]>(row, 1, act)?), previous);
    }
    let won = candidates.into_iter().filter_map(|document| {
        let (fresh, relation) = if added(document) {
            (true, None)
        } else {
            *taken.get(&(prepared.id(document.collection), document.key.as_bytes()))?
        };
        let fresh = fresh && !document.repair;
        let previous_root = match &document.content {
            _ if document.repair => PreviousRoot::Anywhere,
            // The row may be older than the ledger; it belongs to the document all the same.
            Content::Gone(_) if fresh => PreviousRoot::Anywhere,
            _ => PreviousRoot::new(prepared, document.collection, relation),
        };
        Some(Winner { document, fresh, previous_root })
    });
    Ok(won.collect())
}

const LOWER: [&str; 2] = [
    "UPDATE driftless.ledger AS l SET version = e.version \
       FROM unnest($1::int4[], $2::bytea[], $3::bytea[], $4::bytea[]) AS e(collection, key, replaced, version) \
      WHERE l.collection = e.collection AND l.key = e.key AND l.version = e.replaced",
    // So that the letter of a change with that version is closed by what replaces it.
    "UPDATE driftless.dead_letter AS d SET version = e.version \
       FROM unnest($1::int4[], $2::bytea[], $3::bytea[], $4::bytea[]) AS e(collection, key, replaced, version) \
      WHERE d.state IN ('open', 'parked') AND d.collection = e.collection AND d.key = e.key AND d.version = e.replaced",
];

/// Lowers versions that repairs replace, see [`Reset`](super::plan::Reset).
async fn lower(session: &Session, prepared: &Prepared, truncations: &Truncations, batch: &Batch) -> Result<(), Error> {
    let valid = batch.resets.iter().filter(|reset| !truncations.is_void(reset.collection, reset.version));
    let mut collections = Vec::new();
    let mut arrays = vec![Column::default(); 3];
    for reset in valid {
        collections.push(prepared.id(reset.collection));
        arrays[0].push(Some(reset.key.as_bytes()));
        arrays[1].push(Some(&reset.replaced.to_bytes()));
        arrays[2].push(Some(&reset.version.to_bytes()));
    }
    if collections.is_empty() {
        return Ok(());
    }
    let mut params: Vec<Param<'_>> = vec![&collections];
    params.extend(refs(&arrays));
    for sql in LOWER {
        session.execute("lower versions of the ledger", sql, &params).await?;
    }
    Ok(())
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

/// Restores the root tables of documents whose last change was refused: their rows have not moved.
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
