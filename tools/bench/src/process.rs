//! A started program: its end, its processor time and its memory, as the kernel accounts for them.

use std::{
    fs::{self, File},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

use crate::machine::kibibytes;

/// Clock ticks a second in `/proc`: 100 on every Linux that the servers run on.
const TICKS: f64 = 100.0;
/// How long a program may take to end after it was asked to.
const STOP: Duration = Duration::from_secs(60);

/// A running program; it is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    log: PathBuf,
    /// The instant at which it was started.
    pub(crate) started: Instant,
}

/// The resources that a program has used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    /// Processor seconds, user and system, of all its threads.
    pub(crate) cpu_seconds: f64,
    /// Peak resident memory so far, in megabytes (10⁶ bytes).
    pub(crate) peak_mb: f64,
    /// Current resident memory, in megabytes.
    pub(crate) resident_mb: f64,
}

impl Process {
    /// Starts a program; its output goes to the log.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {:?}", command.as_std().get_program()))?;
        let pid = child.id().context("the program ended at once")?;
        Ok(Self { child, pid, log, started: Instant::now() })
    }

    /// Fails if the program has ended by itself.
    pub(crate) fn lives(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the program ended with {status}; see {}", self.log.display()),
        }
    }

    /// Returns the resources that it has used so far.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let read = |file: &str| fs::read_to_string(Path::new("/proc").join(self.pid.to_string()).join(file));
        usage(&read("stat")?, &read("status")?).context("read what the program has used")
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let sent = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().await?;
        if !sent.success() {
            bail!("stop process {}: kill ended with {sent}", self.pid);
        }
        let ended = tokio::time::timeout(STOP, self.child.wait()).await;
        ended.with_context(|| format!("process {} does not end; see {}", self.pid, self.log.display()))??;
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Returns the processor seconds of a program and of all programs it has started, both running and ended.
pub(crate) fn cpu_of_family(pid: u32) -> anyhow::Result<f64> {
    let stat = |pid: &str| fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    let own = stat(&pid.to_string())?;
    let mut seconds = Stat::read(&own).and_then(|stat| stat.seconds(14..=17)).context("read what a server has used")?;
    for entry in fs::read_dir("/proc")? {
        // A program that ends meanwhile is counted by its parent the next time.
        let Ok(other) = stat(&entry?.file_name().to_string_lossy()) else { continue };
        if let Some(other) = Stat::read(&other).filter(|other| other.field(4) == Some(f64::from(pid))) {
            seconds += other.seconds(14..=15).unwrap_or(0.0);
        }
    }
    Ok(seconds)
}

/// The numbers of `/proc/<pid>/stat`.
///
/// Source: `proc_pid_stat(5)`: field 4 is the parent; 14 and 15 are user and system ticks, 16 and 17 those of children that
/// were waited for.
struct Stat<'a>(Vec<&'a str>);

impl<'a> Stat<'a> {
    fn read(stat: &'a str) -> Option<Self> {
        // Fields 3 and on follow the name in parentheses, which may contain anything.
        Some(Self(stat.rsplit_once(") ")?.1.split(' ').collect()))
    }

    fn field(&self, number: usize) -> Option<f64> {
        self.0.get(number - 3)?.parse().ok()
    }

    fn seconds(&self, mut fields: RangeInclusive<usize>) -> Option<f64> {
        fields.try_fold(0.0, |ticks, field| Some(ticks + self.field(field)?)).map(|ticks| ticks / TICKS)
    }
}

fn usage(stat: &str, status: &str) -> Option<Usage> {
    let memory = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(kibibytes(line)? as f64 / 1e6)
    };
    Some(Usage {
        cpu_seconds: Stat::read(stat)?.seconds(14..=15)?,
        peak_mb: memory("VmHWM")?,
        resident_mb: memory("VmRSS")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_past_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 1234 66 0 0 20 0 9 0 1 2 3";
        let status = "Name:\ta\nVmHWM:\t  100000 kB\nVmRSS:\t   50000 kB\n";
        assert_eq!(usage(stat, status), Some(Usage { cpu_seconds: 13.0, peak_mb: 102.4, resident_mb: 51.2 }));
        assert_eq!(usage("42", status), None);
    }

    #[test]
    fn a_family_is_the_program_its_children_and_those_that_have_ended() {
        let spend = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done";
        // A child that has ended, one that waits for the end of its input, and the shell itself.
        let script = format!("exec 3<&0; ({spend}); ({spend}; echo ready; read end <&3) & {spend}; wait");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut family = command.spawn().expect("sh is everywhere");
        let alone = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
            Stat::read(&stat).and_then(|stat| stat.seconds(14..=15)).expect("its ticks")
        };
        let mut line = [0; 6];
        std::io::Read::read_exact(family.stdout.as_mut().expect("piped"), &mut line).expect("a child says so");
        let (all, own) = (cpu_of_family(family.id()).expect("it runs"), alone(family.id()));
        family.kill().expect("it waits");
        family.wait().expect("it ends");
        assert!(all > own && own >= 0.0, "{all} s, of these {own} s its own");
        assert!(cpu_of_family(family.id()).is_err(), "it has ended");
    }

    #[tokio::test]
    async fn a_program_is_started_seen_and_stopped() {
        let log = std::env::temp_dir().join(format!("driftless-bench-{}.log", std::process::id()));
        let mut command = Command::new("tail");
        command.args(["-f", "/dev/null"]);
        let mut process = Process::start(command, log.clone()).expect("tail is everywhere");
        process.lives().expect("it waits");
        assert!(process.usage().expect("it is there").peak_mb > 0.0);
        process.stop().await.expect("it ends");
        fs::remove_file(log).expect("the log is ours");
    }
}
