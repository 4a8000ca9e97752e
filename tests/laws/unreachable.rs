//! Unreachable servers are all reported at once, each with its address, and not one after the other.

use crate::support::{DEADLINE, migration::Migration};

#[tokio::test(flavor = "multi_thread")]
async fn every_server_that_is_away_is_told_with_its_address() {
    let mut migration = Migration::demo("unreachable").await;
    // Ports that nothing listens on, with the default timeouts.
    migration.set("source", "uri", "mongodb://127.0.0.1:1");
    migration.set("log", "brokers", "127.0.0.1:2");
    migration.set("sink", "url", "postgres://127.0.0.1:3/none");
    let daemon = migration.daemon();
    let reason = |status: &crate::support::status::Status, role: &str| {
        status.process.roles.get(role).and_then(|role| role.reason.clone()).unwrap_or_default()
    };
    let told = daemon.wait_for("every server is named", DEADLINE, |status| {
        let source = reason(status, "source");
        source.contains("127.0.0.1:1")
            && source.contains("127.0.0.1:2")
            && reason(status, "sink").contains("127.0.0.1:3")
    });
    let told = told.await;
    assert!(reason(&told, "source").contains("Connection refused"), "{}", told.summary());
    daemon.stop(0).await;
    migration.finish().await;
}
