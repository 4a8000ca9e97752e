//! The local servers, and what each measurement owns on them: databases, topics, configuration.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use mongodb::{Database, bson::doc};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};
use tokio_postgres::{Client, NoTls};

use crate::process;

/// First part of every name on the servers: a name that starts with it is ours to remove.
const PREFIX: &str = "bench";
/// The servers, and the keys that name their pid files.
const PROCESSES: [(&str, &str); 3] =
    [("MongoDB", "MONGO_1_PID_FILE"), ("Kafka", "KAFKA_PID_FILE"), ("PostgreSQL", "POSTGRES_PID_FILE")];
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The addresses of the started servers.
#[derive(Clone)]
pub(crate) struct Servers {
    values: BTreeMap<String, String>,
    /// The MongoDB client.
    pub(crate) mongo: mongodb::Client,
    /// Settings of the daemon, `section.key = value`, that differ from its defaults.
    pub(crate) settings: Vec<String>,
}

/// The names and files that one measurement of one program owns.
pub(crate) struct Trial {
    /// The source database.
    pub(crate) source: String,
    /// The target database.
    pub(crate) target: String,
    /// First part of the topics' names.
    pub(crate) prefix: String,
    /// Folder for the configuration and logs.
    pub(crate) folder: PathBuf,
}

/// The tables to fill, and the mapping to them.
pub(crate) struct Application {
    /// The tables, as SQL.
    pub(crate) schema: String,
    /// The mapping file.
    pub(crate) mapping: String,
}

impl Servers {
    /// Reads the addresses that `deploy/local/stack up` has written.
    pub(crate) async fn read(file: &Path, settings: Vec<String>) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("read {}: `make bench` starts the servers and writes it", file.display()))?;
        let values: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        let uri = values.get("MONGO_URI").ok_or_else(|| anyhow!("find MONGO_URI in {}", file.display()))?;
        let mongo = mongodb::Client::with_uri_str(uri).await?;
        Ok(Self { mongo, values, settings })
    }

    /// Returns the same servers, for a daemon with one more setting.
    pub(crate) fn with(&self, setting: &str) -> Self {
        let mut servers = self.clone();
        servers.settings.push(setting.to_owned());
        servers
    }

    /// Returns a value from the file.
    pub(crate) fn value(&self, key: &str) -> anyhow::Result<&str> {
        self.values.get(key).map(String::as_str).ok_or_else(|| anyhow!("find {key} among the servers' addresses"))
    }

    /// Returns the connection string of a target database.
    pub(crate) fn postgres_url(&self, database: &str) -> anyhow::Result<String> {
        let (server, _) = self.value("POSTGRES_URL")?.rsplit_once('/').context("the URL names a database")?;
        Ok(format!("{server}/{database}"))
    }

    /// Connects to a target database.
    pub(crate) async fn postgres(&self, database: &str) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.postgres_url(database)?, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Returns the settings of a bare Kafka client.
    pub(crate) fn kafka(&self) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.value("KAFKA_BROKERS")?);
        Ok(config)
    }

    /// Returns a source database.
    pub(crate) fn database(&self, name: &str) -> Database {
        self.mongo.database(name)
    }

    /// Empties the source database of that name and returns it.
    pub(crate) async fn empty_database(&self, name: &str) -> anyhow::Result<Database> {
        let database = self.database(&format!("{PREFIX}_{name}"));
        database.drop().await?;
        Ok(database)
    }

    /// Returns the versions of the servers, for the report.
    pub(crate) async fn versions(&self) -> anyhow::Result<Vec<String>> {
        let build = self.mongo.database("admin").run_command(doc! { "buildInfo": 1 }).await?;
        let postgres = self.postgres("postgres").await?.query_one("SHOW server_version", &[]).await?;
        let kafka = self.value("KAFKA_LIB")?.rsplit_once("kafka-").map_or("", |(_, version)| version).to_owned();
        Ok(vec![
            format!("MongoDB {}", build.get_str("version").unwrap_or("?")),
            format!("Kafka {kafka}"),
            format!("PostgreSQL {}", postgres.get::<_, String>(0)),
        ])
    }

    /// Returns the processor seconds that each server has used so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Vec<(&'static str, f64)>> {
        let used = |(name, key): &(&'static str, &str)| {
            let file = self.value(key)?;
            let pid = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
            let pid = pid.trim().parse().with_context(|| format!("find a process id in {file}"))?;
            Ok((*name, process::cpu_of_family(pid)?))
        };
        PROCESSES.iter().map(used).collect()
    }

    /// Creates an empty target with its tables, and a configuration that reads `source`.
    pub(crate) async fn trial(&self, name: &str, source: &str, application: &Application) -> anyhow::Result<Trial> {
        let target = format!("{PREFIX}_{name}");
        let folder = Path::new("target/bench").join(&target);
        let prefix = format!("{PREFIX}-{name}-{}", jiff::Timestamp::now().as_millisecond());
        let trial = Trial { source: source.to_owned(), target, prefix, folder };
        self.drop_target(&trial.target).await?;
        self.postgres("postgres").await?.batch_execute(&format!("CREATE DATABASE {}", trial.target)).await?;
        self.postgres(&trial.target).await?.batch_execute(&application.schema).await.context("make the tables")?;
        if trial.folder.exists() {
            fs::remove_dir_all(&trial.folder)?;
        }
        fs::create_dir_all(&trial.folder)?;
        fs::write(trial.folder.join("mapping.toml"), &application.mapping)?;
        self.configure(&trial)?;
        Ok(trial)
    }

    /// Writes the configuration of a trial, for daemons that start from now on.
    pub(crate) fn configure(&self, trial: &Trial) -> anyhow::Result<()> {
        Ok(fs::write(trial.config(), self.configuration(trial)?)?)
    }

    /// Returns a configuration with only the keys that have no default, and the requested settings.
    fn configuration(&self, trial: &Trial) -> anyhow::Result<String> {
        let mut config = toml::toml! {
            mapping = "mapping.toml"
            [log]
            replication = 1
        };
        let mut set = |key: &str, value: toml::Value| -> anyhow::Result<()> {
            let (section, key) = key.split_once('.').with_context(|| format!("`{key}` is no section.key"))?;
            let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
            section.as_table_mut().with_context(|| format!("`{key}` is in no section"))?.insert(key.to_owned(), value);
            Ok(())
        };
        set("source.uri", self.value("MONGO_URI")?.into())?;
        set("source.database", trial.source.as_str().into())?;
        set("log.brokers", self.value("KAFKA_BROKERS")?.into())?;
        set("log.prefix", trial.prefix.as_str().into())?;
        set("sink.url", self.postgres_url(&trial.target)?.into())?;
        for setting in &self.settings {
            let (key, value) = setting.split_once('=').with_context(|| format!("`{setting}` is no key=value"))?;
            let number = value.trim().parse::<i64>().map(toml::Value::from);
            set(key.trim(), number.unwrap_or_else(|_| value.trim().into()))?;
        }
        Ok(config.to_string())
    }

    async fn drop_target(&self, database: &str) -> anyhow::Result<()> {
        let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
        Ok(self.postgres("postgres").await?.batch_execute(&drop).await?)
    }

    /// Removes everything that a trial has left on the servers, so that the next one does not pay for it.
    pub(crate) async fn clear(&self, trial: Trial) -> anyhow::Result<()> {
        self.drop_target(&trial.target).await?;
        self.remove_topics(&trial.prefix).await
    }

    /// Creates a topic with four partitions.
    pub(crate) async fn make_topic(&self, name: &str) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.kafka()?.create()?;
        let topic = NewTopic::new(name, 4, TopicReplication::Fixed(1));
        let made = admin.create_topics([&topic], &AdminOptions::new()).await?;
        for made in made {
            made.map_err(|(name, code)| anyhow!("make topic {name}: {code}"))?;
        }
        Ok(())
    }

    /// Removes every topic whose name starts with `prefix`.
    pub(crate) async fn remove_topics(&self, prefix: &str) -> anyhow::Result<()> {
        let config = self.kafka()?;
        let admin: AdminClient<DefaultClientContext> = config.create()?;
        let consumer: BaseConsumer = config.create()?;
        let metadata = tokio::task::spawn_blocking(move || consumer.fetch_metadata(None, ANSWER_TIMEOUT)).await??;
        let names = metadata.topics().iter().map(|topic| topic.name());
        let doomed: Vec<&str> = names.filter(|name| name.starts_with(prefix)).collect();
        if !doomed.is_empty() {
            admin.delete_topics(&doomed, &AdminOptions::new()).await?;
        }
        Ok(())
    }

    /// Returns the bytes on the broker's disk of all topics whose name starts with `prefix`, compressed as stored.
    pub(crate) fn topic_bytes(&self, prefix: &str) -> anyhow::Result<u64> {
        let data = Path::new(self.value("STACK_DIR")?).join("kafka/data");
        let mut bytes = 0;
        for partition in fs::read_dir(&data).with_context(|| format!("read {}", data.display()))? {
            let partition = partition?;
            if !partition.file_name().to_string_lossy().starts_with(prefix) {
                continue;
            }
            for file in fs::read_dir(partition.path())? {
                let file = file?;
                if file.path().extension().is_some_and(|extension| extension == "log") {
                    bytes += file.metadata()?.len();
                }
            }
        }
        Ok(bytes)
    }
}

impl Trial {
    /// Returns the path of the daemon's configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("driftless.toml")
    }
}
