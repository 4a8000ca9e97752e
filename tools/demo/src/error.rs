//! The errors of the application, and which of them it retries.

use mongodb::error::{
    Error as DriverError, ErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR,
    UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure,
};

use super::{Collection, Operation};

/// An error of the demo application.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A collection or an index could not be created.
    #[error("prepare collection {collection}")]
    Prepare {
        /// The collection.
        collection: Collection,
        /// The driver's error.
        source: DriverError,
    },
    /// A batch of the initial load was refused.
    #[error("load documents into {collection}")]
    Load {
        /// The collection.
        collection: Collection,
        /// The driver's error.
        source: DriverError,
    },
    /// The documents to work on could not be listed.
    #[error("list documents of {collection}")]
    List {
        /// The collection.
        collection: Collection,
        /// The driver's error.
        source: DriverError,
    },
    /// A write of the workload failed.
    #[error("write {operation}")]
    Write {
        /// The kind of write.
        operation: Operation,
        /// The driver's error.
        source: DriverError,
    },
    /// A poisoned document could not be written or fixed.
    #[error("poison or mend a document")]
    Poison {
        /// The driver's error.
        source: DriverError,
    },
    /// The database has too few documents to work on.
    #[error("no documents in {collection}, load some first")]
    Empty {
        /// The collection.
        collection: Collection,
    },
    /// The caller cancelled while the database was unavailable.
    #[error("cancelled before the database answered")]
    Cancelled,
}

impl Error {
    /// Returns whether the same operation may succeed when it is retried a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Prepare { source, .. }
            | Self::Load { source, .. }
            | Self::List { source, .. }
            | Self::Write { source, .. }
            | Self::Poison { source } => is_transient(source),
            Self::Empty { .. } | Self::Cancelled => false,
        }
    }
}

/// Codes of a server that is stepping down, starting, stopping or busy with another transaction, and of a write
/// concern that was not met in time.
///
/// Source: "Retryable Writes" specification of the MongoDB drivers, with 24, 112, 246 and 251 for transactions.
const TRANSIENT_CODES: [i32; 20] =
    [6, 7, 24, 64, 89, 91, 112, 189, 202, 246, 251, 262, 290, 9001, 10058, 10107, 11600, 11602, 13435, 13436];

fn is_transient(error: &DriverError) -> bool {
    if [RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT]
        .iter()
        .any(|label| error.contains_label(label))
    {
        return true;
    }
    match error.kind.as_ref() {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => true,
        ErrorKind::Command(refused) => TRANSIENT_CODES.contains(&refused.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(late)) => TRANSIENT_CODES.contains(&late.code),
        ErrorKind::InsertMany(refused) => {
            refused.write_errors.as_ref().is_none_or(Vec::is_empty)
                && refused.write_concern_error.as_ref().is_some_and(|late| TRANSIENT_CODES.contains(&late.code))
        }
        _ => false,
    }
}
