//! Every setting, variable and command that a file of `deploy/` names is one of the daemon's: the daemon itself says so.

use std::process::Command;

use driftless_testing::{stack::profile, unique};
use serde_json::Value;

use crate::tools::{Said, run, text};

fn driftless() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftless"));
    // Only the variables of a test count, not those of whoever runs it.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DRIFTLESS")) {
        command.env_remove(name);
    }
    command
}

/// Loads a configuration with its mapping and these variables, as the daemon does.
pub(crate) fn check(config: &str, mapping: &str, variables: &[(String, String)]) -> Said {
    let folder = profile().with_file_name("tmp").join(unique("settings"));
    std::fs::create_dir_all(&folder).expect("make a folder");
    std::fs::write(folder.join("driftless.toml"), config).expect("write the configuration");
    std::fs::write(folder.join("mapping.toml"), mapping).expect("write the mapping");
    let said = run(
        driftless()
            .arg("--config")
            .arg(folder.join("driftless.toml"))
            .args(["check", "--offline"])
            .envs(variables.iter().map(|(name, value)| (name, value))),
        "",
    );
    std::fs::remove_dir_all(&folder).expect("removed");
    said
}

/// Whether the daemon knows a command with its options.
pub(crate) fn is_command(arguments: &[String]) -> bool {
    run(driftless().args(arguments).arg("--help"), "").ok
}

/// The text values of a JSON list.
pub(crate) fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn a_wrong_setting_variable_or_command_is_noticed() {
    let (config, mapping) = (text("deploy/compose/driftless.toml"), text("config/demo/mapping.toml"));
    let variable = |name: &str, value: &str| [(name.to_owned(), value.to_owned())];
    let said = check(&config, &mapping, &variable("DRIFTLESS__SINK__WORKERS", "3"));
    assert!(said.ok, "{}", said.text());
    for (wrong, value) in
        [("DRIFTLESS__SINK__WORKER", "3"), ("DRIFTLESS__HTTP__LISTEN", "everywhere"), ("DRIFTLESS_SINK__WORKERS", "3")]
    {
        assert!(!check(&config, &mapping, &variable(wrong, value)).ok, "{wrong}={value}");
    }
    assert!(!check(&config.replace("recover_after", "recovers"), &mapping, &[]).ok);
    let command = |text: &str| is_command(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert!(command("run --role reads") && command("health --live"));
    assert!(!command("runs") && !command("run --role writer") && !command("run --rolle sink"));
}
