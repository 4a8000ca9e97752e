//! Unreachable servers are all reported at once, each with its address, and not one after the other.

use std::net::TcpListener;

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
    // Several clients of the library have tried, and say the same.
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("kafka client") && line.contains("127.0.0.1:2 failed"));
    assert_eq!(lines.count(), 1, "{log}");
    daemon.stop(0).await;
    migration.finish().await;
}

/// A frozen server, or a firewall that drops packets, is reported like one that refuses: with its address, with what to do, and with
/// what happens by itself.
#[tokio::test(flavor = "multi_thread")]
async fn every_server_that_takes_connections_and_says_nothing_is_named() {
    let mut migration = Migration::demo("silent").await;
    // The kernel takes the connections; nobody reads them.
    let silent = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("listen"));
    let [source, log, sink] = silent.each_ref().map(|server| server.local_addr().expect("an address").to_string());
    migration.set("source", "uri", format!("mongodb://{source}"));
    migration.set("log", "brokers", log.clone());
    migration.set("sink", "url", format!("postgres://a@{sink}/none"));
    let daemon = migration.daemon();
    let named = |status: &crate::support::status::Status, role: &str, server: &str| {
        status.process.roles.get(role).is_some_and(|role| {
            role.phase == "stalled"
                && role.reason.as_ref().is_some_and(|reason| reason.contains(server))
                && role.hint.is_some()
                && role.by_itself.as_ref().is_some_and(|then| then.contains("no restart"))
        })
    };
    let all = daemon.wait_for("every server is named", DEADLINE, |status| {
        [("source", &source), ("source", &log), ("sink", &sink), ("sink", &log), ("reconciler", &source)]
            .into_iter()
            .all(|(role, server)| named(status, role, server))
    });
    all.await;
    daemon.stop(0).await;
    migration.finish().await;
}
