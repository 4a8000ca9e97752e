//! The status says the same on the page, in the API and on a terminal, with the daemon and without it; the page is opened in a browser.

use driftless_demo::{Poison, Workload};
use driftless_testing::unique;
use serde_json::{Value, json};

use crate::support::{DEADLINE, daemon::Daemon, load::fill, migration::Migration, packages, stack::root, wait};

/// A reason that would be markup.
const WHY: &str = "<img src='http://127.0.0.1:9/' onerror='alert(1)'><script>alert(2)</script>";

#[tokio::test(flavor = "multi_thread")]
async fn status_answers_the_same_questions_on_page_and_terminal() {
    let mut migration = Migration::demo("status").await;
    migration.set("sink", "catalog_interval", "1s");
    fill(&migration, 21, 300).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.succeed(&["guard", "install"]).await;
    daemon.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;
    wait::until("the gate is ready", DEADLINE, async || {
        let checked = migration.command(&["cutover", "check"]).await;
        wait::holds(checked.status.success(), String::from_utf8_lossy(&checked.stdout))
    })
    .await;
    migration.succeed(&["cutover", "reads", "--unit", "users", "--share", "50%", "--force", "--why", WHY]).await;
    let (code, text) = terminal(&migration, &["--daemon", &daemon.address()]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("in sync; every change is judged up to") && text.contains("running"), "{text}");
    let of = format!("migration {0}: MongoDB database {0}, PostgreSQL database {0}", migration.name);
    assert!(text.contains(&of), "{text}");
    another_migration_is_not_taken_for_this_one(&mut migration, &daemon).await;
    let seen = look(&migration, &daemon, "in sync", "good").await;
    check(&seen, &daemon);
    for text in texts(&seen) {
        for told in ["In sync", "Nothing stands in the way.", "No dead letter is open.", "process started", WHY] {
            assert!(text.contains(told), "{told} is missing in\n{text}");
        }
    }

    // A document that is refused, and a right that is missing.
    let mut workload = Workload::new(migration.mongo.clone(), &migration.name, 22);
    workload.poison(Poison::NulInText).await.expect("write a document that is refused");
    daemon.wait_for("the verdict is drift", DEADLINE, |status| status.verdict == "drift").await;
    migration
        .target
        .batch_execute("ALTER TABLE app.organisations DROP COLUMN name CASCADE")
        .await
        .expect("drop a column");
    let halted = daemon.wait_for("the sink halts", DEADLINE, |status| status.phase("sink") == "halted").await;
    let sink = halted.process.roles["sink"].clone();
    assert!(
        sink.hint.is_some() && sink.by_itself.is_some_and(|then| then.contains("without a restart")),
        "{:?}",
        sink.reason
    );
    let seen = look(&migration, &daemon, "drift", "bad").await;
    check(&seen, &daemon);
    let (code, terminal_text) = terminal(&migration, &["--daemon", &daemon.address()]).await;
    assert_eq!(code, Some(4), "{terminal_text}");
    for text in texts(&seen).chain([terminal_text.as_str()]) {
        for told in
            ["NUL_IN_TEXT", "halted", "by itself: it is tried again", "sink halted", "driftless dlq list --group"]
        {
            assert!(text.contains(told), "{told} is missing in\n{text}");
        }
    }

    // Without a daemon the target knows the same, and that nothing runs.
    daemon.stop(3).await;
    let (code, text) = terminal(&migration, &[]).await;
    assert_eq!(code, Some(4), "{text}");
    assert!(
        text.contains("no process runs") && text.contains("NUL_IN_TEXT") && text.contains("process stopped"),
        "{text}"
    );
    let (_, status) = terminal(&migration, &["--json"]).await;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!((&status["verdict"], &status["processes"]), (&json!("drift"), &json!([])));
    migration.finish().await;
}

/// A project whose configuration names the address of a daemon of another migration.
async fn another_migration_is_not_taken_for_this_one(migration: &mut Migration, daemon: &Daemon) {
    let own = migration.get("log", "prefix").cloned().expect("a prefix");
    migration.set("log", "prefix", "another");
    migration.set("http", "listen", daemon.address());
    let output = migration.command(&["status", "--daemon", &daemon.address()]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("it is of another migration"), "{told}");
    let (code, text) = terminal(migration, &[]).await;
    assert_eq!(code, Some(5), "{text}");
    assert!(text.starts_with("unknown") && text.contains("no process runs"), "{text}");
    migration.set("http", "listen", "127.0.0.1:0");
    migration.set("log", "prefix", own);
}

async fn terminal(migration: &Migration, arguments: &[&str]) -> (Option<i32>, String) {
    let output = migration.command(&[&["status"], arguments].concat()).await;
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Opens the page until it shows this verdict; with `DRIFTLESS_PICTURES` set, its pictures are kept in that folder.
async fn look(migration: &Migration, daemon: &Daemon, verdict: &str, picture: &str) -> Value {
    let folder = migration.mapping().with_file_name(unique("page"));
    let lock = root().join("tests/support/browser/package-lock.json");
    let mut browser = packages::node(&lock, &root().join("tests/laws/status/look.mjs"), folder.clone()).await;
    let kept = std::env::var_os("DRIFTLESS_PICTURES").map_or_else(|| folder.clone(), |kept| root().join(kept));
    let url = format!("http://{}/", daemon.address());
    browser.args([&url, verdict]).arg(kept.join(format!("status-{picture}")));
    // The browser unpacks itself into the folder for temporary files.
    let looked = wait::soon("the page opens", browser.env("TMPDIR", &folder).kill_on_drop(true).output()).await;
    let looked = looked.expect("start Node");
    assert!(looked.status.success(), "{}", String::from_utf8_lossy(&looked.stderr));
    serde_json::from_slice(&looked.stdout).expect("JSON")
}

fn texts(seen: &Value) -> impl Iterator<Item = &str> {
    seen["seen"].as_array().expect("views").iter().map(|view| view["text"].as_str().expect("a text"))
}

/// Checks what holds whatever the page shows.
fn check(seen: &Value, daemon: &Daemon) {
    let headings = [
        "Are we in sync?",
        "May we cut over?",
        "What drifts, and since when?",
        "How far are snapshot and baseline?",
        "What is refused?",
        "Where are the reads?",
        "Positions and lags",
        "Does every part work?",
        "What happened?",
    ];
    let mut grounds = Vec::new();
    for view in seen["seen"].as_array().expect("views") {
        for empty in ["complaints", "violations", "unreached"] {
            assert_eq!(view[empty], json!([]), "{empty}: {view:#}");
        }
        assert_eq!(view["requests"], json!([format!("http://{}", daemon.address())]), "it asks nobody else");
        assert_eq!((&view["overflow"], &view["strange"]), (&json!(0), &json!(0)), "{view:#}");
        assert_eq!(view["headings"], json!(headings));
        grounds.push(&view["dark"]);
    }
    assert_ne!(grounds[0], grounds[1], "dark and light differ");
    let policy = &seen["policy"];
    assert_eq!((&policy["quiet"], &policy["ran"]), (&json!(true), &json!(false)), "{policy:#}");
    assert!(policy["header"].as_str().is_some_and(|header| header.starts_with("default-src 'none'")), "{policy:#}");
    assert!(seen["old"].as_str().is_some_and(|old| old.contains("everything below is old")), "{}", seen["old"]);
}
