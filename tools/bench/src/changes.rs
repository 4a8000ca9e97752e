//! Writes to the flat collection: the load, updates of everything, the mixed backlog, the hot set.
//!
//! Every change changes something: an update that leaves a document as it is would cause no event and flatter the program
//! under test. The number of a change determines which documents it takes, so that two runs write the same.

use bson::{Document, doc, raw::RawDocumentBuf};
use futures_util::future::try_join_all;
use mongodb::{Collection, Database};

use crate::users::{USERS, Users, company, id_of, score};

/// Documents per insert while loading.
const LOAD: u64 = 2_000;
/// Changes in a round of the mixed backlog: 60 % updates, 30 % inserts, 5 % `$unset`, 5 % deletes.
pub(crate) const ROUND: u64 = 200;
/// One document in this many is reserved for deletes, and one for `$unset`.
const SHARE: u64 = 20;
const DELETED: u64 = 7;
const UNSET: u64 = 3;
/// Documents written before and after the timed part: enough that some are in every partition.
pub(crate) const MARKERS: u64 = 64;

/// The numbers of marker documents, `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Markers(pub(crate) u64, pub(crate) u64);

/// The written changes, and how to recognise their beginning and end in the target.
#[derive(Clone, Debug)]
pub(crate) struct Backlog {
    /// Marker documents in front of it.
    pub(crate) head: Markers,
    /// Marker documents behind it.
    pub(crate) tail: Markers,
    /// The number of changes, including both.
    pub(crate) changes: u64,
    /// The query that counts how many of them are applied.
    pub(crate) applied: String,
}

/// Loads the collection, two inserts at a time.
pub(crate) async fn load(database: &Database, users: Users, documents: u64) -> anyhow::Result<()> {
    load_into(database, USERS, users, documents).await
}

/// Loads another collection of the same shape.
pub(crate) async fn load_into(database: &Database, name: &str, users: Users, documents: u64) -> anyhow::Result<()> {
    let collection: Collection<RawDocumentBuf> = database.collection(name);
    let starts: Vec<u64> = (0..documents).step_by(LOAD as usize).collect();
    for pair in starts.chunks(2) {
        let insert = |start: &u64| {
            let batch = users.documents(*start..documents.min(start + LOAD));
            let collection = &collection;
            async move { collection.insert_many(batch).ordered(false).await }
        };
        try_join_all(pair.iter().map(insert)).await?;
    }
    Ok(())
}

/// Updates every document once, in the order of their numbers, between `head` and `tail` markers.
pub(crate) async fn update_all(database: &Database, users: Users, documents: u64) -> anyhow::Result<Backlog> {
    let head = markers(database, users, documents).await?;
    for start in (0..documents).step_by(ROUND as usize) {
        let updates = (start..documents.min(start + ROUND)).map(|seq| update(seq, 1)).collect();
        command(database, "update", "updates", updates).await?;
    }
    let tail = markers(database, users, documents + MARKERS).await?;
    Ok(Backlog { head, tail, changes: documents + 2 * MARKERS, applied: applied_once(documents) })
}

/// Writes the mixed backlog: 60 % updates, 30 % inserts, 5 % `$unset`, 5 % deletes.
pub(crate) async fn mixed(database: &Database, users: Users, documents: u64, changes: u64) -> anyhow::Result<Backlog> {
    let head = markers(database, users, documents).await?;
    let mut next = documents + MARKERS;
    let rounds = changes / ROUND;
    for round in 0..rounds {
        mixed_round(database, users, documents, round, &mut next).await?;
    }
    let tail = markers(database, users, next).await?;
    Ok(Backlog { head, tail, changes: rounds * ROUND + 2 * MARKERS, applied: applied_once(documents) })
}

/// Writes one round of the mixed backlog, and advances `next`, the number of the next inserted document.
pub(crate) async fn mixed_round(
    database: &Database,
    users: Users,
    documents: u64,
    round: u64,
    next: &mut u64,
) -> anyhow::Result<()> {
    let Round { updates, inserts, unset, deletes } = Round::new(round, documents, *next);
    *next = inserts.end;
    let updates = updates.into_iter().map(|seq| update(seq, 1 + round as u32)).collect();
    command(database, "update", "updates", updates).await?;
    let collection: Collection<RawDocumentBuf> = database.collection(USERS);
    collection.insert_many(users.documents(inserts)).await?;
    let unset = unset.into_iter().map(|seq| doc! { "q": { "_id": id_of(seq) }, "u": { "$unset": { "company": "" } } });
    command(database, "update", "updates", unset.collect()).await?;
    let deletes = deletes.into_iter().map(|seq| doc! { "q": { "_id": id_of(seq) }, "limit": 1 });
    command(database, "delete", "deletes", deletes.collect()).await?;
    Ok(())
}

/// Updates a hundredth of the documents, again and again.
pub(crate) async fn hot(database: &Database, users: Users, documents: u64, changes: u64) -> anyhow::Result<Backlog> {
    let head = markers(database, users, documents).await?;
    let few = (documents / 100).max(1);
    for start in (0..changes).step_by(ROUND as usize) {
        let updates = (start..changes.min(start + ROUND)).map(|number| update(number % few, 1 + (number / few) as u32));
        command(database, "update", "updates", updates.collect()).await?;
    }
    let tail = markers(database, users, documents + MARKERS).await?;
    // Each document's revision is the number of its updates.
    let applied = format!(
        "SELECT count(*) FILTER (WHERE seq >= {documents}) + coalesce(sum(substring(company FROM '\\.([0-9]+) ')::int8) \
         FILTER (WHERE seq < {documents}), 0)::int8 FROM {USERS}"
    );
    Ok(Backlog { head, tail, changes: changes + 2 * MARKERS, applied })
}

/// Returns the query that counts inserted, changed and removed rows. A document that was changed twice counts once.
fn applied_once(documents: u64) -> String {
    format!(
        "SELECT count(*) FILTER (WHERE seq >= {documents} OR company IS NULL OR company NOT LIKE '%.000000 Ltd') \
         + {documents} - count(*) FILTER (WHERE seq < {documents}) FROM {USERS}"
    )
}

/// Inserts marker documents and advances `next`, the number of the next document.
pub(crate) async fn mark(database: &Database, users: Users, next: &mut u64) -> anyhow::Result<Markers> {
    let mark = markers(database, users, *next).await?;
    *next += MARKERS;
    Ok(mark)
}

/// Inserts marker documents, numbered from `first` on.
async fn markers(database: &Database, users: Users, first: u64) -> anyhow::Result<Markers> {
    let collection: Collection<RawDocumentBuf> = database.collection(USERS);
    collection.insert_many(users.documents(first..first + MARKERS)).await?;
    Ok(Markers(first, first + MARKERS))
}

fn update(seq: u64, revision: u32) -> Document {
    let set = doc! { "company": company(seq % 5_000, revision), "score": score(seq % 1_000_000, revision) };
    doc! { "q": { "_id": id_of(seq) }, "u": { "$set": set } }
}

/// Sends a write command; a write without effect is a fault of the benchmark.
async fn command(database: &Database, name: &str, list: &str, writes: Vec<Document>) -> anyhow::Result<()> {
    let wanted = writes.len() as i32;
    if wanted == 0 {
        return Ok(());
    }
    let answer = database.run_command(doc! { name: USERS, list: writes, "ordered": true }).await?;
    let done = if name == "update" { answer.get_i32("nModified") } else { answer.get_i32("n") }?;
    anyhow::ensure!(done == wanted && !answer.contains_key("writeErrors"), "{name}: {done} of {wanted} writes");
    Ok(())
}

/// The documents that the changes of one round take.
#[derive(Debug, PartialEq)]
struct Round {
    updates: Vec<u64>,
    inserts: std::ops::Range<u64>,
    unset: Vec<u64>,
    deletes: Vec<u64>,
}

impl Round {
    fn new(round: u64, documents: u64, next: u64) -> Self {
        let count = |percent: u64| ROUND * percent / 100;
        let special = |remainder: u64| {
            (0..count(5)).map(move |place| (round * count(5) + place) * SHARE + remainder).collect::<Vec<_>>()
        };
        // A large step visits the documents in no particular order.
        let step = documents / 3 * 2 + 1;
        let walk = (0..).map(|place: u64| (round * ROUND * 2 + place).wrapping_mul(step) % documents);
        let mut updates = Vec::with_capacity(count(60) as usize);
        for seq in walk.filter(|seq| !matches!(seq % SHARE, DELETED | UNSET)) {
            if updates.len() as u64 == count(60) {
                break;
            }
            if !updates.contains(&seq) {
                updates.push(seq);
            }
        }
        Self { updates, inserts: next..next + count(30), unset: special(UNSET), deletes: special(DELETED) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_round_has_the_shares_it_promises() {
        let round = Round::new(3, 20_000, 30_000);
        let sizes = [round.updates.len(), round.inserts.clone().count(), round.unset.len(), round.deletes.len()];
        assert_eq!(sizes, [120, 60, 10, 10]);
        assert_eq!(round, Round::new(3, 20_000, 30_000));
    }

    #[test]
    fn no_change_meets_a_document_that_another_one_removed_or_emptied() {
        for documents in [5_000, 20_000, 300_000] {
            let (mut unset, mut deleted) = (BTreeSet::new(), BTreeSet::new());
            for round in 0..(documents * 2 / 3 / ROUND) {
                let round = Round::new(round, documents, documents);
                assert!(round.updates.iter().all(|seq| !matches!(seq % SHARE, DELETED | UNSET) && *seq < documents));
                assert!(round.unset.iter().all(|seq| *seq < documents && unset.insert(*seq)), "{documents}");
                assert!(round.deletes.iter().all(|seq| *seq < documents && deleted.insert(*seq)), "{documents}");
            }
        }
    }

    #[test]
    fn updates_spread_over_the_documents() {
        let taken: BTreeSet<u64> = (0..60).flat_map(|round| Round::new(round, 20_000, 0).updates).collect();
        assert!(taken.len() > 5_000, "{}", taken.len());
    }
}
