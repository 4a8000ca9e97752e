//! Documents that were never seen before are written by COPY; nothing but the speed may differ.

use bson::{RawDocumentBuf, oid::ObjectId, rawdoc};
use driftless::{
    config::Constraints,
    model::{Change, Op},
    postgres::{Error, Postgres, Purpose},
    retry::{Class, Classify},
};
use driftless_testing::unique;
use rstest::rstest;

use super::world::{World, change, plan, sink_config};

/// Enough documents for a COPY.
const MANY: i32 = 150;

/// Records how each inserting statement begins, in every mode.
const WATCH: &str = "
CREATE TABLE app.seen (n integer GENERATED ALWAYS AS IDENTITY, word text);
CREATE FUNCTION app.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO app.seen (word) VALUES (left(ltrim(current_query(), E'\\n'), 4) || ' ' || TG_TABLE_NAME);
    RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT ON app.plans FOR EACH STATEMENT EXECUTE FUNCTION app.see();
CREATE TRIGGER see AFTER INSERT ON app.milestones FOR EACH STATEMENT EXECUTE FUNCTION app.see();
ALTER TABLE app.plans ENABLE ALWAYS TRIGGER see;
ALTER TABLE app.milestones ENABLE ALWAYS TRIGGER see;";

const SEEN: &str = "SELECT word FROM app.seen ORDER BY n";
const ROWS: &str = "SELECT (SELECT count(*) FROM app.plans), (SELECT count(*) FROM app.milestones), \
                    (SELECT count(*) FROM driftless.dead_letter)";

fn plans(ids: std::ops::Range<i32>, t: u32) -> Vec<Change> {
    ids.map(|id| plan(id, t, None, &[(10 * id, "a"), (10 * id + 1, "b")])).collect()
}

fn with(op: Op, mut changes: Vec<Change>) -> Vec<Change> {
    changes.iter_mut().for_each(|change| change.op = op);
    changes
}

#[rstest]
#[case(Constraints::Replica)]
#[case(Constraints::Enforce)]
#[tokio::test]
async fn new_documents_are_copied_and_known_ones_are_not(#[case] constraints: Constraints) {
    let mut world = World::with(constraints).await;
    world.execute(WATCH).await;
    let outcome = world.apply(&plans(0..MANY, 1)).await;
    assert_eq!((outcome.touched["app.plans"], outcome.touched["app.milestones"]), ((150, 0), (300, 0)));
    assert_eq!(world.rows(SEEN).await, ["COPY plans", "COPY milestones"]);
    // Half of the documents are known; the others are still copied.
    world.execute("TRUNCATE app.seen").await;
    world.apply(&plans(MANY / 2..2 * MANY, 2)).await;
    assert_eq!(world.rows(SEEN).await, ["COPY plans", "INSE plans", "COPY milestones", "INSE milestones"]);
    assert_eq!(world.rows(ROWS).await, ["300|600|0"]);
    // Too few documents to be worth a COPY.
    world.execute("TRUNCATE app.seen").await;
    world.apply(&plans(1_000..1_010, 3)).await;
    assert_eq!(world.rows(SEEN).await, ["INSE plans", "INSE milestones"]);
    assert!(world.differences(&plans(0..2 * MANY, 2)).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn rows_that_were_there_before_are_taken_over_and_the_table_is_left_alone_for_a_while() {
    let mut world = World::new().await;
    world.apply(&plans(7..8, 1)).await;
    world.execute("DELETE FROM driftless.ledger").await;
    world.execute("UPDATE app.plans SET title = 'from before'").await;
    world.execute(WATCH).await;
    world.apply(&plans(0..MANY, 2)).await;
    assert_eq!(world.rows(ROWS).await, ["150|300|0"]);
    assert!(world.differences(&plans(0..MANY, 2)).await.is_empty());
    // The statement that was rolled back left no trace, and the next batch does not try COPY again.
    world.apply(&plans(MANY..2 * MANY, 3)).await;
    let seen = world.rows(SEEN).await;
    assert_eq!(seen.iter().filter(|word| *word == "COPY plans").count(), 0, "{seen:?}");
    assert_eq!(world.rows(ROWS).await, ["300|600|0"]);
    world.end().await;
}

/// The ledger trusts an insert or a snapshot read to be new only as far as its primary key confirms it.
#[rstest]
#[tokio::test]
async fn the_ledger_is_copied_into_and_right_when_not_all_are_new(#[values(Op::Insert, Op::Snapshot)] op: Op) {
    let mut world = World::new().await;
    world.execute(WATCH).await;
    world
        .execute(
            "CREATE TRIGGER see AFTER INSERT ON driftless.ledger FOR EACH STATEMENT EXECUTE FUNCTION app.see();
             ALTER TABLE driftless.ledger ENABLE ALWAYS TRIGGER see",
        )
        .await;
    const LEDGER: &str = "SELECT word FROM app.seen WHERE word LIKE '% ledger' ORDER BY n";
    // Beside changes that do not claim to be new.
    let mut changes = with(op, plans(0..MANY, 2));
    changes.extend(plans(MANY..MANY + 10, 2));
    world.apply(&changes).await;
    assert_eq!(world.rows(LEDGER).await, ["COPY ledger", "INSE ledger"]);
    world.apply(&[change("plans", 120, 5, None)]).await;
    // Older than the known versions of 60 documents, one of which has been deleted since.
    world.execute("TRUNCATE app.seen").await;
    let outcome = world.apply(&with(op, plans(100..400, 1))).await;
    assert_eq!((outcome.counts["plans"].superseded, outcome.counts["plans"].applied), (60, 240));
    assert_eq!(world.rows(LEDGER).await, ["INSE ledger"], "a copy that was rolled back leaves no trace");
    world.apply(&with(op, plans(400..600, 1))).await;
    assert_eq!(world.rows(LEDGER).await, ["INSE ledger"; 2], "the next batch does not try again");
    assert_eq!(world.rows(ROWS).await, ["599|1198|0"]);
    // The same history, without any claim that a document is new.
    let mut plain = World::new().await;
    for changes in [plans(0..MANY + 10, 2), vec![change("plans", 120, 5, None)], plans(100..600, 1)] {
        plain.apply(&changes).await;
    }
    assert_eq!(world.state().await, plain.state().await);
    plain.end().await;
    world.end().await;
}

#[rstest]
#[tokio::test]
async fn one_refused_document_among_those_that_are_copied_is_set_aside(#[values(Op::Replace, Op::Insert)] op: Op) {
    let mut world = World::new().await;
    world.execute("ALTER TABLE app.plans ADD CHECK (title <> 'refused')").await;
    let mut changes = plans(0..MANY, 1);
    changes[70] = change("plans", 70, 1, Some(rawdoc! { "_id": 70, "title": "refused" }));
    world.apply(&with(op, changes)).await;
    assert_eq!(world.rows(ROWS).await, ["149|298|1"]);
    assert_eq!(world.letters().await, ["CHECK|open|1"]);
    world.end().await;
}

#[tokio::test]
async fn a_table_that_takes_no_copy_is_written_the_other_way() {
    let mut world = World::new().await;
    let role = unique("role");
    // COPY refuses every table with row-level security.
    world
        .execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA app, driftless TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA app, driftless TO {role};
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA driftless TO {role};
             GRANT SET ON PARAMETER session_replication_role TO {role};
             ALTER TABLE app.plans ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON app.plans USING (true)"
        ))
        .await;
    let mut config = sink_config(&world.database);
    config.url = Some(world.database.url_as(Some(&role)).into());
    let target = Postgres::new(&config, "t").expect("a target");
    world.session = target.open(Purpose::Apply).await.expect("connects");
    let records = world.append(&plans(0..MANY, 1));
    let refused = world.apply_records(records.clone()).await.expect_err("refused");
    assert!(matches!(refused, Error::CopyRefused { .. }), "{refused:?}");
    assert_eq!(refused.class(), Class::Transient);
    // A new session, as the worker opens it after every transient failure. It tries no COPY, although COPY would be accepted
    // now.
    world.execute("ALTER TABLE app.plans DISABLE ROW LEVEL SECURITY").await;
    world.session = target.open(Purpose::Apply).await.expect("connects");
    world.apply_records(records).await.expect("applies");
    assert_eq!(world.rows(ROWS).await, ["150|300|0"]);
    world.execute(&format!("DROP OWNED BY {role}")).await;
    world.execute(&format!("DROP ROLE {role}")).await;
    world.end().await;
}

const TYPES: &str = "
CREATE SCHEMA app;
CREATE TABLE app.kinds (
    id uuid PRIMARY KEY, yes bool, small int2, medium int4, large int8, single float4, double float8, exact numeric(8, 2),
    any_exact numeric, words text, short varchar(12), day date, at timestamp(3), at_zone timestamptz(3),
    loose json, strict jsonb, bytes bytea
);
CREATE TABLE app.seen (word text);
CREATE FUNCTION app.see() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO app.seen VALUES (left(current_query(), 4)); RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT ON app.kinds FOR EACH STATEMENT EXECUTE FUNCTION app.see();
ALTER TABLE app.kinds ENABLE ALWAYS TRIGGER see;";

fn kinds(id: i32) -> RawDocumentBuf {
    let mut bytes = [7; 12];
    bytes[..4].copy_from_slice(&id.to_be_bytes());
    rawdoc! {
        "_id": id, "yes": id % 2 == 0, "small": id, "medium": -id, "large": i64::MAX - i64::from(id),
        "single": 0.5, "double": f64::from(id) / 3.0, "exact": f64::from(id) / 4.0,
        "any_exact": "-12345.678900".parse::<bson::Decimal128>().expect("a number"), "words": "grüße", "short": "zwölf",
        "day": bson::DateTime::from_millis(1_709_164_800_000),
        "at": bson::DateTime::from_millis(1_709_164_800_123 + i64::from(id)),
        "at_zone": bson::DateTime::from_millis(-1_709_164_800_123 - i64::from(id)),
        "loose": { "b": 1, "a": [null, "x"] }, "strict": { "deep": { "oid": ObjectId::from_bytes(bytes) } },
        "bytes": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0, 255, 1] },
    }
}

#[tokio::test]
async fn a_copied_value_is_stored_as_an_inserted_one() {
    let mapping = "namespace = \"dns\"\n[collections.kinds]\ntable = \"app.kinds\"\nid = \"uuid5\"\n";
    let changes = (0..MANY).map(|id| change("kinds", id, 1, Some(kinds(id)))).collect::<Vec<_>>();
    let sql = "SELECT * FROM app.kinds ORDER BY id";
    let mut copied = World::of(Constraints::Replica, TYPES, mapping).await;
    copied.apply(&changes).await;
    let mut inserted = World::of(Constraints::Replica, TYPES, mapping).await;
    for few in changes.chunks(10) {
        inserted.apply(few).await;
    }
    assert_eq!(copied.letters().await, [""; 0]);
    assert_eq!(copied.rows("SELECT word FROM app.seen").await, ["COPY"]);
    let rows = copied.rows(sql).await;
    assert_eq!((rows.len(), &rows), (150, &inserted.rows(sql).await));
    assert!(!rows[0].contains("NULL"), "{}", rows[0]);
    copied.end().await;
    inserted.end().await;
}
