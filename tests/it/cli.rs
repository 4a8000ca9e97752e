//! The output for a user who made a mistake: the text, the hint and the exit code.

use std::{path::Path, process::Command};

use driftless_testing::{stack::setting, unique};

pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary in a folder of its own with these files.
pub(crate) fn driftless(files: &[(&str, &str)], arguments: &[&str]) -> Said {
    let folder = std::env::temp_dir().join(unique("cli"));
    std::fs::create_dir(&folder).expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("a file");
    }
    let said = Command::new(env!("CARGO_BIN_EXE_driftless")).args(arguments).current_dir(&folder).output();
    std::fs::remove_dir_all(&folder).expect("removed");
    let said = said.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: said.status.code().expect("it ends by itself"), stdout: text(said.stdout), stderr: text(said.stderr) }
}

const MAPPING: &str = "namespace = \"dns\"\n[collections.users]\nid = \"uuid5\"\n";

#[test]
fn a_missing_configuration_is_named() {
    let said = driftless(&[], &["check", "--offline"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.stdout, @r#"
    driftless.toml: there is no such configuration file
        hint: name your file with --config; config/driftless.toml is a commented example to copy
    1 fault found
    "#);
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let said = Command::new(env!("CARGO_BIN_EXE_driftless")).args(["check", "--offline"]).stdout(writer).output();
    let said = said.expect("it runs");
    assert_eq!((said.status.code(), &*String::from_utf8_lossy(&said.stderr)), (Some(141), ""));
}

#[test]
fn a_wrong_log_filter_is_refused() {
    let said = driftless(&[], &["--log-filter", "warn,driftless=loud", "check", "--offline"]);
    assert_eq!((said.code, said.stdout.as_str()), (2, ""));
    assert!(said.stderr.contains("'warn,driftless=loud' for '--log-filter"), "{}", said.stderr);
}

#[test]
fn all_faults_of_the_configuration_are_named_at_once() {
    let config = "mapping = \"m.toml\"\n[source]\nuri = \"mongodb://h\"\nmax_await = \"soon\"\n[log]\nbrokers = \"h:1\"\nprefix = \"a b\"\n\
                  partition = 4\n[sink]\nurl = \"postgres://u:hunter2@h/d\"\nurl_file = \"also\"\n";
    let said = driftless(&[("driftless.toml", config)], &["check", "--offline"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.stdout);
    assert!(!said.stdout.contains("hunter2") && !said.stderr.contains("hunter2"));
}

#[test]
fn a_fault_of_the_mapping_has_its_line() {
    let config = "mapping = \"m.toml\"\n[source]\nuri = \"mongodb://h\"\ndatabase = \"d\"\n[log]\nbrokers = \"h:1\"\nprefix = \"p\"\n\
                  replication = 1\n[sink]\nurl = \"postgres://h/d\"\n";
    let mapping = "[collections.users]\nid = \"uuid9\"\ntabel = \"app.users\"\n";
    let said = driftless(&[("driftless.toml", config), ("m.toml", mapping)], &["check", "--offline"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.stdout);
}

#[test]
fn the_environment_comes_before_the_file() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/driftless.toml");
    // The example names files of secrets; a container receives the connection strings themselves.
    let said = Command::new(env!("CARGO_BIN_EXE_driftless"))
        .args(["--config", config.to_str().expect("a path"), "check", "--offline"])
        .env("DRIFTLESS__SOURCE__URI", "mongodb://h")
        .env("DRIFTLESS__SINK__URL", "postgres://h/d")
        .env("DRIFTLESS__SINK__WORKERS", "0")
        .output()
        .expect("it runs");
    let said = String::from_utf8(said.stdout).expect("text");
    assert!(said.contains("sink.workers: must be above 0") && said.ends_with("1 fault found\n"), "{said}");
}

#[test]
fn servers_that_are_away_are_all_named() {
    let config = "mapping = \"m.toml\"\n[source]\nuri = \"mongodb://127.0.0.1:1\"\ndatabase = \"d\"\n[log]\n\
                  brokers = \"127.0.0.1:1\"\nprefix = \"p\"\nreplication = 1\n[sink]\n\
                  url = \"postgres://u:hunter2@127.0.0.1:1/d\"\n";
    let said = driftless(&[("driftless.toml", config), ("m.toml", MAPPING)], &["check", "--json"]);
    assert_eq!(said.code, 2);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let faults = report["faults"].as_array().expect("faults");
    let of = |name: &'static str| faults.iter().filter_map(move |fault| fault[name].as_str());
    assert_eq!(of("place").collect::<Vec<_>>(), ["source", "log", "sink"]);
    for (what, hint) in of("what").zip(of("hint")) {
        assert!(what.contains("127.0.0.1:1") && what.contains("Connection refused"), "{what}");
        assert!(hint.contains("listening"), "{what}: {hint}");
    }
    assert!(!said.stdout.contains("hunter2") && !said.stderr.contains("hunter2"));
}

#[test]
fn a_replay_needs_to_know_where_to() {
    let refused = [
        (&["--collection", "users"][..], "--to-earliest|--to-offset <OFFSET>|"),
        (&["--to-earliest"], "--collection <NAME>|--topic <TOPIC[:PARTITIONS]>|--all-topics|--from-file <FILE>"),
        (&["--all-topics", "--to-earliest", "--execute"], "--why <TEXT>"),
        (&["--all-topics", "--shift-by", "10"], "a replay only goes back"),
        (&["--all-topics", "--to-earliest", "--to-offset", "1"], "cannot be used with"),
        (&["--collection", "users", "--from-file", "f.csv"], "cannot be used with"),
        (&["--collection", "users", "--into", "app_v2"], "cannot be used with"),
        (&["--all-topics", "--to-earliest", "--swap"], "cannot be used with"),
        (&["--into", "app_v2", "--swap", "--drop"], "cannot be used with"),
        (&["--into", "app_v2", "--swap", "--execute"], "--why <TEXT>"),
        (&["--into", "app_v2", "--tables"], "--drop"),
    ];
    for (arguments, expected) in refused {
        let said = driftless(&[], &[&["replay"], arguments].concat());
        assert_eq!(said.code, 2);
        assert!(said.stderr.contains(expected), "{arguments:?}: {}", said.stderr);
    }
}

#[test]
fn another_mapping_needs_a_reason() {
    let said = driftless(&[], &["mapping", "apply", "--execute"]);
    assert_eq!(said.code, 2);
    assert!(said.stderr.contains("--why <TEXT>"), "{}", said.stderr);
    let said = driftless(&[], &["mapping", "apply", "--execute", "--why", "a test", "--dry-run"]);
    assert!(said.code == 2 && said.stderr.contains("cannot be used with"), "{}", said.stderr);
    let said = driftless(&[("driftless.toml", "")], &["mapping", "diff"]);
    assert!(said.code == 2 && said.stdout.contains("faults found"), "{}", said.stdout);
}

#[test]
fn a_draft_is_made_of_one_thing_and_of_what_can_be_read() {
    for (arguments, expected) in [
        (&["--target", "--names", "as-is"][..], "cannot be used with"),
        (&["--target", "--strict"], "cannot be used with"),
        (&["--from-analysis", "a.json", "--prisma", "s.prisma"], "cannot be used with"),
        (&["--from-analysis", "a.json", "--mongoose", "s.json"], "cannot be used with"),
        (&["--from-analysis", "a.json"], "read the analysis a.json: No such file"),
        (&["--prisma", "none.prisma"], "read the Prisma schema none.prisma: No such file"),
        (&["--mongoose", "broken.json"], "read broken.json: it is not what config/mongoose.js prints"),
    ] {
        let address = ["--uri", "mongodb://127.0.0.1:1", "--database", "d"];
        let said = driftless(&[("broken.json", "{ not JSON")], &[&["init", "--yes"], arguments, &address].concat());
        assert_ne!(said.code, 0);
        assert!(said.stderr.contains(expected), "{arguments:?}: {}", said.stderr);
    }
}

#[test]
fn the_daemon_does_not_start_with_a_fault() {
    let said = driftless(&[("driftless.toml", "")], &["run"]);
    assert_eq!(said.code, 2);
    assert!(said.stdout.contains("source.database: has no value"), "{}", said.stdout);
}

#[test]
fn the_example_of_the_demo_has_no_fault_of_its_own() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/driftless.toml");
    let said = driftless(&[], &["--config", config.to_str().expect("a path"), "check", "--offline"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "0 faults found\n"));
}

#[rstest::rstest]
#[case::wrong_type(
    "replication = \"one\"",
    "driftless.toml:8: log.replication: is a text, and must be a whole number\n"
)]
#[case::a_number_for_a_time(
    "replication = 1\ntimeout = 30",
    "driftless.toml:9: log.timeout: 30 is not a duration: write a number and a unit in quotes, for example \"30s\"\n"
)]
#[case::negative(
    "replication = 1\ntransaction_changes = -1",
    "driftless.toml:9: log.transaction_changes: is the integer -1, and must be a whole number of 0 or more\n"
)]
#[case::not_toml("replication = ", "driftless.toml:8: string values must be quoted")]
fn a_fault_of_the_configuration_has_its_line(#[case] setting: &str, #[case] expected: &str) {
    let config = format!(
        "mapping = \"m.toml\"\n[source]\nuri = \"mongodb://h\"\ndatabase = \"d\"\n[log]\nbrokers = \"h:1\"\nprefix = \"p\"\n{setting}\n[sink]\n\
         url = \"postgres://h/d\"\n"
    );
    let said = driftless(&[("driftless.toml", &config), ("m.toml", MAPPING)], &["check", "--offline"]);
    assert_eq!(said.code, 2);
    assert!(said.stdout.starts_with(expected), "{}", said.stdout);
}

#[test]
fn what_the_client_knows_of_a_broker_and_an_option_that_is_ignored_are_told() {
    let config = format!(
        "mapping = \"m.toml\"\n[source]\nuri = \"{}&readPreference=secondary\"\ndatabase = \"d\"\n[log]\nbrokers = \"{}\"\n\
         prefix = \"p\"\nreplication = 1\nclient = {{ \"security.protocol\" = \"SSL\" }}\n[sink]\nurl = \"{}\"\n",
        setting("MONGO_URI"),
        setting("KAFKA_BROKERS"),
        setting("POSTGRES_URL"),
    );
    let said = driftless(&[("driftless.toml", &config), ("m.toml", MAPPING)], &["check", "--sample", "0"]);
    // The brokers speak plain text. The client reports a failed handshake or a closed connection, whichever it notices first.
    let log =
        format!("log: list the topics of `{0}`: no broker answers: ssl://{0}/bootstrap: ", setting("KAFKA_BROKERS"));
    let reason = said.stdout.lines().find_map(|line| line.strip_prefix(&log));
    assert!(reason.is_some_and(|reason| reason.contains("SSL")), "{}", said.stdout);
    assert!(said.stdout.contains("`security.protocol`"), "{}", said.stdout);
    assert!(
        said.stdout.contains("source: warning: readPreference=secondary in the connection string is ignored"),
        "{}",
        said.stdout
    );
}
