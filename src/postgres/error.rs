//! What can go wrong at PostgreSQL, and what each means for the one who waits.
//!
//! PostgreSQL repeats values of rows in DETAIL, and for bad input in the message itself. So of a refused row only names are
//! kept (SQLSTATE, table, column, constraint); the message survives only where it speaks of the server, not of data.

use std::{fmt, path::PathBuf, time::Duration};

use thiserror::Error;
use tokio_postgres::error::DbError;

use super::identity::TableTaken;
use crate::{
    model::{Mismatch, Reason},
    retry::{Class, Classify},
};

/// An error of the sink.
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
        /// Why.
        source: std::io::Error,
    },
    /// The connection string is none.
    #[error("read the connection string of PostgreSQL: {what}")]
    Url {
        /// Which part, never its value.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The certificates cannot be used.
    #[error("prepare TLS to PostgreSQL: {what}")]
    Tls {
        /// What was wrong.
        what: String,
    },
    /// No connection.
    #[error("connect to PostgreSQL")]
    Connect(#[source] Cause),
    /// Between us and the server stands something that gives every transaction another session.
    #[error("connect to PostgreSQL: a pooler in transaction mode answered; name the server itself")]
    Pooler,
    /// The role may not quiet triggers and foreign keys, but the configuration insists.
    #[error("set session_replication_role: grant it to the role, or configure `constraints = \"enforce\"`")]
    ReplicaDenied,
    /// The server repeats what another one writes.
    #[error("write to PostgreSQL: this server is a standby and takes no writes until it is promoted")]
    Standby,
    /// The settings of the role or the database keep every transaction from writing.
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
        /// What the statement was to do, and to which table or topic.
        act: String,
        /// Why it failed.
        source: Cause,
    },
    /// A table takes no `COPY` at all; the batch is tried again without.
    #[error("{act}: {refusal}; its rows are written the other way from now on")]
    CopyRefused {
        /// What was to be copied.
        act: String,
        /// The refusal.
        refusal: Box<Refusal>,
    },
    /// The server kept silent for longer than it may.
    #[error("{act}: no answer within {} s", limit.as_secs())]
    Silent {
        /// What the statement was to do.
        act: String,
        /// The bound.
        limit: Duration,
    },
    /// Another worker, or an operator's replay, moved the position meanwhile. Nothing was written.
    #[error("apply {topic}/{partition} from {}: its position was moved to {} meanwhile", shown(expected), shown(found))]
    OffsetMoved {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// What the worker believed; `None` is the earliest.
        expected: Option<i64>,
        /// What the position row holds.
        found: Option<i64>,
    },
    /// So many dead letters at once speak of a wrong mapping, not of wrong documents. Nothing was written.
    #[error("apply a batch: {count} dead letters within {} s, mostly {reason}; the limit is {limit}", window.as_secs())]
    Breaker {
        /// How many.
        count: usize,
        /// The configured bound.
        limit: usize,
        /// The configured window.
        window: Duration,
        /// The reason met last.
        reason: Reason,
    },
    /// One document of a collection after the other was refused for a reason of no known kind, and none was written: that is
    /// the table's fault. Nothing was written.
    #[error(
        "write documents of {collection}: {count} one after the other were refused, and none was written: {refusal}"
    )]
    AllRefused {
        /// The collection.
        collection: String,
        /// How many.
        count: usize,
        /// The last refusal.
        refusal: Box<Refusal>,
    },
    /// Parked documents that wait although everything before them is applied count like dead letters.
    #[error(
        "apply parked documents: {count} wait for what the source does not have, though all that it had is applied; the limit is {limit}"
    )]
    WaitInVain {
        /// How many.
        count: usize,
        /// The configured bound.
        limit: usize,
    },
    /// Parked documents are kept with their records, and may not fill the target.
    #[error("park documents: {count} of them hold {bytes} bytes; the limit is {limit}")]
    ParkedBytes {
        /// How many.
        count: usize,
        /// The bytes of their records.
        bytes: u64,
        /// The configured bound.
        limit: u64,
    },
    /// A record of a format that this version does not know. Dead-lettering it would lose a good change.
    #[error("read {topic}/{partition} at offset {offset}: {detail}")]
    NewerRecord {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// What is not known.
        detail: String,
    },
    /// The schema `driftless` was written by a newer version.
    #[error("use schema driftless: it is at migration {found}, this version knows {known}")]
    SchemaNewer {
        /// In the database.
        found: i32,
        /// In this binary.
        known: i32,
    },
    /// The plan was made from another catalog than the target has now. Nothing was written.
    #[error("use the plan: the catalog of the target has changed since it was made")]
    CatalogChanged,
    /// A planned table is not in the database.
    #[error("find table {table}, which the mapping names")]
    TableGone {
        /// Its name.
        table: String,
    },
    /// The state in the schema is that of another source.
    #[error("go on with the state in schema driftless")]
    Mismatch(#[from] Mismatch),
    /// Another migration writes the table.
    #[error("write table {}: the migration with `log.prefix = \"{}\"` writes it, too", .0.table, .0.prefix)]
    TableTaken(TableTaken),
    /// The rows of a table were remembered by another key than the mapping has now.
    #[error("find the rows of table {table} again: they are remembered by {known}, the mapping has {wanted}")]
    KeyChanged {
        /// Its name.
        table: String,
        /// Columns and types of the remembered keys.
        known: String,
        /// Those of the mapping.
        wanted: String,
    },
    /// The rows of a collection have keys of another rule than the mapping has now.
    #[error(
        "go on with collection {collection} (number {id}): its rows have keys by {known}, the mapping says {wanted}"
    )]
    KeyRuleChanged {
        /// The collection.
        collection: String,
        /// Its number in the schema `driftless`.
        id: i32,
        /// The recorded rule.
        known: String,
        /// That of the mapping.
        wanted: String,
    },
    /// The log cannot be read.
    #[error("read the log")]
    Log(#[source] crate::log::Error),
    /// A task of ours died.
    #[error("{act}: the task died")]
    Task {
        /// What it did.
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
    /// The server's words; `None` where they may repeat values.
    pub message: Option<String>,
    /// Table, with its schema.
    pub table: Option<String>,
    /// Column.
    pub column: Option<String>,
    /// Constraint.
    pub constraint: Option<String>,
    /// Encoding of the database, where that is what was refused: a character that it does not have.
    pub encoding: Option<String>,
}

/// The encoding that has every character.
pub(crate) const UTF8: &str = "UTF8";

impl Refusal {
    /// The one that a row meets at a constraint, known before it was tried.
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

    /// Whether only values can be what was refused. Of any other refusal that is a row's by its class, the row is guilty only
    /// where other rows pass: a type's own input function or a trigger may raise whatever its author chose, and so may a table
    /// that is broken as a whole.
    pub(crate) fn is_of_a_value(&self) -> bool {
        ["22", "23", "44", "54", "P0", "21"].iter().any(|class| self.code.starts_with(class))
    }

    /// What it means for the one who waits.
    ///
    /// Source: PostgreSQL manual, appendix A.
    pub(crate) fn class(&self) -> Class {
        match self.code.as_str() {
            // A lock that was not free; a server that became a standby; a session that idled too long.
            "55P03" | "25006" | "25P03" | "25P04" => Class::Transient,
            // A statement that was prepared has neither: these are of a value's own syntax, as in seg and ltree.
            "42601" | "42602" | "42622" => Class::Poison,
            // A damaged table or index.
            "XX001" | "XX002" => Class::Halt,
            code => match code.get(..2) {
                // Connection, rollback, resources, shutdown and cancellation, disk.
                Some("08" | "40" | "53" | "57" | "58") => Class::Transient,
                // Access, names, transactions, statements and objects that are not what they should be: of no single row.
                Some(
                    "0B" | "0L" | "0P" | "24" | "25" | "26" | "28" | "2B" | "2D" | "34" | "3B" | "3D" | "3F" | "42"
                    | "55",
                )
                | Some("F0") => Class::Halt,
                _ => Class::Poison,
            },
        }
    }

    /// Keeps what may be shown.
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
        // What a row may be guilty of may quote the row.
        refusal.message = (refusal.class() != Class::Poison).then(|| error.message().to_owned());
        refusal
    }

    /// The same, met in a database of this encoding.
    pub(crate) fn with_encoding(mut self, encoding: &str) -> Self {
        let refused = self.code == "22P05" && encoding != UTF8;
        self.encoding = refused.then(|| encoding.to_owned());
        self
    }

    /// Why a document that met this refusal is dead-lettered.
    ///
    /// Source: PostgreSQL manual, appendix A.
    pub fn reason(&self) -> Reason {
        match self.code.as_str() {
            "22001" => Reason::TooLong,
            "22003" => Reason::RangeNum,
            "22007" | "22008" => Reason::RangeTs,
            // A character that the encoding lacks; in UTF-8 only NUL, as an escape in a type's own syntax.
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

    /// What a person can do about it, where that does not depend on what was tried.
    fn hint(&self) -> Option<&'static str> {
        let hides_rows = |message: &String| message.contains("row-level security");
        Some(match self.code.as_str() {
            "42501" if self.message.as_ref().is_some_and(hides_rows) => {
                "rows must not be hidden from driftless: ALTER ROLE … BYPASSRLS, or make its role the owner of the table \
                 without FORCE ROW LEVEL SECURITY"
            }
            "42501" => "run `driftless check`: it prints the statements that grant what the role lacks",
            "42P01" | "42703" => {
                "the table or column is gone or has another name: run `driftless check`, and change the mapping or the table; a \
                 trigger or a default of the table may name it, too"
            }
            "42883" => {
                "types that are compared have no operator for each other, or a trigger calls a function that is not found: run \
                 `driftless check`; name functions in triggers with their schema"
            }
            "42804" => "a column has another type than it had: run `driftless check`",
            "42P10" | "55000" => {
                "the key needs a unique constraint that is valid and NOT DEFERRABLE: run `driftless check`, which names it"
            }
            "0A000" => {
                "the table does not take what is asked of it, because of a rule or its kind: run `driftless check`"
            }
            "3D000" => "the connection string names a database that does not exist: create it, or correct the name",
            "28P01" | "28000" => "the role, its password or pg_hba.conf is not as the connection string has it",
            _ => return None,
        })
    }

    /// Whether a change elsewhere may make the same document acceptable: its parent arrives, a value is freed.
    pub fn may_pass_later(&self) -> bool {
        matches!(self.code.as_str(), "23503" | "23505" | "23P01" | "P0001")
    }

    /// Whether a unique value stands in the way.
    pub fn is_unique(&self) -> bool {
        self.code == "23505"
    }
}

/// SQLSTATE first, then the names.
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
        // The client's own time limit has no cause and no public kind; its text is all there is.
        if broken || text.starts_with("timeout") { Self::Broken(text) } else { Self::Unusable(text) }
    }
}

impl Cause {
    /// The same, met in a database of this encoding.
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
    /// The refusal of the server, when that is the cause.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Connect(Cause::Refused(refusal)) | Self::Statement { source: Cause::Refused(refusal), .. } => {
                Some(refusal)
            }
            _ => None,
        }
    }

    /// Whether another catalog, other rights or another setting of the target may be all that is needed.
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

    /// What a person can do about it, where that is not in the error itself.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Breaker { .. } => Some(
                "the position did not move: see what is refused with `driftless check`, mend the mapping and start again; \
                 when the documents themselves are wrong, raise sink.breaker_dead_letters",
            ),
            Self::Mismatch(mismatch) => Some(mismatch.hint()),
            Self::TableTaken(_) => Some(
                "let one of the two write another table; when the other migration is over, \
                 `DELETE FROM driftless.identity WHERE prefix = '…'` forgets its state and leaves its rows",
            ),
            Self::AllRefused { .. } => Some(
                "the position did not move: look the SQLSTATE up, and see the log of PostgreSQL for its words; repair the table, \
                 or the function or type that it uses, and start again",
            ),
            Self::WaitInVain { .. } => Some(
                "see `driftless dlq list --state parked --group` for the constraint: correct the reference in the mapping, or \
                 write the missing documents in MongoDB; when so many are wrong indeed, raise sink.breaker_dead_letters",
            ),
            Self::ParkedBytes { .. } => Some(
                "see `driftless dlq list --state parked --group` for the constraint: correct a wrong reference in the mapping; \
                 when the parents are only slower to come, raise sink.parked_bytes and start again",
            ),
            Self::KeyChanged { .. } => Some(
                "empty the table, delete its entries of driftless.owner, and replay its collections from the earliest",
            ),
            Self::KeyRuleChanged { .. } => Some(
                "put the rule and the namespace back; or begin anew: stop the daemon, empty the tables of the collection, delete its \
                 entries of driftless.ledger and driftless.owner (their column `collection` holds that number), start, and replay \
                 it from the earliest",
            ),
            Self::Connect(Cause::Broken(_)) => Some(
                "is PostgreSQL up and listening there (listen_addresses, port, firewall), and is the address of `sink.url` right?",
            ),
            Self::Pooler => Some("a pooler in session mode works when it passes startup options on"),
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
