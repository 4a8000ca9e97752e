//! The local servers: where they are, and how a test stops and starts one.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use mongodb::bson::doc;
use tokio::{net::TcpStream, process::Command, sync::OnceCell, time::timeout};

/// Started servers and their addresses.
pub(crate) struct Stack {
    instance: String,
    values: HashMap<String, String>,
}

static MAIN: OnceCell<Stack> = OnceCell::const_new();
/// A first start downloads the servers.
const START: Duration = Duration::from_secs(900);
const REACH: Duration = Duration::from_secs(5);

impl Stack {
    /// The servers that all tests share.
    pub(crate) async fn shared() -> &'static Self {
        MAIN.get_or_init(|| async {
            let instance = std::env::var("DRIFTLESS_INSTANCE").unwrap_or_else(|_| "main".to_owned());
            Self::running(&instance, &[]).await
        })
        .await
    }

    /// The instance, started with these options unless it answers already.
    pub(crate) async fn running(instance: &str, options: &[&str]) -> Self {
        if let Some(stack) = Self::read(instance)
            && stack.answers(options).await
        {
            return stack;
        }
        call(instance, "up", options).await;
        let stack = Self::read(instance).expect("`stack up` writes the addresses");
        assert!(stack.answers(options).await, "the servers of {instance} do not answer after `stack up`");
        stack
    }

    fn read(instance: &str) -> Option<Self> {
        let text = std::fs::read_to_string(root().join(".local").join(instance).join("env")).ok()?;
        let values =
            text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), plain(value)));
        Some(Self { instance: instance.to_owned(), values: values.collect() })
    }

    async fn answers(&self, options: &[&str]) -> bool {
        let reaches = async |address: &str| matches!(timeout(REACH, TcpStream::connect(address)).await, Ok(Ok(_)));
        if options.contains(&"--prometheus") {
            match self.values.get("PROMETHEUS_URL").and_then(|url| url.strip_prefix("http://")) {
                Some(address) if reaches(address).await => {}
                _ => return false,
            }
        }
        reaches(self.kafka()).await && self.postgres_answers().await && self.mongo_answers().await
    }

    async fn postgres_answers(&self) -> bool {
        let connected =
            timeout(REACH, tokio_postgres::connect(self.value("POSTGRES_URL"), tokio_postgres::NoTls)).await;
        matches!(connected, Ok(Ok(_)))
    }

    async fn mongo_answers(&self) -> bool {
        let ping = async { self.mongo().await.database("admin").run_command(doc! { "ping": 1 }).await };
        matches!(timeout(REACH, ping).await, Ok(Ok(_)))
    }

    /// A value of the instance's `env` file.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.values.get(key).unwrap_or_else(|| panic!("instance {} has no {key}", self.instance))
    }

    /// Connection string of the replica set.
    pub(crate) fn mongo_uri(&self) -> &str {
        self.value("MONGO_URI")
    }

    /// A client of the calling test's runtime.
    pub(crate) async fn mongo(&self) -> mongodb::Client {
        mongodb::Client::with_uri_str(self.mongo_uri()).await.expect("the address of MongoDB is well-formed")
    }

    /// The file of the running `mongod`.
    pub(crate) fn mongod(&self) -> PathBuf {
        let pid = std::fs::read_to_string(self.value("MONGO_1_PID_FILE")).expect("read the pid of mongod");
        std::fs::read_link(format!("/proc/{}/exe", pid.trim())).expect("find the program of mongod")
    }

    /// Address of the broker.
    pub(crate) fn kafka(&self) -> &str {
        self.value("KAFKA_BROKERS")
    }

    /// Connection string of a PostgreSQL database.
    pub(crate) fn postgres_url(&self, database: &str) -> String {
        let (server, _) = self.value("POSTGRES_URL").rsplit_once('/').expect("the URL names a database");
        format!("{server}/{database}")
    }

    /// `stack restart SERVER --mode MODE`.
    pub(crate) async fn restart(&self, server: &str, mode: &str) {
        call(&self.instance, "restart", &[server, "--mode", mode]).await;
    }

    /// Stops all its servers; they keep their data.
    pub(crate) async fn down(&self) {
        call(&self.instance, "down", &[]).await;
    }
}

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn call(instance: &str, command: &str, options: &[&str]) {
    let run = Command::new(root().join("deploy/local/stack"))
        .arg(command)
        .args(["--instance", instance])
        .args(options)
        .kill_on_drop(true)
        .output();
    let output = timeout(START, run).await.expect("stack takes too long").expect("start deploy/local/stack");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "stack {command} --instance {instance} {options:?}: {told}");
}

/// A value as a shell would read it.
fn plain(value: &str) -> String {
    match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(quoted) => quoted.replace(r"'\''", "'"),
        None => value.trim_matches('"').to_owned(),
    }
}
