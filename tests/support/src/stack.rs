//! The local servers: their addresses, and how a test stops and starts one.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Output,
    sync::LazyLock,
    time::Duration,
};

use tokio::{process::Command, sync::OnceCell, time::timeout};

/// Started servers and their addresses.
pub struct Stack {
    instance: String,
    values: HashMap<String, String>,
}

static MAIN: OnceCell<Stack> = OnceCell::const_new();
/// Longest start: the first one downloads the servers.
const START: Duration = Duration::from_secs(900);

impl Stack {
    /// Returns the servers that all tests share.
    pub async fn shared() -> &'static Self {
        MAIN.get_or_init(|| async { Self::running(&instance(), &[]).await }).await
    }

    /// Returns the instance; starts it with these options unless it runs already.
    pub async fn running(instance: &str, options: &[&str]) -> Self {
        if let Some(stack) = Self::read(instance)
            && stack.runs(options).await
        {
            return stack;
        }
        call(instance, "up", options).await;
        Self::read(instance).expect("`stack up` writes the addresses")
    }

    fn read(instance: &str) -> Option<Self> {
        let text = std::fs::read_to_string(root().join(".local").join(instance).join("env")).ok()?;
        let values =
            text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), plain(value)));
        Some(Self { instance: instance.to_owned(), values: values.collect() })
    }

    /// Returns whether every server of the instance runs, including Prometheus if the options ask for it. The script
    /// distinguishes its own servers from others that have taken their ports meanwhile.
    async fn runs(&self, options: &[&str]) -> bool {
        let asked = !options.contains(&"--prometheus") || self.values.contains_key("PROMETHEUS_URL");
        asked && script(&self.instance, "status", &[]).await.status.success()
    }

    /// Returns a value of the instance's `env` file.
    pub fn value(&self, key: &str) -> &str {
        self.values.get(key).unwrap_or_else(|| panic!("instance {} has no {key}", self.instance))
    }

    /// Returns the connection string of the replica set.
    pub fn mongo_uri(&self) -> &str {
        self.value("MONGO_URI")
    }

    /// Returns the path of the executable of the running `mongod`.
    pub fn mongod(&self) -> PathBuf {
        let pid = std::fs::read_to_string(self.value("MONGO_1_PID_FILE")).expect("read the pid of mongod");
        std::fs::read_link(format!("/proc/{}/exe", pid.trim())).expect("find the program of mongod")
    }

    /// Returns the address of the broker.
    pub fn kafka(&self) -> &str {
        self.value("KAFKA_BROKERS")
    }

    /// Returns the connection string of a PostgreSQL database.
    pub fn postgres_url(&self, database: &str) -> String {
        let (server, _) = self.value("POSTGRES_URL").rsplit_once('/').expect("the URL names a database");
        format!("{server}/{database}")
    }

    /// Runs `stack restart SERVER --mode MODE`.
    pub async fn restart(&self, server: &str, mode: &str) {
        call(&self.instance, "restart", &[server, "--mode", mode]).await;
    }

    /// Runs `stack stop-server SERVER --mode MODE`.
    pub async fn stop(&self, server: &str, mode: &str) {
        call(&self.instance, "stop-server", &[server, "--mode", mode]).await;
    }

    /// Runs `stack start-server SERVER`.
    pub async fn start(&self, server: &str) {
        call(&self.instance, "start-server", &[server]).await;
    }

    /// Stops all its servers, which keep their data.
    pub async fn down(&self) {
        call(&self.instance, "down", &[]).await;
    }
}

/// Returns the project's folder.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the folder of the running build: it contains the programs, and the tests in `deps` below it.
pub fn profile() -> &'static Path {
    static PROFILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("the path of the running test");
        test.ancestors().nth(2).expect("a test lies in target/<profile>/deps").to_owned()
    });
    &PROFILE
}

/// Returns a setting of the shared servers: from the environment, else from the file that the stack writes when it starts.
///
/// # Panics
/// Panics if there is none: the servers were never started.
pub fn setting(name: &str) -> String {
    static FILE: LazyLock<HashMap<String, String>> =
        LazyLock::new(|| Stack::read(&instance()).map_or_else(HashMap::new, |stack| stack.values));
    std::env::var(name)
        .ok()
        .or_else(|| FILE.get(name).cloned())
        .unwrap_or_else(|| panic!("{name} is not set: run deploy/local/stack up"))
}

/// Downloads what a `requirements.txt` or `package-lock.json` pins, or Kafka's own commands (`kafka-tools`), unless it is there already;
/// returns its folder.
pub async fn fetch(file: &Path) -> PathBuf {
    let run = Command::new(root().join("deploy/local/stack")).arg("fetch").arg(file).kill_on_drop(true).output();
    let output = timeout(START, run).await.expect("stack takes too long").expect("start deploy/local/stack");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "stack fetch {}: {told}", file.display());
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// Returns the name of the instance that all tests share.
fn instance() -> String {
    std::env::var("DRIFTLESS_INSTANCE").unwrap_or_else(|_| "main".to_owned())
}

async fn call(instance: &str, command: &str, options: &[&str]) {
    let output = script(instance, command, options).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "stack {command} --instance {instance} {options:?}: {told}");
}

async fn script(instance: &str, command: &str, options: &[&str]) -> Output {
    let run = Command::new(root().join("deploy/local/stack"))
        .arg(command)
        .args(["--instance", instance])
        .args(options)
        .kill_on_drop(true)
        .output();
    timeout(START, run).await.expect("stack takes too long").expect("start deploy/local/stack")
}

/// Returns a value as a shell would read it.
fn plain(value: &str) -> String {
    match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(quoted) => quoted.replace(r"'\''", "'"),
        None => value.trim_matches('"').to_owned(),
    }
}
