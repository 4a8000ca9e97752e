//! The demo's environment: the servers, its databases and topics, and the reset to an empty state.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, anyhow};
use mongodb::Database;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};

use crate::{Place, daemon::Daemon};

const SCHEMA: &str = include_str!("../../../../../config/demo/schema.sql");
const MAPPING: &str = include_str!("../../../../../config/demo/mapping.toml");

/// The servers and names of the demo.
pub(crate) struct Stage {
    /// Folder for the daemon's files.
    pub(crate) folder: PathBuf,
    /// First part of the topics' names: new on each run, so that the topics are empty from the start.
    pub(crate) prefix: String,
    /// The address on which the daemon listens.
    pub(crate) listen: String,
    /// The name of the MongoDB and the PostgreSQL database, and the first part of the topics' names.
    name: String,
    servers: BTreeMap<String, String>,
}

impl Stage {
    /// Reads the addresses of the servers.
    pub(crate) fn read(place: &Place) -> anyhow::Result<Self> {
        let Place { servers, folder, name, listen } = place;
        let text = std::fs::read_to_string(servers)
            .with_context(|| format!("read {}: `make up` starts the servers and writes it", servers.display()))?;
        let servers = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        let prefix = format!("{name}-{}", jiff::Timestamp::now().as_second());
        Ok(Self { folder: folder.clone(), prefix, listen: listen.clone(), name: name.clone(), servers })
    }

    fn server(&self, key: &str) -> anyhow::Result<&str> {
        self.servers.get(key).map(String::as_str).ok_or_else(|| anyhow!("find {key} among the servers' addresses"))
    }

    /// Returns the application's database.
    pub(crate) async fn database(&self) -> anyhow::Result<Database> {
        Ok(mongodb::Client::with_uri_str(self.server("MONGO_URI")?).await?.database(&self.name))
    }

    /// Connects to the target, or with `admin` to the server's own database.
    pub(crate) async fn postgres(&self, admin: bool) -> anyhow::Result<tokio_postgres::Client> {
        let mut config: tokio_postgres::Config = self.server("POSTGRES_URL")?.parse()?;
        if !admin {
            config.dbname(&self.name);
        }
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.context("connect to PostgreSQL")?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Empties both databases, applies the target's schema and removes the topics of earlier runs.
    pub(crate) async fn reset(&self) -> anyhow::Result<()> {
        self.database().await?.drop().await.context("empty the application's database")?;
        let (admin, name) = (self.postgres(true).await?, &self.name);
        admin
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .await
            .context("drop the target")?;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.context("create the target")?;
        self.postgres(false).await?.batch_execute(SCHEMA).await.context("apply the target's schema")?;
        self.remove_topics().await?;
        std::fs::create_dir_all(&self.folder)?;
        std::fs::write(self.folder.join("mapping.toml"), MAPPING)?;
        std::fs::write(self.folder.join("driftless.toml"), self.configuration()?)?;
        Ok(())
    }

    async fn remove_topics(&self) -> anyhow::Result<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.server("KAFKA_BROKERS")?);
        let consumer: BaseConsumer = config.create()?;
        let admin: AdminClient<DefaultClientContext> = config.create()?;
        let metadata = tokio::task::spawn_blocking(move || consumer.fetch_metadata(None, Duration::from_secs(10)))
            .await?
            .context("list the topics")?;
        let ours = format!("{}-", self.name);
        let old: Vec<&str> =
            metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(&ours)).collect();
        if !old.is_empty() {
            admin.delete_topics(&old, &AdminOptions::new()).await.context("remove the topics of earlier runs")?;
        }
        Ok(())
    }

    fn configuration(&self) -> anyhow::Result<String> {
        let mut postgres = self.server("POSTGRES_URL")?.rsplit_once('/').map_or("", |(server, _)| server).to_owned();
        let name = &self.name;
        postgres.push_str(&format!("/{name}"));
        Ok(format!(
            "# Written by the demo at each run.\nmapping = \"mapping.toml\"\n\n\
             [source]\nuri = \"{}\"\ndatabase = \"{name}\"\n\n\
             [log]\nbrokers = \"{}\"\nprefix = \"{}\"\nreplication = 1\n\n\
             [sink]\nurl = \"{postgres}\"\n\n\
             # Reads that went back go on by themselves soon after a repair. A slow machine alone takes none back for a while.\n\
             [reads]\nrecover_after = \"3s\"\npatience = \"30s\"\n\n\
             [http]\nlisten = \"{}\"\n",
            self.server("MONGO_URI")?,
            self.server("KAFKA_BROKERS")?,
            self.prefix,
            self.listen,
        ))
    }

    /// Returns the text that explains what to look at now and how to shut down.
    pub(crate) fn where_next(&self, daemon: &Daemon) -> String {
        format!(
            "\nThe daemon and the servers are still running. Look around:\n\
             \x20 status    http://{listen}/ in a browser, or {bin} --config {config} status\n\
             \x20 metrics   curl -s http://{listen}/metrics\n\
             \x20 log       {log}\n\
             \x20 topics    kcat -b {brokers} -t {prefix}.{name}.plans -C -o beginning -c 3\n\
             \x20 target    psql {postgres} -c 'SELECT * FROM app.plans LIMIT 3'\n\
             \x20 replay    {bin} --config {config} replay --collection plans --to-earliest --execute --why demo\n\
             \x20 write     {demo} write\n\
             Shut down with `make demo-down`.",
            listen = self.listen,
            name = self.name,
            log = daemon.log().display(),
            brokers = self.servers.get("KAFKA_BROKERS").map_or("", String::as_str),
            prefix = self.prefix,
            postgres = self
                .servers
                .get("POSTGRES_URL")
                .and_then(|url| url.rsplit_once('/'))
                .map_or(String::new(), |(server, _)| format!("{server}/{}", self.name)),
            bin = daemon.bin().display(),
            config = daemon.config().display(),
            demo = std::env::current_exe().map_or(String::new(), |path| path.display().to_string()),
        )
    }
}
