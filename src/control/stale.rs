//! Lists live ledger entries that are older than a snapshot run. Such a document was not found by the run, or its newest record is
//! not applied yet; only the source can say which.

use bson::RawDocumentBuf;

use crate::{
    model::{Key, Version},
    postgres::{
        Error, Session,
        session::{Param, field},
    },
};

/// Entries that one statement reads; it takes a few tens of milliseconds.
const MAX_SCANNED: i64 = 20_000;
/// The most documents of a page.
const MAX_DOCUMENTS: usize = 1_000;
/// The most bytes of their ids, because they travel in one command to MongoDB.
const MAX_BYTES: usize = 1 << 20;

/// A page of stale documents of a collection.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The `{_id: …}` of each document.
    pub(crate) ids: Vec<RawDocumentBuf>,
    /// The key after which the next page begins; `None` after the last page.
    pub(crate) next: Option<Key>,
}

const LIST: &str = "
WITH looked AS MATERIALIZED (
    SELECT l.key, l.target, l.version, l.deleted FROM driftless.ledger AS l
     WHERE l.collection = (SELECT c.id FROM driftless.collection AS c JOIN driftless.identity AS i ON i.id = c.migration
                            WHERE c.name = $1 AND i.prefix = $6) AND l.key > $2
     ORDER BY l.key LIMIT $3)
(SELECT key, target, NULL::int8 AS looked FROM looked WHERE version < $4 AND NOT deleted ORDER BY key LIMIT $5)
UNION ALL
(SELECT key, NULL, (SELECT count(*) FROM looked) FROM looked ORDER BY key DESC LIMIT 1)";

/// Lists documents after the key `after` that are live in the ledger with a version below `before`.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn page(
    session: &Session,
    collection: &str,
    before: Version,
    after: Option<&Key>,
) -> Result<Page, Error> {
    let act = "list documents that a snapshot did not find";
    let (before, after) = (before.to_bytes(), after.map_or(&[][..], Key::as_bytes));
    let most = i64::try_from(MAX_DOCUMENTS).unwrap_or(i64::MAX);
    let prefix = session.prefix();
    let params: [Param<'_>; 6] = [&collection, &after, &MAX_SCANNED, &&before[..], &most, &prefix];
    let (mut page, mut bytes, mut behind) = (Page::default(), 0, None);
    for row in session.query(act, LIST, &params).await? {
        let key = Key::from_bytes(field(&row, 0, act)?);
        if let Some(looked) = field::<Option<i64>>(&row, 2, act)? {
            behind = (looked == MAX_SCANNED).then_some(key);
            continue;
        }
        if page.next.is_some() {
            continue;
        }
        let id = match field::<Option<&[u8]>>(&row, 1, act)? {
            Some(id) => RawDocumentBuf::from_bytes(id.to_vec()).ok(),
            None => key.to_id(),
        };
        let Some(id) = id else { continue };
        bytes += id.as_bytes().len();
        page.ids.push(id);
        if page.ids.len() >= MAX_DOCUMENTS || bytes >= MAX_BYTES {
            page.next = Some(key);
        }
    }
    page.next = page.next.or(behind);
    Ok(page)
}
