//! PostgreSQL: connections, and a separate database per test.

use tokio_postgres::{Client, NoTls};

use crate::{stack::setting, unique};

/// Connects.
///
/// # Errors
/// Fails if PostgreSQL does not answer.
pub async fn try_connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Connects to a server that must answer.
pub async fn connect(url: &str) -> Client {
    try_connect(url).await.expect("connect to PostgreSQL")
}

/// An empty database for one test; [`Database::drop`] removes it.
pub struct Database {
    name: String,
    admin: Client,
}

impl Database {
    /// Creates the database.
    pub async fn create() -> Self {
        Self::create_with("").await
    }

    /// Creates the database with these options of `CREATE DATABASE`.
    pub async fn create_with(options: &str) -> Self {
        let name = unique("it");
        let admin = connect(&setting("POSTGRES_URL")).await;
        admin.batch_execute(&format!("CREATE DATABASE {name} {options}")).await.expect("create a database");
        Self { name, admin }
    }

    /// Returns another handle of the same database.
    pub async fn again(&self) -> Self {
        Self { name: self.name.clone(), admin: connect(&setting("POSTGRES_URL")).await }
    }

    /// Returns its connection string.
    pub fn url(&self) -> String {
        self.url_as(None)
    }

    /// Returns its connection string for another role.
    pub fn url_as(&self, role: Option<&str>) -> String {
        let url = setting("POSTGRES_URL");
        let (head, query) = url.split_once('?').map_or((url.as_str(), ""), |(head, query)| (head, query));
        let (server, _) = head.rsplit_once('/').expect("a database in POSTGRES_URL");
        let server = match role {
            None => server.to_owned(),
            Some(role) => format!("postgresql://{role}@{}", server.rsplit_once('@').expect("a role").1),
        };
        format!("{server}/{}?{query}", self.name)
    }

    /// Opens a plain client.
    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    /// Drops the database.
    pub async fn drop(self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        self.admin.batch_execute(&sql).await.expect("drop the database");
    }
}
