//! The pair that a user would choose instead: Debezium's MongoDB source and JDBC sink in one Kafka Connect process, tuned.
//!
//! Everything that makes it fast is set: large batches, four tasks, bulk inserts by UNNEST, the buffer that collapses
//! repeats, a heap of 4 GB, a topic that exists before it starts. Nothing is set that makes it safer and slower.

use std::{fs, net::TcpListener, path::PathBuf, process::Stdio};

use anyhow::Context;
use tokio::process::Command;

use crate::{
    process::Process,
    servers::{Servers, Trial},
    users::USERS,
};

/// The downloaded programs.
pub(crate) struct Debezium {
    folder: PathBuf,
}

impl Debezium {
    /// Downloads the programs unless they are present.
    pub(crate) async fn fetch() -> anyhow::Result<Self> {
        let mut stack = Command::new("deploy/local/stack");
        let output = stack.args(["fetch", "debezium"]).stderr(Stdio::inherit()).output().await?;
        anyhow::ensure!(output.status.success(), "fetch Debezium: {}", output.status);
        Ok(Self { folder: PathBuf::from(String::from_utf8(output.stdout)?.trim()) })
    }

    /// Creates the topic; a pair whose topic is missing would wait minutes for it.
    pub(crate) async fn prepare(servers: &Servers, trial: &Trial) -> anyhow::Result<()> {
        servers.make_topic(&topic(trial)).await
    }

    /// Starts the pair, which continues where its last run ended.
    pub(crate) fn start(&self, servers: &Servers, trial: &Trial) -> anyhow::Result<Process> {
        let write = |name: &str, lines: Vec<(&str, String)>| -> anyhow::Result<PathBuf> {
            let file = trial.folder.join(name);
            let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            fs::write(&file, text)?;
            Ok(file)
        };
        let files = [
            write("worker.properties", self.worker(servers, trial)?)?,
            write("source.properties", source(servers, trial)?)?,
            write("sink.properties", sink(servers, trial)?)?,
        ];
        let java = PathBuf::from(servers.value("JAVA_HOME")?).join("bin/java");
        let logging = fs::canonicalize("deploy/local/kafka-log4j2.properties")?;
        let mut command = Command::new(java);
        command
            .args(["-Xmx4g", "-Duser.timezone=UTC"])
            .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
            .arg("-cp")
            .arg(self.folder.join("lib/*"))
            .arg("org.apache.kafka.connect.cli.ConnectStandalone")
            .args(files);
        Process::start(command, trial.folder.join("debezium.log"))
    }

    fn worker(&self, servers: &Servers, trial: &Trial) -> anyhow::Result<Vec<(&'static str, String)>> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let json = || "org.apache.kafka.connect.json.JsonConverter".to_owned();
        Ok(vec![
            ("bootstrap.servers", servers.value("KAFKA_BROKERS")?.to_owned()),
            ("key.converter", json()),
            ("key.converter.schemas.enable", "true".to_owned()),
            ("value.converter", json()),
            ("value.converter.schemas.enable", "true".to_owned()),
            ("offset.storage.file.filename", fs::canonicalize(&trial.folder)?.join("offsets").display().to_string()),
            ("plugin.path", self.folder.join("plugins").display().to_string()),
            ("plugin.discovery", "hybrid_warn".to_owned()),
            ("listeners", format!("http://127.0.0.1:{port}")),
            ("connector.client.config.override.policy", "All".to_owned()),
        ])
    }
}

fn topic(trial: &Trial) -> String {
    format!("{}.{}.{USERS}", trial.prefix, trial.source)
}

fn source(servers: &Servers, trial: &Trial) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut lines = vec![
        ("mongodb.connection.string", servers.value("MONGO_URI")?.to_owned()),
        ("topic.prefix", trial.prefix.clone()),
        ("collection.include.list", format!("{}.{USERS}", trial.source)),
    ];
    lines.extend(owned(&[
        ("name", "source"),
        ("connector.class", "io.debezium.connector.mongodb.MongoDbConnector"),
        ("snapshot.mode", "initial"),
        ("capture.mode", "change_streams_update_full"),
        ("max.batch.size", "8192"),
        ("max.queue.size", "32768"),
        ("poll.interval.ms", "20"),
        ("snapshot.fetch.size", "5000"),
        ("cursor.max.await.time.ms", "50"),
        ("producer.override.linger.ms", "5"),
        ("producer.override.batch.size", "262144"),
        ("producer.override.compression.type", "lz4"),
        ("topic.creation.default.partitions", "4"),
        ("topic.creation.default.replication.factor", "1"),
    ]));
    Ok(lines)
}

fn sink(servers: &Servers, trial: &Trial) -> anyhow::Result<Vec<(&'static str, String)>> {
    let address = servers.postgres_url(&trial.target)?;
    let (_, address) = address.rsplit_once('@').context("the URL names a user")?;
    let mut lines = vec![
        ("topics", topic(trial)),
        ("connection.url", format!("jdbc:postgresql://{address}?reWriteBatchedInserts=true")),
    ];
    lines.extend(owned(&[
        ("name", "sink"),
        ("connector.class", "io.debezium.connector.jdbc.JdbcSinkConnector"),
        ("connection.username", "postgres"),
        ("connection.password", "postgres"),
        ("tasks.max", "4"),
        ("insert.mode", "upsert"),
        ("primary.key.mode", "record_key"),
        ("delete.enabled", "true"),
        ("schema.evolution", "none"),
        ("collection.name.format", USERS),
        ("batch.size", "4000"),
        ("consumer.override.max.poll.records", "4000"),
        ("use.reduction.buffer", "true"),
        ("dialect.postgres.unnest.insert.enabled", "true"),
        ("transforms", "unwrap"),
        ("transforms.unwrap.type", "io.debezium.connector.mongodb.transforms.ExtractNewDocumentState"),
        ("transforms.unwrap.delete.tombstone.handling.mode", "tombstone"),
    ]));
    Ok(lines)
}

fn owned(lines: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    lines.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}
