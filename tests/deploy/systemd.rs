//! The unit. Where systemd is installed its own tool reads the file; no service is started.

use std::{collections::BTreeMap, path::Path, process::Command};

use crate::{
    settings::{check, is_command},
    tools::{Copy, run, text},
};

const UNIT: &str = "deploy/systemd/driftless.service";
/// How much of a service may be exposed, of 100, as `systemd-analyze security` reckons: this one has 14, and a unit without any
/// protection 96. Newer versions look at more.
const EXPOSED: &str = "--threshold=20";

/// Returns what systemd says against a unit; nothing where there is no systemd.
fn said_against(unit: &Path) -> Option<String> {
    if run(Command::new("sh").args(["-c", "command -v systemd-analyze"]), "").stdout.is_empty() {
        eprintln!("{UNIT} is not verified: there is no systemd-analyze here");
        return None;
    }
    let verified = run(Command::new("systemd-analyze").arg("verify").arg(unit), "");
    let secure = run(Command::new("systemd-analyze").args(["security", "--offline=true", EXPOSED]).arg(unit), "");
    let exposed = if secure.ok { "" } else { "too much is exposed" };
    // A key that systemd does not know is only a warning.
    Some(format!("{}{exposed}", verified.text()))
}

#[test]
fn systemd_accepts_the_unit_and_little_is_exposed() {
    let copy = Copy::of(&[UNIT]);
    // The program must exist.
    copy.edit(UNIT, "/usr/local/bin/driftless", env!("CARGO_BIN_EXE_driftless"));
    let Some(against) = said_against(&copy.path(UNIT)) else { return };
    assert_eq!(against, "");
    copy.edit(UNIT, "ProtectSystem=strict", "ProtectSystm=strict");
    assert!(said_against(&copy.path(UNIT)).is_some_and(|against| against.contains("ProtectSystm")));
    copy.edit(UNIT, "ProtectSystm=strict", "");
    copy.edit(UNIT, "CapabilityBoundingSet=", "");
    copy.edit(UNIT, "DynamicUser=yes", "");
    assert_eq!(said_against(&copy.path(UNIT)).as_deref(), Some("too much is exposed"));
}

#[test]
fn the_daemon_knows_the_command_and_the_variables_of_the_unit() {
    let unit = text(UNIT);
    let values = |key: &str| -> Vec<String> {
        unit.lines().filter_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned())).collect()
    };
    let command: Vec<String> = values("ExecStart")[0].split(' ').skip(1).map(str::to_owned).collect();
    assert!(is_command(&command), "{command:?}");
    // The file of the example without what the credentials give.
    let config: String = text("deploy/kubernetes/example/driftless.toml")
        .lines()
        .filter(|line| !line.starts_with("uri_file") && !line.starts_with("url_file"))
        .map(|line| format!("{line}\n"))
        .collect();
    let variables: BTreeMap<String, String> = values("Environment")
        .iter()
        .map(|line| line.split_once('=').expect("NAME=VALUE"))
        .map(|(name, value)| (name.to_owned(), value.replace("%d", "/run/credentials/driftless.service")))
        .collect();
    let said = check(
        &config,
        &text("deploy/kubernetes/example/mapping.toml"),
        &variables.clone().into_iter().collect::<Vec<_>>(),
    );
    assert!(said.ok, "{}", said.text());
    let credentials: Vec<String> =
        values("LoadCredential").iter().map(|line| line.split(':').next().expect("a name").to_owned()).collect();
    let used = |name: &String| variables.values().any(|value| value.ends_with(&format!("/driftless.service/{name}")));
    assert!(credentials.len() == 2 && credentials.iter().all(used), "{credentials:?} {variables:?}");
}
