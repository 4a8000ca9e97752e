//! The guard: triggers on the mapped tables that record, or refuse, every write that is not the sink's.
//!
//! ```text
//!  statement of somebody else ─▶ trigger ─▶ driftless.foreign_write ─▶ the guard's watch: what it touched is judged again
//!  statement of the sink in replica mode       fires no ordinary trigger, so the guard costs it nothing
//!  statement of the sink in enforce mode       is marked by a setting, which the condition of the triggers looks at
//! ```
//! Each table has three triggers, and so has each partition: a write straight into a partition fires none of its parent's. The
//! row trigger is the exception, because PostgreSQL copies it to every partition, those that are created later included.
//!
//! The guard cannot see writes of a superuser in replica mode, a subscription of PostgreSQL's own replication (which is in
//! replica mode too), and triggers `ENABLE ALWAYS` that the sink's writes fire in replica mode. The baseline finds those. A trigger
//! that is disabled and enabled again between two looks is noticed, because its row in the catalog is another version then.
//!
//! Rejected: transition tables. PostgreSQL gathers the rows for them before it looks whether the trigger would fire, so they cost
//! the sink 3 to 10 % of the server's time in replica mode, and a `COPY` into a partitioned table its batches.

mod foreign_writes;
mod held;
mod install;
mod triggers;

use std::collections::BTreeSet;

use serde::Serialize;

pub(crate) use self::foreign_writes::{
    ForeignWrite, acknowledge_lost, forget, judge_voided, judged, lost, older_proofs, open, open_counts, transactions,
    voided,
};
pub(crate) use self::{
    held::Held,
    install::{LOCK_TIMEOUT, drop_triggers},
};
pub use self::{
    install::{Changed, install, preview, remove},
    triggers::{GuardState, look, status},
};
use crate::mapping::{
    Found, Plan,
    target::{Catalog, TableName},
};

/// The guard's reaction to a write of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Lets it pass and records it.
    Record,
    /// Refuses it with an error.
    Refuse,
}

impl Mode {
    /// Returns the word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Refuse => "refuse",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Record, Self::Refuse].into_iter().find(|mode| mode.as_str() == name)
    }
}

/// A mapped table, with the columns by which its rows and their documents are found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The table.
    pub table: TableName,
    /// The primary key, the key of the mapping and the columns that hold a document's id; in order, each once.
    pub columns: Vec<String>,
}

impl Guarded {
    /// Returns the mapped tables of a plan, in order.
    pub fn all(plan: &Plan, catalog: &Catalog) -> Vec<Self> {
        let tables = || plan.collections().iter().flat_map(|collection| &collection.tables);
        let names: BTreeSet<&TableName> = tables().map(|table| &table.table).collect();
        let guarded = names.into_iter().map(|name| {
            let mut columns = catalog.table(name).map(|table| table.primary_key.clone()).unwrap_or_default();
            for plan in tables().filter(|plan| plan.table == *name) {
                let by_id = match plan.found {
                    Found::ById { column, .. } => Some(column),
                    Found::Remembered => None,
                };
                for at in plan.key.iter().copied().chain(by_id) {
                    let column = &plan.columns[at].name;
                    if !columns.contains(column) {
                        columns.push(column.clone());
                    }
                }
            }
            Self { table: name.clone(), columns }
        });
        guarded.collect()
    }
}
