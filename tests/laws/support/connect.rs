//! Kafka Connect with Debezium's connectors, in one process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::{Child, Command};

use super::{
    port::Port,
    stack::{self, Stack, root},
};

/// Lines of the log that a failed test shows.
const LOG_LINES: usize = 40;

/// A running process; it is killed when it goes out of scope, and a failed test shows the end of its log.
pub(crate) struct Connect {
    _child: Child,
    _port: Port,
    log: PathBuf,
}

impl Connect {
    /// Starts these connectors, each by its settings, which name it. `folder` takes their files.
    pub(crate) async fn start(stack: &Stack, folder: &Path, connectors: &[Vec<(&str, String)>]) -> Self {
        let programs = stack::fetch(Path::new("debezium")).await;
        let port = Port::take();
        let json = "org.apache.kafka.connect.json.JsonConverter";
        let worker = [
            ("bootstrap.servers", stack.kafka().to_owned()),
            ("key.converter", json.to_owned()),
            ("value.converter", json.to_owned()),
            ("offset.storage.file.filename", folder.join("offsets").display().to_string()),
            ("plugin.path", programs.join("plugins").display().to_string()),
            // All plugins name themselves, so none of their jars is searched.
            ("plugin.discovery", "service_load".to_owned()),
            ("listeners", format!("http://127.0.0.1:{}", port.number)),
            ("connector.client.config.override.policy", "All".to_owned()),
        ];
        let write = |name: String, lines: &[(&str, String)]| {
            let file = folder.join(name);
            let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            std::fs::write(&file, text).expect("write the settings");
            file
        };
        let mut files = vec![write("worker.properties".to_owned(), &worker)];
        files.extend(connectors.iter().zip(1..).map(|(lines, number)| write(format!("{number}.properties"), lines)));
        let log = folder.join("connect.log");
        let output = File::create(&log).expect("open the log of Kafka Connect");
        let child = Command::new(Path::new(stack.value("JAVA_HOME")).join("bin/java"))
            // It lives for seconds: the fast compiler alone starts it sooner.
            .args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC"])
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                root().join("deploy/local/kafka-log4j2.properties").display()
            ))
            .arg("-cp")
            .arg(programs.join("lib/*"))
            .arg("org.apache.kafka.connect.cli.ConnectStandalone")
            .args(files)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("share the log"))
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .expect("start Kafka Connect");
        Self { _child: child, _port: port, log }
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("Kafka Connect:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
        }
    }
}
