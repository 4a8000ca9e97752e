//! Rows whose key follows from fields other than `_id`, or whose table several collections write.

use std::collections::BTreeSet;

use bson::rawdoc;
use driftless::{
    config::Constraints,
    model::{Change, Control, ControlKind, Namespace, Version},
    postgres,
};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rstest::rstest;

use super::world::{World, change};

const TABLES: &str = "
CREATE SCHEMA app;
CREATE EXTENSION citext;
CREATE TABLE app.users (id uuid PRIMARY KEY, name text);
CREATE TABLE app.states (
    user_id uuid NOT NULL REFERENCES app.users,
    topic text NOT NULL,
    level integer CHECK (level >= 0),
    badge text UNIQUE,
    PRIMARY KEY (user_id, topic)
);
CREATE TABLE app.answers (
    user_id uuid NOT NULL,
    topic text NOT NULL,
    place integer NOT NULL,
    word text,
    PRIMARY KEY (user_id, topic, place),
    FOREIGN KEY (user_id, topic) REFERENCES app.states
);
CREATE TABLE app.pets (id integer PRIMARY KEY, name text, kind text NOT NULL);
CREATE TABLE app.words (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    word citext NOT NULL UNIQUE,
    size numeric(6, 2) NOT NULL,
    UNIQUE (size)
);
CREATE TABLE app.visits (id uuid NOT NULL, day date NOT NULL, who text, PRIMARY KEY (id, day))
    PARTITION BY RANGE (day);
CREATE TABLE app.visits_old PARTITION OF app.visits FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE app.visits_new PARTITION OF app.visits FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
";

const MAPPING: &str = r#"
namespace = "dns"
[collections.users]
table = "app.users"
id = "uuid5"
[collections.states]
table = "app.states"
[collections.states.columns]
user_id = { path = "user", reference = "users" }
topic = "topic"
[collections.states.children.answers]
table = "app.answers"
order = "place"
[collections.states.children.answers.columns]
user_id = { path = "^.user", reference = "users" }
topic = "^.topic"
word = "$"
[collections.cats]
table = "app.pets"
id = "integer"
shared = true
columns.kind = { constant = "cat" }
[collections.dogs]
table = "app.pets"
id = "integer"
shared = true
columns.kind = { constant = "dog" }
[collections.words]
table = "app.words"
key = ["word"]
columns.word = "word"
[collections.visits]
table = "app.visits"
id = { rule = "uuid5", column = "id" }
columns.day = "day"
"#;

async fn world(constraints: Constraints) -> World {
    World::of(constraints, TABLES, MAPPING).await
}

/// Returns a change of a learner's state in a topic: one row per user and topic, whatever the `_id`.
fn state(id: i32, t: u32, user: i32, topic: &str, level: i32) -> Change {
    let document = rawdoc! { "_id": id, "user": user, "topic": topic, "level": level, "answers": [format!("{id}")] };
    change("states", id, t, Some(document))
}

fn user(id: i32, t: u32) -> Change {
    change("users", id, t, Some(rawdoc! { "_id": id, "name": "n" }))
}

fn pet(kind: &str, id: i32, t: u32, name: &str) -> Change {
    change(kind, id, t, Some(rawdoc! { "_id": id, "name": name }))
}

fn word(id: i32, t: u32, word: &str, size: f64) -> Change {
    change("words", id, t, Some(rawdoc! { "_id": id, "word": word, "size": size }))
}

fn visit(id: i32, t: u32, year: i32) -> Change {
    let day = bson::DateTime::builder().year(year).month(5).day(1).build().expect("a date");
    change("visits", id, t, Some(rawdoc! { "_id": id, "day": day, "who": "w" }))
}

const STATES: &str = "SELECT s.topic, s.level, a.word FROM app.states AS s JOIN app.answers AS a USING (user_id, topic) \
                      ORDER BY s.user_id, s.topic";

#[rstest]
#[tokio::test]
async fn a_row_follows_its_key_and_is_found_by_the_id_alone(
    #[values(Constraints::Replica, Constraints::Enforce)] constraints: Constraints,
) {
    let mut world = world(constraints).await;
    world.apply(&[user(1, 1), state(1, 1, 1, "a", 1), state(2, 1, 1, "b", 2)]).await;
    world.apply(&[state(1, 2, 1, "c", 3)]).await;
    assert_eq!(world.rows(STATES).await, ["b|2|2", "c|3|1"]);
    assert_eq!(world.rows("SELECT count(*) FROM driftless.owner").await, ["4"]);
    let changes = [state(1, 2, 1, "c", 3), state(2, 1, 1, "b", 2)];
    assert_eq!(world.differences(&changes).await, BTreeSet::new());
    // Late and repeated changes have no effect.
    world.apply(&[state(1, 1, 1, "a", 1), state(1, 2, 1, "c", 3)]).await;
    assert_eq!(world.rows(STATES).await, ["b|2|2", "c|3|1"]);
    world.apply(&[change("states", 1, 3, None)]).await;
    assert_eq!(world.rows(STATES).await, ["b|2|2"]);
    assert_eq!(world.rows("SELECT count(*) FROM app.answers").await, ["1"]);
    assert_eq!(world.rows("SELECT count(*) FROM driftless.owner").await, ["2"]);
    assert_eq!(world.letters().await, [""; 0]);
    world.end().await;
}

#[rstest]
#[tokio::test]
async fn keys_are_swapped_in_one_batch(#[values(Constraints::Replica, Constraints::Enforce)] constraints: Constraints) {
    let mut world = world(constraints).await;
    world.apply(&[user(1, 1), state(1, 1, 1, "a", 1), state(2, 1, 1, "b", 2), state(3, 1, 1, "c", 3)]).await;
    // 1 and 2 swap; 4 takes over the key that 3 gives up; 3 takes one that nobody has had.
    let after = [state(1, 2, 1, "b", 10), state(2, 2, 1, "a", 20), state(3, 2, 1, "d", 30), state(4, 2, 1, "c", 40)];
    world.apply(&after).await;
    assert_eq!(world.rows(STATES).await, ["a|20|2", "b|10|1", "c|40|4", "d|30|3"]);
    assert_eq!(world.letters().await, [""; 0]);
    assert_eq!(world.differences(&after).await, BTreeSet::new());
    // The key of a deleted document is taken in the same batch.
    world.apply(&[change("states", 1, 3, None), state(5, 3, 1, "b", 50)]).await;
    assert_eq!(world.rows(STATES).await, ["a|20|2", "b|50|5", "c|40|4", "d|30|3"]);
    assert_eq!(world.extra_rows("states").await, [""; 0]);
    world.end().await;
}

#[rstest]
#[tokio::test]
async fn keys_are_swapped_step_by_step(#[values(Constraints::Replica, Constraints::Enforce)] constraints: Constraints) {
    let mut world = world(constraints).await;
    world.apply(&[user(1, 1), state(1, 1, 1, "a", 1), state(2, 1, 1, "b", 2)]).await;
    world.apply(&[state(1, 2, 1, "b", 10)]).await;
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|parked|1"]);
    let named = "SELECT detail FROM driftless.dead_letter";
    assert_eq!(world.rows(named).await, ["SQLSTATE 23505, table app.states, constraint states_pkey"]);
    assert_eq!(world.rows(STATES).await, ["a|1|1", "b|2|2"], "what was there stays");
    world.apply(&[state(2, 2, 1, "a", 20)]).await;
    world.retry_parked().await;
    assert_eq!(world.rows(STATES).await, ["a|20|2", "b|10|1"]);
    let states = world.rows("SELECT DISTINCT state FROM driftless.dead_letter").await;
    assert_eq!(states, ["retried"]);
    world.end().await;
}

#[tokio::test]
async fn a_key_that_never_comes_free_becomes_a_dead_letter() {
    let mut world = world(Constraints::Replica).await;
    world.apply(&[state(1, 1, 1, "a", 1), state(2, 1, 1, "a", 2)]).await;
    assert_eq!(world.rows(STATES).await, ["a|1|1"]);
    world.retry_parked().await;
    world.retry_parked().await;
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|open|3"]);
    world.apply(&[change("states", 2, 2, None)]).await;
    assert_eq!(world.rows(STATES).await, ["a|1|1"], "the loser owned nothing");
    world.end().await;
}

#[tokio::test]
async fn a_letter_names_the_constraint_of_its_own_document() {
    let mut world = world(Constraints::Replica).await;
    let badge = |id: i32, topic: &str, badge: &str| {
        let document = rawdoc! { "_id": id, "user": 1, "topic": topic, "badge": badge };
        change("states", id, 1, Some(document))
    };
    world.apply(&[badge(1, "a", "gold"), badge(2, "b", "silver")]).await;
    world.apply(&[badge(3, "c", "gold"), badge(4, "b", "tin"), badge(5, "e", "iron")]).await;
    let named = "SELECT detail FROM driftless.dead_letter ORDER BY log_offset";
    let letter = |constraint: &str| format!("SQLSTATE 23505, table app.states, constraint {constraint}");
    assert_eq!(world.rows(named).await, [letter("states_badge_key"), letter("states_pkey")]);
    assert_eq!(world.rows("SELECT topic FROM app.states ORDER BY 1").await, ["a", "b", "e"]);
    world.end().await;
}

#[tokio::test]
async fn two_collections_write_one_table() {
    let mut world = world(Constraints::Enforce).await;
    let pets = "SELECT id, name, kind FROM app.pets ORDER BY id";
    world.apply(&[pet("cats", 1, 1, "a"), pet("dogs", 2, 1, "b")]).await;
    assert_eq!(world.rows(pets).await, ["1|a|cat", "2|b|dog"]);
    world.apply(&[pet("cats", 2, 2, "c"), pet("cats", 3, 2, "d")]).await;
    assert_eq!(world.rows(pets).await, ["1|a|cat", "2|b|dog", "3|d|cat"], "no document takes the row of another");
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|parked|1"]);
    world.apply(&[change("dogs", 2, 3, None)]).await;
    world.retry_parked().await;
    assert_eq!(world.rows(pets).await, ["1|a|cat", "2|c|cat", "3|d|cat"]);
    // A document moves from one collection to the other in one batch.
    world.apply(&[change("cats", 3, 4, None), pet("dogs", 3, 4, "e")]).await;
    assert_eq!(world.rows(pets).await, ["1|a|cat", "2|c|cat", "3|e|dog"]);
    world.execute("INSERT INTO app.pets VALUES (99, 'x', 'bird')").await;
    assert_eq!(world.extra_rows("cats").await, [r#"app.pets {"id":"99"}"#]);
    assert_eq!(world.extra_rows("dogs").await, [""; 0], "one drift is told once");
    let control = Control {
        namespace: Namespace::new("shop", "cats"),
        kind: ControlKind::Drop,
        version: Version { epoch: 2, time: driftless::model::ClusterTime { t: 5, i: 1 }, op: 0 },
        truncate: true,
    };
    let record = world.append_control(&control);
    world.apply_records(record).await.expect("applies");
    assert_eq!(world.rows(pets).await, ["3|e|dog", "99|x|bird"], "only its own rows");
    world.end().await;
}

#[tokio::test]
async fn keys_are_the_same_when_postgresql_says_so() {
    let mut world = world(Constraints::Replica).await;
    let words = "SELECT word, size, number FROM app.words ORDER BY size";
    world.apply(&[word(1, 1, "Ant", 1.0), word(2, 1, "Bee", 2.0)]).await;
    world.apply(&[word(3, 2, "ANT", 3.0)]).await;
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|parked|1"]);
    world.apply(&[word(1, 3, "aNT", 1.0)]).await;
    assert_eq!(world.rows(words).await, ["aNT|1.00|1", "Bee|2.00|2"], "one row, and what is not ours is kept");
    assert_eq!(world.differences(&[word(1, 3, "aNT", 1.0)]).await, BTreeSet::new());
    assert_eq!(world.differences(&[word(1, 3, "ant", 1.0)]).await, ["app.words.word".to_owned()].into());
    world.apply(&[word(1, 4, "bee", 1.0), word(2, 4, "ant", 2.0)]).await;
    assert_eq!(world.rows("SELECT word FROM app.words ORDER BY size").await, ["bee", "ant"]);
    world.end().await;
}

#[rstest]
#[tokio::test]
async fn rows_move_between_partitions(#[values(Constraints::Replica, Constraints::Enforce)] constraints: Constraints) {
    let mut world = world(constraints).await;
    let visits = "SELECT tableoid::regclass, day FROM app.visits ORDER BY day";
    world.apply(&[visit(1, 1, 2019), visit(2, 1, 2021)]).await;
    assert_eq!(world.rows(visits).await, ["app.visits_old|2019-05-01", "app.visits_new|2021-05-01"]);
    world.apply(&[visit(1, 2, 2022), visit(2, 2, 2018)]).await;
    assert_eq!(world.rows(visits).await, ["app.visits_old|2018-05-01", "app.visits_new|2022-05-01"]);
    assert_eq!(world.differences(&[visit(1, 2, 2022), visit(2, 2, 2018)]).await, BTreeSet::new());
    world.apply(&[change("visits", 1, 3, None)]).await;
    assert_eq!(world.rows(visits).await, ["app.visits_old|2018-05-01"]);
    assert_eq!(world.extra_rows("visits").await, [""; 0]);
    world.end().await;
}

#[rstest]
#[case::root(
    "INSERT INTO app.states VALUES ('{STRAY}', 'x')",
    "states",
    r#"app.states {"topic":"x","user_id":"{STRAY}"}"#
)]
#[case::child(
    "INSERT INTO app.answers VALUES ('{STRAY}', 'x', 0)",
    "states",
    r#"app.answers {"place":"0","topic":"x","user_id":"{STRAY}"}"#
)]
#[case::a_key_that_is_not_the_primary_key(
    "INSERT INTO app.words (word, size) VALUES ('Cat', 3)",
    "words",
    r#"app.words {"word":"Cat"}"#
)]
#[case::partitioned(
    "INSERT INTO app.visits VALUES ('{STRAY}', '2021-01-02')",
    "visits",
    r#"app.visits {"day":"2021-01-02","id":"{STRAY}"}"#
)]
#[case::of_a_deleted_document("{DELETED}", "states", "gone Int64(1), gone Int64(1)")]
#[case::of_a_document_that_the_ledger_lost("DELETE FROM driftless.ledger", "words", "gone Int64(3)")]
#[case::of_a_document_of_the_other_collection("{DELETED}", "dogs", "")]
#[tokio::test]
async fn a_stray_row_is_named_by_its_key(#[case] sql: &str, #[case] collection: &str, #[case] expected: &str) {
    const STRAY: &str = "00000000-0000-0000-0000-000000000001";
    let mut world = world(Constraints::Replica).await;
    world.apply(&[state(1, 1, 1, "a", 1), visit(2, 1, 2019), word(3, 1, "ant", 1.0), pet("cats", 4, 1, "c")]).await;
    let deleted = "UPDATE driftless.ledger SET deleted = true";
    let fill = |text: &str| text.replace("{STRAY}", STRAY).replace("{DELETED}", deleted);
    world.execute(&format!("SET session_replication_role = replica; {}", fill(sql))).await;
    assert_eq!(world.extra_rows(collection).await.join(", "), fill(expected));
    world.end().await;
}

#[tokio::test]
async fn another_key_is_not_read_with_the_old_bytes() {
    use driftless::{
        mapping::{MappingFile, Plan},
        postgres::{Error, Purpose},
        sink::Prepared,
    };
    let mut world = world(Constraints::Replica).await;
    world.apply(&[word(1, 1, "ant", 1.0)]).await;
    let control = world.target.open(Purpose::Control).await.expect("connects");
    let catalog = postgres::read_catalog(&control).await.expect("reads");
    let other = MAPPING.replace("key = [\"word\"]", "key = [\"size\"]\ncolumns.size = \"size\"");
    let file = MappingFile::parse(&other, "test").expect("a file");
    let plan = std::sync::Arc::new(Plan::compile(&file, &catalog).expect("a plan"));
    let refused = Prepared::new(&control, plan.clone(), &catalog).await;
    assert!(matches!(refused.err(), Some(Error::KeyChanged { .. })));
    world.execute("DELETE FROM driftless.owner").await;
    Prepared::new(&control, plan, &catalog).await.expect("nothing is remembered");
    world.end().await;
}

/// Generates documents that trade topics, as an application that keeps them unique would allow.
fn history(random: &mut ChaCha8Rng) -> Vec<Change> {
    let mut topics = (0..5).map(|id| (id, format!("{id}"))).collect::<Vec<_>>();
    let mut changes = (0..5).map(|id| state(id, 1, 1, &topics[id as usize].1, 0)).collect::<Vec<_>>();
    let mut gone = None;
    for t in 2..40 {
        let (a, b) = (random.random_range(0..5), random.random_range(0..5));
        let level = t as i32;
        if random.random_ratio(1, 6) && gone.is_none() {
            changes.push(change("states", a as i32, t, None));
            gone = Some(a);
        } else if a != b {
            let topic = topics[a].1.clone();
            topics[a].1 = std::mem::replace(&mut topics[b].1, topic);
            changes.extend([a, b].map(|id| state(id as i32, t, 1, &topics[id].1, level)));
            gone = gone.filter(|gone| *gone != a && *gone != b);
        }
    }
    changes
}

#[rstest]
#[tokio::test]
async fn any_order_repetition_and_split_ends_in_the_same_rows(
    #[values(Constraints::Replica, Constraints::Enforce)] constraints: Constraints,
) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let history = history(&mut random);
    let mut expected: Option<(Vec<String>, Vec<String>)> = None;
    for round in 0..4 {
        let mut world = world(constraints).await;
        world.limits.parked_attempts = 1_000;
        world.apply(&[user(1, 1)]).await;
        let mut changes = history.clone();
        changes.extend((0..10).map(|_| history[random.random_range(0..history.len())].clone()));
        if round > 0 {
            changes.shuffle(&mut random);
        }
        let mut rest = changes.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(random.random_range(1..=rest.len().min(12)));
            world.apply(batch).await;
            rest = after;
        }
        world.apply(&changes).await;
        world.retry_parked().await;
        let waiting = "SELECT detail FROM driftless.dead_letter WHERE state IN ('open', 'parked')";
        assert_eq!(world.rows(waiting).await, [""; 0], "seed {seed}, round {round}");
        let owners =
            "SELECT encode(row_key, 'hex'), encode(key, 'hex') FROM driftless.owner ORDER BY relation, row_key";
        let state = (world.rows(STATES).await, world.rows(owners).await);
        assert!(!state.0.is_empty());
        assert_eq!(world.extra_rows("states").await, [""; 0]);
        let expected = expected.get_or_insert_with(|| state.clone());
        assert_eq!(&state, expected, "seed {seed}, round {round}");
        world.end().await;
    }
}
