//! Reads how far the proof of each collection has come, and what stands against it: findings, foreign writes, orphans. Ages are
//! computed by PostgreSQL, in the statement that reads them.

use std::{collections::BTreeMap, time::Duration};

use tokio_postgres::Row;

use crate::{
    mapping::target::TableName,
    model::ClusterTime,
    postgres::{Error, Session, identity::OURS, session::field},
    sink::checkpoint,
};

/// The proof of a collection, as `driftless.proof` has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProofRow {
    /// The collection.
    pub(crate) collection: String,
    /// Digest of the compiled plan; under another one nothing here counts.
    pub(crate) plan: Vec<u8>,
    /// The pass under way.
    pub(crate) pass: Option<Pass>,
    /// The last complete pass.
    pub(crate) complete: Option<Complete>,
    /// Why no pass counts, although one was complete.
    pub(crate) void_because: Option<String>,
    /// The frontier up to which every changed key is judged.
    pub(crate) verified: Option<ClusterTime>,
    /// When that was true, in milliseconds since 1970, and how long ago that is.
    pub(crate) verified_at: Option<(i64, Duration)>,
    /// Keys that wait to be judged.
    pub(crate) undecided: u64,
    /// The first change of the key that has waited longest.
    pub(crate) undecided_since: Option<ClusterTime>,
    /// Why V does not advance.
    pub(crate) waits_for: Option<Waits>,
    /// Why the baseline does not go on.
    pub(crate) baseline_waits_for: Option<Waits>,
    /// Differences beyond the findings that are kept.
    pub(crate) left_out: u64,
    /// Whether the source has no collection of that name.
    pub(crate) no_such_collection: bool,
}

/// Why something does not go on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Waits {
    /// The reason.
    pub(crate) reason: String,
    /// The next step, where only a person can end it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// A pass under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Its number.
    pub(crate) number: i64,
    /// How long ago it began.
    pub(crate) age: Duration,
    /// `documents`, `ledger` or `rows`.
    pub(crate) phase: Option<String>,
    /// Documents compared.
    pub(crate) documents: u64,
    /// About how many there are.
    pub(crate) estimate: Option<u64>,
    /// Documents, entries and rows that were read.
    pub(crate) work: u64,
    /// About how many it will be at the end.
    pub(crate) expected: Option<u64>,
}

/// A complete pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complete {
    /// Its number.
    pub(crate) number: i64,
    /// When it began, in milliseconds since 1970, before its oldest read.
    pub(crate) began_ms: i64,
    /// How long ago that is.
    pub(crate) age: Duration,
    /// When it ended, in milliseconds since 1970.
    pub(crate) ended_ms: i64,
    /// Cluster time of its oldest read.
    pub(crate) oldest: Option<ClusterTime>,
    /// Documents compared.
    pub(crate) documents: u64,
}

/// A statement of somebody else that wrote a table, and what it touched is not compared again yet.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ForeignWrite {
    /// The table.
    #[serde(skip)]
    pub(crate) table: TableName,
    /// Its [label](TableName::label).
    pub(crate) relation: String,
    /// Statements.
    pub(crate) statements: u64,
    /// The operation of the first of them.
    pub(crate) operation: String,
    /// Who ran it.
    pub(crate) who: String,
    /// From which application.
    pub(crate) application: Option<String>,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
}

/// A foreign key, with the result of the last complete look at it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Reference {
    /// The table.
    #[serde(skip)]
    pub(crate) table: TableName,
    /// Its [label](TableName::label).
    pub(crate) relation: String,
    /// The constraint.
    pub(crate) constraint: String,
    /// The table that it refers to.
    #[serde(skip)]
    pub(crate) parent_table: TableName,
    /// Its [label](TableName::label).
    pub(crate) parent: String,
    /// When the last complete look began, in milliseconds since 1970.
    pub(crate) looked_ms: Option<i64>,
    /// Why there is no complete look.
    pub(crate) waits_for: Option<String>,
    /// Rows that lack their parent.
    pub(crate) orphans: u64,
}

/// Reads what is proven of every collection of this migration.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn proofs(session: &Session) -> Result<Vec<ProofRow>, Error> {
    let act = "read what is proven";
    let age = |column: &str| format!("(extract(epoch FROM clock_timestamp() - {column}) * 1000)::int8");
    let ms = |column: &str| format!("(extract(epoch FROM {column}) * 1000)::int8");
    let sql = format!(
        "SELECT c.name, p.plan, p.pass, {}, p.phase, p.documents, p.estimate, \
                p.complete_pass, {}, {}, {}, p.complete_t, p.complete_i, p.complete_documents, \
                p.void_because, p.verified_t, p.verified_i, {}, {}, p.undecided, p.undecided_t, p.undecided_i, \
                p.waits_for, p.hint, p.baseline_waits_for, p.baseline_hint, p.no_such_collection, p.work, p.expected, \
                greatest(p.complete_left_out, p.left_out) \
           FROM driftless.proof AS p JOIN driftless.collection AS c ON c.id = p.collection WHERE c.{OURS} ORDER BY c.name",
        age("p.began_at"),
        ms("p.complete_began_at"),
        age("p.complete_began_at"),
        ms("p.complete_ended_at"),
        ms("p.verified_at"),
        age("p.verified_at"),
    );
    session.query(act, &sql, &[&session.prefix()]).await?.iter().map(|row| proof(row, act)).collect()
}

fn proof(row: &Row, act: &str) -> Result<ProofRow, Error> {
    let number = |at: usize| field::<Option<i64>>(row, at, act);
    let count = |at: usize| Ok::<_, Error>(number(at)?.map(|count| u64::try_from(count).unwrap_or(0)));
    let age = |at: usize| Ok::<_, Error>(count(at)?.map(Duration::from_millis));
    let time = |at: usize| Ok::<_, Error>(checkpoint::cluster_time(number(at)?, number(at + 1)?));
    let waits = |at: usize| {
        let (reason, hint) = (field::<Option<String>>(row, at, act)?, field(row, at + 1, act)?);
        Ok::<_, Error>(reason.map(|reason| Waits { reason, hint }))
    };
    let pass = match (number(2)?, age(3)?) {
        (Some(number), Some(age)) => Some(Pass {
            number,
            age,
            phase: field(row, 4, act)?,
            documents: count(5)?.unwrap_or(0),
            estimate: count(6)?,
            work: count(27)?.unwrap_or(0),
            expected: count(28)?,
        }),
        _ => None,
    };
    let complete = match (number(7)?, number(8)?, age(9)?, number(10)?) {
        (Some(number), Some(began_ms), Some(age), Some(ended_ms)) => {
            Some(Complete { number, began_ms, age, ended_ms, oldest: time(11)?, documents: count(13)?.unwrap_or(0) })
        }
        _ => None,
    };
    Ok(ProofRow {
        collection: field(row, 0, act)?,
        plan: field(row, 1, act)?,
        pass,
        complete,
        void_because: field(row, 14, act)?,
        verified: time(15)?,
        verified_at: number(17)?.zip(age(18)?),
        undecided: count(19)?.unwrap_or(0),
        undecided_since: time(20)?,
        waits_for: waits(22)?,
        baseline_waits_for: waits(24)?,
        left_out: count(29)?.unwrap_or(0),
        no_such_collection: field(row, 26, act)?,
    })
}

/// Statements of others that are counted: one is enough to void a proof.
const MAX_COUNTED: i64 = 1_000;

/// Reads, for each table, the first of the statements of others that are not judged yet, and their number up to a bound.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn foreign_writes(session: &Session) -> Result<Vec<ForeignWrite>, Error> {
    let act = "read foreign writes";
    let sql = format!(
        "SELECT DISTINCT ON (relation) relation, count(*) OVER (PARTITION BY relation), operation, who, application, \
                (extract(epoch FROM at) * 1000)::int8 \
           FROM (SELECT * FROM driftless.foreign_write WHERE {OURS} AND judged_at IS NULL ORDER BY id LIMIT $2) AS open \
          ORDER BY relation, id"
    );
    let rows = session.query(act, &sql, &[&session.prefix(), &MAX_COUNTED]).await?;
    let writes = rows.iter().map(|row| {
        let statements: i64 = field(row, 1, act)?;
        Ok(ForeignWrite {
            table: table(field(row, 0, act)?),
            relation: field(row, 0, act)?,
            statements: u64::try_from(statements).unwrap_or(0),
            operation: field(row, 2, act)?,
            who: field(row, 3, act)?,
            application: field(row, 4, act)?,
            at_ms: field(row, 5, act)?,
        })
    });
    writes.collect()
}

/// A guarded table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// For how long it has been guarded without a break.
    pub unbroken: Duration,
    /// Why the guard does not hold.
    pub broken: Option<String>,
}

/// Reads the tables for which a guard was asked for, as the last look at their triggers found them.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn guarded(session: &Session) -> Result<BTreeMap<TableName, Guarded>, Error> {
    let act = "read which tables are guarded";
    let sql = format!(
        "SELECT relation, (extract(epoch FROM clock_timestamp() - since) * 1000)::int8, broken \
           FROM driftless.guard WHERE {OURS}"
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let guarded = rows.iter().map(|row| {
        let age: i64 = field(row, 1, act)?;
        let unbroken = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        Ok((table(field(row, 0, act)?), Guarded { unbroken, broken: field(row, 2, act)? }))
    });
    guarded.collect()
}

/// Reads the foreign keys from and to the mapped tables with the rows that lack their parent.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn references(session: &Session) -> Result<Vec<Reference>, Error> {
    let act = "read the integrity of the tables";
    let sql = format!(
        "SELECT relation, constraint_name, parent, (extract(epoch FROM looked_at) * 1000)::int8, orphans, waits_for \
           FROM driftless.integrity WHERE {OURS} ORDER BY relation, constraint_name"
    );
    let rows = session.query(act, &sql, &[&session.prefix()]).await?;
    let references = rows.iter().map(|row| {
        let orphans: i64 = field(row, 4, act)?;
        Ok(Reference {
            table: table(field(row, 0, act)?),
            relation: field(row, 0, act)?,
            constraint: field(row, 1, act)?,
            parent_table: table(field(row, 2, act)?),
            parent: field(row, 2, act)?,
            waits_for: field(row, 5, act)?,
            looked_ms: field(row, 3, act)?,
            orphans: u64::try_from(orphans).unwrap_or(0),
        })
    });
    references.collect()
}

/// A chunk of a baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    /// Its place in the pass.
    pub place: i64,
    /// `documents`, `ledger` or `rows`.
    pub phase: String,
    /// The end of the chunk before it in the same phase, in hex; `None` for the first.
    pub after: Option<String>,
    /// Its own end; `None` for the last of the phase.
    pub until: Option<String>,
    /// Cluster time of the read.
    pub as_of: ClusterTime,
    /// Documents, entries or rows.
    pub documents: u64,
    /// Differences.
    pub findings: u64,
    /// When it was judged, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Reads the chunks of a pass over a collection, in their order.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub async fn chunks(session: &Session, collection: &str, pass: i64) -> Result<Vec<ChunkRow>, Error> {
    let act = "read the chunks of a baseline";
    let sql = format!(
        "SELECT b.place, b.phase, encode(b.after, 'hex'), encode(b.until, 'hex'), b.as_of_t, b.as_of_i, b.documents, \
                b.findings, (extract(epoch FROM b.at) * 1000)::int8 \
           FROM driftless.baseline_chunk AS b JOIN driftless.collection AS c ON c.id = b.collection \
          WHERE c.{OURS} AND c.name = $2 AND b.pass = $3 ORDER BY b.place"
    );
    let rows = session.query(act, &sql, &[&session.prefix(), &collection, &pass]).await?;
    let chunks = rows.iter().map(|row| {
        let count = |at: usize| Ok::<_, Error>(u64::try_from(field::<i64>(row, at, act)?).unwrap_or(0));
        Ok(ChunkRow {
            place: field(row, 0, act)?,
            phase: field(row, 1, act)?,
            after: field(row, 2, act)?,
            until: field(row, 3, act)?,
            as_of: checkpoint::cluster_time(field(row, 4, act)?, field(row, 5, act)?).unwrap_or_default(),
            documents: count(6)?,
            findings: count(7)?,
            at_ms: field(row, 8, act)?,
        })
    });
    chunks.collect()
}

/// The table of this name, which is written as `schema.table`, quoted where needed.
fn table(relation: &str) -> TableName {
    TableName::parse(relation).unwrap_or_else(|| TableName::new("", relation))
}
