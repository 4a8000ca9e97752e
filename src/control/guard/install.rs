//! Installs and removes the triggers of the guard.

use super::{Guarded, Mode, triggers};
use crate::{
    control::journal::record_action,
    mapping::target::quote_ident,
    postgres::{
        Error, Refusal, Session,
        identity::{self, OURS},
        session::{Param, field},
    },
    retry,
};

/// A table whose triggers were changed, or would be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Changed {
    /// The table: `schema.table`.
    pub relation: String,
    /// The statements that were executed, or would be.
    pub sql: Vec<String>,
    /// The error; nothing of this table was changed.
    pub problem: Option<String>,
    /// Whether that error is a right that the role lacks.
    #[serde(skip)]
    pub(crate) is_denied: bool,
}

impl Changed {
    fn new(relation: String, sql: Vec<String>, refused: Option<Error>) -> Self {
        let is_denied = refused.as_ref().and_then(Error::refusal).is_some_and(Refusal::is_of_a_right);
        Self { relation, sql, problem: refused.as_ref().map(|error| retry::chain(error)), is_denied }
    }
}

/// How long a table may be in use by others before it is left as it is: a trigger needs a lock that writers wait behind, the sink
/// among them.
pub(crate) const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '5s'";

/// Installs the guard on these tables, each in a transaction of its own, and records who did it. What is there already and as it
/// should be is not touched, so a role without the right to make triggers can record those that the owner of a table has made.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause. A table that fails is in the result and not an error.
pub async fn install(session: &Session, guarded: &[Guarded], mode: Mode, who: &str) -> Result<Vec<Changed>, Error> {
    session.transaction("record the migration", true, identity::ensure(session)).await?;
    let migration = identity::number(session).await?.unwrap_or_default();
    let mut changed = Vec::new();
    for looked in triggers::find(session, migration, guarded, |_| mode).await? {
        let one = &guarded[looked.place..=looked.place];
        let act = format!("guard {}", looked.relation);
        let installed = async {
            session.batch(&act, LOCK_TIMEOUT).await?;
            install_one(session, migration, one, mode, who).await
        };
        let refused = refused(session.transaction(&act, true, installed).await)?;
        changed.push(Changed::new(looked.relation, looked.repair, refused));
    }
    record(session, who, "guard install", serde_json::json!({ "mode": mode }), &changed).await?;
    Ok(changed)
}

/// Returns what [`install`] would do, and changes nothing; works without the schema `driftless` too. Its statements name the number of
/// the migration: 1 as long as it has none.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn preview(session: &Session, guarded: &[Guarded], mode: Mode) -> Result<Vec<Changed>, Error> {
    let migration = identity::number(session).await?.unwrap_or(1);
    let found = triggers::find(session, migration, guarded, |_| mode).await?;
    Ok(found.into_iter().map(|looked| Changed::new(looked.relation, looked.repair, None)).collect())
}

/// Makes the triggers of one table and records what they are; inside the transaction of the caller.
pub(super) async fn install_one(
    session: &Session,
    migration: i32,
    one: &[Guarded],
    mode: Mode,
    who: &str,
) -> Result<(), Error> {
    let act = "make the triggers of the guard";
    for looked in triggers::find(session, migration, one, |_| mode).await? {
        for sql in &looked.repair {
            session.batch(act, sql).await?;
        }
    }
    for looked in triggers::find(session, migration, one, |_| mode).await? {
        // Every writer that did not meet the triggers has ended, because they need a lock that excludes writers.
        let sql = "INSERT INTO driftless.guard AS g (migration, relation, mode, fingerprint, looked_at, who, lost) \
                   VALUES ($1, $2, $3, $4, clock_timestamp(), $5, driftless.foreign_writes_lost()) \
                   ON CONFLICT (migration, relation) DO UPDATE SET mode = excluded.mode, who = excluded.who, broken = NULL, \
                     looked_at = excluded.looked_at, fingerprint = excluded.fingerprint, \
                     since = CASE WHEN g.fingerprint = excluded.fingerprint AND g.broken IS NULL THEN g.since \
                                  ELSE excluded.since END";
        let params: [Param<'_>; 5] =
            [&migration, &looked.relation, &mode.as_str(), &looked.fingerprint, &session.storable(who)];
        session.execute(act, sql, &params).await?;
    }
    Ok(())
}

const TRIGGERS: &str = r"
SELECT format('%I.%I', n.nspname, c.relname), array_agg(t.tgname::text ORDER BY t.tgname)
  FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE t.tgfoid IN (to_regprocedure('driftless.guard()'), to_regprocedure('driftless.guard_end()')) AND t.tgparentid = 0
   AND split_part(encode(t.tgargs, 'escape'), '\000', 1) = $1::int4::text
 GROUP BY 1 ORDER BY 1";

const REMOVE: &str = "remove the triggers of the guard";

/// The statements that drop the triggers of a migration, by its number, with their tables.
async fn drops(session: &Session, migration: i32) -> Result<Vec<(String, Vec<String>)>, Error> {
    let rows = session.query(REMOVE, TRIGGERS, &[&migration]).await?;
    let drops = rows.iter().map(|row| {
        let (relation, names): (String, Vec<String>) = (field(row, 0, REMOVE)?, field(row, 1, REMOVE)?);
        let drop = |name: &String| format!("DROP TRIGGER IF EXISTS {} ON {relation}", quote_ident(name));
        let drops = names.iter().map(drop).collect();
        Ok((relation, drops))
    });
    drops.collect()
}

/// Drops the triggers of a migration, by its number, inside the transaction of the caller.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub(crate) async fn drop_triggers(session: &Session, migration: i32) -> Result<(), Error> {
    for sql in drops(session, migration).await?.into_iter().flat_map(|(_, drops)| drops) {
        session.batch(REMOVE, &sql).await?;
    }
    Ok(())
}

/// Removes every trigger of this migration's guard, also from tables that are no longer mapped, and records who did it.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause. A table that fails is in the result and not an error.
pub async fn remove(session: &Session, who: &str, dry_run: bool) -> Result<Vec<Changed>, Error> {
    let act = REMOVE;
    let migration = identity::number(session).await?.unwrap_or_default();
    let mut changed = Vec::new();
    for (relation, sql) in drops(session, migration).await? {
        let mut failed = None;
        if !dry_run {
            let removed = async {
                session.batch(act, LOCK_TIMEOUT).await?;
                for sql in &sql {
                    session.batch(act, sql).await?;
                }
                Ok(())
            };
            failed = refused(session.transaction(act, true, removed).await)?;
        }
        changed.push(Changed::new(relation, sql, failed));
    }
    if !dry_run {
        let failed: Vec<&str> = failed(&changed).map(|changed| changed.relation.as_str()).collect();
        let sql = format!("DELETE FROM driftless.guard WHERE {OURS} AND NOT relation = ANY ($2)");
        session.execute(act, &sql, &[&session.prefix(), &failed]).await?;
        record(session, who, "guard remove", serde_json::json!({}), &changed).await?;
    }
    Ok(changed)
}

fn failed(changed: &[Changed]) -> impl Iterator<Item = &Changed> {
    changed.iter().filter(|changed| changed.problem.is_some())
}

/// Returns the refusal of a statement; any other error remains one.
fn refused(outcome: Result<(), Error>) -> Result<Option<Error>, Error> {
    match outcome {
        Ok(()) => Ok(None),
        Err(error) if error.refusal().is_some() => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

async fn record(
    session: &Session,
    who: &str,
    command: &str,
    mut detail: serde_json::Value,
    changed: &[Changed],
) -> Result<(), Error> {
    let tables = changed.iter().filter(|changed| changed.problem.is_none()).map(|changed| changed.relation.as_str());
    detail["tables"] = tables.collect();
    record_action(session, who, command, &detail).await
}
