//! How far the proof of each collection has come: a row for each in `driftless.proof`, and the place of the change stream of keys.
//!
//! ```text
//!  follow ──▶ begin_pass ──▶ chunks ──▶ complete_pass ──▶ begin_pass …      a pass counts from its oldest read on
//!     └─────▶ advance: V, undecided keys, the token behind which every key is judged
//!  void ──▶ no pass counts, and the one under way is dropped
//! ```
//! Only the leader of the reconcilers writes here, through the session that holds the lead.

use std::time::Duration;

use bson::{raw::RawDocumentBuf, rawdoc};
use tokio_postgres::Row;

use crate::{
    model::{ClusterTime, Frontier, Key, ResumeToken},
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
    sink::checkpoint,
    target::DocumentId,
};

/// A collection and the plan that it is compared under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Its number in the schema `driftless`.
    pub(crate) collection: i32,
    /// Digest of the compiled plan.
    pub(crate) plan: [u8; 16],
}

/// The reason of a void proof whose mapping is another one than before.
const OTHER_PLAN: &str = "the mapping or the target has changed: the rows would be others now";
/// The columns that dropping the pass under way resets.
const NO_PASS: &str = "began_at = NULL, oldest_t = NULL, oldest_i = NULL, phase = NULL, after = NULL, place = 0, documents = 0, work = 0, left_out = 0";

/// Makes the rows of these collections, and removes those of collections that are not mapped: nobody follows them any more. What
/// was proven under another plan is void.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn plan(session: &Session, planned: &[Planned]) -> Result<(), Error> {
    let act = "record the plan of the proof";
    let planned = planned.iter().map(|planned| (planned.collection, &planned.plan[..]));
    let (collections, plans): (Vec<i32>, Vec<&[u8]>) = planned.unzip();
    let begun = async {
        for table in ["baseline_chunk", "baseline_undecided", "undecided", "proof"] {
            let sql = format!(
                "DELETE FROM driftless.{table} AS p USING driftless.collection AS c \
                  WHERE c.id = p.collection AND c.{OURS} AND NOT c.id = ANY ($2)"
            );
            session.execute(act, &sql, &[&session.prefix(), &collections]).await?;
        }
        let sql = format!(
            "INSERT INTO driftless.proof AS p (collection, plan) SELECT * FROM unnest($1::int4[], $2::bytea[]) \
             ON CONFLICT (collection) DO UPDATE SET plan = excluded.plan, {NO_PASS}, since_t = NULL, since_i = NULL, \
                    verified_t = NULL, verified_i = NULL, verified_at = NULL, void_because = $3, \
                    void_at = clock_timestamp(), updated_at = clock_timestamp() \
              WHERE p.plan <> excluded.plan"
        );
        session.execute(act, &sql, &[&collections, &plans, &OTHER_PLAN]).await?;
        let sql = "DELETE FROM driftless.undecided AS u USING driftless.proof AS p \
                    WHERE p.collection = u.collection AND p.collection = ANY ($1) AND p.since_t IS NULL";
        session.execute(act, sql, &[&collections]).await
    };
    session.transaction(act, true, begun).await.map(|_| ())
}

/// Records that the change stream gives every change of these collections behind `since`; one that it follows keeps its time.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn follow(session: &Session, collections: &[i32], since: ClusterTime) -> Result<(), Error> {
    let sql = "UPDATE driftless.proof SET since_t = $2, since_i = $3, updated_at = clock_timestamp() \
                WHERE collection = ANY ($1) AND since_t IS NULL";
    let params: [Param<'_>; 3] = [&collections, &i64::from(since.t), &i64::from(since.i)];
    session.execute("record the start of the delta", sql, &params).await?;
    Ok(())
}

/// Behind which time the change stream gives every change of a collection whose proof is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// As before: no change was missed.
    AsBefore,
    /// Behind this time: what lies before it is of another collection.
    Time(ClusterTime),
    /// Changes may have been missed, so nothing is followed until [`follow`] is called again.
    Unknown,
}

/// Voids the proof of collections: no pass counts, and the one under way is dropped.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn void(session: &Session, collections: &[i32], because: &str, since: Since) -> Result<(), Error> {
    let time = match since {
        Since::Time(time) => Some(time),
        Since::AsBefore | Since::Unknown => None,
    };
    let reset = match since {
        Since::AsBefore | Since::Time(_) => "since_t = coalesce($3, since_t), since_i = coalesce($4, since_i)",
        Since::Unknown => {
            "since_t = $3, since_i = $4, verified_t = NULL, verified_i = NULL, verified_at = NULL, undecided = 0, \
             undecided_t = NULL, undecided_i = NULL"
        }
    };
    let sql = format!(
        "UPDATE driftless.proof SET {NO_PASS}, {reset}, void_because = $2, void_at = clock_timestamp(), \
                updated_at = clock_timestamp() WHERE collection = ANY ($1)"
    );
    let (t, i) = (time.map(|time| i64::from(time.t)), time.map(|time| i64::from(time.i)));
    session.execute("void a proof", &sql, &[&collections, &session.storable(because), &t, &i]).await?;
    if since == Since::Unknown {
        let sql = "DELETE FROM driftless.undecided WHERE collection = ANY ($1)";
        session.execute("forget undecided documents", sql, &[&collections]).await?;
    }
    Ok(())
}

/// Voids the proof of collections by name, as [`void`] does, where no change was missed.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(super) async fn void_named(session: &Session, collections: &[String], because: &str) -> Result<(), Error> {
    let act = "find the collections";
    let sql = format!("SELECT id FROM driftless.collection WHERE {OURS} AND name = ANY ($2)");
    let rows = session.query(act, &sql, &[&session.prefix(), &collections]).await?;
    let ids = rows.iter().map(|row| field(row, 0, act)).collect::<Result<Vec<i32>, Error>>()?;
    void(session, &ids, because, Since::AsBefore).await
}

/// Reads which of these collections the change stream follows.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn followed(session: &Session, collections: &[i32]) -> Result<Vec<i32>, Error> {
    let act = "read which collections are followed";
    let sql = "SELECT collection FROM driftless.proof WHERE collection = ANY ($1) AND since_t IS NOT NULL";
    session.query(act, sql, &[&collections]).await?.iter().map(|row| field(row, 0, act)).collect()
}

/// How far the keys of a collection are judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Advance {
    /// The collection.
    pub(crate) collection: i32,
    /// Every key that changed before this is judged; `None` while the collection is not followed.
    pub(crate) verified: Option<Frontier>,
    /// How long ago everything that had happened was before that; `None` while that is not known.
    pub(crate) age: Option<Duration>,
    /// Keys that judgements have left undecided.
    pub(crate) undecided: usize,
    /// The first change that is not judged.
    pub(crate) oldest: Option<ClusterTime>,
    /// Why V does not advance.
    pub(crate) waits_for: Option<String>,
    /// The next step, where only a person can end that.
    pub(crate) hint: Option<String>,
}

/// Records how far the keys of collections are judged. No frontier goes backwards.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn advance(session: &Session, advances: &[Advance]) -> Result<(), Error> {
    let sql = "UPDATE driftless.proof AS p \
                  SET (verified_t, verified_i) = (SELECT t, i FROM (VALUES (p.verified_t, p.verified_i), (e.t, e.i)) AS v(t, i) \
                                                   WHERE t IS NOT NULL ORDER BY t DESC, i DESC LIMIT 1), \
                      verified_at = greatest(p.verified_at, clock_timestamp() - e.age * interval '1 second'), \
                      undecided = e.undecided, undecided_t = e.oldest_t, undecided_i = e.oldest_i, \
                      waits_for = e.waits_for, hint = e.hint, updated_at = clock_timestamp() \
                 FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::float8[], $5::int8[], $6::int8[], $7::int8[], $8::text[], $9::text[]) \
                      AS e(collection, t, i, age, undecided, oldest_t, oldest_i, waits_for, hint) \
                WHERE p.collection = e.collection";
    let each = |of: fn(&Advance) -> i64| advances.iter().map(of).collect::<Vec<_>>();
    let maybe = |of: fn(&Advance) -> Option<i64>| advances.iter().map(of).collect::<Vec<_>>();
    let collections: Vec<i32> = advances.iter().map(|advance| advance.collection).collect();
    let ages: Vec<_> = advances.iter().map(|advance| advance.age.map(|age| age.as_secs_f64())).collect();
    let texts = |of: fn(&Advance) -> &Option<String>| {
        advances.iter().map(|advance| of(advance).as_ref().map(|text| session.storable(text))).collect::<Vec<_>>()
    };
    let params: [Param<'_>; 9] = [
        &collections,
        &maybe(|advance| advance.verified.map(|verified| i64::from(verified.0.t))),
        &maybe(|advance| advance.verified.map(|verified| i64::from(verified.0.i))),
        &ages,
        &each(|advance| i64::try_from(advance.undecided).unwrap_or(i64::MAX)),
        &maybe(|advance| advance.oldest.map(|oldest| i64::from(oldest.t))),
        &maybe(|advance| advance.oldest.map(|oldest| i64::from(oldest.i))),
        &texts(|advance| &advance.waits_for),
        &texts(|advance| &advance.hint),
    ];
    session.execute("record what is verified", sql, &params).await?;
    Ok(())
}

/// Reads the token behind which every key is judged; `None` if there is none that this version can read.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn token(session: &Session) -> Result<Option<ResumeToken>, Error> {
    let act = "read the place of the delta";
    let sql = format!("SELECT token FROM driftless.delta WHERE {OURS}");
    let Some(row) = session.query_opt(act, &sql, &[&session.prefix()]).await? else { return Ok(None) };
    let data: String = field(&row, 0, act)?;
    Ok(ResumeToken::from_raw(&rawdoc! { "_data": data }).ok())
}

/// Records the token behind which every key of the collections is judged or stored: for the migration that has the collection now,
/// which is another one after a swap.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn store_token(session: &Session, collection: i32, token: &ResumeToken) -> Result<(), Error> {
    let sql = "INSERT INTO driftless.delta (migration, token, token_t, token_i) \
               SELECT migration, $2, $3, $4 FROM driftless.collection WHERE id = $1 \
               ON CONFLICT (migration) DO UPDATE SET token = excluded.token, token_t = excluded.token_t, \
                      token_i = excluded.token_i, stored_at = excluded.stored_at";
    let (data, time) = (token.raw().get_str("_data").unwrap_or_default(), token.time());
    let params: [Param<'_>; 4] = [&collection, &data, &i64::from(time.t), &i64::from(time.i)];
    session.execute("record the place of the delta", sql, &params).await?;
    Ok(())
}

/// Forgets the place of the change stream, from which it cannot go on.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn forget_token(session: &Session) -> Result<(), Error> {
    let sql = format!("DELETE FROM driftless.delta WHERE {OURS}");
    session.execute("forget the place of the delta", &sql, &[&session.prefix()]).await?;
    Ok(())
}

/// Stores documents that could not be judged, each with the time from which it is not: in the transaction of the chunk, or of the
/// token that leaves their changes behind.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn store_undecided(
    session: &Session,
    collection: i32,
    documents: &[(DocumentId, ClusterTime)],
) -> Result<(), Error> {
    let sql = "INSERT INTO driftless.undecided (collection, key, target, since_t, since_i) \
               SELECT $1, e.* FROM unnest($2::bytea[], $3::bytea[], $4::int8[], $5::int8[]) AS e \
               ON CONFLICT DO NOTHING";
    let keys: Vec<&[u8]> = documents.iter().map(|(document, _)| document.key.as_bytes()).collect();
    let targets: Vec<Option<&[u8]>> = documents.iter().map(|(document, _)| target(document)).collect();
    let t: Vec<i64> = documents.iter().map(|(_, since)| i64::from(since.t)).collect();
    let i: Vec<i64> = documents.iter().map(|(_, since)| i64::from(since.i)).collect();
    session.execute("store undecided documents", sql, &[&collection, &keys, &targets, &t, &i]).await?;
    Ok(())
}

/// The `{_id: …}` of a document, where its key does not hold it.
fn target(document: &DocumentId) -> Option<&[u8]> {
    document.id.as_ref().filter(|_| document.key.is_hashed()).map(|id| id.as_bytes())
}

/// Forgets documents that are judged now.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn forget_undecided(session: &Session, collection: i32, keys: &[Key]) -> Result<(), Error> {
    let sql = "DELETE FROM driftless.undecided WHERE collection = $1 AND key = ANY ($2)";
    let keys: Vec<&[u8]> = keys.iter().map(Key::as_bytes).collect();
    session.execute("forget undecided documents", sql, &[&collection, &keys]).await?;
    Ok(())
}

/// Reads the stored documents of a collection that could not be judged, each with the time from which it is not.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn undecided(session: &Session, collection: i32) -> Result<Vec<(DocumentId, ClusterTime)>, Error> {
    let act = "read undecided documents";
    let sql = "SELECT key, target, since_t, since_i FROM driftless.undecided WHERE collection = $1";
    let rows = session.query(act, sql, &[&collection]).await?;
    let document = |row: &Row| {
        let key = Key::from_bytes(field(row, 0, act)?);
        let target = field::<Option<Vec<u8>>>(row, 1, act)?;
        let id = key.to_id().or_else(|| target.and_then(|bytes| RawDocumentBuf::from_bytes(bytes).ok()));
        let since = checkpoint::cluster_time(field(row, 2, act)?, field(row, 3, act)?).unwrap_or_default();
        Ok((DocumentId { key, id }, since))
    };
    rows.iter().map(document).collect()
}
