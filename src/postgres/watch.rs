//! Notices that the catalog of the target, or the recorded mapping, has changed since a plan was made.
//!
//! A look is a few digests that the server computes: one of everything that [`read_catalog`](super::catalog::read_catalog) reads
//! about the tables of the plan, and one of the other facts that decide whether the target accepts a statement. It costs a few
//! milliseconds, whatever the size of the tables.
//!
//! Rejected: an event trigger that notifies. Only a superuser can create one, and it misses changes while nobody listens.

use std::{collections::BTreeSet, time::Duration};

use super::{Error, Postgres, Purpose, Session, catalog, identity::OURS, session::field};
use crate::mapping::Plan;

/// The state of the target at one moment, as far as it decides what can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns, types, keys and references of the tables.
    plan: i64,
    /// Rights, policies, indexes, triggers, rules and functions.
    around: i64,
    /// The number of the recorded mapping.
    mapping: Option<i64>,
}

/// The tables of a plan, including those that only translate ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    schemas: Vec<String>,
    names: Vec<String>,
}

const ACT: &str = "check the catalog of the target";

const OIDS: &str = "
SELECT coalesce(array_agg(c.oid ORDER BY c.oid), '{}') FROM unnest($1::text[], $2::text[]) AS e(schema, name)
  JOIN pg_namespace AS n ON n.nspname = e.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = e.name";

/// Computes the digests. `around` covers functions that triggers may call, by the newest change of any, and the rights of the
/// current role, whoever granted them.
const AROUND: &str = "
SELECT hashtextextended(concat_ws('|',
    (SELECT string_agg(concat_ws(' ', c.oid, c.relpersistence, row_security_active(c.oid), c.relhasrules,
                                 has_schema_privilege(c.relnamespace, 'USAGE'), has_table_privilege(c.oid, 'SELECT'),
                                 has_table_privilege(c.oid, 'INSERT'), has_table_privilege(c.oid, 'UPDATE'),
                                 has_table_privilege(c.oid, 'DELETE')), '|' ORDER BY c.oid)
       FROM pg_class AS c
      WHERE c.oid = ANY ($1) OR c.relnamespace = to_regnamespace('driftless') AND c.relkind = 'r'),
    (SELECT string_agg(concat_ws(' ', i.indexrelid, i.indisvalid, i.indimmediate), '|' ORDER BY i.indexrelid)
       FROM pg_index AS i WHERE i.indrelid = ANY ($1)),
    (SELECT string_agg(concat_ws(' ', t.oid, t.tgenabled), '|' ORDER BY t.oid) FROM pg_trigger AS t WHERE t.tgrelid = ANY ($1)),
    (SELECT concat_ws(' ', count(*), max(p.xmin::text::bigint)) FROM pg_proc AS p)), 0)";

impl Tables {
    /// Returns the watched tables of a plan.
    pub fn of(plan: &Plan) -> Self {
        let plans = plan.collections().iter().flat_map(|collection| &collection.tables);
        let named = plans.flat_map(|table| {
            let lookups = table.columns.iter().filter_map(|column| column.lookup.as_ref()).map(|lookup| &lookup.table);
            std::iter::once(&table.table).chain(lookups)
        });
        let named = named.collect::<BTreeSet<_>>();
        let (schemas, names) = named.into_iter().map(|table| (table.schema.clone(), table.name.clone())).unzip();
        Self { schemas, names }
    }
}

impl Look {
    /// Takes a look through this session.
    ///
    /// # Errors
    /// Fails with [`Error::Statement`], whose class follows the cause.
    pub async fn at(session: &Session, tables: &Tables) -> Result<Self, Error> {
        let oids: Vec<u32> = field(&session.query_one(ACT, OIDS, &[&tables.schemas, &tables.names]).await?, 0, ACT)?;
        let plan = session.query_one(ACT, &catalog::digest(), &[&oids]).await?;
        let around = session.query_one(ACT, AROUND, &[&oids]).await?;
        let sql = format!("SELECT number FROM driftless.mapping WHERE {OURS}");
        let mapping = session.query_opt(ACT, &sql, &[&session.prefix()]).await?;
        let mapping = mapping.map(|row| field(&row, 0, ACT)).transpose()?;
        Ok(Self { plan: field(&plan, 0, ACT)?, around: field(&around, 0, ACT)?, mapping })
    }

    /// Returns the number of the recorded mapping; `None` if there is none.
    pub fn mapping(&self) -> Option<i64> {
        self.mapping
    }

    /// Returns whether a plan made at that time would be the same now.
    pub fn has_same_tables(&self, other: &Self) -> bool {
        (self.plan, self.mapping) == (other.plan, other.mapping)
    }
}

/// Looks repeatedly, on its own connection.
pub struct Watch {
    target: Postgres,
    tables: Tables,
    interval: Duration,
}

impl Watch {
    /// Creates a watch that looks at these tables once per interval.
    pub fn new(target: Postgres, tables: Tables, interval: Duration) -> Self {
        Self { target, tables, interval }
    }

    /// Takes one look.
    ///
    /// # Errors
    /// Fails like [`Postgres::open`] and [`Look::at`].
    pub async fn look(&self) -> Result<Look, Error> {
        Look::at(&self.target.open(Purpose::Read).await?, &self.tables).await
    }

    /// Waits until a look satisfies `wanted`. A failed look does not count. Cancel safe.
    pub async fn until(&self, wanted: impl Fn(&Look) -> bool) {
        let mut session = None;
        loop {
            tokio::time::sleep(self.interval).await;
            let looked = async {
                let session = match session.take() {
                    Some(session) => session,
                    None => self.target.open(Purpose::Read).await?,
                };
                Ok::<_, Error>((Look::at(&session, &self.tables).await?, session))
            };
            match looked.await {
                Ok((look, _)) if wanted(&look) => return,
                Ok((_, kept)) => session = Some(kept),
                Err(error) => {
                    tracing::debug!(reason = crate::retry::chain(&error), "the catalog could not be checked")
                }
            }
        }
    }
}
