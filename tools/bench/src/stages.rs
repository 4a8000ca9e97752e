//! The parts of the daemon, each alone: the source into a null log, the sink from a full topic, codec and mapping.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use bson::Timestamp;
use driftless::{
    config::{Codec, Config},
    log::{Headers, envelope},
    mapping::{MappingFile, Plan},
    model::{ClusterTime, Op},
    postgres::{Postgres, Purpose, read_catalog},
    retry::Backoff,
    source::{ChangeStream, OnDrop, Scope, Source, Start},
};

use crate::{
    Bench,
    ceilings::{change, now},
    changes,
    daemon::Daemon,
    report::Chapter,
    servers::Trial,
    trials::{self, Mover},
    users::{self, USERS},
};

/// Documents of the in-memory measurements.
const SAMPLE: u64 = 20_000;
/// The header that the log adds when it sends a record.
const PUBLISHER: (&str, &[u8]) = (envelope::header::PUBLISHER, b"1");
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5) };

/// Measures all stages.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    source(bench, chapter).await.context("source into a null log")?;
    for run in 1..=bench.scale.long_runs {
        bench.step(&format!("sink from a full topic, run {run}"));
        sink(bench, chapter).await.context("sink from a full topic")?;
    }
    codec(bench, chapter).context("codec")?;
    mapping(bench, chapter).await.context("mapping")
}

/// Measures the source on the same updates as the ceilings of the change stream.
async fn source(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let documents = bench.scale.documents;
    let database = bench.servers.empty_database("source").await?;
    changes::load(&database, bench.users, documents).await?;
    let start = now(&database).await?;
    changes::update_all(&database, bench.users, documents).await?;
    let trial = bench.servers.trial("source", database.name(), &users::application()).await?;
    let config = config(&trial)?;
    for run in 0..=bench.scale.runs {
        bench.step(&format!("source into a null log, run {run}"));
        for (id, what, encode) in [
            ("stages.source", "source with full documents into a null log, updates", false),
            ("stages.source_encoded", "the same, each change encoded for the log and dropped", true),
        ] {
            let rate = follow(&config, start, documents, encode).await?;
            if run > 0 {
                chapter.add(id, what, "changes/s", rate);
            }
        }
    }
    bench.servers.clear(trial).await?;
    Ok(database.drop().await?)
}

async fn follow(config: &Config, start: Timestamp, updates: u64, encode: bool) -> anyhow::Result<f64> {
    let source = Source::connect(&config.source).await?;
    let collections = BTreeMap::from([(USERS.to_owned(), OnDrop::Halt)]);
    let (database, epoch) = (config.source.database.clone(), config.source.epoch);
    let scope = Scope { database, collections, epoch, since: BTreeMap::new() };
    let began = Instant::now();
    let mut stream = ChangeStream::open(&source, scope, Start::At(ClusterTime::from(start)), BACKOFF);
    let mut seen = 0;
    while seen < updates {
        let batch = stream.next_batch().await?;
        seen += batch.changes.iter().filter(|change| change.op == Op::Update).count() as u64;
        if encode {
            // Encoding runs on a thread that may block, as in the daemon's publisher.
            let encoded =
                move || batch.changes.iter().map(|change| envelope::encode(change, "bench").size_bytes()).sum();
            let bytes: usize = tokio::task::spawn_blocking(encoded).await?;
            black_box(bytes);
        }
    }
    Ok(seen as f64 / began.elapsed().as_secs_f64())
}

/// Fills the topic with the source alone, then runs the sink alone on it. The sink's rows exist before.
async fn sink(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let documents = bench.scale.documents;
    let database = bench.servers.empty_database("sink").await?;
    changes::load(&database, bench.users, documents).await?;
    let trial = bench.servers.trial("sink", database.name(), &users::application()).await?;
    let (process, _) = trials::snapshot(&bench.servers, &Mover::Driftless, &trial, documents).await?;
    process.stop().await?;
    let backlog = changes::update_all(&database, bench.users, documents).await?;
    let mut filling = Daemon::start(&trial, &["source"])?;
    while filling.metric("driftless_log_changes_total").await.unwrap_or(0.0) < backlog.changes as f64 {
        filling.process.lives()?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    filling.process.stop().await?;
    let client = bench.servers.postgres(&trial.target).await?;
    client.batch_execute(&format!("VACUUM ANALYZE {USERS}")).await?;
    let before = trials::Before::look(&bench.servers, &trial)?;
    let mut process = Daemon::start(&trial, &["sink"])?.process;
    let outcome = trials::drained(&bench.servers, &trial, &mut process, &backlog, before).await?;
    outcome.add_to(chapter, "stages.sink", "sink from a full topic, upserts of existing rows");
    process.stop().await?;
    bench.servers.clear(trial).await?;
    Ok(database.drop().await?)
}

fn codec(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let users = (0..SAMPLE).map(|seq| change(&bench.users.user(seq, 0), Op::Insert));
    let changes = users.collect::<anyhow::Result<Vec<_>>>()?;
    for run in 0..=bench.scale.runs {
        bench.step(&format!("codec, run {run}"));
        for (codec, name) in [(Codec::Json, "json"), (Codec::Bson, "bson")] {
            let began = Instant::now();
            let encoded: Vec<_> = changes.iter().map(|change| envelope::encode_as(codec, change, "bench")).collect();
            let encoding = micros(began, SAMPLE);
            let size = encoded.iter().map(|record| record.size_bytes()).sum::<usize>() as f64;
            let headers: Vec<Headers> =
                encoded.iter().map(|record| record.headers.iter().chain([PUBLISHER]).collect()).collect();
            let began = Instant::now();
            for (record, headers) in encoded.iter().zip(&headers) {
                let read = envelope::decode(Some(&record.key), record.value.as_deref(), headers);
                black_box(read.map_err(|error| anyhow!("decode: {}", error.detail))?);
            }
            let decoding = micros(began, SAMPLE);
            if run > 0 {
                let mut add = |id: &str, text: &str, unit, value| {
                    chapter.add(format!("stages.{name}.{id}"), format!("codec `{name}`, {text}"), unit, value);
                };
                add("encode", "change to bytes, one core", "µs per change", encoding);
                add("decode", "bytes to change, one core", "µs per change", decoding);
                add("record", "record before compression", "bytes", size / SAMPLE as f64);
            }
        }
    }
    Ok(())
}

async fn mapping(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let application = users::application();
    let trial = bench.servers.trial("mapping", "bench_mapping", &application).await?;
    let config = config(&trial)?;
    let session = Postgres::new(&config.sink, &config.log.prefix)?.open(Purpose::Control).await?;
    let catalog = read_catalog(&session).await?;
    let file = MappingFile::parse(&application.mapping, "mapping.toml").map_err(|faults| anyhow!("{faults:?}"))?;
    let plan = Plan::compile(&file, &catalog).map_err(|faults| anyhow!("{faults:?}"))?;
    let plan = plan.collection(USERS).context("find the collection in the plan")?;
    let documents = bench.users.documents(0..SAMPLE);
    for run in 0..=bench.scale.runs {
        let began = Instant::now();
        for document in &documents {
            black_box(plan.map(document).map_err(|reject| anyhow!("{reject:?}"))?);
        }
        if run > 0 {
            chapter.add("stages.map", "mapping, document to row, one core", "µs per document", micros(began, SAMPLE));
        }
    }
    bench.servers.clear(trial).await
}

fn config(trial: &Trial) -> anyhow::Result<Config> {
    Config::load(&trial.config())
        .map_err(|faults| anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}

fn micros(began: Instant, count: u64) -> f64 {
    began.elapsed().as_secs_f64() * 1e6 / count as f64
}
