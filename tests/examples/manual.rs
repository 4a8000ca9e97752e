//! Every example of `docs/mapping.md` and `README.md` is read as a mapping file, and every file of `config/examples` is
//! compiled against its schema on a real server.
//!
//! A block of the manual that names no collection is what stands below `[collections.things.columns]`; a collection of which
//! it shows only a part has `id = "uuid5"`; a block without a namespace gets one. The manual says so at its start.

use std::collections::BTreeSet;

use driftless::{
    config::SinkConfig,
    mapping::{MappingFile, Plan},
    sink::{Purpose, Target, read_catalog},
};

use crate::{
    harness::file,
    support::{
        beside_others,
        migration::Migration,
        stack::{Stack, root},
    },
};

const EXAMPLES: [&str; 5] = ["business_plans", "skills_platform", "learning", "crm", "planning"];

#[test]
fn every_block_of_the_manual_is_a_mapping() {
    for page in ["docs/mapping.md", "README.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect("read the page");
        let blocks = blocks(&text);
        assert!(!blocks.is_empty(), "{page} has examples");
        for (line, block) in blocks {
            if let Err(faults) = MappingFile::parse(&whole(&block), page) {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                panic!("{page}:{line}: {}\n{block}", faults.join("\n"));
            }
        }
    }
}

/// Every fenced block of TOML, indented or not, and its line.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line.trim_start());
                block.push('\n');
            }
            None if line.trim() == "```toml" => open = Some((number + 1, String::new())),
            None => {}
        }
    }
    assert!(open.is_none(), "the last block is closed");
    blocks
}

/// A block made into a whole file.
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
    let _machine = beside_others().await;
    let stack = Stack::shared().await;
    let mut faults = Vec::new();
    for example in EXAMPLES {
        let mapping = file(example, "mapping.toml");
        let test = format!("fits_{example}");
        let migration = Migration::new(stack, stack.mongo_uri(), &test, &file(example, "schema.sql"), &mapping).await;
        let url = stack.postgres_url(&migration.name);
        let config: SinkConfig = toml::from_str(&format!("url = {url:?}")).expect("a configuration");
        let session =
            Target::new(&config, &migration.name).expect("a target").open(Purpose::Control).await.expect("connect");
        let catalog = read_catalog(&session).await.expect("read the catalog");
        match MappingFile::parse(&mapping, example).and_then(|file| Plan::compile(&file, &catalog)) {
            Ok(plan) => {
                faults.extend(plan.warnings().iter().map(ToString::to_string));
                let tables: usize = plan.collections().iter().map(|collection| collection.tables.len()).sum();
                eprintln!("{example}: {} collections to {tables} tables", plan.collections().len());
            }
            Err(found) => faults.extend(found.iter().map(ToString::to_string)),
        }
        drop(session);
        migration.finish().await;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
