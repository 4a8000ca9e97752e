//! The connection, and the facts of the server.
//!
//! Everything is sent to the primary: the as-of time of the stream and the `not_before` of a snapshot read depend on it.
//! `source.timeout` bounds every await on the server.

use std::{future::Future, sync::Arc, time::Duration};

use bson::{Document, doc};
use mongodb::{
    Client, Database,
    options::{ClientOptions, ReadPreference, SelectionCriteria},
};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::{Error, deadline::within, reader::SnapshotReader};
use crate::{
    config::SourceConfig,
    model::ClusterTime,
    retry::{self, Backoff, Stalls},
};

/// The facts of the server that decide which requests it supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name of the replica set; `None` for a mongos or a standalone server.
    pub replica_set: Option<String>,
    /// Members of the replica set; empty for a mongos or a standalone server.
    pub(crate) hosts: Vec<String>,
    /// Whether the server is a mongos.
    pub(crate) mongos: bool,
    /// Version: major, minor, patch.
    pub(crate) version: [u32; 3],
    /// The read preference of the connection string, if it is not the primary; it is ignored.
    pub(crate) read_preference: Option<&'static str>,
}

impl Server {
    /// Returns whether events carry the collection's UUID (`showExpandedEvents`).
    pub(crate) fn expands_events(&self) -> bool {
        self.version >= [6, 0, 0]
    }

    /// Returns whether the server has `$changeStreamSplitLargeEvent`.
    pub(crate) fn splits_large_events(&self) -> bool {
        // It was added in 7.0 and backported to 6.0.9, but not to the releases between them.
        self.version >= [7, 0, 0] || (self.version[..2] == [6, 0] && self.version[2] >= 9)
    }

    /// Returns whether reaching the end of the server's events proves that an instant is complete.
    ///
    /// On one replica set an instant is one oplog entry. Behind a mongos several shards may share an instant.
    pub(crate) fn completes_instants(&self) -> bool {
        !self.mongos
    }
}

/// A connection to the source database. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    client: Client,
    database: Database,
    config: Arc<SourceConfig>,
    server: Server,
    stalls: Option<Stalls>,
}

/// Prints the server, never the address, which may contain a password.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("database", &self.config.database)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Connects and reads the facts of the server.
    ///
    /// # Errors
    /// [`Error::Address`] and [`Error::AddressFile`] (halt); [`Error::Server`] and [`Error::Timeout`] by their class.
    pub async fn connect(config: &SourceConfig) -> Result<Self, Error> {
        let uri = address(config).await?;
        let parse = ClientOptions::parse(uri.expose_secret());
        let mut options = within(config.timeout, "parse the connection string of the source", parse).await?;
        options.app_name.get_or_insert_with(|| "driftless".to_owned());
        let at = options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let server = server(&client(options.clone(), config.timeout.min(REACH))?, config.timeout).await;
        let server = server.map_err(|error| unreachable(at, error))?;
        if let Some(ignored) = server.read_preference {
            tracing::warn!(readPreference = ignored, "ignored in the connection string of the source: {PRIMARY}");
        }
        let client = client(options, config.timeout)?;
        let database = client.database(&config.database);
        Ok(Self { client, database, config: Arc::new(config.clone()), server, stalls: None })
    }

    /// Makes this source report to `stalls` when it has to wait, and when it goes on.
    #[must_use]
    pub(crate) fn with_stalls(self, stalls: Stalls) -> Self {
        Self { stalls: Some(stalls), ..self }
    }

    /// Returns the same source for the task of that name, whose stalls are reported separately.
    pub(crate) fn of_task(&self, task: &str) -> Self {
        Self { stalls: self.stalls.as_ref().map(|stalls| stalls.of(task)), ..self.clone() }
    }

    /// Reports that the source waits because of this error, and retries after `delay`.
    pub(crate) fn stalled(&self, error: &Error, delay: Duration) {
        let reason = retry::chain(error);
        tracing::warn!(delay_ms = delay.as_millis() as u64, reason, "source stalled");
        if let Some(stalls) = &self.stalls {
            stalls.waits(reason, error.hint());
        }
    }

    /// Retries an attempt until it succeeds or fails permanently. The owner of the task ends the wait.
    ///
    /// # Errors
    /// The first error that is not transient.
    pub(crate) async fn retry_transient<T, F>(&self, backoff: Backoff, attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let never = CancellationToken::new();
        let stalled = |error: &Error, delay| self.stalled(error, delay);
        let outcome = retry::retry_transient(backoff, &never, stalled, attempt).await?.ok_or(Error::Ended)?;
        if let Some(stalls) = &self.stalls {
            stalls.goes_on();
        }
        Ok(outcome)
    }

    /// Returns the facts of the server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the name of the database.
    pub(crate) fn database_name(&self) -> &str {
        self.database.name()
    }

    /// Returns the epoch of the versions.
    pub(crate) fn epoch(&self) -> u32 {
        self.config.epoch
    }

    /// Returns a reader of documents at one cluster time.
    pub fn reader(&self) -> SnapshotReader {
        SnapshotReader::new(self.database.clone(), self.config.timeout)
    }

    /// Returns the cluster time of the newest operation that a majority holds.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class, [`Error::Reply`] when there is no replica set (halt).
    pub async fn now(&self) -> Result<ClusterTime, Error> {
        let act = "ask the source for its time";
        let reply = self.command("admin", act, doc! { "hello": 1 }).await?;
        let majority = reply
            .get_document("lastWrite")
            .and_then(|write| write.get_document("majorityOpTime"))
            .and_then(|time| time.get_timestamp("ts"))
            .or_else(|_| reply.get_timestamp("operationTime"));
        majority.map(ClusterTime::from).map_err(|_| Error::Reply { act, field: "lastWrite.majorityOpTime.ts" })
    }

    /// Runs one small command on the primary.
    pub(crate) async fn command(&self, db: &str, act: &'static str, command: Document) -> Result<Document, Error> {
        within(self.config.timeout, act, self.client.database(db).run_command(command)).await
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn config(&self) -> &SourceConfig {
        &self.config
    }
}

async fn address(config: &SourceConfig) -> Result<SecretString, Error> {
    match (&config.uri, &config.uri_file) {
        (Some(uri), None) => Ok(SecretString::from(uri.expose_secret())),
        (None, Some(path)) => tokio::fs::read_to_string(path)
            .await
            .map(|text| SecretString::from(text.trim()))
            .map_err(|source| Error::AddressFile { path: path.clone(), source }),
        _ => Err(Error::Address),
    }
}

/// Maximum wait for the first answer, even if `source.timeout` is longer, so that a server that is away is reported in seconds.
/// Later waits have the whole timeout, because an election may take that long.
const REACH: Duration = Duration::from_secs(5);

/// The reason why a `readPreference` is ignored.
pub(crate) const PRIMARY: &str =
    "everything is read from the primary, because the instants of stream and snapshot rest on it";

/// Creates a client that waits for a server for at most `patience`; timeouts of the connection string take precedence.
fn client(mut options: ClientOptions, patience: Duration) -> Result<Client, Error> {
    options.connect_timeout.get_or_insert(patience);
    options.server_selection_timeout.get_or_insert(patience);
    Client::with_options(options)
        .map_err(|source| Error::Server { act: "set up the connection to the source", source: source.into() })
}

fn unreachable(at: String, error: Error) -> Error {
    match error {
        Error::Server { source, .. } if source.is_selection() => Error::Unreachable { at, source },
        other => other,
    }
}

/// Returns the `readPreference` of a connection string, if it is not the primary.
fn read_preference(options: Option<&SelectionCriteria>) -> Option<&'static str> {
    let Some(SelectionCriteria::ReadPreference(wanted)) = options else { return None };
    match wanted {
        ReadPreference::Secondary { .. } => Some("secondary"),
        ReadPreference::PrimaryPreferred { .. } => Some("primaryPreferred"),
        ReadPreference::SecondaryPreferred { .. } => Some("secondaryPreferred"),
        ReadPreference::Nearest { .. } => Some("nearest"),
        _ => None,
    }
}

async fn server(client: &Client, timeout: Duration) -> Result<Server, Error> {
    let act = "ask the source what it is";
    let admin = client.database("admin");
    let hello = within(timeout, act, admin.run_command(doc! { "hello": 1 })).await?;
    let build = within(timeout, act, admin.run_command(doc! { "buildInfo": 1 })).await?;
    let text = build.get_str("version").map_err(|_| Error::Reply { act, field: "version" })?;
    Ok(Server {
        replica_set: hello.get_str("setName").ok().map(str::to_owned),
        hosts: hello.get_array("hosts").map_or_else(|_| Vec::new(), |hosts| texts(hosts)),
        mongos: hello.get_str("msg").is_ok_and(|text| text == "isdbgrid"),
        version: version(text).ok_or(Error::Reply { act, field: "version" })?,
        read_preference: read_preference(client.selection_criteria()),
    })
}

fn texts(values: &[bson::Bson]) -> Vec<String> {
    values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Parses a version. `7.0.14-8` is 7, 0, 14, because vendors append suffixes of their own.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split(['.', '-', '+']).map(str::parse::<u32>);
    let mut part = || parts.next().and_then(Result::ok);
    Some([part()?, part()?, part().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("6.0.5", Some([6, 0, 5]))]
    #[case("7.0.14-8", Some([7, 0, 14]))]
    #[case("8.0.0-rc3", Some([8, 0, 0]))]
    #[case("8.1", Some([8, 1, 0]))]
    #[case("unknown", None)]
    fn versions(#[case] text: &str, #[case] expected: Option<[u32; 3]>) {
        assert_eq!(version(text), expected);
    }

    #[rstest]
    #[case([6, 0, 5], true, false)]
    #[case([6, 0, 9], true, true)]
    #[case([6, 2, 0], true, false)]
    #[case([7, 0, 0], true, true)]
    #[case([5, 0, 31], false, false)]
    fn features(#[case] version: [u32; 3], #[case] expands: bool, #[case] splits: bool) {
        let server = Server { replica_set: None, hosts: Vec::new(), mongos: false, version, read_preference: None };
        assert_eq!((server.expands_events(), server.splits_large_events()), (expands, splits));
    }
}
