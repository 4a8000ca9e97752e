//! The errors of PostgreSQL, with their classes and hints.
//!
//! PostgreSQL repeats values of rows in DETAIL, and for bad input in the message itself. So only names are kept of a refused row
//! (SQLSTATE, table, column, constraint). The message is kept only if it is about the server and not about data.

use std::{fmt, path::PathBuf, time::Duration};

use thiserror::Error;
use tokio_postgres::error::DbError;

use super::identity::TableTaken;
use crate::{
    model::{Mismatch, Reason},
    retry::{Class, Classify},
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
    #[error("apply a batch: {count} dead letters within {} s, mostly {reason}; the limit is {limit}", window.as_secs())]
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
    /// The catalog of the target has changed since the plan was made. Nothing was written.
    #[error("use the plan: the catalog of the target has changed since it was made")]
    CatalogChanged,
    /// A planned table is not in the database.
    #[error("find table {table}, which the mapping names")]
    TableGone {
        /// The name of the table.
        table: String,
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
    /// A task of the daemon died.
    #[error("{act}: the task died")]
    Task {
        /// Its act.
        act: &'static str,
    },
}

fn shown(offset: &Option<i64>) -> String {
    offset.map_or_else(|| "the earliest record".to_owned(), |offset| format!("offset {offset}"))
}

/// The part of a PostgreSQL client error that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The server refused.
    Refused(Box<Refusal>),
    /// The connection broke.
    Broken(String),
    /// The client could not use the connection as asked; retrying changes nothing.
    Unusable(String),
}

/// A refusal of the server, without values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE.
    pub code: String,
    /// The message of the server; `None` if it may repeat values.
    pub message: Option<String>,
    /// Table, with its schema.
    pub table: Option<String>,
    /// Column.
    pub column: Option<String>,
    /// Constraint.
    pub constraint: Option<String>,
    /// Encoding of the database, if it lacks a character of the value.
    pub encoding: Option<String>,
}

/// The encoding that has every character.
pub(crate) const UTF8: &str = "UTF8";

impl Refusal {
    /// Builds the refusal of a row by a constraint that was checked before the write.
    pub(crate) fn of_constraint(code: &str, table: &str, constraint: Option<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: None,
            table: Some(table.to_owned()),
            column: None,
            constraint,
            encoding: None,
        }
    }

    /// Returns whether only a value can be the cause. Any other refusal with the class of a row counts against the row only if other
    /// rows pass, because input functions, triggers and a broken table may raise any code.
    pub(crate) fn is_of_a_value(&self) -> bool {
        ["22", "23", "44", "54", "P0", "21"].iter().any(|class| self.code.starts_with(class))
    }

    /// Returns the class of the refusal.
    ///
    /// Source: PostgreSQL manual, appendix A.
    pub(crate) fn class(&self) -> Class {
        match self.code.as_str() {
            // Lock not available; the server became a standby; the session idled too long.
            "55P03" | "25006" | "25P03" | "25P04" => Class::Transient,
            // A prepared statement has no syntax error, so these codes concern the syntax of a value, as in seg and ltree.
            "42601" | "42602" | "42622" => Class::Poison,
            // A damaged table or index.
            "XX001" | "XX002" => Class::Halt,
            code => match code.get(..2) {
                // Connection, rollback, resources, shutdown and cancellation, disk.
                Some("08" | "40" | "53" | "57" | "58") => Class::Transient,
                // Access, names, transactions, statements and objects in a wrong state, which concern no single row.
                Some(
                    "0B" | "0L" | "0P" | "24" | "25" | "26" | "28" | "2B" | "2D" | "34" | "3B" | "3D" | "3F" | "42"
                    | "55",
                )
                | Some("F0") => Class::Halt,
                _ => Class::Poison,
            },
        }
    }

    /// Builds a refusal from an error of the server, and keeps only the parts without values.
    pub fn of(error: &DbError) -> Self {
        let code = error.code().code().to_owned();
        let table = error.table().map(|table| match error.schema() {
            Some(schema) => format!("{schema}.{table}"),
            None => table.to_owned(),
        });
        let mut refusal = Self {
            code,
            message: None,
            table,
            column: error.column().map(str::to_owned),
            constraint: error.constraint().map(str::to_owned),
            encoding: None,
        };
        // A message about a row may quote the row.
        refusal.message = (refusal.class() != Class::Poison).then(|| error.message().to_owned());
        refusal
    }

    /// Adds the encoding of the database, if it is the cause.
    pub(crate) fn with_encoding(mut self, encoding: &str) -> Self {
        let refused = self.code == "22P05" && encoding != UTF8;
        self.encoding = refused.then(|| encoding.to_owned());
        self
    }

    /// Returns the reason of a dead letter that this refusal causes.
    ///
    /// Source: PostgreSQL manual, appendix A.
    pub fn reason(&self) -> Reason {
        match self.code.as_str() {
            "22001" => Reason::TooLong,
            "22003" => Reason::RangeNum,
            "22007" | "22008" => Reason::RangeTs,
            // The encoding lacks a character. UTF-8 lacks only NUL, which can appear as an escape in the syntax of a type.
            "22P05" if self.encoding.is_some() => Reason::Encoding,
            "22P05" => Reason::NulInText,
            "22021" => Reason::BadUtf8,
            "22P02" | "22P03" => Reason::TypeMismatch,
            "23502" => Reason::NotNull,
            "23503" => Reason::FkMissing,
            "23505" | "23P01" | "21000" => Reason::UniqueConflict,
            "23514" => Reason::Check,
            code if code.starts_with("54") => Reason::TooBig,
            _ => Reason::Refused,
        }
    }

    /// Returns the remedy, if it does not depend on the statement.
    fn hint(&self) -> Option<&'static str> {
        let hides_rows = |message: &String| message.contains("row-level security");
        Some(match self.code.as_str() {
            "42501" if self.message.as_ref().is_some_and(hides_rows) => {
                "rows must not be hidden from driftless: ALTER ROLE … BYPASSRLS, or make its role the owner of the table \
                 without FORCE ROW LEVEL SECURITY"
            }
            "42501" => "run `driftless check`: it prints the statements that grant the missing rights",
            "42P01" | "42703" => {
                "the table or column was dropped or renamed: run `driftless check`, then change the mapping or the table; a trigger \
                 or a default of the table may also name it"
            }
            "42883" => {
                "two compared types have no operator, or a trigger calls a function that is not found: run `driftless check`, and \
                 name functions in triggers with their schema"
            }
            "42804" => "the type of a column has changed: run `driftless check`",
            "42P10" | "55000" => {
                "the key needs a unique constraint that is valid and NOT DEFERRABLE: run `driftless check`, which names it"
            }
            "0A000" => "the table does not support the statement, because of a rule or its kind: run `driftless check`",
            "3D000" => "the connection string names a database that does not exist: create it, or correct the name",
            "28P01" | "28000" => "the role, its password or pg_hba.conf does not match the connection string",
            _ => return None,
        })
    }

    /// Returns whether a change elsewhere may make the same document acceptable: its parent arrives, or a unique value becomes free.
    pub fn may_pass_later(&self) -> bool {
        matches!(self.code.as_str(), "23503" | "23505" | "23P01" | "P0001")
    }

    /// Returns whether a unique constraint is the cause.
    pub fn is_unique(&self) -> bool {
        self.code == "23505"
    }
}

/// Prints the SQLSTATE first, then the names.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLSTATE {}", self.code)?;
        for (name, value) in [("table", &self.table), ("column", &self.column), ("constraint", &self.constraint)] {
            if let Some(value) = value {
                write!(f, ", {name} {value}")?;
            }
        }
        if let Some(encoding) = &self.encoding {
            write!(f, ", a character that the encoding of the database, {encoding}, does not have")?;
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Broken(why) | Self::Unusable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Cause {}

impl From<&tokio_postgres::Error> for Cause {
    fn from(error: &tokio_postgres::Error) -> Self {
        if let Some(refused) = error.as_db_error() {
            return Self::Refused(Box::new(Refusal::of(refused)));
        }
        let cause = std::error::Error::source(error);
        let broken = error.is_closed() || cause.is_some_and(|cause| cause.is::<std::io::Error>());
        let text = crate::retry::chain(error);
        // The time limit of the client has neither a cause nor a public kind, so only its text identifies it.
        if broken || text.starts_with("timeout") { Self::Broken(text) } else { Self::Unusable(text) }
    }
}

impl Cause {
    /// Adds the encoding of the database, if it is the cause.
    pub(crate) fn in_encoding(self, encoding: &str) -> Self {
        match self {
            Self::Refused(refusal) => Self::Refused(Box::new(refusal.with_encoding(encoding))),
            other => other,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Broken(_) => Class::Transient,
            Self::Unusable(_) => Class::Halt,
            Self::Refused(refusal) => refusal.class(),
        }
    }
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
            | Self::TableGone { .. }
            | Self::TableTaken(_)
            | Self::KeyChanged { .. }
            | Self::KeyRuleChanged { .. }
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

    /// Returns the remedy, if the error itself does not name it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Breaker { .. } => Some(
                "the position did not move: run `driftless check` to see what is refused, fix the mapping and start again; if the \
                 documents themselves are wrong, raise sink.breaker_dead_letters",
            ),
            Self::Mismatch(mismatch) => Some(mismatch.hint()),
            Self::TableTaken(_) => Some(
                "let one of the two write another table; if the other migration is over, \
                 `DELETE FROM driftless.identity WHERE prefix = '…'` deletes its state and keeps its rows",
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
                 entries in driftless.ledger and driftless.owner (their column `collection` holds that number), start, and replay \
                 it with --to-earliest",
            ),
            Self::Connect(Cause::Broken(_)) => Some(
                "is PostgreSQL up and listening there (listen_addresses, port, firewall), and is the address of `sink.url` right?",
            ),
            Self::Pooler => Some("a pooler in session mode works if it passes startup options on"),
            Self::SchemaNewer { .. } | Self::NewerRecord { .. } => {
                Some("run the version that wrote it, or a newer one")
            }
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
            | Self::AllRefused { .. }
            | Self::WaitInVain { .. }
            | Self::ParkedBytes { .. }
            | Self::NewerRecord { .. }
            | Self::SchemaNewer { .. }
            | Self::CatalogChanged
            | Self::TableGone { .. }
            | Self::Mismatch(_)
            | Self::TableTaken(_)
            | Self::KeyChanged { .. }
            | Self::KeyRuleChanged { .. }
            | Self::Task { .. } => Class::Halt,
            Self::Standby | Self::Silent { .. } | Self::OffsetMoved { .. } | Self::CopyRefused { .. } => {
                Class::Transient
            }
            Self::Connect(cause) | Self::Statement { source: cause, .. } => cause.class(),
            Self::Log(error) => error.class(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn refused(code: &str) -> Cause {
        Cause::Refused(Box::new(Refusal {
            code: code.to_owned(),
            message: None,
            table: None,
            column: None,
            constraint: None,
            encoding: None,
        }))
    }

    #[rstest]
    #[case("08006", Class::Transient)]
    #[case("40001", Class::Transient)]
    #[case("40P01", Class::Transient)]
    #[case("53300", Class::Transient)]
    #[case("55P03", Class::Transient)]
    #[case("57P01", Class::Transient)]
    #[case("57014", Class::Transient)]
    #[case("25006", Class::Transient)]
    #[case("22001", Class::Poison)]
    #[case("23505", Class::Poison)]
    #[case("54000", Class::Poison)]
    #[case("P0001", Class::Poison)]
    #[case("28P01", Class::Halt)]
    #[case("3F000", Class::Halt)]
    #[case("42P01", Class::Halt)]
    #[case("42501", Class::Halt)]
    #[case("42703", Class::Halt)]
    #[case("55000", Class::Halt)]
    #[case("XX001", Class::Halt)]
    #[case("XX000", Class::Poison)]
    #[case("0A000", Class::Poison)]
    #[case("38001", Class::Poison)]
    #[case("HV000", Class::Poison)]
    #[case("U0001", Class::Poison)]
    #[case("42601", Class::Poison)]
    fn class_by_sqlstate(#[case] code: &str, #[case] class: Class) {
        assert_eq!(refused(code).class(), class);
    }

    #[test]
    fn a_character_is_refused_by_name_of_the_encoding_that_lacks_it() {
        let refusal = Refusal::of_constraint("22P05", "app.users", None);
        let latin = refusal.clone().with_encoding("LATIN1");
        assert_eq!((latin.reason(), latin.to_string().contains("LATIN1")), (Reason::Encoding, true));
        assert_eq!(refusal.with_encoding(UTF8).reason(), Reason::NulInText);
    }

    #[test]
    fn names_are_shown_and_values_are_not() {
        let refusal = Refusal {
            code: "23505".to_owned(),
            message: None,
            table: Some("app.users".to_owned()),
            column: None,
            constraint: Some("users_email_key".to_owned()),
            encoding: None,
        };
        assert_eq!(refusal.to_string(), "SQLSTATE 23505, table app.users, constraint users_email_key");
    }
}
