//! By which rule the rows of a collection got their keys.
//!
//! Under another rule or namespace every document would get another row, and nothing would ever find the old ones again: neither a
//! delete, which carries only the `_id`, nor an update. So the rule is recorded with the collection, and another one is refused while
//! the ledger has documents.

use crate::{
    mapping::Plan,
    postgres::{Error, Session, session::field},
};

const ACT: &str = "compare the rules of keys";

/// Collections of this migration that have documents, and another rule than the plan.
const CHANGED: &str = "
SELECT c.name, c.id, c.key_rule, e.rule FROM unnest($1::text[], $2::text[]) AS e(name, rule)
  JOIN driftless.identity AS i ON i.prefix = $3
  JOIN driftless.collection AS c ON c.migration = i.id AND c.name = e.name
 WHERE c.key_rule <> e.rule AND EXISTS (SELECT FROM driftless.ledger AS l WHERE l.collection = c.id)
 ORDER BY c.name";

const RECORD: &str = "
UPDATE driftless.collection AS c SET key_rule = e.rule FROM unnest($1::text[], $2::text[]) AS e(name, rule)
 WHERE c.name = e.name AND c.key_rule IS DISTINCT FROM e.rule
   AND c.migration = (SELECT id FROM driftless.identity WHERE prefix = $3)";

/// Compares the rules of the plan with the recorded ones; records nothing, not even where the schema has not been made.
///
/// # Errors
/// [`Error::KeyRuleChanged`] halts; [`Error::Statement`] by its cause.
pub async fn compare(session: &Session, plan: &Plan) -> Result<(), Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('driftless.collection') \
                                 AND attname = 'key_rule' AND NOT attisdropped)";
    if !field::<bool>(&session.query_one(ACT, sql, &[]).await?, 0, ACT)? {
        return Ok(());
    }
    let (names, rules) = rules(plan);
    match session.query(ACT, CHANGED, &[&names, &rules, &session.prefix()]).await?.first() {
        None => Ok(()),
        Some(row) => Err(Error::KeyRuleChanged {
            collection: field(row, 0, ACT)?,
            id: field(row, 1, ACT)?,
            known: field(row, 2, ACT)?,
            wanted: field(row, 3, ACT)?,
        }),
    }
}

/// Records the rules of the plan, unless one of them may not change. Inside a transaction of the caller's.
pub(super) async fn record(session: &Session, plan: &Plan) -> Result<(), Error> {
    compare(session, plan).await?;
    let (names, rules) = rules(plan);
    session.execute("record the rules of keys", RECORD, &[&names, &rules, &session.prefix()]).await?;
    Ok(())
}

/// Records the rules of these collections of the plan, whatever was recorded: a caller who has found that the rows keep their keys.
/// Inside a transaction of the caller's.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn replace(session: &Session, plan: &Plan, collections: &[String]) -> Result<(), Error> {
    let (names, rules) = rules(plan);
    let (names, rules): (Vec<_>, Vec<_>) =
        std::iter::zip(names, rules).filter(|(name, _)| collections.iter().any(|one| one == name)).unzip();
    session.execute("record the rules of keys", RECORD, &[&names, &rules, &session.prefix()]).await?;
    Ok(())
}

fn rules(plan: &Plan) -> (Vec<&str>, Vec<String>) {
    plan.collections().iter().map(|plan| (plan.collection.as_str(), plan.key_rule())).unzip()
}
