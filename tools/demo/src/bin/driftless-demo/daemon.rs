//! The daemon as an operator runs it: its own process, with a configuration file, a log and a pid.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::stage::Stage;

/// A running daemon.
pub(crate) struct Daemon {
    bin: PathBuf,
    folder: PathBuf,
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
    /// Roles by name.
    pub(crate) roles: BTreeMap<String, Role>,
    /// Snapshots by collection.
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
}

/// See [`StatusPage`].
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Role {
    /// Its phase.
    pub(crate) phase: String,
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

impl Daemon {
    /// The address on which the demo's daemon listens.
    pub(crate) const LISTEN: &str = "127.0.0.1:9464";
    const START: Duration = Duration::from_secs(30);
    const POLL: Duration = Duration::from_millis(100);

    /// Checks the configuration, then starts the daemon and waits until it answers.
    pub(crate) async fn start(stage: &Stage) -> anyhow::Result<Self> {
        let bin = std::env::current_exe()?.with_file_name("driftless");
        let daemon = Self { bin, folder: stage.folder.clone() };
        if !daemon.command("check").args(["--sample", "0"]).status().context("run `driftless check`")?.success() {
            bail!("`driftless check` found faults");
        }
        let log = File::create(daemon.log())?;
        let mut child = daemon
            .command("run")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // The daemon gets its own process group: Ctrl-C ends the demo, not the daemon.
            .process_group(0)
            .spawn()
            .context("start the daemon")?;
        fs::write(daemon.folder.join("driftless.pid"), child.id().to_string())?;
        daemon.answers(&mut child).await?;
        Ok(daemon)
    }

    async fn answers(&self, child: &mut Child) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut beat = tokio::time::interval(Self::POLL);
        while started.elapsed() < Self::START {
            beat.tick().await;
            if let Some(status) = child.try_wait()? {
                bail!("the daemon ended with {status}; see {}", self.log().display());
            }
            if self.status().await.is_ok() {
                return Ok(());
            }
        }
        bail!("the daemon does not answer; see {}", self.log().display())
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
        let text = Self::get("/api/v1/status").await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Returns the number of changes applied so far, by collection.
    pub(crate) async fn applied(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let text = Self::get("/metrics").await?;
        let line = |line: &str| {
            let (labels, value) = line.strip_prefix("driftless_sink_changes_total{")?.rsplit_once("} ")?;
            labels.contains("outcome=\"applied\"").then_some(())?;
            let collection = labels.split_once("collection=\"")?.1.split_once('"')?.0;
            Some((collection.to_owned(), value.parse().ok()?))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    async fn get(path: &'static str) -> anyhow::Result<String> {
        let url = format!("http://{}{path}", Self::LISTEN);
        tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
            Ok(agent.get(&url).call()?.body_mut().read_to_string()?)
        })
        .await?
    }

    /// Waits until the status page is as wanted, and returns it.
    pub(crate) async fn wait_for(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&StatusPage) -> bool,
    ) -> anyhow::Result<StatusPage> {
        let started = Instant::now();
        let mut beat = tokio::time::interval(Self::POLL);
        loop {
            beat.tick().await;
            let status = self.status().await?;
            if wanted(&status) {
                return Ok(status);
            }
            if started.elapsed() > within {
                bail!("{what} takes more than {} s: {}", within.as_secs(), status.blockers.join("; "));
            }
        }
    }

    /// Installs the guard, which sees every other writer of the tables.
    pub(crate) fn guard(&self) -> anyhow::Result<()> {
        let command = self.command("guard").args(["install"]).output().context("run `driftless guard install`")?;
        if !command.status.success() {
            bail!("`driftless guard install` failed: {}", String::from_utf8_lossy(&command.stderr));
        }
        Ok(())
    }

    /// Compares everything and returns whether both sides are equal; the report goes to the terminal.
    pub(crate) fn reconcile(&self) -> anyhow::Result<bool> {
        let status = self.command("reconcile").arg("--full").status().context("run `driftless reconcile`")?;
        match status.code() {
            Some(0) => Ok(true),
            Some(4 | 5) => Ok(false),
            _ => bail!("`driftless reconcile` ended with {status}"),
        }
    }

    /// Returns the path of the log file.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("driftless.log")
    }

    /// Returns the path of the binary.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    /// Returns the path of the configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        config_in(&self.folder)
    }

    fn command(&self, command: &str) -> Command {
        let mut line = Command::new(&self.bin);
        line.arg("--config").arg(self.config()).arg(command);
        line
    }
}

fn config_in(folder: &Path) -> PathBuf {
    folder.join("driftless.toml")
}
