//! What every integration test needs: where the servers are, a database of its own, and a deadline.

use std::{future::Future, path::Path, sync::OnceLock, time::Duration};

use mongodb::Client;

/// An address: from the environment, else from what the local stack wrote down.
pub(crate) fn setting(key: &str) -> String {
    static FILE: OnceLock<String> = OnceLock::new();
    if let Ok(value) = std::env::var(key) {
        return value;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/main/env");
    let lines = FILE.get_or_init(|| std::fs::read_to_string(&path).unwrap_or_default());
    lines
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("{key} is neither set nor in {}: run deploy/local/stack up", path.display()))
        .trim_matches('\'')
        .to_owned()
}

/// No wait of a test may take longer; a busy machine is slow, a hung one is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a state, but not for ever.
pub(crate) async fn soon<T>(what: &str, state: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, state).await.unwrap_or_else(|_| panic!("{what} did not happen within {DEADLINE:?}"))
}

/// A name no other test or run uses.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

/// A client of the source.
pub(crate) async fn mongo() -> Client {
    Client::with_uri_str(setting("MONGO_URI")).await.expect("connect to MongoDB")
}

/// A database of its own in PostgreSQL; dropped by [`Postgres::drop`].
pub(crate) struct Postgres {
    pub(crate) client: tokio_postgres::Client,
    name: String,
}

impl Postgres {
    pub(crate) async fn create(prefix: &str) -> Self {
        let name = unique(prefix);
        connect("").await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("create database");
        Self { client: connect(&name).await, name }
    }

    pub(crate) async fn drop(self) {
        drop(self.client);
        let admin = connect("").await;
        admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.expect("drop database");
    }
}

async fn connect(database: &str) -> tokio_postgres::Client {
    let mut config: tokio_postgres::Config = setting("POSTGRES_URL").parse().expect("POSTGRES_URL");
    if !database.is_empty() {
        config.dbname(database);
    }
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("connect to PostgreSQL");
    tokio::spawn(connection);
    client
}
