//! The errors of the MongoDB side, their classes and their remedies.

use std::{fmt, path::PathBuf, time::Duration};

use mongodb::error::{CommandError, Error as DriverError, ErrorKind};
use thiserror::Error;

use crate::{
    model::{ClusterTime, Namespace, TokenError},
    retry::{Class, Classify},
    tasks::Panicked,
};

/// An error of the source.
#[derive(Debug, Error)]
pub enum Error {
    /// Neither `source.uri` nor `source.uri_file` is set, or both are.
    #[error("find the connection string of the source: set exactly one of `source.uri` and `source.uri_file`")]
    Address,
    /// The file that should hold the connection string cannot be read.
    #[error("read the connection string from {}", path.display())]
    AddressFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No server that accepts writes can be reached; everything is read from such a server.
    #[error("reach MongoDB at {at}")]
    Unreachable {
        /// The addresses of the connection string.
        at: String,
        /// The driver's message.
        source: Cause,
    },
    /// The server or the connection to it failed.
    #[error("{act}")]
    Server {
        /// The act that failed.
        act: &'static str,
        /// The driver's message.
        source: Cause,
    },
    /// The server took longer than `source.timeout` allows.
    #[error("{act}: MongoDB has not replied within {after:?}")]
    Timeout {
        /// The act that failed.
        act: &'static str,
        /// The time that was waited.
        after: Duration,
    },
    /// The server ended a cursor that was not exhausted.
    #[error("{act}: the server ended the cursor")]
    CursorEnded {
        /// The act that failed.
        act: &'static str,
    },
    /// A reply lacks a field that every reply of its kind has.
    #[error("{act}: find `{field}` in the reply")]
    Reply {
        /// The act that failed.
        act: &'static str,
        /// The field that is missing or has another type.
        field: &'static str,
    },
    /// An event of the change stream lacks a field that every event of its kind has.
    #[error("decode a change event at {time}: find `{field}`")]
    Event {
        /// Cluster time of the event.
        time: ClusterTime,
        /// The field that is missing or has another type.
        field: &'static str,
    },
    /// A resume token cannot be decoded, so the order of changes would be a guess.
    #[error("decode the place of a change event")]
    Token(#[from] TokenError),
    /// The oplog no longer reaches back to the position at which the stream must resume.
    #[error("resume the change stream after {position}: its history is lost")]
    HistoryLost {
        /// Cluster time of the last position.
        position: ClusterTime,
        /// The server's message.
        source: Cause,
    },
    /// The server's time has not reached the position: the server is not the source, or no longer the same one.
    #[error("resume the change stream after {position}: the source has not come so far")]
    Behind {
        /// Cluster time of the last position.
        position: ClusterTime,
        /// The server's message.
        source: Cause,
    },
    /// An event is larger than a reply may be, even without the document.
    #[error("read the change event after {position}: it is larger than a reply may be")]
    EventTooLarge {
        /// Cluster time of the last position.
        position: ClusterTime,
        /// The server's message.
        source: Cause,
    },
    /// The cluster time of the read is older than the server's history, or than the collection's last index build. A read at a
    /// later time can succeed; a read at the same time never can.
    #[error("{act} at {at}: the server can no longer read that instant")]
    SnapshotTooOld {
        /// The act that failed.
        act: &'static str,
        /// The instant that was requested.
        at: ClusterTime,
        /// The server's message.
        source: Cause,
    },
    /// A mapped collection was dropped, alone or with its database, and its policy is `halt`.
    #[error("follow {namespace}: it was dropped at {time}")]
    Dropped {
        /// The collection.
        namespace: Namespace,
        /// Cluster time of the drop.
        time: ClusterTime,
    },
    /// A mapped collection was renamed or replaced by a rename, and the policy of one of the two names is `halt`.
    #[error("follow {from} and {to}: the one was renamed to the other at {time}")]
    Renamed {
        /// The old name.
        from: Namespace,
        /// The new name.
        to: Namespace,
        /// Cluster time of the rename.
        time: ClusterTime,
    },
    /// An inner task panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The stream or snapshot already ended with an error.
    #[error("read on from the source: it has already ended")]
    Ended,
}

/// The driver's message, in one line: the driver's own text repeats the server's whole reply as hex.
#[derive(Debug)]
pub struct Cause(DriverError);

impl From<DriverError> for Cause {
    fn from(error: DriverError) -> Self {
        Self(error)
    }
}

impl Cause {
    /// Returns whether the driver found no server.
    pub(crate) fn is_selection(&self) -> bool {
        matches!(self.0.kind.as_ref(), ErrorKind::ServerSelection { .. })
    }

    /// Returns whether one of both sides does not accept the certificate of the other. The driver keeps only the text of what each
    /// server has answered, and a server that refuses a certificate may just close the connection.
    fn is_of_a_certificate(&self) -> bool {
        let text = self.0.kind.to_string();
        ["certificate", "UnknownCA", "close_notify"].iter().any(|word| text.contains(word))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.kind)
    }
}

impl std::error::Error for Cause {}

/// The server's codes for errors that waiting does not fix: rights, unknown commands or stages, malformed requests.
const HALTING: [i32; 15] = [2, 9, 13, 14, 18, 20, 40, 59, 72, 73, 115, 166, 8000, 40324, 40573];
/// Unauthorized, AuthenticationFailed, and the refusal of a hosted service.
const DENIED: [i32; 3] = [13, 18, 8000];
/// ChangeStreamHistoryLost, ChangeStreamFatalError, InvalidResumeToken.
const HISTORY_LOST: [i32; 3] = [286, 280, 260];
const BSON_OBJECT_TOO_LARGE: i32 = 10334;
/// SnapshotTooOld, SnapshotUnavailable.
const SNAPSHOT_TOO_OLD: [i32; 2] = [239, 246];
/// InvalidOptions: among the options that we send, only a cluster time ahead of the server's clock can be invalid.
const INVALID_OPTIONS: i32 = 72;
/// The remedy where MongoDB does not answer.
const AWAY: &str = "is mongod at `source.uri` up, answering and neither frozen nor overloaded, and has the set a primary? A new election \
                    takes seconds";

impl Error {
    /// Judges an error of the driver from opening or reading a change stream that was at `position`.
    pub(crate) fn of_stream(act: &'static str, position: ClusterTime, source: DriverError) -> Self {
        match code(&source) {
            Some(code) if HISTORY_LOST.contains(&code) => Self::HistoryLost { position, source: source.into() },
            Some(INVALID_OPTIONS) => Self::Behind { position, source: source.into() },
            Some(BSON_OBJECT_TOO_LARGE) => Self::EventTooLarge { position, source: source.into() },
            _ if source.contains_label("NonResumableChangeStreamError") => {
                Self::HistoryLost { position, source: source.into() }
            }
            _ => Self::Server { act, source: source.into() },
        }
    }

    /// Judges an error of the driver from a read at a cluster time.
    pub(crate) fn of_read(act: &'static str, at: Option<ClusterTime>, source: DriverError) -> Self {
        match code(&source) {
            Some(code) if SNAPSHOT_TOO_OLD.contains(&code) => {
                Self::SnapshotTooOld { act, at: at.unwrap_or_default(), source: source.into() }
            }
            _ => Self::Server { act, source: source.into() },
        }
    }

    /// Returns code and name of a refusal of a command: `BadValue (2)`. The message is left out, because it may quote values.
    pub(crate) fn command_code(&self) -> Option<String> {
        self.command().map(|command| format!("{} ({})", command.code_name, command.code))
    }

    /// Returns the message of a refusal of a command that holds no values.
    pub(crate) fn command_message(&self) -> Option<&str> {
        self.command().map(|command| command.message.as_str())
    }

    fn command(&self) -> Option<&CommandError> {
        match self {
            Self::Server { source, .. } => match source.0.kind.as_ref() {
                ErrorKind::Command(command) => Some(command),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns whether the server denies this user what it asks for: another right or password is all that is needed.
    pub(crate) fn is_denied(&self) -> bool {
        let (Self::Server { source, .. } | Self::Unreachable { source, .. }) = self else { return false };
        match source.0.kind.as_ref() {
            ErrorKind::Command(command) => DENIED.contains(&command.code),
            ErrorKind::Authentication { .. } => true,
            _ => false,
        }
    }

    /// Returns the remedy, if a person can apply one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::HistoryLost { .. } => Some(
                "the daemon was down for longer than the oplog covers: changes are lost permanently; raise `source.epoch`: everything is \
                 read again, and what is gone is removed; then let a full reconcile prove it",
            ),
            Self::Behind { .. } => Some(
                "the source was restored or replaced: raise `source.epoch`: everything is read again, and what is gone is \
                 removed; then let a full reconcile prove it",
            ),
            Self::EventTooLarge { .. } => Some(
                "MongoDB 6.0.9 or 7.0 can split such events; on an older server the `_id` alone exceeds what an event \
                 may hold",
            ),
            Self::Dropped { .. } => Some(
                "decide what the target should do: set `on_drop` of this collection to \"ignore\" (keeps the rows) or \"truncate\" \
                 (removes them) in the mapping file, and restart the process",
            ),
            Self::Renamed { .. } => Some(
                "decide what the target should do: set `on_drop` of this collection to \"ignore\" (keeps the rows) or \"truncate\" \
                 (removes them) in the mapping file, and restart the process; either way the documents that came by a rename are read",
            ),
            Self::Token(_) => Some("this version of driftless does not know the server's token format: upgrade it"),
            Self::Unreachable { source, .. } if source.is_of_a_certificate() => Some(
                "the certificate of the server must be valid, come from an authority of `tlsCAFile` or of the system, and name the host \
                 by which the set calls its member; if the server does not accept `tlsCertificateKeyFile`, its log says why",
            ),
            Self::Unreachable { .. } => Some(
                "is mongod up and listening there, is the set's primary elected, does it ask for `tls=true` in the address, and can this machine \
                 reach each member by the name that rs.conf() has for it?",
            ),
            Self::AddressFile { .. } => Some("name the file in `source.uri_file`, relative to the configuration file"),
            Self::Server { source, .. } => match source.0.kind.as_ref() {
                ErrorKind::DnsResolve { .. } => {
                    Some("a host of mongodb+srv:// needs SRV records; is the name in `source.uri` right?")
                }
                ErrorKind::InvalidArgument { .. } => Some("correct the connection string of the source"),
                ErrorKind::Authentication { .. } => {
                    Some("check user, password and authSource of the connection string")
                }
                ErrorKind::Command(command) => match command.code {
                    13 => Some("grant the role `read` on the database, and `clusterMonitor` for `check`"),
                    18 => Some("check user, password and authSource of the connection string"),
                    40573 => {
                        Some("change streams need a replica set: start mongod with --replSet, one member is enough")
                    }
                    _ => None,
                },
                ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => {
                    Some(AWAY)
                }
                _ => None,
            },
            Self::Timeout { .. } => Some(AWAY),
            Self::Address
            | Self::CursorEnded { .. }
            | Self::Reply { .. }
            | Self::Event { .. }
            | Self::SnapshotTooOld { .. }
            | Self::Panicked(_)
            | Self::Ended => None,
        }
    }
}

#[cfg(feature = "failpoints")]
impl From<crate::failpoints::Injected> for Error {
    fn from(crate::failpoints::Injected(point): crate::failpoints::Injected) -> Self {
        Self::CursorEnded { act: point }
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Unreachable { source, .. } | Self::Server { source, .. } => class_of(&source.0),
            // A chunk is read again at a later instant.
            Self::Timeout { .. } | Self::CursorEnded { .. } | Self::SnapshotTooOld { .. } => Class::Transient,
            Self::Panicked(panicked) => panicked.class(),
            Self::Address
            | Self::AddressFile { .. }
            | Self::Reply { .. }
            | Self::Event { .. }
            | Self::Token(_)
            | Self::HistoryLost { .. }
            | Self::Behind { .. }
            | Self::EventTooLarge { .. }
            | Self::Dropped { .. }
            | Self::Renamed { .. }
            | Self::Ended => Class::Halt,
        }
    }
}

fn code(error: &DriverError) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// Returns the class of an error of the driver. Reads change nothing, so every error that is not known to be permanent is
/// retried; the stall is visible.
fn class_of(error: &DriverError) -> Class {
    match error.kind.as_ref() {
        ErrorKind::Command(command) if HALTING.contains(&command.code) => Class::Halt,
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::SessionsNotSupported
        | ErrorKind::Shutdown => Class::Halt,
        // The driver's enum is open; network, selection, pool and election errors are all transient.
        _ => Class::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_right_is_all_that_a_denied_command_needs() {
        let refused = |code: i32| {
            let reply = serde_json::json!({ "code": code, "codeName": "", "errmsg": "" });
            let command: CommandError = serde_json::from_value(reply).expect("an error of a command");
            Error::Server { act: "read", source: DriverError::from(ErrorKind::Command(command)).into() }
        };
        for (code, denied) in [(13, true), (18, true), (73, false), (286, false)] {
            assert_eq!(refused(code).is_denied(), denied, "{code}");
        }
    }

    #[test]
    fn a_server_that_does_not_answer_has_a_remedy() {
        let frozen = Error::Timeout { act: "read", after: Duration::from_secs(30) };
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let cut = Error::Server { act: "read", source: DriverError::from(reset).into() };
        for error in [frozen, cut] {
            assert_eq!(error.class(), Class::Transient, "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("`source.uri`")), "{error}");
        }
    }
}
