//! Records that the sink never gets, as if they were not in the log.

use super::{migration::Migration, topic::Record};

/// Moves the position of a partition past this record. No sink may run.
pub(crate) async fn skip(migration: &Migration, collection: &str, last: &Record) {
    let skip = format!(
        "UPDATE driftless.position SET next_offset = {} WHERE topic = '{}' AND partition = {} AND next_offset <= {}",
        last.offset + 1,
        migration.topic(collection),
        last.partition,
        last.offset
    );
    assert_eq!(migration.target.execute(&skip, &[]).await.expect("move a position"), 1);
}
