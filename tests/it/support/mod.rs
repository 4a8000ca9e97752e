//! What every test here needs: where the servers are, names of its own, a deadline, and a database that goes with it.

pub(crate) mod proxy;

use std::{env, fs, future::Future, path::Path, sync::OnceLock, time::Duration};

use driftless::config::SinkConfig;

/// A setting of the local stack: from the environment, else from the file that the stack writes when it starts.
pub(crate) fn setting(name: &str) -> String {
    static FILE: OnceLock<String> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/main/env");
        fs::read_to_string(path).unwrap_or_default()
    });
    let in_file = || file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    env::var(name)
        .ok()
        .or_else(|| in_file().map(|value| value.trim_matches('\'').to_owned()))
        .unwrap_or_else(|| panic!("{name} is not set: run deploy/local/stack up"))
}

/// No wait of a test may take longer; a busy machine is slow, a hung one is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a state, but not for ever.
pub(crate) async fn soon<T>(what: &str, state: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, state).await.unwrap_or_else(|_| panic!("{what} did not happen within {DEADLINE:?}"))
}

/// A name that no other test and no other run uses.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

/// A client of the source.
pub(crate) async fn mongo() -> mongodb::Client {
    mongodb::Client::with_uri_str(setting("MONGO_URI")).await.expect("MongoDB answers")
}

/// An empty PostgreSQL database; dropped at the end of the test.
pub(crate) struct Database {
    name: String,
    admin: tokio_postgres::Client,
}

impl Database {
    /// Creates it.
    pub(crate) async fn create() -> Self {
        Self::create_with("").await
    }

    /// Creates it with these options of `CREATE DATABASE`.
    pub(crate) async fn create_with(options: &str) -> Self {
        let name = unique("it");
        let admin = client(&setting("POSTGRES_URL")).await;
        admin.batch_execute(&format!("CREATE DATABASE {name} {options}")).await.expect("creates a database");
        Self { name, admin }
    }

    /// Another handle of the same database.
    pub(crate) async fn again(&self) -> Self {
        Self { name: self.name.clone(), admin: client(&setting("POSTGRES_URL")).await }
    }

    /// Its connection string.
    pub(crate) fn url(&self) -> String {
        self.url_as(None)
    }

    /// Its connection string for another role.
    pub(crate) fn url_as(&self, role: Option<&str>) -> String {
        let url = setting("POSTGRES_URL");
        let (head, query) = url.split_once('?').map_or((url.as_str(), ""), |(head, query)| (head, query));
        let (server, _) = head.rsplit_once('/').expect("a database in POSTGRES_URL");
        let server = match role {
            None => server.to_owned(),
            Some(role) => format!("postgresql://{role}@{}", server.rsplit_once('@').expect("a role").1),
        };
        format!("{server}/{}?{query}", self.name)
    }

    /// A plain client of it.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        client(&self.url()).await
    }

    /// The sink's configuration for it.
    pub(crate) fn sink_config(&self) -> SinkConfig {
        serde_json::from_value(serde_json::json!({ "url": self.url() })).expect("a configuration")
    }

    /// Drops it.
    pub(crate) async fn drop(self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        self.admin.batch_execute(&sql).await.expect("drops the database");
    }
}

async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}
