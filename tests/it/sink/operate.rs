//! Actions of operators and the reconciler beside the workers: positions, replay, comparison, status.

use std::collections::HashMap;

use bson::rawdoc;
use driftless::{
    control::{
        replay::{self, Move},
        status,
    },
    log::TopicPartition,
    model::{ClusterTime, Frontier},
    postgres::{self, Error, Postgres, Purpose, Session},
    sink::checkpoint,
    target::{Difference, TargetReader},
};

use super::world::{TOPIC, World, change, partition, plan, sink_config, user};

#[tokio::test]
async fn frontiers_move_the_watermark_and_counts_are_checked() {
    let mut world = World::new().await;
    let mut records = world.append(&[user(1, 1, "a"), user(1, 2, "b")]);
    records.extend(world.append_frontier(1, 2, 10));
    let outcome = world.apply_records(records).await.expect("applies");
    assert!(outcome.unmet.is_empty());
    // A batch may end between the changes and their frontier.
    world.apply(&[user(2, 11, "c")]).await;
    let records = world.append_frontier(2, 2, 20);
    let outcome = world.apply_records(records).await.expect("applies");
    assert_eq!(outcome.unmet, [partition()]);
    let positions = checkpoint::read(&world.session, &[partition()]).await.expect("reads");
    let position = positions[0];
    assert_eq!((position.next_offset, position.gaps, position.seq), (Some(5), 1, 2));
    assert_eq!(position.watermark, Some(Frontier(ClusterTime { t: 20, i: 0 })));
    world.end().await;
}

#[tokio::test]
async fn a_replay_moves_positions_back_never_forward_and_is_recorded() {
    let mut world = World::new().await;
    world.apply(&[user(1, 1, "a"), user(2, 1, "b"), user(3, 1, "c")]).await;
    world.rows("UPDATE driftless.position SET topic_id = 'its id'").await;
    let control = world.target.open(Purpose::Control).await.expect("connects");
    let to = |to| Move { partition: partition(), topic_id: Some("its id".to_owned()), to };
    let position = "SELECT next_offset, reread_to FROM driftless.position";

    // Neither forward, nor to where it is, nor by an offset of another topic of that name, nor for another migration.
    let another_topic = Move { topic_id: Some("another id".to_owned()), ..to(Some(1)) };
    let another_partition = Move { partition: TopicPartition { partition: 9, ..partition() }, ..to(Some(1)) };
    let refused = [to(Some(7)), to(Some(3)), another_topic, another_partition];
    assert_eq!(replay::replay(&control, &refused, "an operator", "why").await.expect("moves none"), []);
    let config = sink_config(&world.database);
    let other = Postgres::new(&config, "other").expect("a target").open(Purpose::Control).await.expect("connects");
    assert_eq!(replay::replay(&other, &[to(None)], "somebody", "why").await.expect("moves none"), []);
    assert_eq!(world.rows(position).await, ["3|NULL"]);
    assert_eq!(world.rows("SELECT count(*) FROM driftless.action").await, ["0"]);

    let moved = replay::replay(&control, &[to(Some(1))], "an operator", "a lost column").await.expect("moves");
    assert_eq!((moved[0].from, moved[0].to), (3, Some(1)));
    assert_eq!(world.rows(position).await, ["1|3"]);
    // The end of the first one stays that of both.
    let moved = replay::replay(&control, &[to(None)], "an operator", "once more").await.expect("moves");
    assert_eq!((moved[0].from, moved[0].to), (1, None));
    assert_eq!(world.rows(position).await, ["NULL|3"]);
    let records = world.append(&[user(4, 4, "d")]);
    let refused = world.apply_records(records).await;
    assert!(matches!(refused, Err(Error::OffsetMoved { found: None, .. })), "{refused:?}");
    let status = status::read(&control, 10).await.expect("reads");
    let recorded = status.actions.iter().map(|action| (action.who.as_str(), action.command.as_str()));
    assert_eq!(recorded.collect::<Vec<_>>(), [("an operator", "replay"); 2]);
    assert_eq!(
        world.rows("SELECT detail->>'why' FROM driftless.action ORDER BY id").await,
        ["a lost column", "once more"]
    );
    world.end().await;
}

async fn compare(session: &Session, world: &World, changes: &[driftless::model::Change]) -> HashMap<usize, Difference> {
    let collection = world.prepared.named(&changes[0].namespace.collection).expect("mapped");
    let mapped = &world.prepared.all().collections()[collection];
    let expected = changes
        .iter()
        .map(|change| mapped.map(change.document.as_ref().expect("a document")).expect("rows"))
        .collect::<Vec<_>>();
    let keys = changes.iter().map(|change| change.key.clone()).collect::<Vec<_>>();
    let reader = TargetReader::begin(session, &world.prepared).await.expect("begins");
    let found = reader.compare(collection, &keys, &expected).await.expect("compares");
    reader.end().await.expect("ends");
    found
}

#[tokio::test]
async fn the_comparison_names_what_differs_and_nothing_else() {
    let mut world = World::new().await;
    let session = world.target.open(Purpose::Read).await.expect("connects");
    let full = rawdoc! {
        "_id": 1, "email": "A", "name": "n", "age": 3, "score": 1.5, "status": "active", "height": f64::NAN, "code": "ab",
        "tags": ["x", "y z"], "meta": { "b": 1, "a": [1.0, null] }, "notes": { "k": "v" },
    };
    let users = [
        change("users", 1, 1, Some(full)),
        change("users", 2, 1, Some(rawdoc! { "_id": 2, "email": "b", "height": -0.0 })),
        user(3, 1, "c"),
    ];
    world.apply(&users).await;
    assert_eq!(compare(&session, &world, &users).await, HashMap::new());
    let client = world.database.client().await;
    let sql = "UPDATE app.users SET email = 'a', code = 'abc', tags = '{x}', meta = '{}', notes = '{ \"k\" : \"v\" }', \
                      height = 0, status = NULL WHERE email = 'A'; \
               UPDATE app.users SET height = 0 WHERE email = 'b'; DELETE FROM app.users WHERE email = 'c'";
    client.batch_execute(sql).await.expect("ok");
    let found = compare(&session, &world, &users).await;
    let names = ["email", "code", "tags", "meta", "height", "status"].map(|name| format!("app.users.{name}"));
    let mut columns = found[&0].columns.clone();
    columns.sort();
    let mut expected = names.to_vec();
    expected.sort();
    assert_eq!((columns, found[&0].missing), (expected, false));
    assert_eq!(found[&1].columns, ["app.users.height"], "-0 is not 0");
    assert!(found[&2].missing);
    world.end().await;
}

#[tokio::test]
async fn every_type_is_compared_as_it_means() {
    // Column, value of the document, an equal value in another spelling of PostgreSQL, and a different value.
    let columns = [
        ("time(3)", "10:20:30.500", "10:20:30.5", "10:20:30.501"),
        ("interval", "P1DT2H", "1 day 02:00", "26:00"),
        ("inet", "10.0.0.1", "10.0.0.1/32", "10.0.0.1/8"),
        ("numrange", "[1.0,2)", "[1.00,2.0)", "[1.0,2]"),
        ("hstore", "a=>1, b=>2", "b=>2, a=>1", "a=>1"),
        ("xml", "<a/>", "<a/>", "<a></a>"),
        ("bit(4)", "1010", "1010", "1011"),
        ("point", "(1,2)", "(1.0,2.0)", "(1,3)"),
        ("json", "{\"a\": 1}", "{ \"a\" : 1 }", "{\"a\": 2}"),
    ];
    let column = |at: usize| format!("c{at}");
    let list = columns.iter().enumerate().map(|(at, (kind, ..))| format!(", {} {kind}", column(at)));
    let tables =
        format!("CREATE EXTENSION hstore; CREATE TABLE types (id uuid PRIMARY KEY{})", list.collect::<String>());
    let mapping = "namespace = \"dns\"\n[collections.types]\ntable = \"public.types\"\nid = \"uuid5\"\n";
    let mut world = World::of(driftless::config::Constraints::Replica, &tables, mapping).await;
    let session = world.target.open(Purpose::Read).await.expect("connects");
    let mut document = rawdoc! { "_id": 1 };
    for (at, (kind, value, ..)) in columns.iter().enumerate() {
        let name = bson::raw::CString::try_from(column(at)).expect("no NUL");
        match *kind {
            "json" => document.append(name, rawdoc! { "a": 1 }),
            _ => document.append(name, *value),
        }
    }
    let documents = [change("types", 1, 1, Some(document))];
    world.apply(&documents).await;
    assert_eq!(world.letters().await, [""; 0]);
    assert_eq!(compare(&session, &world, &documents).await, HashMap::new());
    for (at, (kind, _, same, other)) in columns.iter().enumerate() {
        for (value, expected) in [(same, vec![]), (other, vec![format!("public.types.{}", column(at))])] {
            world.execute(&format!("UPDATE types SET {} = '{value}'", column(at))).await;
            let found = compare(&session, &world, &documents).await;
            let found = found.get(&0).map(|difference| difference.columns.clone()).unwrap_or_default();
            let found = found.into_iter().filter(|name| name.ends_with(&column(at))).collect::<Vec<_>>();
            assert_eq!(found, expected, "{kind}: {value}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn child_rows_are_compared_in_both_directions() {
    let mut world = World::new().await;
    let session = world.target.open(Purpose::Read).await.expect("connects");
    let plans = [plan(1, 1, None, &[(1, "a"), (2, "b")]), plan(2, 1, None, &[]), plan(3, 1, None, &[(5, "c")])];
    world.apply(&plans).await;
    assert_eq!(compare(&session, &world, &plans).await, HashMap::new());
    let sql = "DELETE FROM app.milestones WHERE title = 'a'; UPDATE app.milestones SET title = 'x' WHERE title = 'c'; \
               INSERT INTO app.milestones SELECT gen_random_uuid(), id, 7, 'extra' FROM app.plans \
                WHERE id NOT IN (SELECT plan_id FROM app.milestones)";
    world.database.client().await.batch_execute(sql).await.expect("ok");
    let found = compare(&session, &world, &plans).await;
    assert_eq!(found[&0].columns, ["app.milestones"]);
    assert_eq!(found[&1].columns, ["app.milestones"]);
    assert_eq!(found[&2].columns, ["app.milestones.title"]);
    world.end().await;
}

#[tokio::test]
async fn the_reader_counts_and_finds() {
    let mut world = World::new().await;
    let session = world.target.open(Purpose::Read).await.expect("connects");
    let mut records = world.append(&[user(1, 1, "a"), user(2, 1, "b"), user(3, 7, "c"), change("users", 2, 2, None)]);
    records.extend(world.append_frontier(1, 4, 9));
    world.apply_records(records).await.expect("applies");
    let bad = change("users", 4, 5, Some(rawdoc! { "_id": 4, "email": "d", "age": -1 }));
    world.apply(std::slice::from_ref(&bad)).await;
    let reader = TargetReader::begin(&session, &world.prepared).await.expect("begins");
    let users = world.prepared.named("users").expect("mapped");
    assert_eq!(reader.watermark(TOPIC, 1).await.expect("reads"), Some(Frontier(ClusterTime { t: 9, i: 0 })));
    assert_eq!(reader.watermark(TOPIC, 2).await.expect("reads"), None);
    let keys = [1, 2, 3, 4, 5].map(|id| user(id, 1, "").key);
    let entries = reader.entries(users, &keys).await.expect("reads");
    assert_eq!(entries.len(), 4);
    assert!(entries[&keys[1]].deleted && !entries[&keys[0]].deleted);
    let letters = reader.dead_letters(users, &keys).await.expect("reads");
    let open = letters.iter().map(|(key, letter)| (key.clone(), letter.open)).collect::<HashMap<_, _>>();
    assert_eq!(open, HashMap::from([(keys[3].clone(), true)]));
    assert_eq!(reader.sample(users, 10).await.expect("samples").len(), 3);
    reader.end().await.expect("ends");
    world.end().await;
}

#[tokio::test]
async fn migrations_run_once_also_side_by_side() {
    let world = World::new().await;
    let (a, b) = (world.target.open(Purpose::Control).await, world.target.open(Purpose::Control).await);
    let (a, b) = (a.expect("connects"), b.expect("connects"));
    let (first, second) = tokio::join!(postgres::migrate(&a), postgres::migrate(&b));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(world.rows("SELECT count(*) = max(id) FROM driftless.migration").await, ["t"]);
    world.database.client().await.batch_execute("INSERT INTO driftless.migration VALUES (99, 'x')").await.expect("ok");
    assert!(matches!(postgres::migrate(&a).await, Err(Error::SchemaNewer { found: 99, .. })));
    world.end().await;
}

#[tokio::test]
async fn a_killed_connection_tells_why_and_is_transient() {
    use driftless::retry::{Class, Classify, chain};
    let mut world = World::new().await;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'driftless-apply' \
               AND datname = current_database()";
    assert_eq!(world.rows(sql).await, ["t"]);
    let records = world.append(&[user(1, 1, "a")]);
    let error = world.apply_records(records.clone()).await.expect_err("dead");
    assert_eq!(error.class(), Class::Transient);
    assert!(chain(&error).contains("57P01"), "{}", chain(&error));
    world.session = world.target.open(Purpose::Apply).await.expect("connects again");
    world.apply_records(records).await.expect("applies");
    world.end().await;
}
