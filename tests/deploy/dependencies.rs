//! Licences, bans and sources of all crates, as `deny.toml` allows them. Advisories are not checked: their database comes from the network.

use std::path::Path;

use driftless_testing::stack::root;

use crate::tools::{Copy, Said, Tools, run};

fn deny(tools: &Tools, config: &Path) -> Said {
    let mut command = tools.program("cargo-deny");
    command.args(["--locked", "--config"]).arg(config).args(["check", "bans", "licenses", "sources"]);
    run(command.current_dir(root()), "")
}

#[tokio::test]
async fn every_dependency_is_allowed() {
    let tools = Tools::get().await;
    let said = deny(tools, &root().join("deny.toml"));
    assert!(said.ok, "{}", said.text());
    // Each entry of the list is needed.
    assert!(!said.text().contains("warning"), "{}", said.text());
    let copy = Copy::of(&["deny.toml"]);
    copy.edit("deny.toml", "    \"ISC\",\n", "");
    let said = deny(tools, &copy.path("deny.toml"));
    assert!(!said.ok && said.text().contains("ISC"), "{}", said.text());
}
