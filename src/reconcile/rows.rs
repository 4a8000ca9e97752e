//! The search for rows that belong to no document, over both sides: the target looks at its rows, and whatever its ledger does not
//! explain is held against the documents of the source.

use std::{collections::HashMap, time::Instant};

use bson::raw::RawDocumentBuf;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    Both, Error,
    read::PieceReader,
    sides::{SourceSide, TargetSide},
};
use crate::{
    model::{ClusterTime, Key},
    postgres::{Session, session::field},
    source::{ReadTime, id_of},
    target::{DocumentId, RowSearch, RowsPage, hashes_of_rows},
};

/// The seed of hashes of single rows. Among so few no two are equal by chance.
const SEED: i64 = 0;

/// Looks at the next page of a search; documents are read as of `at`, up to which everything is applied. Returns the bytes of the
/// documents, too. After an error the search is as before.
///
/// # Errors
/// [`Error::Source`] and [`Error::Target`], by the class of their cause.
pub(super) async fn next_page<S: SourceSide, T: TargetSide>(
    pieces: &mut PieceReader<'_, S>,
    target: &T,
    search: &mut RowSearch,
    at: ClusterTime,
) -> Result<(RowsPage, usize), Error> {
    let Some((collection, after)) = target.awaits(search) else { return Ok((target.search_rows(search).await?, 0)) };
    let chunk = pieces.chunk_of(collection, after, ReadTime::At(at)).await?;
    let (documents, until) = (named(chunk.documents, collection)?, chunk.last_id.filter(|_| !chunk.end));
    Ok((target.hold_against(search, &documents, until).await?, chunk.bytes))
}

/// Finds the documents that the source has now behind rows of a table, `(collection, table)` by place, whatever the ledger says:
/// each with the place of its collection. The result is parallel to `row_keys`, the keys of the rows as JSON; `None` for a row that
/// is not there, or that no document has. All documents are read whose collections write the table, at the rate of a baseline.
///
/// # Errors
/// [`Error::Source`] and [`Error::Target`], by the class of their cause.
pub(crate) async fn documents_of_rows(
    both: &Both,
    session: &Session,
    (collection, table): (usize, usize),
    row_keys: &[Value],
) -> Result<Vec<Option<(usize, DocumentId)>>, Error> {
    let statements = &both.prepared.statements(collection).tables[table];
    let (act, keys) = (format!("look at rows of {}", statements.name), Value::from(row_keys));
    let mut wanted: HashMap<i64, Vec<usize>> = HashMap::new();
    for row in session.query(&act, &statements.stray.hashes, &[&keys, &SEED]).await? {
        let place = usize::try_from(field::<i64>(&row, 0, &act)? - 1).unwrap_or(usize::MAX);
        wanted.entry(field(&row, 1, &act)?).or_default().push(place);
    }
    let (mut found, mut rate) = (vec![None; row_keys.len()], both.rate());
    for (writer, tables) in both.prepared.writers(collection, table) {
        let source = both.source_of(writer);
        let (mut pieces, mut after) = (PieceReader::new(&source, both.bounds), None::<RawDocumentBuf>);
        while !wanted.is_empty() {
            sleep(rate.wait(Instant::now())).await;
            let chunk = pieces.chunk(after.as_deref(), ReadTime::NOW).await?;
            rate.spend(chunk.documents.len(), chunk.bytes, Instant::now());
            let (documents, until) = (named(chunk.documents, source.name)?, chunk.last_id.filter(|_| !chunk.end));
            for table in &tables {
                let hashes = hashes_of_rows(session, &both.prepared, (writer, *table), SEED, &documents).await?;
                for (document, hash) in hashes {
                    for place in wanted.remove(&hash).unwrap_or_default() {
                        found[place] = Some((writer, documents[document].0.clone()));
                    }
                }
            }
            if until.is_none() {
                break;
            }
            after = until;
        }
    }
    Ok(found)
}

/// Documents of a collection with their ids.
fn named(documents: Vec<RawDocumentBuf>, collection: &str) -> Result<Vec<(DocumentId, RawDocumentBuf)>, Error> {
    let named = documents.into_iter().map(|document| {
        let id = id_of(&document).and_then(|id| Some(DocumentId { key: Key::from_id(&id)?, id: Some(id) }));
        Ok((id.ok_or_else(|| Error::NoKey { collection: collection.to_owned() })?, document))
    });
    named.collect()
}
