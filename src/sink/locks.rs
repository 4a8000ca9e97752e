//! The locks that two workers may both want, and the one order in which they take them, so that they cannot deadlock.
//!
//! ```text
//!  positions ──▶ collections ──▶ ledger entries ──▶ tables ──▶ rows, owners, unique values, parents ──▶ dead letters
//!  by name       by number       by key             by number  in whatever order the statements meet them
//! ```
//!
//! Documents of different partitions never share a row, but they share the unique values of a table, its remembered keys and
//! their parents. Values decide which of those a statement meets first, so no order of rows can keep two batches from
//! crossing. Hence a table with such values has a lock of its own: one batch writes it at a time, from its first row to its
//! commit. A table without any is written by all at once. Where foreign keys are enforced, a batch that removes rows of a
//! table that is referred to has that table to itself, and those that write below it share it.
//!
//! Dead letters come with the ledger entry of their document, or the position of their partition, which are held already. A
//! batch that empties a collection holds all collections for itself, so it runs alone; so do commands that change letters.
//!
//! Rejected: one lock for each value. A batch has thousands, and the server's table of locks is shared by everybody.

use std::{collections::BTreeMap, fmt::Write};

use super::rows::Rows;
use crate::postgres::ConstraintMode;

/// The first half of the key of an advisory lock, "drif" as a number; the second is the relation.
const CLASS: i32 = 0x6472_6966;

/// Takes the locks of the tables that these rows concern, until the end of the transaction; empty where none is needed.
pub(super) fn of(rows: &Rows<'_>, mode: ConstraintMode) -> String {
    let enforced = mode == ConstraintMode::Enforce;
    let mut alone = BTreeMap::<i32, bool>::new();
    for concern in rows.concerns() {
        let table = concern.statements;
        let contended = table.uniques || table.owned.is_some() || !table.guards.is_empty();
        if contended || (enforced && table.referenced && concern.removes) {
            alone.insert(concern.relation, true);
        }
        if enforced {
            for above in concern.above {
                alone.entry(above).or_insert(false);
            }
        }
    }
    let mut sql = String::new();
    for (relation, alone) in alone {
        let how = if alone { "" } else { "_shared" };
        // Writing into a text cannot fail.
        let _ = write!(sql, "SELECT pg_advisory_xact_lock{how}({CLASS}, {relation}); ");
    }
    sql
}
