//! Read your writes: from the operation time of a write to the answer that PostgreSQL holds it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use mongodb::{Database, bson::doc};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    Bench,
    daemon::Daemon,
    latency,
    report::Chapter,
    stats::percentile,
    traffic::Writing,
    users::{self, USERS, Users},
};

/// Operations a second while somebody asks.
const RATE: u32 = 1_000;
/// Interval between two writes that are asked about.
const INTERVAL: Duration = Duration::from_millis(20);
/// Number of the first document that is asked about, far behind those of the other writes.
const FIRST: u64 = 1_000_000_000;
/// Documents that exist before.
const BEFORE: u64 = 1_000_000;

/// The asking client.
#[derive(Clone)]
struct Client {
    database: Database,
    users: Users,
    agent: ureq::Agent,
    page: Arc<str>,
}

/// Measures the answers about one document and about its whole collection, in turn.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let (trial, process) = latency::running(bench, "applied").await?;
    process.stop().await?;
    let daemon = Daemon::start(&trial, &[])?;
    let client = Client {
        database: bench.servers.database(&trial.source),
        users: bench.users,
        agent: ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).build().into(),
        page: format!("{}/api/v1/applied?collection={USERS}&wait=20s", daemon.url()).into(),
    };
    // The first answer says that the daemon follows the changes.
    let (mut next, mut asked) = (BEFORE, FIRST);
    client.clone().ask(asked, true).await?;
    for run in 1..=bench.scale.long_runs {
        bench.step(&format!("answers to what was just written, at {RATE} operations a second, run {run}"));
        let longest = Duration::from_secs(bench.scale.seconds);
        let writing = Writing::start(&client.database, bench.users, next, RATE, longest);
        next += u64::from(RATE) * bench.scale.seconds;
        let mut answers: [Vec<JoinHandle<anyhow::Result<f64>>>; 2] = Default::default();
        while writing.goes_on() {
            asked += 1;
            let (client, number) = (client.clone(), asked);
            let of_document = number % 2 == 0;
            answers[usize::from(of_document)].push(tokio::spawn(async move { client.ask(number, of_document).await }));
            tokio::time::sleep(INTERVAL).await;
        }
        writing.stop().await?;
        for (answers, subject) in answers.into_iter().zip(["collection", "document"]) {
            let mut latencies = Vec::new();
            for answer in answers {
                latencies.push(answer.await??);
            }
            // The first fifth warms up.
            latencies.drain(..latencies.len() / 5);
            for (mark, percent) in [("p50", 50.0), ("p99", 99.0)] {
                let value = percentile(&latencies, percent).context("nobody has asked")?;
                let what = format!("from the operation time to the answer, about one {subject}: {mark}");
                chapter.add(format!("applied.{subject}.{mark}"), what, "ms", value);
            }
        }
    }
    daemon.process.stop().await?;
    bench.servers.clear(trial).await
}

impl Client {
    /// Writes a document and asks until the answer is yes; returns the milliseconds from its operation time to the answer.
    async fn ask(self, number: u64, of_document: bool) -> anyhow::Result<f64> {
        let document = bson::Document::try_from(self.users.user(number, 0).document())?;
        let insert = doc! { "insert": USERS, "documents": [document], "writeConcern": { "w": "majority" } };
        let written = self.database.run_command(insert).await?;
        let began = Instant::now();
        let time = written.get_timestamp("operationTime")?;
        let document = if of_document { format!("&id={}", users::id_of(number)) } else { String::new() };
        let url = format!("{}&at={}.{}{document}", self.page, time.time, time.increment);
        let answered = spawn_blocking(move || self.agent.get(&url).call().map(|answer| answer.status().as_u16()));
        let code = answered.await.context("ask what is applied")??;
        anyhow::ensure!(code == 200, "the answer is {code}");
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }
}
