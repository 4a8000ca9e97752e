//! The swap: tables and state of the running migration and of its sibling are exchanged, in one transaction.
//!
//! ```text
//!  BEGIN
//!   mapping and positions of both: locked, so that no batch of either sink is open, and none begins
//!   tables of both: locked at once or not at all; the guard of the new ones is looked at
//!   app_v2.* ─▶ driftless_swap.*, app.* ─▶ app_before.*, driftless_swap.* ─▶ app.*
//!   state: of the running one ─▶ a new sibling, of the sibling ─▶ the running one; names of tables follow
//!   mapping: exchanged too, under a new number for either
//!   guard and proof: made again for the new names, under the same locks, so they go on
//!  COMMIT
//! ```
//! A sink that was waiting finds its positions under another number, or under another migration, and writes nothing: it makes its plan
//! again, as after [`mapping::apply`](crate::control::mapping::apply). So does a reconciler.
//!
//! Readers take the locks of several tables in any order, so a wait for the next table could close a cycle. PostgreSQL looks for
//! cycles after `deadlock_timeout`; the swap gives up in half of that, with everything undone, and tries again. So the victim is never
//! a reader.

use std::{collections::BTreeMap, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Sibling, running, tables};
use crate::{
    control::{
        guard,
        journal::record_action,
        proofs::{self, Since},
    },
    mapping::{
        Fault, MappingFile, Plan,
        target::{TableName, quote_ident},
    },
    postgres::{
        Error, Refusal, Session, identity, read_catalog, schema,
        session::{Param, field},
    },
    retry::{Backoff, retry_transient},
};

/// A swap that is to be made.
pub(crate) struct Swap<'a> {
    /// A session of the running migration whose role owns the tables of both.
    pub(crate) session: &'a Session,
    /// The sibling.
    pub(crate) sibling: &'a Sibling,
    /// The mapping with the tables of the sibling, and with those of the running migration.
    pub(crate) mappings: (&'a MappingFile, &'a MappingFile),
    /// The schema in which the tables of the running migration are.
    pub(crate) home: &'a str,
    /// The schema that takes the old tables.
    pub(crate) aside: &'a str,
    /// Who swaps.
    pub(crate) who: &'a str,
    /// Why.
    pub(crate) why: &'a str,
}

/// The tables that were moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Swapped {
    /// The tables that the running migration had, by their new names.
    pub(crate) aside: Vec<String>,
    /// The tables that it has now.
    pub(crate) home: Vec<String>,
    /// Those of them that were guarded, and are.
    pub(crate) guarded: usize,
    /// The collections whose proof goes on.
    pub(crate) proven: usize,
}

/// Takes the tables on their way, so that those of either side may have the names of the other.
const WAY: &str = "driftless_swap";
/// The tables of the schema `driftless` whose rows are of tables and topics, and follow them. Ledger, findings and proofs follow the
/// collections; requests, pauses and reads are of the migration, and stay.
const STATE: [&str; 10] = [
    "collection",
    "relation",
    "position",
    "dead_letter",
    "deferred",
    "delta",
    "guard",
    "foreign_write",
    "integrity",
    "orphan",
];

/// Attempts to have the locks, which others may hold for long. Readers of the tables wait for half of `deadlock_timeout` in each.
const TRIES: usize = 8;
/// The delays between two attempts.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_millis(400) };

/// Bounds every wait by half of the time after which a waiting reader looks for a cycle.
const GIVE_UP: &str = "SELECT set_config(name, (extract(epoch FROM current_setting('deadlock_timeout')::interval) * 500)::int8::text, true) \
                         FROM unnest(ARRAY['lock_timeout', 'statement_timeout']) AS name";

const ACT: &str = "swap";

impl Swap<'_> {
    /// Swaps.
    ///
    /// # Errors
    /// The outer error by its cause; nothing has changed then. The inner ones: the mapping does not fit the tables once they are in their
    /// place.
    pub(crate) async fn run(&self) -> Result<Result<Swapped, Vec<Fault>>, Error> {
        let (cancel, mut tries) = (CancellationToken::new(), 0);
        let stalled = |_: &Error, _| {
            tries += 1;
            if tries == TRIES {
                cancel.cancel();
            }
        };
        let swapped = retry_transient(BACKOFF, &cancel, stalled, || self.attempt()).await?;
        match swapped {
            Some(done) => done,
            None => Err(Error::TablesInUse { by: self.users().await? }),
        }
    }

    /// Swaps once. The outer error is that a lock cannot be had, and everything is undone.
    async fn attempt(&self) -> Result<Result<Result<Swapped, Vec<Fault>>, Error>, Error> {
        let mut faults = Vec::new();
        let swapped = self.session.transaction(ACT, true, self.inside(&mut faults)).await;
        match swapped {
            Err(error) if error.refusal().is_some_and(Refusal::is_of_a_lock) => Err(error),
            Err(_) if !faults.is_empty() => Ok(Ok(Err(faults))),
            swapped => Ok(swapped.map(Ok)),
        }
    }

    async fn inside(&self, faults: &mut Vec<Fault>) -> Result<Swapped, Error> {
        let session = self.session;
        session.batch(ACT, guard::LOCK_TIMEOUT).await?;
        session.execute(ACT, "SELECT pg_advisory_xact_lock($1)", &[&schema::LOCK]).await?;
        let running = running(session).await?;
        let (old, new) = (tables(session, running).await?, tables(session, self.sibling.id).await?);
        self.lock(running, old.iter().chain(&new)).await?;

        let guarded = guard::Held::find(session, self.sibling.id, self.mappings.0).await?;
        guard::drop_triggers(session, running).await?;
        guard::drop_triggers(session, self.sibling.id).await?;
        let digests_before = self.digests(self.mappings.0, faults).await?;

        self.create(WAY).await?;
        self.create(self.aside).await?;
        self.create(self.home).await?;
        let on_its_way = self.move_to(&new, WAY).await?;
        let aside = self.move_to(&old, self.aside).await?;
        let home = self.move_to(&on_its_way, self.home).await?;
        session.batch(ACT, &format!("DROP SCHEMA {WAY}")).await?;

        let retired = self.exchange(running).await?;
        self.rename(retired, &old, &aside).await?;
        self.rename(running, &new, &home).await?;
        session.execute(ACT, "DELETE FROM driftless.guard WHERE migration = $1", &[&retired]).await?;
        let digests = self.digests(self.mappings.1, faults).await?;
        let proven = self.carry_proof(running, &digests_before, &digests).await?;
        let guarded = guarded.install(session, running, self.mappings.1, self.who).await?;

        let labels = |tables: &[TableName]| tables.iter().map(TableName::label).collect::<Vec<_>>();
        let swapped = Swapped { aside: labels(&aside), home: labels(&home), guarded, proven };
        let detail = serde_json::json!({ "schema": self.sibling.schema, "why": self.why, "tables": swapped.home, "aside": swapped.aside });
        record_action(session, self.who, "replay swap", &detail).await?;
        Ok(swapped)
    }

    /// Takes the locks in the order of a batch: mapping, positions, tables.
    async fn lock(&self, running: i32, tables: impl Iterator<Item = &TableName>) -> Result<(), Error> {
        let session = self.session;
        let both = vec![running, self.sibling.id];
        let mapping = "SELECT FROM driftless.mapping WHERE migration = ANY ($1) ORDER BY migration FOR UPDATE";
        let positions =
            "SELECT FROM driftless.position WHERE migration = ANY ($1) ORDER BY topic, partition, migration FOR UPDATE";
        for sql in [mapping, positions] {
            session.execute("wait for the sinks", sql, &[&both]).await?;
        }
        let usual = session.setting("statement_timeout").await?;
        session.execute(ACT, GIVE_UP, &[]).await?;
        let tables = tables.map(TableName::to_string).collect::<Vec<_>>().join(", ");
        session.batch("lock the tables", &format!("LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")).await?;
        session.execute(ACT, "SELECT set_config('statement_timeout', $1, true)", &[&usual]).await?;
        Ok(())
    }

    /// Describes the sessions that have used tables of either side for longest, with what they call themselves.
    async fn users(&self) -> Result<Vec<String>, Error> {
        let sql = "SELECT format('process %s (%s) has used %s for %s s', a.pid, coalesce(nullif(a.application_name, ''), 'no name'), \
                                 min(r.name), extract(epoch FROM clock_timestamp() - a.xact_start)::int8) \
                     FROM driftless.relation AS r JOIN driftless.identity AS i ON i.id = r.migration \
                     JOIN pg_locks AS l ON l.relation = to_regclass(r.name) AND l.granted \
                     JOIN pg_stat_activity AS a ON a.pid = l.pid \
                    WHERE r.written AND i.prefix IN ($1, $2) AND l.pid <> pg_backend_pid() AND l.database = a.datid \
                    GROUP BY a.pid, a.application_name, a.xact_start ORDER BY a.xact_start LIMIT 3";
        let sibling = identity::name(self.session.prefix(), Some(&self.sibling.schema));
        let rows = self.session.query(ACT, sql, &[&self.session.prefix(), &sibling]).await?;
        rows.iter().map(|row| field(row, 0, ACT)).collect()
    }

    /// Creates a schema that is missing. The catalog is asked first, because IF NOT EXISTS needs the right to create all the same.
    async fn create(&self, schema: &str) -> Result<(), Error> {
        let sql = "SELECT FROM pg_namespace WHERE nspname = $1";
        if self.session.query_opt(ACT, sql, &[&schema]).await?.is_none() {
            let sql = format!("CREATE SCHEMA {}", quote_ident(schema));
            self.session.batch(&format!("create schema {schema}"), &sql).await?;
        }
        Ok(())
    }

    async fn move_to(&self, tables: &[TableName], schema: &str) -> Result<Vec<TableName>, Error> {
        let mut moved = Vec::with_capacity(tables.len());
        for table in tables {
            let sql = format!("ALTER TABLE {table} SET SCHEMA {}", quote_ident(schema));
            self.session.batch(&format!("move table {} to schema {schema}", table.label()), &sql).await?;
            moved.push(TableName::new(schema, table.name.clone()));
        }
        Ok(moved)
    }

    /// Gives the state of the running migration to a new sibling, and that of the sibling to the running migration. Returns the number of
    /// the new sibling.
    async fn exchange(&self, running: i32) -> Result<i32, Error> {
        let session = self.session;
        let (who, why) = (session.storable(self.who), session.storable(self.why));
        // A reconciler that was waiting for the old tables may go on with the new ones before it notices.
        let sql = "SELECT coalesce(array_agg(id), '{}') FROM driftless.collection WHERE migration = $1";
        let outgoing: Vec<i32> = field(&session.query_one(ACT, sql, &[&running]).await?, 0, ACT)?;
        proofs::void(session, &outgoing, "the tables were swapped out", Since::AsBefore).await?;
        // The old tables may take the place, and so the name, of the new ones.
        let sql = "UPDATE driftless.identity SET prefix = prefix || '~' WHERE id = $1";
        session.execute(ACT, sql, &[&self.sibling.id]).await?;
        let sql = "INSERT INTO driftless.identity (prefix, database, replica_set, beside, schema) \
                   SELECT $2, database, replica_set, id, $3 FROM driftless.identity WHERE id = $1 RETURNING id";
        let name = identity::name(session.prefix(), Some(self.aside));
        let retired: i32 = field(&session.query_one(ACT, sql, &[&running, &name, &self.aside]).await?, 0, ACT)?;
        for (from, to) in [(running, retired), (self.sibling.id, running)] {
            for table in STATE {
                let sql = format!("UPDATE driftless.{table} SET migration = $2 WHERE migration = $1");
                session.execute(ACT, &sql, &[&from, &to]).await?;
            }
        }
        let sql = "INSERT INTO driftless.mapping (migration, number, file, digest, who, why) \
                   SELECT $2::int4, $2::int4, file, digest, $3, $4 FROM driftless.mapping WHERE migration = $1";
        let before = session.storable(&format!("before the swap of {}", self.sibling.schema));
        session.execute(ACT, sql, &[&running, &retired, &who, &before]).await?;
        let sql = "UPDATE driftless.mapping AS m SET number = m.number + 1, file = s.file, digest = s.digest, who = $3, why = $4, \
                          at = now() FROM driftless.mapping AS s WHERE m.migration = $1 AND s.migration = $2";
        session.execute(ACT, sql, &[&running, &self.sibling.id, &who, &why]).await?;
        let sql = "UPDATE driftless.position AS p SET mapping = m.number FROM driftless.mapping AS m \
                    WHERE m.migration = p.migration AND m.migration IN ($1, $2)";
        session.execute(ACT, sql, &[&running, &retired]).await?;
        let sql = "UPDATE driftless.action SET migration = $2 WHERE migration = $1";
        session.execute(ACT, sql, &[&self.sibling.id, &running]).await?;
        session.execute(ACT, "DELETE FROM driftless.identity WHERE id = $1", &[&self.sibling.id]).await?;
        Ok(retired)
    }

    /// Makes what is recorded of tables name them as they are called now.
    async fn rename(&self, migration: i32, before: &[TableName], after: &[TableName]) -> Result<(), Error> {
        const LABELS: [(&str, &str); 5] = [
            ("guard", "relation"),
            ("foreign_write", "relation"),
            ("integrity", "relation"),
            ("integrity", "parent"),
            ("orphan", "relation"),
        ];
        let labels = |tables: &[TableName]| tables.iter().map(TableName::label).collect::<Vec<_>>();
        let quoted = |tables: &[TableName]| tables.iter().map(TableName::to_string).collect::<Vec<_>>();
        let sql = "UPDATE driftless.relation AS r SET name = e.after FROM unnest($2::text[], $3::text[]) AS e(before, after) \
                    WHERE r.migration = $1 AND r.name = e.before";
        self.session.execute(ACT, sql, &[&migration, &quoted(before), &quoted(after)]).await?;
        // Tables that the mapping has not written for long would have the names of others now.
        let sql = "DELETE FROM driftless.relation AS r WHERE r.migration = $1 AND NOT r.written \
                      AND NOT EXISTS (SELECT FROM driftless.owner AS o WHERE o.relation = r.id)";
        self.session.execute(ACT, sql, &[&migration]).await?;
        for (table, column) in LABELS {
            let sql = format!(
                "UPDATE driftless.{table} AS r SET {column} = e.after FROM unnest($2::text[], $3::text[]) AS e(before, after) \
                  WHERE r.migration = $1 AND r.{column} = e.before"
            );
            self.session.execute(ACT, &sql, &[&migration, &labels(before), &labels(after)]).await?;
        }
        let sql = "UPDATE driftless.finding AS f SET relation = e.after FROM unnest($2::text[], $3::text[]) AS e(before, after) \
                    WHERE f.relation = e.before AND f.collection IN (SELECT id FROM driftless.collection WHERE migration = $1)";
        self.session.execute(ACT, sql, &[&migration, &labels(before), &labels(after)]).await?;
        Ok(())
    }

    /// The digest of each collection's plan, as the mapping fits the catalog now; faults of the fit end the swap.
    async fn digests(
        &self,
        mapping: &MappingFile,
        faults: &mut Vec<Fault>,
    ) -> Result<BTreeMap<String, [u8; 16]>, Error> {
        match Plan::compile(mapping, &read_catalog(self.session).await?) {
            Ok(plan) => Ok(plan.collections().iter().map(|plan| (plan.collection.clone(), plan.digest())).collect()),
            Err(found) => {
                *faults = found;
                Err(Error::CatalogChanged)
            }
        }
    }

    /// Lets proofs go on that were of the sibling's plan: the rows are the same, and their tables are only called otherwise. With an open
    /// finding everything is compared again, because findings are judged under their own plan.
    async fn carry_proof(
        &self,
        running: i32,
        before: &BTreeMap<String, [u8; 16]>,
        after: &BTreeMap<String, [u8; 16]>,
    ) -> Result<usize, Error> {
        let sql = "UPDATE driftless.proof AS p SET plan = $4 FROM driftless.collection AS c \
                    WHERE c.id = p.collection AND c.migration = $1 AND c.name = $2 AND p.plan = $3 AND NOT EXISTS \
                          (SELECT FROM driftless.finding AS f WHERE f.collection = c.id AND f.ended_at IS NULL)";
        let mut carried = 0;
        for (collection, digest) in after {
            let Some(known) = before.get(collection) else { continue };
            let params: [Param<'_>; 4] = [&running, collection, &&known[..], &&digest[..]];
            carried += usize::try_from(self.session.execute(ACT, sql, &params).await?).unwrap_or(0);
        }
        Ok(carried)
    }
}
