//! The errors of PostgreSQL, with their classes and hints.

use std::{path::PathBuf, time::Duration};

use thiserror::Error;

use super::{Cause, Refusal, fault::TableTaken};
use crate::{
    model::{Mismatch, Reason},
    retry::{Class, Classify},
    tasks::Panicked,
};

/// An error at PostgreSQL, or of the sink that writes to it.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration names no server, or two.
    #[error("find the address of PostgreSQL: set exactly one of `url` and `url_file`")]
    Address,
    /// A file that the configuration names cannot be read.
    #[error("read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The connection string is not valid.
    #[error("read the connection string of PostgreSQL: {what}")]
    Url {
        /// The faulty part, never its value.
        what: String,
        /// The remedy.
        hint: &'static str,
    },
    /// The certificates cannot be used.
    #[error("prepare TLS to PostgreSQL: {what}")]
    Tls {
        /// The fault.
        what: String,
    },
    /// The connection could not be opened.
    #[error("connect to PostgreSQL")]
    Connect(#[source] Cause),
    /// A pooler in between runs every transaction in another session.
    #[error("connect to PostgreSQL: a pooler in transaction mode answered; connect to the server itself")]
    Pooler,
    /// The configuration demands replica mode, and the role may not set it.
    #[error("set session_replication_role: grant it to the role, or configure `constraints = \"enforce\"`")]
    ReplicaDenied,
    /// The server is a standby.
    #[error("write to PostgreSQL: this server is a standby and accepts no writes until it is promoted")]
    Standby,
    /// The settings of the role or the database make every transaction read-only.
    #[error("write to PostgreSQL: default_transaction_read_only is on for role {role} in database {database}")]
    ReadOnly {
        /// The role.
        role: String,
        /// The database.
        database: String,
    },
    /// A statement failed.
    #[error("{act}")]
    Statement {
        /// The act, with the table or topic it concerns.
        act: String,
        /// The cause.
        source: Cause,
    },
    /// A table refuses `COPY`; the batch is retried without it.
    #[error("{act}: {refusal}; falling back to INSERT for this table")]
    CopyRefused {
        /// The act, with the table.
        act: String,
        /// The refusal.
        refusal: Box<Refusal>,
    },
    /// The server did not answer in time.
    #[error("{act}: no answer within {} s", limit.as_secs())]
    Silent {
        /// The act.
        act: String,
        /// The bound.
        limit: Duration,
    },
    /// Another worker or a replay moved the position in the meantime. Nothing was written.
    #[error(
        "apply {topic}/{partition} from {}: its position was moved to {} in the meantime",
        shown(expected),
        shown(found)
    )]
    OffsetMoved {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The position that the worker expected; `None` is the earliest record.
        expected: Option<i64>,
        /// The position in the position row.
        found: Option<i64>,
    },
    /// This many dead letters at once mean that the mapping is wrong, not the documents. Nothing was written.
    #[error("apply a batch: {count} dead letters within {} s, the last one with {reason}; the limit is {limit}", window.as_secs())]
    Breaker {
        /// The number.
        count: usize,
        /// The configured bound.
        limit: usize,
        /// The configured window.
        window: Duration,
        /// The last reason.
        reason: Reason,
    },
    /// Nearly every document of a collection is refused, so the mapping is wrong, not the documents. Nothing was written.
    #[error(
        "write documents of {collection}: {refused} of the last {of} were refused, the last one with {reason}; the limit is {limit} where \
         nearly all are"
    )]
    MostRefused {
        /// The collection.
        collection: String,
        /// The number of dead letters.
        refused: u64,
        /// The number of documents, old ones weighing less.
        of: u64,
        /// The configured bound.
        limit: usize,
        /// The last reason.
        reason: Reason,
    },
    /// One document of a collection after the other was refused for an unknown reason, and none was written, so the table is at
    /// fault. Nothing was written.
    #[error("write documents of {collection}: {count} in a row were refused, and none was written: {refusal}")]
    AllRefused {
        /// The collection.
        collection: String,
        /// The number.
        count: usize,
        /// The last refusal.
        refusal: Box<Refusal>,
    },
    /// Too many parked documents wait although everything before them is applied; they count like dead letters.
    #[error("apply parked documents: {count} wait for documents that the source does not have; the limit is {limit}")]
    WaitInVain {
        /// The number.
        count: usize,
        /// The configured bound.
        limit: usize,
    },
    /// The records of parked documents exceed their limit, which protects the target.
    #[error("park documents: {count} of them hold {bytes} bytes; the limit is {limit}")]
    ParkedBytes {
        /// The number.
        count: usize,
        /// The bytes of their records.
        bytes: u64,
        /// The configured bound.
        limit: u64,
    },
    /// A record has a format that this version does not know. A dead letter would lose a valid change.
    #[error("read {topic}/{partition} at offset {offset}: {detail}")]
    NewerRecord {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// The unknown part.
        detail: String,
    },
    /// The schema `driftless` was written by a newer version.
    #[error("use schema driftless: it is at migration {found}, this version knows {known}")]
    SchemaNewer {
        /// The migration of the database.
        found: i32,
        /// The last migration of this binary.
        known: i32,
    },
    /// The schema `driftless` does not exist yet, or is older than this version. Only the sink makes and migrates it.
    #[error("read schema driftless: {}", lacking(*found, *known))]
    SchemaBehind {
        /// The migration of the database; `None` without the schema.
        found: Option<i32>,
        /// The last migration of this binary.
        known: i32,
    },
    /// A collection or table of the mapping is not registered in the schema `driftless` yet. Only the sink registers them.
    #[error("read the state of {0}: the sink has not registered it")]
    NotRegistered(String),
    /// The catalog of the target has changed since the plan was made. Nothing was written.
    #[error("use the plan: the catalog of the target has changed since it was made")]
    CatalogChanged,
    /// Another mapping was recorded since the plan was made. Nothing was written.
    #[error("use the plan: the migration has another mapping since it was made")]
    MappingChanged,
    /// A planned table is not in the database.
    #[error("find table {table}, which the mapping names")]
    TableGone {
        /// The name of the table.
        table: String,
    },
    /// No replay into this schema is under way.
    #[error("use the replay into {schema}: there is none; it was not begun, or it was swapped in or dropped")]
    NoSuchSibling {
        /// The schema.
        schema: String,
    },
    /// Others have used the tables for too long, so they could not be exchanged.
    #[error("lock the tables of both: they are in use{}; nothing was changed", list(.by))]
    TablesInUse {
        /// The sessions, in words.
        by: Vec<String>,
    },
    /// The state in the schema belongs to another source.
    #[error("use the state in schema driftless")]
    Mismatch(#[from] Mismatch),
    /// Another migration writes the table.
    #[error("write table {}: the migration with `log.prefix = \"{}\"` also writes it", .0.table, .0.prefix)]
    TableTaken(TableTaken),
    /// The remembered keys of a table have other columns than the key in the mapping.
    #[error("find the rows of table {table}: their remembered keys are {known}, the mapping has {wanted}")]
    KeyChanged {
        /// The name of the table.
        table: String,
        /// Columns and types of the remembered keys.
        known: String,
        /// Columns and types of the key in the mapping.
        wanted: String,
    },
    /// The rows of a collection have keys of another id rule than the mapping.
    #[error(
        "use collection {collection} (number {id}): its rows have keys by the rule {known}, the mapping has {wanted}"
    )]
    KeyRuleChanged {
        /// The collection.
        collection: String,
        /// Its number in the schema `driftless`.
        id: i32,
        /// The recorded rule.
        known: String,
        /// The rule of the mapping.
        wanted: String,
    },
    /// The log cannot be read.
    #[error("read the log")]
    Log(#[source] crate::log::Error),
    /// A task of the daemon panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

fn lacking(found: Option<i32>, known: i32) -> String {
    found.map_or_else(
        || "it does not exist".to_owned(),
        |found| format!("it is at migration {found}, this version needs {known}"),
    )
}

fn shown(offset: &Option<i64>) -> String {
    offset.map_or_else(|| "the earliest record".to_owned(), |offset| format!("offset {offset}"))
}

/// The sessions behind a colon, if any are known.
fn list(by: &[String]) -> String {
    if by.is_empty() { String::new() } else { format!(": {}", by.join("; ")) }
}

impl Error {
    /// Returns the refusal of the server, if that is the cause.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Connect(Cause::Refused(refusal)) | Self::Statement { source: Cause::Refused(refusal), .. } => {
                Some(refusal)
            }
            _ => None,
        }
    }

    /// Returns whether a change of the catalog, of rights or of settings of the target can resolve the error.
    pub fn concerns_the_target(&self) -> bool {
        match self {
            Self::CatalogChanged
            | Self::MappingChanged
            | Self::TableGone { .. }
            | Self::TableTaken(_)
            | Self::KeyChanged { .. }
            | Self::KeyRuleChanged { .. }
            | Self::NoSuchSibling { .. }
            | Self::TablesInUse { .. }
            | Self::Mismatch(_)
            | Self::Pooler
            | Self::ReplicaDenied
            | Self::ReadOnly { .. } => true,
            Self::Connect(Cause::Refused(_)) | Self::Statement { source: Cause::Refused(_), .. } => {
                self.class() == Class::Halt
            }
            _ => false,
        }
    }

    /// Returns whether the sink, when it starts, does what is missing.
    pub fn awaits_the_sink(&self) -> bool {
        matches!(self, Self::SchemaBehind { .. } | Self::NotRegistered(_))
    }

    /// Returns the remedy, if the error itself does not name it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Breaker { .. } => Some(
                "the position did not move: run `driftless check` to see what is refused, fix the mapping and apply it with `driftless \
                 mapping apply`; if the documents themselves are wrong, raise sink.breaker_dead_letters",
            ),
            Self::MostRefused { .. } => Some(
                "the position did not move: `driftless dlq list --group` shows what is refused; fix the mapping and apply it with \
                 `driftless mapping apply`; if the documents themselves are wrong, raise sink.breaker_dead_letters or sink.breaker_share",
            ),
            Self::Mismatch(mismatch) => Some(mismatch.hint()),
            Self::NoSuchSibling { .. } => Some(
                "`driftless replay --into SCHEMA --execute` begins it; after a swap, give the daemon without `--into` the new mapping",
            ),
            Self::TablesInUse { .. } => Some(
                "swap again when these transactions have ended; long ones, such as a dump, hold their tables until then",
            ),
            Self::TableTaken(_) => Some(
                "let one of the two write another table. Only when that migration is over: `DELETE FROM driftless.identity WHERE prefix = '…'`, \
                 with its prefix, deletes its state and keeps its rows",
            ),
            Self::AllRefused { .. } => Some(
                "the position did not move: look up the SQLSTATE, and read the message in the log of PostgreSQL; repair the table, \
                 or the function or type that it uses, and start again",
            ),
            Self::WaitInVain { .. } => Some(
                "`driftless dlq list --state parked --group` names the constraint: correct the reference in the mapping, or write \
                 the missing documents in MongoDB; if that many documents are really wrong, raise sink.breaker_dead_letters",
            ),
            Self::ParkedBytes { .. } => Some(
                "`driftless dlq list --state parked --group` names the constraint: correct a wrong reference in the mapping; if the \
                 parents are only slow to arrive, raise sink.parked_bytes and start again",
            ),
            Self::KeyChanged { .. } => Some(
                "empty the table, delete its entries in driftless.owner, and replay its collections with --to-earliest",
            ),
            Self::KeyRuleChanged { .. } => Some(
                "restore the rule and the namespace; or start over: stop the daemon, empty the tables of the collection, delete its \
                 entries in driftless.ledger and driftless.owner (their column `collection` holds that number), and go on with \
                 `driftless mapping apply`",
            ),
            Self::Connect(Cause::Broken(_)) => Some(
                "is PostgreSQL up and listening there (listen_addresses, port, firewall), and is the address of `sink.url` right?",
            ),
            Self::Connect(Cause::Untrusted(_)) => Some(
                "the certificate of the server must be valid, come from an authority of `sink.ca_file` or of the system, and with \
                 sslmode=verify-full name the host of `sink.url`; a server that asks for one must accept `sink.certificate_file`",
            ),
            Self::Pooler => Some("a pooler in session mode works if it passes startup options on"),
            Self::SchemaNewer { .. } | Self::NewerRecord { .. } => {
                Some("run the version that wrote it, or a newer one")
            }
            Self::SchemaBehind { .. } => {
                Some("start the sink, of this version: it makes the schema; `driftless schema apply` does so, too")
            }
            Self::NotRegistered(_) => Some("start the sink with this mapping"),
            Self::Log(error) => error.hint(),
            Self::Url { hint, .. } => Some(hint),
            Self::ReadOnly { .. } => Some(
                "ALTER ROLE … RESET, or ALTER DATABASE … RESET, default_transaction_read_only; or connect as another role",
            ),
            _ => self.refusal().and_then(Refusal::hint),
        }
    }
}

#[cfg(feature = "failpoints")]
impl From<crate::failpoints::Injected> for Error {
    fn from(crate::failpoints::Injected(point): crate::failpoints::Injected) -> Self {
        Self::Statement { act: point.to_owned(), source: Cause::Broken("failpoint".to_owned()) }
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Address
            | Self::File { .. }
            | Self::Url { .. }
            | Self::Tls { .. }
            | Self::Pooler
            | Self::ReplicaDenied
            | Self::ReadOnly { .. }
            | Self::Breaker { .. }
            | Self::MostRefused { .. }
            | Self::AllRefused { .. }
            | Self::WaitInVain { .. }
            | Self::ParkedBytes { .. }
            | Self::NewerRecord { .. }
            | Self::SchemaNewer { .. }
            | Self::CatalogChanged
            | Self::MappingChanged
            | Self::TableGone { .. }
            | Self::NoSuchSibling { .. }
            | Self::TablesInUse { .. }
            | Self::Mismatch(_)
            | Self::TableTaken(_)
            | Self::KeyChanged { .. }
            | Self::KeyRuleChanged { .. } => Class::Halt,
            Self::SchemaBehind { .. }
            | Self::NotRegistered(_)
            | Self::Standby
            | Self::Silent { .. }
            | Self::OffsetMoved { .. }
            | Self::CopyRefused { .. } => Class::Transient,
            Self::Connect(cause) | Self::Statement { source: cause, .. } => cause.class(),
            Self::Log(error) => error.class(),
            Self::Panicked(panicked) => panicked.class(),
        }
    }
}
