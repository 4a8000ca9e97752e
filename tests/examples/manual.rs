//! Every example of `docs/mapping.md` and `docs/first-hour.md` passes `driftless check` against the target that `manual.sql` gives it, and
//! every file of `config/examples` is compiled against its schema on a real server.
//!
//! A block of the manual that names no collection goes below `[collections.things.columns]`. A collection of which the block
//! shows only a part gets `id = "uuid5"`; a block without a namespace gets one. The manual says so at its start.

use std::collections::BTreeSet;

use driftless_testing::{
    DEADLINE,
    migration::Migration,
    stack::{Stack, root},
};
use mongodb::bson::doc;

use driftless::{
    config::SinkConfig,
    mapping::{MappingFile, Plan},
    postgres::{Postgres, Purpose, read_catalog},
};

use crate::harness::file;

const EXAMPLES: [&str; 5] = ["business_plans", "skills_platform", "learning", "crm", "planning"];

/// SQL of every block, under its name.
const TARGETS: &str = include_str!("manual.sql");

#[tokio::test(flavor = "multi_thread")]
async fn every_block_of_the_manual_passes_check() {
    let stack = Stack::shared().await;
    let mut faults = Vec::new();
    for page in ["docs/first-hour.md", "docs/mapping.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect("read the page");
        let blocks = blocks(&text);
        assert!(!blocks.is_empty(), "{page} has examples");
        for (at, (line, name, block)) in blocks.into_iter().enumerate() {
            // The block of the first hour is a whole file, to be copied as it is.
            let mapping = if page == "docs/first-hour.md" { block } else { whole(&block) };
            let target = target(&name);
            let test = format!("manual_{}_{at}", page == "docs/mapping.md");
            let migration = Migration::new(stack, stack.mongo_uri(), &test, target, &mapping).await;
            let output = migration.command(&["check"]).await;
            if !output.status.success() {
                let [told, complained] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
                faults.push(format!("{page}:{line}: {told}{complained}\n{mapping}"));
            }
            migration.finish().await;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The example of the first hour becomes the rows that the page promises.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_mapping_maps_documents() {
    let stack = Stack::shared().await;
    let text = std::fs::read_to_string(root().join("docs/first-hour.md")).expect("read the page");
    let (_, name, mapping) = blocks(&text).swap_remove(0);
    let migration = Migration::new(stack, stack.mongo_uri(), "manual_first_hour", target(&name), &mapping).await;
    let team = doc! { "_id": 1, "name": "t" };
    let user = doc! { "_id": 2, "name": "Ada", "profile": { "address": { "city": "London" } }, "team": 1 };
    let plan = doc! { "_id": 3, "title": "p", "milestones": [{ "title": "m" }] };
    for (collection, document) in [("teams", team), ("users", user), ("plans", plan)] {
        migration.collection(collection).insert_one(document).await.expect("insert");
    }
    let told = migration.succeed(&["check", "--all"]).await;
    assert!(told.contains("\n0 faults ") && !told.contains("mapping.toml"), "{told}");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.succeed(&["reconcile", "--full"]).await;
    let rows = "SELECT concat_ws('|', full_name, city, t.name) FROM app.users AS u JOIN app.teams AS t ON t.id = u.team_id
        UNION ALL SELECT concat_ws('|', p.title, m.position, m.title) FROM app.plans AS p JOIN app.plan_milestones AS m ON plan_id = id";
    let rows: Vec<_> = migration.texts(rows).await.into_iter().flatten().collect();
    assert_eq!(rows, ["Ada|London|t", "p|0|m"]);
    daemon.stop(0).await;
    migration.finish().await;
}

/// Returns the SQL below a name.
fn target(block: &str) -> &'static str {
    let (_, rest) = TARGETS.split_once(&format!("-- {block}\n")).unwrap_or_else(|| panic!("manual.sql has no {block}"));
    rest.split_once("\n-- ").map_or(rest, |(target, _)| target)
}

/// Returns every fenced block of TOML, indented or not: its line, the heading above it with its number there, and its text.
fn blocks(text: &str) -> Vec<(usize, String, String)> {
    let mut blocks: Vec<(usize, String, String)> = Vec::new();
    let (mut heading, mut below) = ("", 0);
    let mut open: Option<(usize, String, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, _, block)) => {
                block.push_str(line.trim_start());
                block.push('\n');
            }
            None if line.trim() == "```toml" => {
                below += 1;
                open = Some((number + 1, format!("{heading} {below}"), String::new()));
            }
            None if line.starts_with('#') => (heading, below) = (line.trim_start_matches('#').trim(), 0),
            None => {}
        }
    }
    assert!(open.is_none(), "the last block is closed");
    blocks
}

/// Completes a block to a whole file.
fn whole(block: &str) -> String {
    let has = |start: &str| block.lines().any(|line| line.starts_with(start));
    let mut file = String::new();
    if !has("namespace") {
        file.push_str("namespace = \"dns\"\n");
    }
    if !has("[collections.") && !has("namespace") {
        file.push_str("[collections.things]\nid = \"uuid5\"\n[collections.things.columns]\n");
    }
    file.push_str(block);
    let mut declared = BTreeSet::new();
    for header in block.lines().filter_map(|line| line.strip_prefix("[collections.")) {
        let name = header.split(['.', ']']).next().expect("a name");
        if !has(&format!("[collections.{name}]")) && declared.insert(name) {
            file.push_str(&format!("[collections.{name}]\nid = \"uuid5\"\n"));
        }
    }
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_fits_its_schema() {
    let stack = Stack::shared().await;
    let mut faults = Vec::new();
    for example in EXAMPLES {
        let mapping = file(example, "mapping.toml");
        let test = format!("fits_{example}");
        let migration = Migration::new(stack, stack.mongo_uri(), &test, &file(example, "schema.sql"), &mapping).await;
        let url = stack.postgres_url(&migration.name);
        let config: SinkConfig = toml::from_str(&format!("url = {url:?}")).expect("a configuration");
        let session =
            Postgres::new(&config, &migration.name).expect("a target").open(Purpose::Control).await.expect("connect");
        let catalog = read_catalog(&session).await.expect("read the catalog");
        match MappingFile::parse(&mapping, example).and_then(|file| Plan::compile(&file, &catalog)) {
            Ok(plan) => faults.extend(plan.warnings().iter().map(ToString::to_string)),
            Err(found) => faults.extend(found.iter().map(ToString::to_string)),
        }
        drop(session);
        migration.finish().await;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
