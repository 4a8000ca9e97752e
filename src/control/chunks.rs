//! Passes over collections, chunk by chunk: `driftless.baseline_chunk`, and the place in `driftless.proof` at which a pass goes on.
//!
//! ```text
//!  begin ──▶ finish, finish, … ──▶ all chunks are judged ──▶ nothing is undecided any more ──▶ complete
//! ```
//! A chunk counts when its transaction commits, and the next one begins where it ended; so a process may die anywhere. Only the
//! leader of the reconcilers writes here, through the session that holds the lead. Everything runs inside the caller's transaction.

use std::time::Duration;

use bson::raw::RawDocument;
use tokio_postgres::Row;

use crate::{
    model::{ClusterTime, Key},
    postgres::{
        Error, Session,
        session::{Param, field},
    },
    sink::checkpoint,
    target::DocumentId,
};

/// How far the passes over a collection have come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Passes {
    /// The number of the collection in the ledger.
    pub(crate) collection: i32,
    /// The pass under way.
    pub(crate) under_way: Option<Pass>,
    /// How long ago the last pass began that is complete and counts.
    pub(crate) complete: Option<Duration>,
    /// Whether more differences were met than are kept, and there is room for them by now.
    pub(crate) look_again: bool,
    /// Since when the change stream of keys has given every change.
    pub(crate) since: Option<ClusterTime>,
    /// About how many documents there are; of the pass under way or of the one before.
    pub(crate) estimate: u64,
}

/// A pass under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Its number.
    pub(crate) number: i64,
    /// The number of its next chunk.
    pub(crate) place: i64,
    /// Where it goes on.
    pub(crate) at: At,
    /// When it began, in microseconds since 1970.
    pub(crate) began_us: i64,
    /// Documents that were compared.
    pub(crate) documents: u64,
}

/// The place at which a pass goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// A phase, behind these bytes.
    Chunk {
        /// The phase, see [`Phase`](crate::reconcile::Phase).
        phase: String,
        /// The end of the chunk before it.
        after: Option<Vec<u8>>,
    },
    /// Every chunk is judged; documents that were undecided are awaited.
    Undecided,
}

/// The stored word of [`At::Undecided`].
const UNDECIDED: &str = "undecided";

/// A chunk that was judged.
#[derive(Clone, Debug)]
pub(crate) struct Chunk<'a> {
    /// Its phase.
    pub(crate) phase: &'a str,
    /// The key behind which it begins; `None`: the beginning of the phase.
    pub(crate) after: Option<&'a [u8]>,
    /// Its end, inclusive; `None`: the end of the phase.
    pub(crate) until: Option<&'a [u8]>,
    /// Cluster time of the read.
    pub(crate) as_of: ClusterTime,
    /// Documents, entries or rows that were looked at.
    pub(crate) looked: u64,
    /// How many of them are documents that were compared.
    pub(crate) documents: u64,
    /// Documents, entries and rows that were read for it.
    pub(crate) work: u64,
    /// Differences.
    pub(crate) findings: u64,
}

/// Reads how far the passes have come, of these collections and in their order, as far as a proof follows them. `findings_kept` is the
/// number of open findings that are kept of each.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn passes(session: &Session, collections: &[i32], findings_kept: u32) -> Result<Vec<Passes>, Error> {
    let act = "read how far the baseline has come";
    let sql = "SELECT p.collection, p.pass, p.place, p.phase, p.after, (extract(epoch FROM p.began_at) * 1000000)::int8, \
                      p.documents, coalesce(p.estimate, 0), \
                      CASE WHEN p.void_because IS NULL \
                           THEN (extract(epoch FROM clock_timestamp() - p.complete_began_at) * 1000)::int8 END, \
                      p.since_t, p.since_i, coalesce(p.complete_left_out, 0) > 0 AND $2 > \
                        (SELECT count(*) FROM driftless.finding AS f WHERE f.collection = p.collection AND f.ended_at IS NULL) \
                 FROM unnest($1::int4[]) WITH ORDINALITY AS c(id, n) JOIN driftless.proof AS p ON p.collection = c.id ORDER BY c.n";
    let room = i64::from(findings_kept.div_ceil(2));
    session.query(act, sql, &[&collections, &room]).await?.iter().map(|row| read(row, act)).collect()
}

fn read(row: &Row, act: &str) -> Result<Passes, Error> {
    let count = |at: usize| Ok::<_, Error>(u64::try_from(field::<i64>(row, at, act)?).unwrap_or(0));
    let under_way = match (field::<Option<i64>>(row, 5, act)?, field::<Option<String>>(row, 3, act)?) {
        (Some(began_us), Some(phase)) => Some(Pass {
            number: field(row, 1, act)?,
            place: field(row, 2, act)?,
            at: if phase == UNDECIDED { At::Undecided } else { At::Chunk { phase, after: field(row, 4, act)? } },
            began_us,
            documents: count(6)?,
        }),
        _ => None,
    };
    let age = field::<Option<i64>>(row, 8, act)?;
    Ok(Passes {
        collection: field(row, 0, act)?,
        under_way,
        complete: age.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        look_again: field(row, 11, act)?,
        since: checkpoint::cluster_time(field(row, 9, act)?, field(row, 10, act)?),
        estimate: count(7)?,
    })
}

/// Begins a pass. Its age counts from here, before its first read. `estimate` is about how many documents there are, and `expected`
/// about how many things it will read, as far as no pass before it says so.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn begin(
    session: &Session,
    collection: i32,
    phase: &str,
    estimate: u64,
    expected: u64,
) -> Result<(), Error> {
    let sql = "UPDATE driftless.proof SET pass = pass + 1, began_at = clock_timestamp(), oldest_t = NULL, oldest_i = NULL, \
                      phase = $2, after = NULL, place = 0, documents = 0, work = 0, left_out = 0, estimate = $3, \
                      expected = coalesce(complete_work, $4), \
                      updated_at = clock_timestamp() \
                WHERE collection = $1";
    session.execute("begin a pass", sql, &[&collection, &phase, &number(estimate), &number(expected)]).await?;
    // Those of a pass that was dropped.
    let sql = "DELETE FROM driftless.baseline_undecided WHERE collection = $1";
    session.execute("begin a pass", sql, &[&collection]).await?;
    Ok(())
}

/// Stores documents of a chunk that could not be judged.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn store_undecided(session: &Session, collection: i32, documents: &[DocumentId]) -> Result<(), Error> {
    let sql = "INSERT INTO driftless.baseline_undecided (collection, key, target) \
               SELECT $1, * FROM unnest($2::bytea[], $3::bytea[]) ON CONFLICT DO NOTHING";
    let keys: Vec<&[u8]> = documents.iter().map(|document| document.key.as_bytes()).collect();
    let targets: Vec<_> = documents.iter().map(|document| document.stored_id().map(RawDocument::as_bytes)).collect();
    session.execute("store undecided documents", sql, &[&collection, &keys, &targets]).await?;
    Ok(())
}

/// Reads stored documents that could not be judged, up to a bound.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn undecided(session: &Session, collection: i32, limit: i64) -> Result<Vec<DocumentId>, Error> {
    let act = "read undecided documents";
    let sql = "SELECT key, target FROM driftless.baseline_undecided WHERE collection = $1 ORDER BY key LIMIT $2";
    let rows = session.query(act, sql, &[&collection, &limit]).await?;
    rows.iter().map(|row| Ok(DocumentId::new(field(row, 0, act)?, field(row, 1, act)?))).collect()
}

/// Forgets documents that are judged now.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn forget_undecided(session: &Session, collection: i32, keys: &[Key]) -> Result<(), Error> {
    let sql = "DELETE FROM driftless.baseline_undecided WHERE collection = $1 AND key = ANY ($2)";
    let keys: Vec<&[u8]> = keys.iter().map(Key::as_bytes).collect();
    session.execute("forget undecided documents", sql, &[&collection, &keys]).await?;
    Ok(())
}

/// Stores a chunk of a pass, and where the pass goes on: the next phase and place in it, or `None` behind the last chunk. Returns
/// the pass behind the chunk; `None` when its proof was voided meanwhile.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn finish(
    session: &Session,
    collection: i32,
    pass: &Pass,
    chunk: &Chunk<'_>,
    next: Option<(&str, Option<&[u8]>)>,
) -> Result<Option<Pass>, Error> {
    failpoint!(BASELINE_CHUNK);
    let act = "store a chunk";
    let (phase, after) = next.unwrap_or((UNDECIDED, None));
    let (t, i) = (i64::from(chunk.as_of.t), i64::from(chunk.as_of.i));
    let sql = "UPDATE driftless.proof \
                  SET phase = $4, after = $5, place = place + 1, documents = documents + $6, work = work + $7, \
                      updated_at = clock_timestamp(), \
                      oldest_t = CASE WHEN (oldest_t, oldest_i) <= ($8, $9) THEN oldest_t ELSE $8 END, \
                      oldest_i = CASE WHEN (oldest_t, oldest_i) <= ($8, $9) THEN oldest_i ELSE $9 END \
                WHERE collection = $1 AND pass = $2 AND place = $3 AND began_at IS NOT NULL";
    let params: [Param<'_>; 9] =
        [&collection, &pass.number, &pass.place, &phase, &after, &number(chunk.documents), &number(chunk.work), &t, &i];
    if session.execute(act, sql, &params).await? == 0 {
        return Ok(None);
    }
    let sql = "INSERT INTO driftless.baseline_chunk \
                 (collection, pass, place, phase, after, until, as_of_t, as_of_i, documents, findings) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let params: [Param<'_>; 10] = [
        &collection,
        &pass.number,
        &pass.place,
        &chunk.phase,
        &chunk.after,
        &chunk.until,
        &t,
        &i,
        &number(chunk.looked),
        &number(chunk.findings),
    ];
    session.execute(act, sql, &params).await?;
    let at = match next {
        Some((phase, after)) => At::Chunk { phase: phase.to_owned(), after: after.map(<[u8]>::to_vec) },
        None => At::Undecided,
    };
    Ok(Some(Pass { place: pass.place + 1, at, documents: pass.documents + chunk.documents, ..*pass }))
}

/// Completes a pass whose chunks are all judged, and removes the chunks of the passes before it. Returns whether it is complete: it
/// is not while a document is undecided.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn complete(
    session: &Session,
    collection: i32,
    pass: &Pass,
    no_such_collection: bool,
) -> Result<bool, Error> {
    let act = "complete a pass";
    let sql = "UPDATE driftless.proof \
                  SET complete_pass = pass, complete_began_at = began_at, complete_ended_at = clock_timestamp(), \
                      complete_t = oldest_t, complete_i = oldest_i, complete_documents = documents, complete_work = work, \
                      complete_left_out = left_out, void_because = NULL, void_at = NULL, no_such_collection = $4, \
                      began_at = NULL, phase = NULL, after = NULL, updated_at = clock_timestamp() \
                WHERE collection = $1 AND pass = $2 AND phase = $3 AND began_at IS NOT NULL \
                  AND NOT EXISTS (SELECT FROM driftless.baseline_undecided WHERE collection = $1)";
    let params: [Param<'_>; 4] = [&collection, &pass.number, &UNDECIDED, &no_such_collection];
    if session.execute(act, sql, &params).await? == 0 {
        return Ok(false);
    }
    let sql = "DELETE FROM driftless.baseline_chunk WHERE collection = $1 AND pass <> $2";
    session.execute(act, sql, &[&collection, &pass.number]).await?;
    Ok(true)
}

/// Records why the passes over a collection do not go on, and the next step where only a person can end that; `None`: they do.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn waits(
    session: &Session,
    collection: i32,
    reason: Option<&str>,
    hint: Option<&str>,
) -> Result<(), Error> {
    let storable = |text: Option<&str>| text.map(|text| session.storable(text));
    let sql = "UPDATE driftless.proof SET baseline_waits_for = $2, baseline_hint = $3, updated_at = clock_timestamp() \
                WHERE collection = $1 AND (baseline_waits_for, baseline_hint) IS DISTINCT FROM ($2, $3)";
    let params: [Param<'_>; 3] = [&collection, &storable(reason), &storable(hint)];
    session.execute("record why the baseline waits", sql, &params).await?;
    Ok(())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
