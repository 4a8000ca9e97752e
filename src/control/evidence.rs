//! Evidence: both sides of a document, or a row, as they were before a repair. Only the owner of the schema reads it.

use std::time::Duration;

use bson::raw::RawDocumentBuf;
use serde_json::Value;

use crate::{
    model::ClusterTime,
    postgres::{Error, Session, identity::OURS},
};

/// Both sides of a document before its repair.
pub(crate) struct Evidence {
    /// The finding that is repaired.
    pub finding: i64,
    /// The document; `None` if the source did not have it.
    pub document: Option<RawDocumentBuf>,
    /// Cluster time at which it was read.
    pub as_of: ClusterTime,
    /// The rows by table: {"schema.table": [{column: text}, …]}.
    pub rows: Value,
}

/// Stores evidence.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn store(session: &Session, evidence: &[Evidence]) -> Result<(), Error> {
    let sql = "INSERT INTO driftless.evidence (finding, document, as_of_t, as_of_i, rows) VALUES ($1, $2, $3, $4, $5)";
    for Evidence { finding, document, as_of, rows } in evidence {
        let (t, i) = (i64::from(as_of.t), i64::from(as_of.i));
        let document = document.as_ref().map(|document| document.as_bytes());
        session.execute("keep evidence", sql, &[finding, &document, &t, &i, rows]).await?;
    }
    Ok(())
}

/// Removes evidence of this migration that is older than `kept`.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn expire(session: &Session, kept: Duration) -> Result<(), Error> {
    let sql = format!(
        "DELETE FROM driftless.evidence AS e USING driftless.finding AS f, driftless.collection AS c \
          WHERE f.id = e.finding AND c.id = f.collection AND c.{OURS} AND e.at < now() - $2::float8 * interval '1 second'"
    );
    session.execute("remove old evidence", &sql, &[&session.prefix(), &kept.as_secs_f64()]).await?;
    Ok(())
}
