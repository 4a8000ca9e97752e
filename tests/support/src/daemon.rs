//! A running `driftless`: its process, its log, its pages, and the tests' actions on it.

use std::{fs::File, os::unix::process::ExitStatusExt, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    process::{Child, Command},
    task::spawn_blocking,
    time::timeout,
};

use crate::{DEADLINE, port::Port, stack::profile, status::Status, wait};

const ANSWER: Duration = Duration::from_secs(5);
/// Longest time that a daemon may take to end after SIGTERM: its grace, which the tests set to 20 s, and a little more.
pub const GRACE: Duration = Duration::from_secs(25);
/// The signal by which a process aborts itself.
pub const SIGABRT: i32 = 6;
/// Number of log lines that a failed test shows.
const LOG_LINES: usize = 60;

/// A started daemon. It is killed when it goes out of scope; a failed test shows the end of its log.
pub struct Daemon {
    child: Child,
    port: Arc<Port>,
    log: PathBuf,
    agent: ureq::Agent,
    /// The token that its answers for applications demand.
    pub token: Option<String>,
}

/// An answer to a posted request.
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The entity tag.
    pub etag: Option<String>,
    /// The text.
    pub text: String,
}

impl Daemon {
    /// Starts `driftless run` by this command with the given roles, or with all roles if there are none.
    pub fn start(command: Command, log: PathBuf, roles: &[&str]) -> Self {
        Self::start_at(Arc::new(Port::take()), command, log, roles)
    }

    /// Starts it with its pages on this port, which another daemon may have had.
    pub fn start_at(port: Arc<Port>, mut command: Command, log: PathBuf, roles: &[&str]) -> Self {
        let file = File::options().create(true).append(true).open(&log).expect("open the log of the daemon");
        command.args(["--log-format", "text", "run"]);
        for role in roles {
            command.args(["--role", role]);
        }
        let child = command
            .env("DRIFTLESS__HTTP__LISTEN", format!("127.0.0.1:{}", port.number))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("share the log"))
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .expect("start driftless");
        let settings = ureq::Agent::config_builder().timeout_global(Some(ANSWER)).http_status_as_error(false).build();
        Self { child, port, log, agent: settings.into(), token: None }
    }

    /// Returns `host:port` of its pages.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// Returns the id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the daemon runs")
    }

    /// Returns everything that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns the status code and text of a page.
    pub async fn page(&self, path: &str) -> Result<(u16, String), String> {
        let (agent, url) = (self.agent.clone(), format!("http://{}{path}", self.address()));
        let token = self.bearer();
        let call = move || -> Result<(u16, String), ureq::Error> {
            let mut response =
                token.iter().fold(agent.get(&url), |request, (name, value)| request.header(*name, value)).call()?;
            Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
        };
        spawn_blocking(call).await.expect("the call does not panic").map_err(|error| error.to_string())
    }

    /// Posts JSON to a page, with further headers.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, String> {
        let url = format!("http://{}{path}", self.address());
        let mut request = self.agent.post(&url).header("content-type", "application/json");
        for (name, value) in self.bearer().iter().map(|(name, value)| (*name, &**value)).chain(headers.iter().copied())
        {
            request = request.header(name, value);
        }
        let body = body.to_owned();
        let call = move || -> Result<Answer, ureq::Error> {
            let mut response = request.send(&body)?;
            let etag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            Ok(Answer { code: response.status().as_u16(), etag, text: response.body_mut().read_to_string()? })
        };
        spawn_blocking(call).await.expect("the call does not panic").map_err(|error| error.to_string())
    }

    fn bearer(&self) -> Option<(&'static str, String)> {
        self.token.as_ref().map(|token| ("authorization", format!("Bearer {token}")))
    }

    /// Returns its status page.
    pub async fn status(&self) -> Result<Status, String> {
        let (_, text) = self.page("/api/v1/status").await?;
        serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
    }

    /// Returns the sum of a metric over all its label values; `None` if the metric does not exist.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.page("/metrics").await.ok()?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// Waits until its status is as wanted, and returns it.
    pub async fn wait_for(&self, what: &str, within: Duration, wanted: impl Fn(&Status) -> bool) -> Status {
        wait::until(what, within, async || {
            let status = self.status().await?;
            if wanted(&status) { Ok(status) } else { Err(status.summary()) }
        })
        .await
    }

    /// Checks that it keeps running until a random moment, to be killed or stopped then. A test that waits for something uses
    /// [`wait`].
    pub async fn lives_for(&mut self, time: Duration) {
        if let Ok(ended) = timeout(time, self.child.wait()).await {
            panic!("the daemon ended by itself: {ended:?}");
        }
    }

    /// Sends SIGKILL.
    pub async fn kill9(mut self) {
        self.child.kill().await.expect("kill the daemon");
    }

    /// Sends SIGTERM; the daemon must end within its grace, with this exit code.
    pub async fn stop(self, code: i32) {
        self.signal("TERM").await;
        self.ends(code).await;
    }

    /// Sends SIGTERM; returns the daemon once it has begun to stop.
    pub async fn stop_begins(self) -> Self {
        self.signal("TERM").await;
        wait::until("the daemon hears that it is to stop", GRACE, async || {
            wait::holds(self.log().contains("stopping: no more is read"), "no word of it")
        })
        .await;
        self
    }

    /// Waits for its end, which must come within its grace, with this exit code.
    pub async fn ends(mut self, code: i32) {
        let ended = timeout(GRACE, self.child.wait()).await;
        let status = ended.expect("the daemon ends within its grace").expect("wait for the daemon");
        assert_eq!(status.code(), Some(code), "the daemon ended with {status}");
    }

    /// Waits for its end, which must come by this signal; returns everything that it has logged.
    pub async fn is_killed_by(mut self, signal: i32) -> String {
        let ended = timeout(DEADLINE, self.child.wait()).await;
        let status = ended.expect("the daemon ends in time").expect("wait for the daemon");
        assert_eq!(status.signal(), Some(signal), "the daemon ended with {status}");
        self.log()
    }

    /// Sends SIGSTOP: it pauses in the middle of its work.
    pub async fn sigstop(&self) {
        self.signal("STOP").await;
    }

    /// Sends SIGCONT: it continues as if nothing had happened.
    pub async fn sigcont(&self) {
        self.signal("CONT").await;
    }

    /// Sends a signal by a shell's own `kill`, which every machine has; the crate forbids the system call.
    async fn signal(&self, signal: &str) {
        let pid = self.pid();
        let sent = Command::new("sh").arg("-c").arg(format!("kill -s {signal} {pid}")).status().await;
        assert!(sent.expect("start sh").success(), "send SIG{signal}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.log();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("---- the end of {}", self.log.display());
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                eprintln!("{line}");
            }
        }
    }
}

/// Returns the built program, without the variables of the test's own environment that would configure it.
pub fn program() -> Command {
    let mut command = Command::new(profile().join("driftless"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DRIFTLESS__")) {
        command.env_remove(name);
    }
    command
}
