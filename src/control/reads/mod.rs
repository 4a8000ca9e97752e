//! Where the application reads each unit: its row, which is the only truth, and the journal of its changes.
//!
//! A change and its entry in the journal are one statement. Every change raises the epoch of the row, and whoever changes a row names
//! the epoch that the decision was made on, so a decision that has been overtaken changes nothing.

mod journal;
mod share;

use std::time::Duration;

use tokio_postgres::Row;

use self::journal::Action;
pub(crate) use self::{
    journal::{Change, history},
    share::Share,
};
use crate::postgres::{
    Error, Session,
    identity::{self, OURS},
    session::{Param, field},
};

/// The channel on which PostgreSQL notifies of every change.
pub(crate) const CHANNEL: &str = "driftless_reads";

/// The row of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitRow {
    /// The unit.
    pub(crate) unit: String,
    /// Its collections, as the command that gave it a share knew them; in order.
    pub(crate) collections: Vec<String>,
    /// The share that an operator wished.
    pub(crate) share: Share,
    /// Obstacles that do not trip the unit as long as they last, because the operator forced the share in spite of them.
    pub(crate) accepted: Vec<String>,
    /// Why it is tripped.
    pub(crate) tripped: Option<String>,
    /// For how long the last judgement holds; zero if none does.
    pub(crate) judged_for: Duration,
    /// When the row last changed, in milliseconds since 1970.
    pub(crate) since_ms: i64,
    /// For how long it has not changed.
    pub(crate) unchanged_for: Duration,
    /// How often it has changed.
    pub(crate) epoch: i64,
}

/// Reads the rows of all units, in the order of their names.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn units(session: &Session) -> Result<Vec<UnitRow>, Error> {
    let act = "read the units of reads";
    let sql = format!(
        "SELECT unit, collections, (share * 100)::int4, accepted, tripped_by, \
                coalesce(greatest(extract(epoch FROM judged_until - clock_timestamp()) * 1000, 0), 0)::int8, \
                (extract(epoch FROM since) * 1000)::int8, \
                (greatest(extract(epoch FROM clock_timestamp() - since) * 1000, 0))::int8, epoch \
           FROM driftless.read_unit WHERE {OURS} ORDER BY unit"
    );
    session.query(act, &sql, &[&session.prefix()]).await?.iter().map(|row| unit(row, act)).collect()
}

fn unit(row: &Row, act: &str) -> Result<UnitRow, Error> {
    let span = |column| -> Result<Duration, Error> {
        Ok(Duration::from_millis(u64::try_from(field::<i64>(row, column, act)?).unwrap_or(0)))
    };
    Ok(UnitRow {
        unit: field(row, 0, act)?,
        collections: field(row, 1, act)?,
        share: Share::of_hundredths(field(row, 2, act)?),
        accepted: field(row, 3, act)?,
        tripped: field(row, 4, act)?,
        judged_for: span(5)?,
        since_ms: field(row, 6, act)?,
        unchanged_for: span(7)?,
        epoch: field(row, 8, act)?,
    })
}

/// Makes the rows that do not exist yet, without any share.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn declare(session: &Session, units: &[(&str, &[String])]) -> Result<(), Error> {
    let sql = "INSERT INTO driftless.read_unit (migration, unit, collections) \
               SELECT id, $2, $3 FROM driftless.identity WHERE prefix = $1 ON CONFLICT DO NOTHING";
    for (unit, collections) in units {
        session.execute("declare a unit of reads", sql, &[&session.prefix(), unit, collections]).await?;
    }
    Ok(())
}

/// A judgement of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The unit.
    pub(crate) unit: String,
    /// The epoch of its row.
    pub(crate) epoch: i64,
    /// Whether nothing stands against it.
    pub(crate) green: bool,
    /// Accepted obstacles that have ended; they trip the unit from now on.
    pub(crate) ended: Vec<String>,
}

/// Records judgements, which hold for this long. A green time that was not judged without a break begins again.
///
/// The epoch stays, because nothing changes for those who ask.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn record(session: &Session, judged: &[Judged], holds_for: Duration) -> Result<(), Error> {
    let units: Vec<&str> = judged.iter().map(|judged| &*judged.unit).collect();
    let epochs: Vec<i64> = judged.iter().map(|judged| judged.epoch).collect();
    let greens: Vec<bool> = judged.iter().map(|judged| judged.green).collect();
    let ended = judged.iter().flat_map(|judged| judged.ended.iter().map(|obstacle| (&*judged.unit, &**obstacle)));
    let (of, ended): (Vec<&str>, Vec<&str>) = ended.unzip();
    let sql = format!(
        "UPDATE driftless.read_unit AS u \
            SET judged_until = clock_timestamp() + $5::float8 * interval '1 second', \
                green_since = CASE WHEN NOT j.green OR tripped_at IS NULL THEN NULL \
                                   WHEN judged_until > clock_timestamp() THEN coalesce(green_since, clock_timestamp()) \
                                   ELSE clock_timestamp() END, \
                accepted = ARRAY(SELECT a FROM unnest(u.accepted) AS a \
                                  WHERE (u.unit, a) NOT IN (SELECT * FROM unnest($6::text[], $7::text[]))) \
           FROM unnest($2::text[], $3::int8[], $4::bool[]) AS j (unit, epoch, green) \
          WHERE u.{OURS} AND u.unit = j.unit AND u.epoch = j.epoch"
    );
    let act = "record the judgement of units of reads";
    let holds_for = holds_for.as_secs_f64();
    let params: [Param<'_>; 7] = [&session.prefix(), &units, &epochs, &greens, &holds_for, &of, &ended];
    session.execute(act, &sql, &params).await?;
    Ok(())
}

/// V of the unit `u`: the lowest of its collections, none if one has none.
const VERIFIED: &str = "LATERAL (SELECT p.verified_t, p.verified_i FROM unnest(u.collections) AS n (name) \
       LEFT JOIN driftless.collection AS c ON c.migration = u.migration AND c.name = n.name \
       LEFT JOIN driftless.proof AS p ON p.collection = c.id \
      ORDER BY p.verified_t NULLS FIRST, p.verified_i NULLS FIRST LIMIT 1) AS v";

/// Changes rows and writes the journal, in one statement. `set` and `which` are SQL with the parameters from `$5` on.
async fn change(
    session: &Session,
    action: Action,
    who: &str,
    why: Option<&str>,
    (set, which): (&str, &str),
    params: &[Param<'_>],
) -> Result<Vec<String>, Error> {
    let act = "change a unit of reads";
    let sql = format!(
        "WITH u AS (UPDATE driftless.read_unit SET {set}, since = clock_timestamp(), epoch = epoch + 1 \
                     WHERE {OURS} AND {which} RETURNING *) \
         INSERT INTO driftless.read_change (migration, unit, who, action, share, why, forced, verified_t, verified_i, epoch) \
         SELECT u.migration, u.unit, $3, $2, u.share, $4, $2 = 'share' AND u.accepted <> '{{}}', v.verified_t, v.verified_i, u.epoch \
           FROM u CROSS JOIN {VERIFIED} RETURNING unit"
    );
    let (who, why) = (session.storable(who), why.map(|why| session.storable(why)));
    let (prefix, word) = (session.prefix(), action.as_str());
    let mut all: Vec<Param<'_>> = vec![&prefix, &word, &who, &why];
    all.extend(params);
    session.query(act, &sql, &all).await?.iter().map(|row| field(row, 0, act)).collect()
}

/// A share that an operator gives to a unit.
#[derive(Clone, Debug)]
pub(crate) struct Give<'a> {
    /// The unit.
    pub(crate) unit: &'a str,
    /// Its collections.
    pub(crate) collections: &'a [String],
    /// The share.
    pub(crate) share: Share,
    /// Obstacles that are accepted; empty unless forced.
    pub(crate) accepted: &'a [String],
    /// The epoch of the row on which the gate was asked.
    pub(crate) epoch: i64,
    /// Who gives it, and why.
    pub(crate) who: &'a str,
    /// Why.
    pub(crate) why: Option<&'a str>,
}

/// Gives a share to a unit, which is no longer tripped then; returns whether it did: not if the row has changed since.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn give(session: &Session, give: &Give<'_>) -> Result<bool, Error> {
    identity::ensure(session).await?;
    declare(session, &[(give.unit, give.collections)]).await?;
    // A judgement of the unit without a share, or of other collections, says nothing about this one.
    let set = "collections = $7, share = $8::int4::numeric / 100, accepted = $9, tripped_at = NULL, tripped_by = NULL, green_since = NULL, \
               judged_until = CASE WHEN share > 0 AND tripped_at IS NULL AND collections = $7 THEN judged_until END";
    let Give { unit, collections, share, accepted, epoch, who, why } = give;
    let hundredths = i32::from(share.hundredths());
    let which = "unit = $5 AND epoch = $6";
    let params: [Param<'_>; 5] = [unit, epoch, collections, &hundredths, accepted];
    Ok(!change(session, Action::Share, who, *why, (set, which), &params).await?.is_empty())
}

/// Takes back all reads of a unit, or of all units; returns those that had any.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn take_back(
    session: &Session,
    unit: Option<&str>,
    who: &str,
    why: Option<&str>,
) -> Result<Vec<String>, Error> {
    let set =
        "share = 0, accepted = '{}', tripped_at = NULL, tripped_by = NULL, green_since = NULL, judged_until = NULL";
    change(session, Action::Back, who, why, (set, "share > 0 AND unit = coalesce($5, unit)"), &[&unit]).await
}

/// Trips a unit; returns whether it did: not if the row has changed since, or is tripped.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn trip(session: &Session, unit: &str, epoch: i64, who: &str, why: &str) -> Result<bool, Error> {
    let set = "tripped_at = clock_timestamp(), tripped_by = $4, green_since = NULL";
    let which = "unit = $5 AND epoch = $6 AND share > 0 AND tripped_at IS NULL";
    Ok(!change(session, Action::Trip, who, Some(why), (set, which), &[&unit, &epoch]).await?.is_empty())
}

/// Lets a tripped unit go on that has been green for this long, without a break and until now; returns whether it did.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn recover(
    session: &Session,
    unit: &str,
    epoch: i64,
    who: &str,
    green: Duration,
) -> Result<bool, Error> {
    let set = "tripped_at = NULL, tripped_by = NULL, green_since = NULL";
    let which = "unit = $5 AND epoch = $6 AND tripped_at IS NOT NULL AND judged_until > clock_timestamp() \
                 AND green_since <= clock_timestamp() - $7::float8 * interval '1 second'";
    let why = format!("nothing has stood against it for {} s", green.as_secs());
    let params: [Param<'_>; 3] = [&unit, &epoch, &green.as_secs_f64()];
    Ok(!change(session, Action::Recover, who, Some(&why), (set, which), &params).await?.is_empty())
}
