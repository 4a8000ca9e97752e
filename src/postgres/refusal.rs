//! A refusal of PostgreSQL, without the values of rows.
//!
//! PostgreSQL repeats values of rows in DETAIL, and for bad input in the message itself. So only names are kept of a refused row
//! (SQLSTATE, table, column, constraint). The message is kept only if it is about the server and not about data.

use std::fmt;

use tokio_postgres::error::DbError;

use crate::{mapping::target::TableName, model::Reason, retry::Class};

/// The part of a PostgreSQL client error that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The server refused.
    Refused(Box<Refusal>),
    /// The connection broke.
    Broken(String),
    /// One of both sides does not accept the certificate of the other.
    Untrusted(String),
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
    /// Table, as its [label](TableName::label).
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

    /// Returns whether a lock could not be had: the wait for it was bounded, or would never have ended.
    pub(crate) fn is_of_a_lock(&self) -> bool {
        ["55P03", "57014", "40P01"].contains(&self.code.as_str())
    }

    /// Returns whether the role lacks a right.
    pub(crate) fn is_of_a_right(&self) -> bool {
        self.code == "42501"
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
            Some(schema) => TableName::new(schema, table).label(),
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
    pub(super) fn hint(&self) -> Option<&'static str> {
        let hides_rows = |message: &String| message.contains("row-level security");
        let makes_things = |message: &String| {
            ["for database", "for schema", "must be owner"].iter().any(|words| message.contains(words))
        };
        Some(match self.code.as_str() {
            "42501" if self.message.as_ref().is_some_and(hides_rows) => {
                "rows must not be hidden from driftless: ALTER ROLE … BYPASSRLS, or make its role the owner of the table \
                 without FORCE ROW LEVEL SECURITY"
            }
            "42501" if self.message.as_ref().is_some_and(makes_things) => {
                "what makes or changes tables is run as their owner: `DRIFTLESS__SINK__URL=postgresql://OWNER@HOST/DATABASE` in front of the \
                 command stands in for sink.url and sink.url_file; `driftless check` prints the statements that grant the daemon its rights"
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
            "28P01" | "28000" => {
                "the role, its password or pg_hba.conf does not match the connection string: correct that on the server, or correct the \
                 connection string and restart the process, which reads it only at its start"
            }
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
            Self::Broken(why) | Self::Untrusted(why) | Self::Unusable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Cause {}

impl From<&tokio_postgres::Error> for Cause {
    fn from(error: &tokio_postgres::Error) -> Self {
        if let Some(refused) = error.as_db_error() {
            return Self::Refused(Box::new(Refusal::of(refused)));
        }
        let io = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        let text = crate::retry::chain(error);
        if io.and_then(std::io::Error::get_ref).is_some_and(|cause| cause.is::<rustls::Error>()) {
            return Self::Untrusted(text);
        }
        // The time limit of the client has neither a cause nor a public kind, so only its text identifies it.
        let broken = error.is_closed() || io.is_some() || text.starts_with("timeout");
        if broken { Self::Broken(text) } else { Self::Unusable(text) }
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

    pub(super) fn class(&self) -> Class {
        match self {
            // A certificate is renewed at the server as well as here.
            Self::Broken(_) | Self::Untrusted(_) => Class::Transient,
            Self::Unusable(_) => Class::Halt,
            Self::Refused(refusal) => refusal.class(),
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
