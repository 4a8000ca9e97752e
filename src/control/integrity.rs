//! The state of the foreign keys of the mapped tables: the look under way, the last complete one, and rows without their parent.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    log::ejson,
    model::Key,
    postgres::{
        Error, Session,
        identity::OURS,
        session::{Param, field},
    },
    target::{Reference, RowKey},
};

/// Rows without a parent that are kept for each foreign key; all are counted. More do not help to find the cause.
pub(crate) const MAX_ORPHANS: usize = 1_000;

/// The progress of a look at one foreign key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last row that was looked at and needs no second look.
    pub(crate) after: Option<RowKey>,
    /// Rows up to there.
    pub(crate) rows: u64,
    /// Those of them that lack their parent.
    pub(crate) orphans: u64,
}

/// A row without its parent, and its document as far as that is known: number of the collection and key.
pub(crate) type Orphan = (Map<String, Value>, Option<(i32, Key)>);

/// Makes the rows of these foreign keys, and removes those of others.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn register(session: &Session, references: &[Reference]) -> Result<(), Error> {
    let act = "record the foreign keys of the target";
    let relations: Vec<&str> = references.iter().map(|reference| reference.relation.as_str()).collect();
    let names: Vec<&str> = references.iter().map(|reference| reference.constraint.as_str()).collect();
    let parents: Vec<&str> = references.iter().map(|reference| reference.parent.as_str()).collect();
    let registered = async {
        for table in ["orphan", "integrity"] {
            let sql = format!(
                "DELETE FROM driftless.{table} AS t WHERE {OURS} \
                    AND (t.relation, t.constraint_name) NOT IN (SELECT * FROM unnest($2::text[], $3::text[]))"
            );
            session.execute(act, &sql, &[&session.prefix(), &relations, &names]).await?;
        }
        let sql = "INSERT INTO driftless.integrity AS t (migration, relation, constraint_name, parent) \
                   SELECT i.id, e.* FROM driftless.identity AS i, unnest($2::text[], $3::text[], $4::text[]) AS e WHERE i.prefix = $1 \
                   ON CONFLICT (migration, relation, constraint_name) DO UPDATE SET parent = excluded.parent";
        session.execute(act, sql, &[&session.prefix(), &relations, &names, &parents]).await
    };
    session.transaction(act, true, registered).await.map(|_| ())
}

/// The condition of a statement on one foreign key: parameters 1 to 3.
const THIS: &str = "t.migration = (SELECT id FROM driftless.identity WHERE prefix = $1) AND t.relation = $2 AND t.constraint_name = $3";

/// Lists the looks that are due: those under way, then those whose last one is the longest ago, at least `every`. Gives their places
/// in `references` and where they go on.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn due(
    session: &Session,
    references: &[Reference],
    every: Duration,
) -> Result<Vec<(usize, Progress)>, Error> {
    let act = "choose the next foreign key";
    let sql = format!(
        "SELECT relation, constraint_name, after, rows_so_far, orphans_so_far FROM driftless.integrity AS t \
          WHERE {OURS} AND (began_at IS NOT NULL OR looked_at IS NULL OR looked_at < clock_timestamp() - $2 * interval '1 second') \
          ORDER BY began_at NULLS LAST, looked_at NULLS FIRST, relation, constraint_name"
    );
    let mut due = Vec::new();
    for row in session.query(act, &sql, &[&session.prefix(), &every.as_secs_f64()]).await? {
        let (relation, name): (&str, &str) = (field(&row, 0, act)?, field(&row, 1, act)?);
        let place = references.iter().position(|known| known.relation == relation && known.constraint == name);
        let number = |at| Ok::<_, Error>(u64::try_from(field::<i64>(&row, at, act)?).unwrap_or(0));
        let progress = Progress { after: field(&row, 2, act)?, rows: number(3)?, orphans: number(4)? };
        due.extend(place.map(|place| (place, progress)));
    }
    Ok(due)
}

/// Records that a look begins, unless one is under way.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn begin(session: &Session, reference: &Reference) -> Result<(), Error> {
    let sql =
        format!("UPDATE driftless.integrity AS t SET began_at = clock_timestamp() WHERE {THIS} AND began_at IS NULL");
    let params: [Param<'_>; 3] = [&session.prefix(), &reference.relation, &reference.constraint];
    session.execute("record the beginning of a look at a foreign key", &sql, &params).await?;
    Ok(())
}

/// Records the progress of a look, and the orphans that it has met.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn save(
    session: &Session,
    reference: &Reference,
    progress: &Progress,
    orphans: &[Orphan],
) -> Result<(), Error> {
    let act = "record the progress of a look at a foreign key";
    let saved = async {
        store(session, reference, orphans).await?;
        let sql = format!(
            "UPDATE driftless.integrity AS t SET after = $4, rows_so_far = $5, orphans_so_far = $6, waits_for = NULL WHERE {THIS}"
        );
        let (rows, orphans) = counts(progress);
        let params: [Param<'_>; 6] =
            [&session.prefix(), &reference.relation, &reference.constraint, &progress.after, &rows, &orphans];
        session.execute(act, &sql, &params).await
    };
    session.transaction(act, true, saved).await.map(|_| ())
}

fn counts(progress: &Progress) -> (i64, i64) {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    (number(progress.rows), number(progress.orphans))
}

async fn store(session: &Session, reference: &Reference, orphans: &[Orphan]) -> Result<(), Error> {
    let orphans = orphans.iter().map(|(row, document)| {
        let collection = document.as_ref().map(|(collection, _)| collection);
        let key = document.as_ref().map(|(_, key)| hex::encode(key.as_bytes()));
        json!({ "row": row, "collection": collection, "key": key })
    });
    let orphans: Value = orphans.collect();
    let sql = format!(
        "INSERT INTO driftless.orphan AS t (migration, relation, constraint_name, row_key, collection, key) \
         SELECT i.id, $2, $3, e.row, e.collection, decode(e.key, 'hex') \
           FROM driftless.identity AS i, jsonb_to_recordset($4::jsonb) AS e(row jsonb, collection int4, key text) WHERE i.prefix = $1 \
          LIMIT (SELECT greatest({MAX_ORPHANS} - count(*), 0) FROM driftless.orphan AS t WHERE {THIS} \
                    AND row_key NOT IN (SELECT o -> 'row' FROM jsonb_array_elements($4::jsonb) AS o)) \
         ON CONFLICT (migration, relation, constraint_name, row_key) DO UPDATE \
           SET collection = excluded.collection, key = excluded.key, confirmed_at = clock_timestamp()"
    );
    let params: [Param<'_>; 4] =
        [&session.prefix(), &reference.relation, &reference.constraint, &session.storable_json(&orphans)];
    session.execute("record rows without their parent", &sql, &params).await?;
    Ok(())
}

/// Records a complete look. `began` is when it began, in microseconds since 1970 by PostgreSQL's clock; `None`: as recorded.
/// Orphans that it has not met again are no longer kept.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn complete(
    session: &Session,
    reference: &Reference,
    began: Option<i64>,
    progress: &Progress,
    orphans: &[Orphan],
) -> Result<(), Error> {
    let act = "record a complete look at a foreign key";
    let completed = async {
        store(session, reference, orphans).await?;
        let sql = format!(
            "WITH looked AS (\
               UPDATE driftless.integrity AS t SET rows = $4, orphans = $5, waits_for = NULL, \
                      looked_at = coalesce('epoch'::timestamptz + $6 * interval '1 microsecond', began_at, looked_at), \
                      began_at = NULL, after = NULL, rows_so_far = 0, orphans_so_far = 0 \
                WHERE {THIS} RETURNING looked_at) \
             DELETE FROM driftless.orphan AS t WHERE {THIS} AND confirmed_at < (SELECT looked_at FROM looked)"
        );
        let (rows, orphans) = counts(progress);
        let params: [Param<'_>; 6] = [
            &session.prefix(),
            &reference.relation,
            &reference.constraint,
            &rows,
            &orphans,
            &began.map(|at| at as f64),
        ];
        session.execute(act, &sql, &params).await
    };
    session.transaction(act, true, completed).await.map(|_| ())
}

/// Records why a foreign key cannot be looked at completely. The look under way ends where it has come to nothing.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn waits(session: &Session, reference: &Reference, because: &str) -> Result<(), Error> {
    let sql = format!("UPDATE driftless.integrity AS t SET waits_for = $4 WHERE {THIS}");
    let params: [Param<'_>; 4] =
        [&session.prefix(), &reference.relation, &reference.constraint, &session.storable(because)];
    session.execute("record what a look at a foreign key waits for", &sql, &params).await?;
    Ok(())
}

/// Reads PostgreSQL's clock, in microseconds since 1970.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn now(session: &Session) -> Result<i64, Error> {
    let act = "read the clock";
    let row = session.query_one(act, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8", &[]).await?;
    field(&row, 0, act)
}

/// A foreign key, and what the last complete look at it has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Looked {
    /// The table, as its [label](crate::mapping::target::TableName::label).
    pub(crate) relation: String,
    /// The constraint.
    pub(crate) constraint: String,
    /// The table that it refers to.
    pub(crate) parent: String,
    /// When the last complete look began.
    pub(crate) looked_at: Option<Timestamp>,
    /// Rows that it looked at.
    pub(crate) rows: u64,
    /// Those that lack their parent.
    pub(crate) orphans: u64,
    /// Why there is no complete look.
    pub(crate) waits_for: Option<String>,
}

/// Reads what is known of every foreign key.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn list(session: &Session) -> Result<Vec<Looked>, Error> {
    let act = "read the integrity of the target";
    let sql = format!(
        "SELECT relation, constraint_name, parent, (extract(epoch FROM looked_at) * 1000000)::int8, rows, orphans, waits_for \
           FROM driftless.integrity WHERE {OURS} ORDER BY relation, constraint_name"
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let looked = |row: &tokio_postgres::Row| {
        let at: Option<i64> = field(row, 3, act)?;
        Ok(Looked {
            relation: field(row, 0, act)?,
            constraint: field(row, 1, act)?,
            parent: field(row, 2, act)?,
            looked_at: at.and_then(|at| Timestamp::from_microsecond(at).ok()),
            rows: u64::try_from(field::<i64>(row, 4, act)?).unwrap_or(0),
            orphans: u64::try_from(field::<i64>(row, 5, act)?).unwrap_or(0),
            waits_for: field(row, 6, act)?,
        })
    };
    rows.iter().map(looked).collect()
}

/// A row without its parent, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ShownOrphan {
    /// The table, as in [`Looked`].
    pub(crate) relation: String,
    /// The constraint.
    pub(crate) constraint: String,
    /// The primary key of the row: {column: text}.
    pub(crate) row: Value,
    /// The collection and the `_id` of the document whose reference dangles, as far as they are known.
    pub(crate) collection: Option<String>,
    /// See `collection`.
    pub(crate) id: Option<String>,
}

/// Reads the rows without their parent that are kept.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn orphans(session: &Session, limit: usize) -> Result<Vec<ShownOrphan>, Error> {
    let act = "read rows without their parent";
    let sql = format!(
        "SELECT o.relation, o.constraint_name, o.row_key, c.name, o.key FROM driftless.orphan AS o \
           LEFT JOIN driftless.collection AS c ON c.id = o.collection \
          WHERE o.{OURS} ORDER BY o.relation, o.constraint_name, o.found_at, o.row_key LIMIT $2"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = session.query(act, &sql, &[&session.prefix(), &limit]).await?;
    let orphan = |row: &tokio_postgres::Row| {
        let key: Option<Vec<u8>> = field(row, 4, act)?;
        Ok(ShownOrphan {
            relation: field(row, 0, act)?,
            constraint: field(row, 1, act)?,
            row: field(row, 2, act)?,
            collection: field(row, 3, act)?,
            id: key.map(|key| ejson::id_text(&Key::from_bytes(key))),
        })
    };
    rows.iter().map(orphan).collect()
}
