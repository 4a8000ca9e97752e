//! The scripts for least-privilege roles, as far as no server is needed. `laws/least_privilege`, `laws/only_the_sink_writes` and
//! `it/sink/roles` run them against servers.

use std::process::Command;

use driftless_testing::stack::root;

use crate::tools::{Copy, run};

const SCRIPT: &str = "deploy/roles/kafka.sh";
/// The arguments of Kafka's own program: the connection, then one ACL for each kind of resource, all below the prefix.
const ASKED: &str = "\
--bootstrap-server b:1 --add --force --allow-principal User:d --operation Read --operation Write --operation Create --operation Describe \
--operation DescribeConfigs --topic shop. --resource-pattern-type prefixed
--bootstrap-server b:1 --add --force --allow-principal User:d --operation Read --operation Describe --group shop. --resource-pattern-type prefixed
--bootstrap-server b:1 --add --force --allow-principal User:d --operation Write --operation Describe --transactional-id shop. \
--resource-pattern-type prefixed
--bootstrap-server b:1 --add --force --allow-principal User:d --operation IdempotentWrite --cluster
";

#[test]
fn kafka_is_asked_for_rights_below_the_prefix_only() {
    let script = |arguments: &str| {
        let mut command = Command::new(root().join(SCRIPT));
        run(command.args(arguments.split(' ')).env("KAFKA_ACLS", "echo"), "")
    };
    let said = script("--principal User:d --prefix shop -- --bootstrap-server b:1");
    assert!(said.ok, "{}", said.text());
    assert_eq!(said.stdout, ASKED);
    for wrong in [
        "--principal User:d -- --bootstrap-server b:1",
        "--prefix shop --principal User:d",
        "--prefix shop --principle User:d --",
    ] {
        let said = script(wrong);
        assert!(!said.ok && said.stdout.starts_with("The ACLs that the daemon needs"), "{wrong}: {}", said.text());
    }
}

/// Every shell script of `deploy/` parses; a shell notices only then what it has not run.
#[test]
fn scripts_parse() {
    let parses = |file: &std::path::Path| run(Command::new("bash").arg("-n").arg(file), "").ok;
    for file in [SCRIPT, "deploy/kubernetes/components/monitoring/generate", "deploy/local/stack"] {
        assert!(parses(&root().join(file)), "{file}");
    }
    let copy = Copy::of(&[SCRIPT]);
    copy.edit(SCRIPT, "esac", "");
    assert!(!parses(&copy.path(SCRIPT)));
}
