//! The whole demo in a small form, against real servers: it shows everything that it promises, and fails when a part does not happen.
//!
//! The demo starts the program `driftless` beside its own, so build both: `cargo test` without `-p` does.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use driftless_testing::{
    port::Port,
    postgres::connect,
    stack::{Stack, profile, root},
    topic, unique,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_driftless-demo");
/// Longest run: the sum of the bounds that the demo has itself, and more.
const RUN: Duration = Duration::from_secs(900);

/// A demo with databases, topics and a daemon of its own.
struct Demo {
    stack: &'static Stack,
    name: String,
    folder: PathBuf,
    port: Port,
}

impl Demo {
    async fn new(test: &str) -> Self {
        let name = unique(&format!("demo_{test}"));
        let folder = profile().with_file_name("tmp").join(&name);
        Self { stack: Stack::shared().await, name, folder, port: Port::take() }
    }

    fn place(&self) -> [String; 8] {
        let servers = format!("{}/env", self.stack.value("STACK_DIR"));
        let listen = format!("127.0.0.1:{}", self.port.number);
        let folder = self.folder.to_str().expect("a plain path");
        ["--servers", &servers, "--folder", folder, "--name", &self.name, "--listen", &listen].map(str::to_owned)
    }

    /// Runs the demo, and acts once its daemon has started; returns how it ended and what it printed.
    async fn run(&self, within: &str, act: impl AsyncFnOnce()) -> (ExitStatus, String) {
        let mut command = Command::new(PROGRAM);
        command.args(self.place()).args(["run", "--documents", "300", "--rate", "20", "--seconds", "1"]);
        let piped = command.args(["--within", within]).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut demo = piped.spawn().expect("start the demo");
        let mut lines = BufReader::new(demo.stdout.take().expect("it is piped")).lines();
        let (mut printed, mut act) = (String::new(), Some(act));
        let end = timeout(RUN, async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                printed += &format!("{line}\n");
                if line.starts_with("Started the daemon") {
                    act.take().expect("it starts once")().await;
                }
            }
            demo.wait().await.expect("it ends")
        });
        (end.await.expect("the demo ends by itself"), printed)
    }

    async fn target(&self) -> tokio_postgres::Client {
        connect(&self.stack.postgres_url(&self.name)).await
    }

    /// Returns the first column of a query.
    async fn texts(&self, query: &str) -> Vec<String> {
        self.target().await.query(query, &[]).await.expect("a query").iter().map(|row| row.get(0)).collect()
    }

    /// Removes everything of a test that passed.
    async fn finish(self) {
        self.stop();
        topic::remove(self.stack.kafka(), &self.name).await;
        let source = mongodb::Client::with_uri_str(self.stack.mongo_uri()).await.expect("an address");
        source.database(&self.name).drop().await.expect("drop the source");
        let admin = connect(self.stack.value("POSTGRES_URL")).await;
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        admin.batch_execute(&drop).await.expect("drop the target");
        std::fs::remove_dir_all(&self.folder).expect("remove the folder");
    }

    fn stop(&self) {
        let stopped = std::process::Command::new(PROGRAM).args(self.place()).arg("stop").status();
        assert!(stopped.is_ok_and(|status| status.success()), "stop the daemon of the demo");
    }
}

/// A failed test leaves everything for inspection but the daemon.
impl Drop for Demo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_the_demo_promises_happens() {
    let demo = Demo::new("kept").await;
    let (status, printed) = demo.run("120", async || ()).await;
    assert!(status.success(), "{status}: {printed}");
    let mut rest = printed.as_str();
    for expected in [
        " guard install\n8 tables guarded.\n",
        "verdict after ",
        "The daemon's own verdict: in sync as of ",
        "  UPDATE app.organisations SET employees = employees + 1 WHERE slug = ",
        "The daemon found it after ",
        " diff --collection organisations --id ",
        "differs in app.organisations.employees, app.organisations.updated_at\n",
        " repair --collection organisations\n",
        "1 request: 1 applied, ",
        "1 finding ended, 0 still open.\n",
        " cutover reads --unit organisations --share 50%\n50% of the reads of organisations go to PostgreSQL.\n",
        "20 users ask /api/v1/reads/organisations: 10 are sent to PostgreSQL, 10 to MongoDB.\n",
        "  UPDATE app.organisations SET city = 'Atlantis' WHERE slug = ",
        "20 users ask /api/v1/reads/organisations: 0 are sent to PostgreSQL, 20 to MongoDB.\n",
        "The reads went back by themselves after ",
        "differs in app.organisations.city, app.organisations.updated_at\n",
        "1 finding ended, 0 still open.\n",
        "20 users ask /api/v1/reads/organisations: 10 are sent to PostgreSQL, 10 to MongoDB.\n",
        "The same users went on by themselves after ",
        "All reads of organisations go to MongoDB.\n",
        "The application has stopped writing after ",
        " reconcile --full\n",
        "Equal: every document was compared with its rows, column by column.\n",
        "The daemon's own verdict: in sync as of ",
    ] {
        let (_, behind) = rest.split_once(expected).unwrap_or_else(|| panic!("{expected:?} is missing: {printed}"));
        rest = behind;
    }
    // The target itself, which the demo does not ask.
    let ended = demo.texts("SELECT ended_by FROM driftless.finding ORDER BY found_at").await;
    assert_eq!(ended, ["repair", "repair"]);
    let reads = "SELECT action FROM driftless.read_change WHERE unit = 'organisations' AND NOT forced ORDER BY id";
    assert_eq!(demo.texts(reads).await, ["share", "trip", "recover", "back"]);
    assert_eq!(demo.texts("SELECT slug FROM app.organisations WHERE city = 'Atlantis'").await, [""; 0]);
    demo.finish().await;
}

/// Undoes each edit by hand, so that there is nothing to find. It fires after the trigger that sets `updated_at`.
const UNDO: &str = "CREATE FUNCTION app.undo() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
     CREATE TRIGGER zz_undo BEFORE UPDATE ON app.organisations FOR EACH ROW EXECUTE FUNCTION app.undo()";

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_whose_edit_is_not_found_fails() {
    let demo = Demo::new("undone").await;
    let (status, printed) =
        demo.run("5", async || demo.target().await.batch_execute(UNDO).await.expect("add a trigger")).await;
    assert_eq!(status.code(), Some(1), "{printed}");
    let failed = "\nThe demo failed: the finding of the edit takes more than 5 s: no finding is open\n";
    assert!(printed.contains(failed), "{printed}");
    assert!(!printed.contains("The daemon found it"), "{printed}");
    assert!(printed.contains(&format!("its log is {}/driftless.log.", demo.folder.display())), "{printed}");
    demo.finish().await;
}

/// The services of `deploy/compose.demo.yaml` that play the application: what they run loads documents once, and writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_compose_load_once_and_write() {
    let compose = std::fs::read_to_string(root().join("deploy/compose.demo.yaml")).expect("read the compose file");
    let (stack, name) = (Stack::shared().await, unique("demo_compose"));
    let servers = format!("{}/env", stack.value("STACK_DIR"));
    let run = async |command: &str| {
        let line = compose.lines().find_map(|line| line.trim().strip_prefix("command: [")?.strip_prefix(command));
        let arguments =
            line.and_then(|rest| rest.strip_suffix(']')).expect("a command of the file").split(", ").skip(1);
        let arguments = arguments.map(|word| match word.trim_matches('"') {
            "/etc/driftless/servers.env" => &*servers,
            "plans" => &*name,
            "20000" => "200",
            "86400" => "1",
            word => word,
        });
        let run = Command::new(PROGRAM).arg(command).args(arguments).kill_on_drop(true).output();
        let output = timeout(RUN, run).await.expect("it ends").expect("start the demo");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    };
    assert_eq!(run("load").await, "Loaded 200 documents.\n");
    let again = run("load").await;
    assert!(again.ends_with(" documents: nothing is loaded.\n"), "{again}");
    let wrote = run("write").await;
    assert!(wrote.starts_with("Wrote ") && !wrote.starts_with("Wrote 0 "), "{wrote}");
    let source = mongodb::Client::with_uri_str(stack.mongo_uri()).await.expect("an address");
    source.database(&name).drop().await.expect("drop the source");
}
