//! `analyze` and `init` on data that no mapping was written for: the documents of every example, the demo's, and [`odd`] ones, all in
//! one database. The drafted project is used as it is: every document must become rows, and both sides must be equal, also after
//! further writes.

use std::time::Duration;

use driftless_demo::{Generator, load};
use driftless_testing::{DEADLINE, migration::Migration, random, stack::Stack};
use mongodb::{
    bson::{RawArrayBuf, doc, rawdoc},
    options::{Collation, CollationStrength},
};

use crate::{business_plans, crm, harness::Kind, learning, odd, planning, skills_platform, writes::Writes};

/// Documents that are changed once both sides are equal.
const WRITES: u64 = 5_000;
/// Documents of the demo.
const DEMO: u64 = 600;
/// There are more than a hundred collections, each with a topic and a snapshot of its own.
const LONG: Duration = DEADLINE.saturating_mul(3);

#[tokio::test(flavor = "multi_thread")]
async fn what_init_drafts_needs_no_edit() {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "drafted", "", "").await;
    migration.set("log", "partitions", 1);
    // The commands compare; passes beside them would only cost time.
    migration.set("reconcile", "baseline_every", "6h");
    load(&migration.source, &Generator::new(7, DEMO), |_| {}).await.expect("load the demo");
    let examples: [(&str, &[Kind]); 5] = [
        ("b", business_plans::KINDS),
        ("c", crm::KINDS),
        ("l", learning::KINDS),
        ("p", planning::KINDS),
        ("s", skills_platform::KINDS),
    ];
    for (prefix, kinds) in examples {
        for kind in kinds {
            let documents: Vec<_> = (0..kind.documents).map(|index| kind.document(index, 0)).collect();
            let collection = migration.collection(&format!("{prefix}_{}", kind.name));
            collection.insert_many(&documents).await.expect("fill the source");
        }
    }
    fill_with_odd_values(&migration).await;

    // The analysis is a file for `init`, and a page for people. Of values, logs have none.
    let folder = migration.mapping().with_file_name("project");
    let (page, analysis) = (folder.with_extension("html"), folder.with_extension("json"));
    let output = migration.command(&["analyze", "--all", "--json", "--html", path(&page)]).await;
    let logged = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{logged}");
    assert!(!logged.contains("secret value"), "{logged}");
    std::fs::write(&analysis, &output.stdout).expect("keep the analysis");
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.contains("&lt;b&gt;bold&lt;/b&gt;") && !page.contains("<b>bold") && !page.contains("<script"));
    let init = ["init", "--yes", "--to", path(&folder), "--from-analysis", path(&analysis)];
    migration.succeed(&init).await;
    let refused = migration.command(&init).await;
    assert!(!refused.status.success(), "nothing is overwritten");

    migration.succeed(&["schema", "apply", "--file", path(&folder.join("schema.sql"))]).await;
    std::fs::copy(folder.join("mapping.toml"), migration.mapping()).expect("take the mapping over");
    migration.succeed(&["check", "--all"]).await;

    let daemon = migration.daemon();
    migration.quiesce(&daemon, LONG).await;
    nothing_is_refused(&migration).await;
    let (_, rng) = random("what_init_drafts_needs_no_edit");
    Writes { source: migration.source.clone(), rng }.write(WRITES).await;
    migration.quiesce(&daemon, LONG).await;
    nothing_is_refused(&migration).await;
    agree(&migration).await;

    // Some decisions that a person would look for.
    let columns = "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position) FROM information_schema.columns
        WHERE table_schema = 'app' AND table_name = ";
    for (table, expected) in [
        (
            "odd_numbers",
            "id bigint, big bigint, far double precision, mixed numeric, money numeric, ratio double precision, small integer, text_or_number text, extra jsonb",
        ),
        ("odd_lists_lines", "id uuid, odd_list_id bigint, position integer, sku text, extra jsonb"),
        ("odd_lists_lines_parts", "odd_lists_line_id uuid, position integer, n integer, extra jsonb"),
        ("odd_lists_owners", "odd_list_id bigint, position integer, odd_owner_id uuid"),
    ] {
        assert_eq!(migration.texts(&format!("{columns}'{table}'")).await, [Some(expected.to_owned())], "{table}");
    }
    let foreign =
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'app.odd_lists_owners'::regclass";
    assert_eq!(migration.number(foreign).await, 2, "to the list and to the owner");
    daemon.stop(0).await;
    migration.finish().await;
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("a path of text")
}

async fn nothing_is_refused(migration: &Migration) {
    let dead =
        "SELECT concat_ws(' ', collection, reason, detail) FROM driftless.dead_letter WHERE state = 'open' LIMIT 20";
    assert_eq!(migration.texts(dead).await, [] as [Option<String>; 0]);
}

/// Both sides are equal. Some collections at a time: each of many takes its moment.
async fn agree(migration: &Migration) {
    const AT_ONCE: usize = 16;
    let names = migration.source.list_collection_names().await.expect("the collections");
    for names in names.chunks(AT_ONCE) {
        let mut arguments = vec!["reconcile", "--full"];
        names.iter().for_each(|name| arguments.extend(["--collection", name]));
        let output = migration.command(&arguments).await;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(output.status.code(), Some(0), "{} {}", said[0], said[1]);
    }
}

/// Fills the collections of odd values. Some of their documents only exist as bytes.
async fn fill_with_odd_values(migration: &Migration) {
    for (name, documents) in odd::collections() {
        let mut all = RawArrayBuf::new();
        documents.into_iter().for_each(|document| all.push(document));
        let command = rawdoc! { "insert": name.as_str(), "documents": all };
        let reply = migration.source.run_raw_command(command).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(reply.get("writeErrors"), None, "{name}");
    }
    migration.source.create_collection("odd_empty").await.expect("an empty collection");
    // Its ids are the same in either case.
    let collation = Collation::builder().locale("en").strength(CollationStrength::Secondary).build();
    let made = migration.source.create_collection("odd_collated").collation(collation).await;
    made.expect("a collection with a collation");
    let words = ["ABC", "d", "é"].map(|id| doc! { "_id": id, "word": id });
    migration.collection("odd_collated").insert_many(words).await.expect("fill the source");
}
