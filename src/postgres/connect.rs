//! Opens connections to PostgreSQL with pinned session settings, and refuses a connection that does not keep them.
//!
//! Settings travel as startup options, in the same message as the user name, so no statement runs without them. A pooler in
//! transaction mode would run each transaction in another session and lose them. One of the options is therefore a random mark,
//! and a connection that does not return the mark is refused.
//!
//! Rejected: a pool of connections. A worker has one connection and one transaction at a time; a pool would only hide which
//! of them died.

use std::{future::poll_fn, path::PathBuf, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use tokio::sync::{Notify, watch};
use tokio_postgres::{
    AsyncMessage,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use super::{
    Cause, ConstraintMode, Error, Refusal, Session,
    tls::{self, Trust},
    url,
};
use crate::config::{Constraints, SinkConfig};

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Writing batches.
    Apply,
    /// Reading for the reconciler, and reading positions.
    Read,
    /// Commands and migrations, which wait for locks and for durability.
    Control,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Read => "read",
            Self::Control => "control",
        }
    }
}

/// The address of PostgreSQL and the settings of its connections. Cheap to clone.
#[derive(Clone)]
pub struct Postgres {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    constraints: Constraints,
    statement_timeout: Duration,
    prefix: Arc<str>,
}

/// Longest time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time in which a server that has accepted a connection greets and authenticates.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// Time without an acknowledgement after which a peer counts as dead.
const PEER_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings that change the meaning of a statement, the form of its results or the life of a session. A role or a database can
/// set a default for any of them, and these values override it.
///
/// Two settings are left alone. `default_transaction_read_only` is how an administrator forbids writing, so it is reported and not
/// overridden. `lc_monetary` decides how the sessions of the application read `money`.
///
/// Source: PostgreSQL manual, chapter 20 (Server Configuration).
const PINNED: [(&str, &str); 21] = [
    ("DateStyle", "ISO,YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("timezone_abbreviations", "Default"),
    ("array_nulls", "on"),
    ("backslash_quote", "safe_encoding"),
    ("bytea_output", "hex"),
    // Batches need read committed, and so does a waiting migration, which must see what others committed.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("extra_float_digits", "1"),
    ("idle_session_timeout", "0"),
    ("quote_all_identifiers", "off"),
    // A policy that hides rows then causes an error instead of an incomplete answer.
    ("row_security", "off"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
    ("xmlbinary", "base64"),
    ("xmloption", "content"),
    ("client_min_messages", "warning"),
    // Batches differ in size by orders of magnitude; a plan for ten rows is ruinous for ten thousand.
    ("plan_cache_mode", "force_custom_plan"),
    ("jit", "off"),
    ("exit_on_error", "off"),
];

impl Postgres {
    /// Reads addresses, secrets and certificates. `prefix`, the prefix of the log, names the migration whose state the sessions see;
    /// with `sink.into`, it is a sibling of that.
    ///
    /// # Errors
    /// Fails with [`Error::Address`], [`Error::File`], [`Error::Url`] or [`Error::Tls`]; all of them halt.
    pub fn new(config: &SinkConfig, prefix: &str) -> Result<Self, Error> {
        let url = match (&config.url, &config.url_file) {
            (Some(url), None) => url.expose_secret().to_owned(),
            (None, Some(path)) => read(path)?,
            _ => return Err(Error::Address),
        };
        let (url, trust) = Trust::take_from(url.trim());
        let mut parsed: tokio_postgres::Config = url.parse().map_err(|error| url::refused(&url, &error))?;
        if trust != Trust::Anyone {
            parsed.ssl_mode(SslMode::Require);
        }
        if parsed.get_connect_timeout().is_none() {
            parsed.connect_timeout(CONNECT_TIMEOUT);
        }
        parsed
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(PEER_TIMEOUT);
        Ok(Self {
            config: parsed,
            tls: tls::connector(trust, config.ca_file.as_deref(), config.certificate_file.as_deref())?,
            constraints: config.constraints,
            statement_timeout: config.statement_timeout,
            prefix: Arc::from(super::identity::name(prefix, config.into.as_deref())),
        })
    }

    /// Returns the session that a task keeps for its statements, and opens one where it has none. The address is read again then, as
    /// it may have changed. After an error the task drops the session, because it may be inside a transaction.
    ///
    /// # Errors
    /// Those of [`Postgres::new`] and [`Postgres::open`].
    pub(crate) async fn kept<'a>(
        session: &'a mut Option<Session>,
        config: &SinkConfig,
        prefix: &str,
    ) -> Result<&'a Session, Error> {
        session.take_if(|session| !session.is_alive());
        match session {
            Some(session) => Ok(session),
            None => Ok(session.insert(Self::new(config, prefix)?.open(Purpose::Read).await?)),
        }
    }

    /// Opens a connection and pins its settings.
    ///
    /// # Errors
    /// Fails with [`Error::Connect`], whose class follows the cause, or with [`Error::Pooler`] or [`Error::ReplicaDenied`], which halt.
    pub async fn open(&self, purpose: Purpose) -> Result<Session, Error> {
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let mut config = self.config.clone();
        config.application_name(format!("driftless-{}", purpose.as_str()));
        config.options(self.options(purpose, &mark));
        // The client bounds how long a host may take to accept the connection, and not how long it may say nothing after that.
        let patience = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT) + FIRST_ANSWER;
        let patience = patience * u32::try_from(config.get_hosts().len().max(1)).unwrap_or(1);
        let connected = tokio::time::timeout(patience, config.connect(self.tls.clone())).await;
        let connected = connected.map_err(|_| self.silent(patience))?;
        let (client, mut connection) = connected.map_err(|error| self.not_connected(&error))?;
        let (ended, death) = watch::channel(None);
        let notified = Arc::new(Notify::new());
        let notifies = notified.clone();
        // The channel delivers the reason of the end to callers that find the client closed.
        tokio::spawn(async move {
            let cause = loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => notifies.notify_one(),
                    Some(Ok(_notice)) => {}
                    Some(Err(error)) => break Cause::from(&error),
                    None => break Cause::Broken("the connection was closed".to_owned()),
                }
            };
            debug!(%cause, purpose = purpose.as_str(), "connection to PostgreSQL ended");
            ended.send_replace(Some(cause));
        });
        let limit = if purpose == Purpose::Control { None } else { Some(self.statement_timeout + PEER_TIMEOUT) };
        let mut session = Session::new(client, (notified, death), limit, self.prefix.clone());
        if session.setting("driftless.mark").await?.as_deref() != Some(mark.as_str()) {
            return Err(Error::Pooler);
        }
        // This setting exists since PostgreSQL 17, and an older server refuses unknown startup options.
        let unbounded = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'";
        session.query_once("pin transaction_timeout", unbounded).await?;
        session.encoding = session.setting("server_encoding").await?.unwrap_or_default();
        if purpose == Purpose::Apply {
            session.constraint_mode = self.choose_constraint_mode(&session).await?;
        }
        if session.constraint_mode == ConstraintMode::Replica || purpose != Purpose::Apply {
            // Only system names may be found without a schema. In enforce mode, triggers of the application run in this
            // session and may rely on the search path of the role, so it is kept.
            session.batch("pin search_path", "SET search_path = pg_catalog, pg_temp").await?;
        }
        Ok(session)
    }

    /// Builds the error of a failed connection, with the address. pgbouncer refuses startup options that it cannot carry from one
    /// server session to the next.
    fn not_connected(&self, error: &tokio_postgres::Error) -> Error {
        let at = |text: &str| format!("{}: {text}", self.address());
        Error::Connect(match Cause::from(error) {
            Cause::Refused(refusal) => match &refusal.message {
                Some(message) if message.contains("unsupported startup parameter") => return Error::Pooler,
                message => {
                    let message = message.as_deref().map(at);
                    Cause::Refused(Box::new(Refusal { message, ..*refusal }))
                }
            },
            Cause::Broken(why) => Cause::Broken(at(&why)),
            Cause::Untrusted(why) => Cause::Untrusted(at(&why)),
            Cause::Unusable(why) => Cause::Unusable(at(&why)),
        })
    }

    /// Builds the error of a server that takes the connection, and says nothing.
    fn silent(&self, patience: Duration) -> Error {
        Error::Connect(Cause::Broken(format!("{}: no answer within {} s", self.address(), patience.as_secs())))
    }

    /// Returns the addresses of the connection string: every host with its port.
    fn address(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}/.s.PGSQL.{port}", folder.display()),
            }
        });
        hosts.collect::<Vec<_>>().join(", ")
    }

    /// Returns the name of the database; PostgreSQL's default is the name of the user.
    pub(crate) fn database(&self) -> Option<&str> {
        self.config.get_dbname().or_else(|| self.config.get_user())
    }

    fn options(&self, purpose: Purpose, mark: &str) -> String {
        let timeout_ms = self.statement_timeout.as_millis();
        // A command may build an index for hours, and may wait for locks as long.
        let (statement_ms, lock_ms) = match purpose {
            Purpose::Control => (0, 0),
            Purpose::Apply | Purpose::Read => (timeout_ms, (timeout_ms / 2).max(1)),
        };
        // A crash of the server loses rows and position together, and the position is read again.
        let durability = if purpose == Purpose::Apply { "off" } else { "on" };
        let writer = if purpose == Purpose::Apply { "sink" } else { "none" };
        let of_this_session = [
            ("driftless.mark", mark.to_owned()),
            ("statement_timeout", statement_ms.to_string()),
            ("lock_timeout", lock_ms.to_string()),
            ("idle_in_transaction_session_timeout", statement_ms.to_string()),
            ("synchronous_commit", durability.to_owned()),
            // The guard's triggers do not fire for statements of a session that says so.
            ("driftless.writer", writer.to_owned()),
        ];
        let settings =
            PINNED.iter().copied().chain(of_this_session.iter().map(|(name, value)| (*name, value.as_str())));
        let ours = settings.map(|(name, value)| format!("-c {name}={}", value.replace(' ', "\\ ")));
        self.config.get_options().map(str::to_owned).into_iter().chain(ours).collect::<Vec<_>>().join(" ")
    }

    async fn choose_constraint_mode(&self, session: &Session) -> Result<ConstraintMode, Error> {
        if self.constraints == Constraints::Enforce {
            return Ok(ConstraintMode::Enforce);
        }
        match session.batch("set session_replication_role", "SET session_replication_role = replica").await {
            Ok(()) => Ok(ConstraintMode::Replica),
            Err(error) if error.refusal().is_some_and(Refusal::is_of_a_right) => match self.constraints {
                Constraints::Replica => Err(Error::ReplicaDenied),
                Constraints::Auto | Constraints::Enforce => Ok(ConstraintMode::Enforce),
            },
            Err(error) => Err(error),
        }
    }
}

/// Prints server and database, never user or password.
impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("hosts", &self.config.get_hosts())
            .field("database", &self.config.get_dbname())
            .field("constraints", &self.constraints)
            .finish_non_exhaustive()
    }
}

fn read(path: &PathBuf) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { path: path.clone(), source })
}
