//! The daemon as an operator runs it: the release build next to this program, a configuration file, its own process.

use std::{net::TcpListener, time::Duration};

use anyhow::Context;
use tokio::process::Command;

use crate::{process::Process, servers::Trial};

/// Runs another command of the program to its end.
pub(crate) async fn command(trial: &Trial, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = program(trial)?;
    let output = command.args(arguments).output().await?;
    anyhow::ensure!(output.status.success(), "driftless {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The program with the configuration of the trial, and nothing of this process's own environment.
fn program(trial: &Trial) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?.with_file_name("driftless"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DRIFTLESS_")) {
        command.env_remove(name);
    }
    command.arg("--config").arg(trial.config());
    Ok(command)
}

/// A started daemon.
pub(crate) struct Daemon {
    /// The daemon's process.
    pub(crate) process: Process,
    port: u16,
}

impl Daemon {
    /// Starts `driftless run` with these roles; an empty list means all of them.
    pub(crate) fn start(trial: &Trial, roles: &[&str]) -> anyhow::Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = program(trial)?;
        command.env("DRIFTLESS__HTTP__LISTEN", format!("127.0.0.1:{port}"));
        command.arg("run");
        for role in roles {
            command.args(["--role", role]);
        }
        Ok(Self { process: Process::start(command, trial.folder.join("driftless.log"))?, port })
    }

    /// Returns the address of its pages.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the sum of a metric over all its labels, or its value if the labels are named, too; 0 when it does not exist yet.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let url = format!("{}/metrics", self.url());
        let page = tokio::task::spawn_blocking(move || -> anyhow::Result<String> {
            let settings = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build();
            Ok(ureq::Agent::from(settings).get(&url).call()?.body_mut().read_to_string()?)
        });
        Ok(sum(&page.await.context("ask for the metrics")??, name))
    }
}

fn sum(page: &str, name: &str) -> f64 {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let page = "# HELP a x\na_total{op=\"insert\"} 3\na_total{op=\"update\"} 4.5\na_total_more 9\n";
        assert_eq!(sum(page, "a_total"), 7.5);
        assert_eq!(sum(page, "a_total{op=\"update\"}"), 4.5);
        assert_eq!(sum(page, "b"), 0.0);
    }
}
