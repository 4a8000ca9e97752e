//! How far the proof of each collection has come: a row for each in `driftless.proof`, and the place of the change stream of keys.
//!
//! ```text
//!  follow ──▶ begin_pass ──▶ chunks ──▶ complete_pass ──▶ begin_pass …      a pass counts from its oldest read on
//!     └─────▶ advance: V, undecided keys, the token behind which every key is judged
//!  void ──▶ no pass counts, and the one under way is dropped
//! ```
//! Only the leader of the reconcilers writes here, through the session that holds the lead.

use crate::{
    model::ClusterTime,
    postgres::{Error, Session, identity::OURS, session::Param},
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
/// What dropping the pass under way resets.
const NO_PASS: &str =
    "began_at = NULL, oldest_t = NULL, oldest_i = NULL, phase = NULL, after = NULL, place = 0, documents = 0";

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
        for table in ["baseline_chunk", "undecided", "proof"] {
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
        session.execute(act, &sql, &[&collections, &plans, &OTHER_PLAN]).await
    };
    session.transaction(act, true, begun).await.map(|_| ())
}

/// Records since when the change stream gives every change of these collections; one that it already follows keeps its time.
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

/// Voids the proof of collections: no pass counts, and the one under way is dropped. With `lost`, changes may have been missed, so
/// nothing is followed any more until [`follow`] is called again.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn void(session: &Session, collections: &[i32], because: &str, lost: bool) -> Result<(), Error> {
    let lost = if lost {
        ", since_t = NULL, since_i = NULL, verified_t = NULL, verified_i = NULL, verified_at = NULL"
    } else {
        ""
    };
    let sql = format!(
        "UPDATE driftless.proof SET {NO_PASS}{lost}, void_because = $2, void_at = clock_timestamp(), \
                updated_at = clock_timestamp() WHERE collection = ANY ($1)"
    );
    session.execute("void a proof", &sql, &[&collections, &session.storable(because)]).await?;
    Ok(())
}
