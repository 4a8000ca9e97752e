//! The daemon as an operator runs it: its own process, with a configuration file, a log and a pid.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{say, stage::Stage, wait::until};

/// The daemon of a stage.
pub(crate) struct Daemon {
    bin: PathBuf,
    folder: PathBuf,
    listen: String,
    agent: ureq::Agent,
}

/// The part of the status page that the demo shows.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct StatusPage {
    /// The verdict in one word.
    pub(crate) verdict: String,
    /// The time of which the verdict speaks.
    pub(crate) verified: Option<Verified>,
    /// The reasons why the verdict is not "in sync".
    pub(crate) blockers: Vec<String>,
    /// The facts that the process reports about itself.
    pub(crate) process: Process,
    /// One entry per collection.
    pub(crate) collections: Vec<CollectionLine>,
}

/// See [`StatusPage`].
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Process {
    /// Snapshots by collection.
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
}

/// See [`StatusPage`].
#[derive(Debug, Deserialize)]
pub(crate) struct Verified {
    /// As of this time, everything is judged.
    pub(crate) at: jiff::Timestamp,
    /// How long ago that is.
    pub(crate) age_ms: u64,
}

/// See [`StatusPage`].
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Snapshot {
    /// Documents read.
    pub(crate) documents: u64,
    /// The estimated number of documents in the collection.
    pub(crate) estimated: u64,
    /// Whether the snapshot has finished.
    pub(crate) done: bool,
}

/// See [`StatusPage`].
#[derive(Debug, Deserialize)]
pub(crate) struct CollectionLine {
    /// The collection's name.
    pub(crate) name: String,
    /// The time up to which the target is complete.
    pub(crate) as_of: Option<jiff::Timestamp>,
    /// The last comparison of everything.
    pub(crate) baseline: Option<serde_json::Value>,
    /// The number of open findings by kind.
    pub(crate) findings: BTreeMap<String, u64>,
    /// The number of open dead letters.
    pub(crate) dead_letters: u64,
}

impl StatusPage {
    /// Returns the number of open findings in a collection.
    pub(crate) fn findings(&self, collection: &str) -> u64 {
        let lines = self.collections.iter().filter(|line| line.name == collection);
        lines.flat_map(|line| line.findings.values()).sum()
    }
}

/// The judgement of a unit.
#[derive(Debug, Deserialize)]
pub(crate) struct Gate {
    unit: String,
    /// Whether its reads may be cut over.
    pub(crate) ready: bool,
    /// The obstacles.
    pub(crate) blockers: Vec<Blocker>,
}

/// See [`Gate`].
#[derive(Debug, Deserialize)]
pub(crate) struct Blocker {
    /// The reason.
    pub(crate) what: String,
}

/// The answer to an application that asks where to read.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// The database to read.
    pub(crate) reads: String,
    /// The reason, in one word.
    pub(crate) why: String,
    /// The part of the proof that broke.
    pub(crate) detail: Option<String>,
}

impl Daemon {
    const START: Duration = Duration::from_secs(60);
    const POLL: Duration = Duration::from_millis(100);
    const ANSWER: Duration = Duration::from_secs(5);

    /// Returns the daemon of a stage, which does not run yet.
    pub(crate) fn new(stage: &Stage) -> anyhow::Result<Self> {
        let settings = ureq::Agent::config_builder().timeout_global(Some(Self::ANSWER)).build();
        Ok(Self {
            bin: std::env::current_exe()?.with_file_name("driftless"),
            folder: stage.folder.clone(),
            listen: stage.listen.clone(),
            agent: settings.into(),
        })
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        let log = File::create(self.log())?;
        let mut child = self
            .command(&["run"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // The daemon gets its own process group: Ctrl-C ends the demo, not the daemon.
            .process_group(0)
            .spawn()
            .context("start the daemon")?;
        fs::write(self.folder.join("driftless.pid"), child.id().to_string())?;
        self.answers(&mut child).await
    }

    async fn answers(&self, child: &mut Child) -> anyhow::Result<()> {
        until("the start of the daemon", Self::START, async || {
            let log = self.log();
            if let Some(status) = child.try_wait()? {
                bail!("the daemon ended with {status}; see {}", log.display());
            }
            Ok(self.status().await.map(drop).map_err(|error| format!("{error:#}; see {}", log.display())))
        })
        .await
    }

    /// Stops the daemon of an earlier run if it is still running.
    pub(crate) fn stop(folder: &Path) -> anyhow::Result<()> {
        let file = folder.join("driftless.pid");
        let Ok(pid) = fs::read_to_string(&file) else { return Ok(()) };
        let ours = |pid: &str| {
            // The pid may belong to another process by now, so its command line must name our configuration.
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*config_in(folder).to_string_lossy()))
        };
        if ours(&pid) {
            Command::new("kill").args(["-TERM", &pid]).status().context("stop the daemon")?;
            let started = Instant::now();
            while ours(&pid) {
                if started.elapsed() > Self::START {
                    bail!("the daemon (pid {pid}) does not stop");
                }
                std::thread::sleep(Self::POLL);
            }
        }
        fs::remove_file(file)?;
        Ok(())
    }

    /// Fetches the status page.
    pub(crate) async fn status(&self) -> anyhow::Result<StatusPage> {
        self.fetch("/api/v1/status").await
    }

    /// Asks whether the reads of a unit may be cut over.
    pub(crate) async fn gate(&self, unit: &str) -> anyhow::Result<Gate> {
        let gates: Vec<Gate> = self.fetch("/api/v1/cutover").await?;
        gates.into_iter().find(|gate| gate.unit == unit).with_context(|| format!("find unit {unit}"))
    }

    /// Asks where to read a unit for a key.
    pub(crate) async fn reads(&self, unit: &str, key: &str) -> anyhow::Result<Answer> {
        self.fetch(&format!("/api/v1/reads/{unit}?key={key}")).await
    }

    async fn fetch<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(serde_json::from_str(&self.get(path).await?)?)
    }

    /// Returns the number of changes applied so far, by collection.
    pub(crate) async fn applied(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let text = self.get("/metrics").await?;
        let line = |line: &str| {
            let (labels, value) = line.strip_prefix("driftless_sink_changes_total{")?.rsplit_once("} ")?;
            labels.contains("outcome=\"applied\"").then_some(())?;
            let collection = labels.split_once("collection=\"")?.1.split_once('"')?.0;
            Some((collection.to_owned(), value.parse().ok()?))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let (agent, url) = (self.agent.clone(), format!("http://{}{path}", self.listen));
        tokio::task::spawn_blocking(move || Ok(agent.get(&url).call()?.body_mut().read_to_string()?)).await?
    }

    /// Prints a command, runs it as an operator would, and prints its answer.
    ///
    /// # Errors
    /// Fails when the command does not end with the expected exit code.
    pub(crate) fn show(&self, arguments: &[&str], expected: i32) -> anyhow::Result<()> {
        let mut command = self.command(arguments);
        // The answer is shown, not the log of how the command came to it.
        command.env("DRIFTLESS_LOG", "warn");
        say(&format!("$ {}", typed(&command, &std::env::current_dir()?)));
        let name = || format!("`driftless {}`", arguments.join(" "));
        let status = command.status().with_context(|| format!("run {}", name()))?;
        ensure!(status.code() == Some(expected), "{} ended with {status}", name());
        Ok(())
    }

    /// Returns the path of the log file.
    pub(crate) fn log(&self) -> PathBuf {
        log_in(&self.folder)
    }

    /// Returns the path of the binary.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    /// Returns the path of the configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        config_in(&self.folder)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        command.arg("--config").arg(self.config()).args(arguments);
        command
    }
}

fn config_in(folder: &Path) -> PathBuf {
    folder.join("driftless.toml")
}

/// Returns the path of the log file of a daemon in this folder.
pub(crate) fn log_in(folder: &Path) -> PathBuf {
    folder.join("driftless.log")
}

/// Returns a command as one types it in this folder.
fn typed(command: &Command, here: &Path) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| {
        let word = Path::new(word).strip_prefix(here).unwrap_or(Path::new(word)).to_string_lossy();
        if word.contains(' ') { format!("'{word}'") } else { word.into_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_printed_as_one_types_it() {
        for (program, arguments, printed) in [
            ("/here/target/debug/driftless", ["cutover", "back"], "target/debug/driftless cutover back"),
            ("/there/driftless", ["--config", "/here/.local/demo.toml"], "/there/driftless --config .local/demo.toml"),
            ("driftless", ["--why", "the demo ends"], "driftless --why 'the demo ends'"),
        ] {
            let mut command = Command::new(program);
            command.args(arguments);
            assert_eq!(typed(&command, Path::new("/here")), printed);
        }
    }
}
