//! Law 9 at the gate of reads: whatever is not proven keeps them on MongoDB, and the command says what to do next.

use std::process::Output;

use crate::support::{DEADLINE, load::fill, migration::Migration, wait};

/// One thing that stands in the way of the unit `users`: how it comes and goes, and how the command ends and what it says.
struct Obstacle {
    comes: &'static str,
    goes: &'static str,
    code: i32,
    says: &'static str,
    next: &'static str,
}

/// `{users}` stands for the id of the collection, `{migration}` for that of the migration, `{topic}` for the collection's topic.
const OBSTACLES: &[Obstacle] = &[
    Obstacle {
        comes: "DELETE FROM driftless.process",
        goes: RUNNING,
        code: 5,
        says: "no process runs the source",
        next: "start one: `driftless run --role source`",
    },
    Obstacle {
        comes: "UPDATE driftless.process SET roles = jsonb_set(roles, '{sink}', '{\"phase\": \"halted\", \"reason\": \"a right lacks\"}')",
        goes: RUNNING,
        code: 5,
        says: "the sink has halted: a right lacks",
        next: "follow the hint in the status of a test, then restart it",
    },
    Obstacle {
        comes: "UPDATE driftless.process SET roles = jsonb_set(roles, '{source}', '{\"phase\": \"stalled\", \"reason\": \"a lock\"}')",
        goes: RUNNING,
        code: 5,
        says: "the source stalls: a lock",
        next: "bring back what a test waits for; it goes on by itself",
    },
    Obstacle {
        comes: "UPDATE driftless.process SET roles = jsonb_set(roles, '{source,facts,whole}', 'false')",
        goes: RUNNING,
        code: 5,
        says: "the leader is 99 s from the end of the oplog, less than `cutover.oplog_margin` (60 min)",
        next: "make the oplog larger (`replSetResizeOplog`)",
    },
    Obstacle {
        comes: "UPDATE driftless.position SET complete = false WHERE topic = '{topic}'",
        goes: "UPDATE driftless.position SET complete = true",
        code: 5,
        says: "users: the snapshot is not finished",
        next: "wait; `driftless snapshot status` shows the progress",
    },
    Obstacle {
        comes: "UPDATE driftless.position SET as_of_ms = as_of_ms - 86400000 WHERE topic = '{topic}'",
        goes: "UPDATE driftless.position SET as_of_ms = as_of_ms + 86400000 WHERE topic = '{topic}'",
        code: 5,
        says: "users: the target is complete as of 86",
        next: "look for a role that waits",
    },
    Obstacle {
        comes: "INSERT INTO driftless.finding (collection, key, kind, as_of_t, as_of_i, plan, found_by) \
                VALUES ({users}, '\\x00', 'missing', 1, 1, '\\x00', 'delta')",
        goes: "DELETE FROM driftless.finding",
        code: 4,
        says: "users: documents that drift: 1 (1 missing, 0 extra, 0 different)",
        next: "`driftless repair --collection users --dry-run` lists them",
    },
    Obstacle {
        comes: LETTER,
        goes: "DELETE FROM driftless.dead_letter",
        code: 4,
        says: "users: dead letters open: 1",
        next: "`driftless dlq list --collection users --group` shows the reasons",
    },
    Obstacle {
        comes: "INSERT INTO driftless.dead_letter (migration, collection, topic, partition, log_offset, reason, headers, timestamp_ms, state) \
                VALUES ({migration}, {users}, '{topic}', 0, -1, 'PARENT', '{}', 0, 'parked')",
        goes: "DELETE FROM driftless.dead_letter",
        code: 5,
        says: "users: documents parked: 1",
        next: "`driftless dlq list --collection users --state parked` shows what they wait for",
    },
    Obstacle {
        comes: "UPDATE driftless.proof SET no_such_collection = true WHERE collection = {users}",
        goes: "UPDATE driftless.proof SET no_such_collection = false",
        code: 5,
        says: "users: the source has no such collection",
        next: "correct its name, or set `may_be_empty = true`",
    },
    Obstacle {
        comes: "UPDATE driftless.proof SET plan = '\\x00' || plan WHERE collection = {users}",
        goes: "UPDATE driftless.proof SET plan = substr(plan, 2) WHERE collection = {users}",
        code: 5,
        says: "users: the mapping has changed since the baseline",
        next: "wait for the baseline, which the reconciler begins by itself",
    },
    Obstacle {
        comes: "UPDATE driftless.proof SET void_because = 'history was lost', void_at = now() WHERE collection = {users}",
        goes: "UPDATE driftless.proof SET void_because = NULL, void_at = NULL WHERE collection = {users}",
        code: 5,
        says: "users: the baseline no longer counts: history was lost",
        next: "wait for the baseline, which the reconciler begins by itself",
    },
    Obstacle {
        comes: "UPDATE driftless.proof SET complete_began_at = complete_began_at - interval '2 days' WHERE collection = {users}; \
                UPDATE driftless.guard SET since = since - interval '3 days'",
        goes: "UPDATE driftless.proof SET complete_began_at = complete_began_at + interval '2 days' WHERE collection = {users}; \
               UPDATE driftless.guard SET since = since + interval '3 days'",
        code: 5,
        says: "users: the baseline is 48 h old, the bound is 24 h",
        next: "lower `reconcile.baseline_every`, or raise `reconcile.rate`",
    },
    Obstacle {
        comes: "UPDATE driftless.proof SET verified_at = verified_at - interval '2 days' WHERE collection = {users}",
        goes: "UPDATE driftless.proof SET verified_at = verified_at + interval '2 days' WHERE collection = {users}",
        code: 5,
        says: "users: verified as of 48 h ago only, the bound is 10 h",
        next: "look for a reconciler that waits",
    },
    Obstacle {
        comes: "UPDATE driftless.proof SET verified_at = verified_at - interval '2 days', undecided = 3 WHERE collection = {users}",
        goes: "UPDATE driftless.proof SET verified_at = verified_at + interval '2 days', undecided = 0 WHERE collection = {users}",
        code: 5,
        says: "documents undecided: 3",
        next: "wait: they are judged again and again until they can be",
    },
    Obstacle {
        comes: "INSERT INTO driftless.foreign_write (migration, relation, operation, who) VALUES ({migration}, 'app.users', 'UPDATE', 'bob')",
        goes: "DELETE FROM driftless.foreign_write",
        code: 5,
        says: "users: app.users was written by somebody else: UPDATE by bob",
        next: "find out who writes",
    },
    Obstacle {
        comes: "UPDATE driftless.guard SET broken = 'a trigger is gone'; \
                UPDATE driftless.proof SET complete_began_at = complete_began_at - interval '11 hours' WHERE collection = {users}",
        goes: "UPDATE driftless.guard SET broken = NULL; \
               UPDATE driftless.proof SET complete_began_at = complete_began_at + interval '11 hours' WHERE collection = {users}",
        code: 5,
        says: "users: the guard does not hold: app.users: a trigger is gone",
        next: "`driftless guard install`, then wait for the next baseline",
    },
    Obstacle {
        comes: "UPDATE driftless.integrity SET orphans = 3 WHERE relation = 'app.users'",
        goes: "UPDATE driftless.integrity SET orphans = 0",
        code: 5,
        says: "users: rows of app.users that lack their parent in app.organisations",
        next: "`driftless integrity` names them",
    },
];

/// Leaves the report of one process with all roles, as of in an hour, so that it does not fall silent.
const RUNNING: &str = "DELETE FROM driftless.process; INSERT INTO driftless.process (migration, instance, version, at, roles) \
     VALUES ({migration}, 'a test', '1', now() + interval '1 hour', '{\"sink\": {\"phase\": \"running\"}, \"reconciler\": {\"phase\": \"running\"}, \
     \"source\": {\"phase\": \"running\", \"facts\": {\"server\": \"MongoDB\", \"oldest\": {\"t\": 1, \"i\": 1}, \"whole\": true, \
     \"position\": {\"t\": 100, \"i\": 1}}}}')";
const LETTER: &str = "INSERT INTO driftless.dead_letter (migration, collection, topic, partition, log_offset, reason, headers, timestamp_ms, state) \
     VALUES ({migration}, {users}, '{topic}', 0, -1, 'TOO_LONG', '{}', 0, 'open')";

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_refused_by_whatever_stands_in_the_way_with_the_next_step() {
    let mut migration = Migration::demo("reads_refused").await;
    // So that what a daemon has proven counts after its end.
    migration.set("cutover", "fresh", "10h");
    migration.set("reads", "fresh", "10h");
    migration.set("reads", "max_staleness", "10h");
    fill(&migration, 66, 50).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.succeed(&["guard", "install"]).await;
    wait::until("the unit is ready", DEADLINE, async || {
        let ready = migration.command(&["cutover", "check", "--unit", "users"]).await;
        wait::holds(ready.status.success(), String::from_utf8_lossy(&ready.stdout))
    })
    .await;
    daemon.stop(0).await;

    let users = migration.number("SELECT id::int8 FROM driftless.collection WHERE name = 'users'").await.to_string();
    let id = migration.number("SELECT id::int8 FROM driftless.identity").await.to_string();
    let run = async |sql: &str| {
        let sql =
            sql.replace("{users}", &users).replace("{migration}", &id).replace("{topic}", &migration.topic("users"));
        migration.target.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    };
    run(RUNNING).await;
    for Obstacle { comes, goes, code, says, next } in OBSTACLES {
        run(comes).await;
        let refused = reads(&migration, &[]).await;
        run(goes).await;
        let said = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert_eq!(refused.status.code(), Some(*code), "{says}: {said}{}", String::from_utf8_lossy(&refused.stderr));
        let at = said.find(says).unwrap_or_else(|| panic!("{says}: {said}"));
        let step = said[at..].lines().nth(1).unwrap_or_default();
        assert!(step.trim_start().starts_with(&format!("next: {next}")), "{said}");
        assert!(said.ends_with("Not ready: the reads stay where they are.\n"), "{said}");
    }
    assert_eq!(migration.number("SELECT count(*) FROM driftless.read_change").await, 0);

    // Without obstacles the share is given, but nobody judges it.
    let given = reads(&migration, &[]).await;
    let said = String::from_utf8_lossy(&given.stdout).into_owned();
    assert_eq!(given.status.code(), Some(5), "{said}");
    assert!(said.contains("10% of the reads of users go to PostgreSQL once a process"), "{said}");
    assert_eq!(
        migration.texts("SELECT share::text FROM driftless.reads WHERE unit = 'users'").await,
        [Some("0".to_owned())]
    );

    // To force it takes a reason, and what is accepted is kept.
    run(LETTER).await;
    let silent = reads(&migration, &["--force"]).await;
    assert_eq!(silent.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&silent.stderr).contains("--why <WHY>"));
    reads(&migration, &["--force", "--why", "it is known"]).await;
    let accepted = "SELECT array_to_string(u.accepted, ', ') || c.why FROM driftless.read_unit AS u \
                      JOIN driftless.read_change AS c USING (unit, epoch) WHERE u.unit = 'users' AND c.forced";
    assert_eq!(migration.texts(accepted).await, [Some("users dead_lettersit is known".to_owned())]);
    for (share, fault) in [("0%", "that is `driftless cutover back --unit users`"), ("101%", "is no share")] {
        let refused = migration.command(&["cutover", "reads", "--unit", "users", "--share", share]).await;
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(fault), "{refused:?}");
    }
    migration.finish().await;
}

async fn reads(migration: &Migration, more: &[&str]) -> Output {
    migration.command(&[&["cutover", "reads", "--unit", "users", "--share", "10%"], more].concat()).await
}
