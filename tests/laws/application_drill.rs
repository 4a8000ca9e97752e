//! The promise of reads that follow the proof, on the example application under load: while reads move over and back, and the daemon,
//! PostgreSQL, Kafka and MongoDB are killed in turn, no answer misses a write of its own session, none is older than the bound, and none
//! fails while MongoDB is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::{
    application::{Answer, Application, Session, add_user, business_plans_on},
    support::{DEADLINE, drill, migration::Migration, port::Port, stack::Stack, wait},
};

/// How old an answer for others may be: `reconcile.max_staleness`, `reads.patience`, `reads.max_age`, and what a judgement takes.
const BOUND: Duration = Duration::from_secs(20);
const SESSIONS: usize = 6;
/// How often each session writes and reads, at most: faster, the application alone would take the machine.
const PACE: Duration = Duration::from_millis(100);
const SHARES: [&str; 4] = ["1%", "10%", "50%", "100%"];

/// The state that all sessions share.
#[derive(Clone, Default)]
struct Shared {
    /// Grows when MongoDB is killed and when it is back, so it is odd while MongoDB is away.
    outages: Arc<AtomicU64>,
    /// Answers that came from PostgreSQL.
    postgresql: Arc<AtomicU64>,
    end: CancellationToken,
}

#[tokio::test(flavor = "multi_thread")]
async fn application_keeps_its_promise_while_everything_is_killed() {
    let rounds = if drill() { 100 } else { 1 };
    let stack = Box::leak(Box::new(Stack::running("reads", &[]).await));
    let migration = business_plans_on(stack, "reads_drill").await;
    let mut users = Vec::new();
    for _ in 0..SESSIONS {
        users.push(add_user(&migration).await);
    }
    let port = Arc::new(Port::take());
    let mut daemon = migration.daemon_at(port.clone());
    migration.quiesce(&daemon, DEADLINE).await;
    migration.succeed(&["guard", "install"]).await;
    let application = Application::python(&migration, &daemon).await;
    let shared = Shared::default();
    let sessions: Vec<_> = users
        .iter()
        .map(|user| {
            let (own, other) = (Session::new(&application, user), Session::new(&application, user));
            tokio::spawn(work(own, other, shared.clone()))
        })
        .collect();

    // The drill's first round has a kill at every share, each later one at one share. The short form kills what runs beside the
    // application's own database: the daemon and PostgreSQL.
    for round in 0..rounds {
        for (step, share) in SHARES.into_iter().enumerate() {
            cut_over(&migration, share).await;
            let kills = if drill() { round == 0 || step == round / 4 % 4 } else { step < 2 };
            if !kills {
                continue;
            }
            match (round + step) % 4 {
                0 => {
                    daemon.kill9().await;
                    daemon = migration.daemon_at(port.clone());
                }
                1 => stack.restart("postgres", "kill").await,
                2 => stack.restart("kafka", "kill").await,
                _ => {
                    shared.outages.fetch_add(1, Ordering::SeqCst);
                    stack.restart("mongo", "kill").await;
                    shared.outages.fetch_add(1, Ordering::SeqCst);
                }
            }
            daemon
                .wait_for("every role runs again", DEADLINE, |status| {
                    status.process.roles.values().all(|role| role.phase == "running")
                })
                .await;
        }
        let before = shared.postgresql.load(Ordering::SeqCst);
        wait::until("PostgreSQL answers again", DEADLINE, async || {
            // A kill may have tripped the unit.
            cut_over(&migration, "100%").await;
            let now = shared.postgresql.load(Ordering::SeqCst);
            wait::holds(now > before + SESSIONS as u64, now)
        })
        .await;
        migration.succeed(&["cutover", "back", "--unit", "plans"]).await;
        eprintln!("application_drill: {} of {rounds} rounds", round + 1);
    }
    shared.end.cancel();
    for session in sessions {
        session.await.expect("every answer of the session is right");
    }
    eprintln!("application_drill: {} answers came from PostgreSQL", shared.postgresql.load(Ordering::SeqCst));
    drop(application);
    daemon.stop(0).await;
    stack.down().await;
}

/// Gives the unit this share as soon as the gate allows it. A forced share would be read in spite of what makes answers old.
async fn cut_over(migration: &Migration, share: &str) {
    wait::until(format!("the gate allows {share}"), DEADLINE, async || {
        let output = migration.command(&["cutover", "reads", "--unit", "plans", "--share", share]).await;
        wait::holds(output.status.success(), String::from_utf8_lossy(&output.stdout))
    })
    .await;
}

/// Writes one token after the other into a plan; after each, reads it in the session that wrote it and in one that did not.
async fn work(mut own: Session, other: Session, shared: Shared) {
    let plan = own.add("Drill").await;
    let page = format!("/plans/{plan}");
    let mut acknowledged: Vec<(u64, Instant)> = vec![(0, Instant::now())];
    let (mut token, mut beat) = (0, interval(PACE));
    while !shared.end.is_cancelled() {
        beat.tick().await;
        token += 1;
        let body = serde_json::json!({ "summary": token.to_string() }).to_string();
        if let Some(answer) = shared.tolerant(own.try_send("PATCH", &page, &body)).await {
            own.cookie = answer.cookie;
            acknowledged.push((token, Instant::now()));
        }
        let (last, _) = acknowledged[acknowledged.len() - 1];
        if let Some(answer) = shared.tolerant(own.try_send("GET", &page, "")).await {
            assert!(seen(&answer) >= last, "{} shows {} after {last} to its own session", answer.reads, seen(&answer));
        }
        let asked = Instant::now();
        if let Some(answer) = shared.tolerant(other.try_send("GET", &page, "")).await {
            let old = acknowledged.iter().rev().find(|(_, at)| *at + BOUND < asked).map_or(0, |(token, _)| *token);
            assert!(
                seen(&answer) >= old,
                "{} shows {}, and {old} is older than {BOUND:?}",
                answer.reads,
                seen(&answer)
            );
        }
    }
}

fn seen(answer: &Answer) -> u64 {
    answer.body["summary"].as_str().map_or(0, |token| token.parse().expect("a token"))
}

impl Shared {
    /// Returns the answer; a request may fail only if MongoDB was away meanwhile.
    async fn tolerant(&self, request: impl Future<Output = Result<Answer, String>>) -> Option<Answer> {
        let before = self.outages.load(Ordering::SeqCst);
        let answer = request.await;
        let was_away = before % 2 == 1 || self.outages.load(Ordering::SeqCst) != before;
        match answer {
            Ok(answer) if answer.code == 200 => {
                if answer.reads == "postgresql" {
                    self.postgresql.fetch_add(1, Ordering::SeqCst);
                }
                Some(answer)
            }
            Ok(answer) if !was_away => panic!("MongoDB is there, and the answer is {} {}", answer.code, answer.text),
            Err(error) if !was_away => panic!("MongoDB is there, and there is no answer: {error}"),
            _ => None,
        }
    }
}
