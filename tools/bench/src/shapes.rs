//! Documents that are not flat or not small: embedded arrays that become child tables, and large documents.

use std::time::Instant;

use bson::{Document, doc, oid::ObjectId};
use mongodb::{Collection, Database};

use crate::{
    Bench,
    daemon::Daemon,
    report::Chapter,
    servers::Application,
    users::{Users, id_of},
    watch,
};

/// Milestones per plan.
const MILESTONES: u64 = 5;
/// Bytes of a large document, and of one that is near the server's limit when it is sent as text.
const LARGE: usize = 1 << 20;
const LARGEST: usize = 12 << 20;

/// Measures plans with five milestones each: a snapshot, then an update of every plan that touches one milestone.
pub(crate) async fn children(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let plans = bench.scale.documents / 5;
    let rows = plans * (1 + MILESTONES);
    for run in 1..=bench.scale.long_runs {
        bench.step(&format!("child tables, run {run}"));
        let database = bench.servers.empty_database("plans").await?;
        load_plans(&database, bench.users, plans).await?;
        let trial = bench.servers.trial("plans", database.name(), &plan_tables()).await?;
        let client = bench.servers.postgres(&trial.target).await?;
        let mut daemon = Daemon::start(&trial, &[])?;
        let both = "SELECT (SELECT count(*) FROM plans) + (SELECT count(*) FROM milestones)";
        let span = watch::span(&client, &mut daemon.process, both, rows).await?;
        let seconds = (span.last - daemon.process.started).as_secs_f64();
        let id = "children.snapshot";
        chapter.add(
            format!("{id}.rate_from_start"),
            "child tables, snapshot: process start to last row",
            "rows/s",
            rows as f64 / seconds,
        );
        if let Some(rate) = span.rate(rows) {
            chapter.add(format!("{id}.rate"), "child tables, snapshot: first row to last", "rows/s", rate);
        }
        daemon.process.stop().await?;
        update_plans(&database, plans).await?;
        let mut daemon = Daemon::start(&trial, &[])?;
        let changed = "SELECT count(*) FROM plans WHERE revision = 1";
        let span = watch::span(&client, &mut daemon.process, changed, plans).await?;
        let seconds = (span.last - daemon.process.started).as_secs_f64();
        let (id, what) = ("children.updates", "child tables, updates of one milestone of five");
        chapter.add(
            format!("{id}.rate_from_start"),
            format!("{what}: process start to last row"),
            "changes/s",
            plans as f64 / seconds,
        );
        if let Some(rate) = span.rate(plans) {
            chapter.add(format!("{id}.rate"), format!("{what}: first row to last"), "changes/s", rate);
        }
        daemon.process.stop().await?;
        bench.servers.clear(trial).await?;
        database.drop().await?;
    }
    Ok(())
}

fn plan_tables() -> Application {
    Application {
        schema:
            "CREATE TABLE plans (id text PRIMARY KEY, title text, owner text, revision int4, created_at timestamptz);\n\
                 CREATE INDEX ON plans (revision);\n\
                 CREATE TABLE milestones (plan_id text, position int4, name text, amount int8, due timestamptz, \
                 PRIMARY KEY (plan_id, position));\n"
                .to_owned(),
        mapping: "[collections.plans]\ntable = \"public.plans\"\nid = \"hex\"\n\n\
                  [collections.plans.children.milestones]\ntable = \"public.milestones\"\nparent = \"plan_id\"\n\
                  order = \"position\"\n"
            .to_owned(),
    }
}

async fn load_plans(database: &Database, users: Users, plans: u64) -> anyhow::Result<()> {
    let collection: Collection<Document> = database.collection("plans");
    let plan = |seq: u64| {
        let user = users.user(seq, 0);
        let at = bson::DateTime::from_millis(user.created_at_ms);
        let milestone = |place| doc! { "name": format!("Milestone {place} of {seq}"), "amount": seq as i64, "due": at };
        let milestones: Vec<Document> = (0..MILESTONES).map(milestone).collect();
        doc! { "_id": user.id, "title": user.bio, "owner": user.name, "revision": 0, "created_at": at, "milestones": milestones }
    };
    for start in (0..plans).step_by(2_000) {
        collection.insert_many((start..plans.min(start + 2_000)).map(plan)).await?;
    }
    Ok(())
}

async fn update_plans(database: &Database, plans: u64) -> anyhow::Result<()> {
    for start in (0..plans).step_by(500) {
        let updates: Vec<Document> = (start..plans.min(start + 500))
            .map(|seq| doc! { "q": { "_id": id_of(seq) }, "u": { "$set": { "revision": 1, "milestones.2.amount": -1_i64 } } })
            .collect();
        database.run_command(doc! { "update": "plans", "updates": updates }).await?;
    }
    Ok(())
}

/// Measures documents of 1 MiB, and a few of 12 MiB.
pub(crate) async fn large(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    for run in 1..=bench.scale.long_runs {
        bench.step(&format!("large documents, run {run}"));
        files(bench, chapter, ("large", "documents of 1 MiB"), bench.scale.large, LARGE).await?;
        files(bench, chapter, ("largest", "documents of 12 MiB"), bench.scale.large / 10, LARGEST).await?;
    }
    Ok(())
}

/// Measures a snapshot, then an update of a small field of each document.
async fn files(
    bench: &Bench,
    chapter: &mut Chapter,
    (id, what): (&str, &str),
    files: u64,
    size: usize,
) -> anyhow::Result<()> {
    let application = Application {
        schema: "CREATE TABLE files (id text PRIMARY KEY, name text, body text);\n".to_owned(),
        mapping: "[collections.files]\ntable = \"public.files\"\nid = \"hex\"\n".to_owned(),
    };
    let database = bench.servers.empty_database("files").await?;
    load_files(&database, files, size).await?;
    let trial = bench.servers.trial("files", database.name(), &application).await?;
    let client = bench.servers.postgres(&trial.target).await?;
    let mut daemon = Daemon::start(&trial, &[])?;
    let began = Instant::now();
    let last = watch::count(&client, &mut daemon.process, "SELECT count(*) FROM files", files).await?;
    let rate = (files * size as u64) as f64 / 1e6 / (last - began).as_secs_f64().max(0.001);
    chapter.add(format!("{id}.rate"), format!("{what}, snapshot from process start"), "MB/s", rate);
    for start in (0..files).step_by(10) {
        let updates: Vec<Document> = (start..files.min(start + 10))
            .map(|seq| doc! { "q": { "_id": id_of(seq) }, "u": { "$set": { "name": "changed" } } })
            .collect();
        database.run_command(doc! { "update": "files", "updates": updates }).await?;
    }
    let changed = "SELECT count(*) FROM files WHERE name = 'changed'";
    watch::count(&client, &mut daemon.process, changed, files).await?;
    // The comparison of both sides reads the large documents, too.
    let compared = "SELECT coalesce(max(complete_documents), 0) FROM driftless.proof";
    watch::count(&client, &mut daemon.process, compared, files).await?;
    let peak = daemon.process.usage()?.peak_mb;
    let what = format!("{what}: peak memory, snapshot, updates and comparison");
    chapter.add(format!("{id}.memory"), what, "MB", peak);
    daemon.process.stop().await?;
    bench.servers.clear(trial).await?;
    Ok(database.drop().await?)
}

async fn load_files(database: &Database, files: u64, size: usize) -> anyhow::Result<()> {
    let collection: Collection<Document> = database.collection("files");
    for seq in 0..files {
        let id: ObjectId = id_of(seq);
        collection.insert_one(doc! { "_id": id, "name": format!("file {seq}"), "body": body(seq, size) }).await?;
    }
    Ok(())
}

/// Returns text that does not compress to nothing.
fn body(seq: u64, size: usize) -> String {
    let mut text = String::with_capacity(size + 16);
    let mut state = seq + 1;
    while text.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{state:016x}"));
    }
    text.truncate(size);
    text
}
