//! One document must not stop the rest, whatever PostgreSQL's objection to it.

use bson::{RawDocumentBuf, rawdoc};
use driftless::{
    config::Constraints,
    model::Change,
    postgres::Purpose,
    retry::{Class, Classify},
    target::TargetReader,
};
use driftless_testing::postgres::Database;
use rstest::rstest;

use super::world::{World, change};

const HOSTS: &str = "CREATE TABLE hosts (id uuid PRIMARY KEY, address inet, note text);
                     CREATE TABLE ports (id uuid PRIMARY KEY, host_id uuid, open int4range)";
const HOSTS_MAPPING: &str = "
namespace = \"dns\"
[collections.hosts]
table = \"public.hosts\"
id = \"uuid5\"
[collections.hosts.children.ports]
table = \"public.ports\"
parent = \"host_id\"
id = { column = \"id\", from = \"_id\" }
";

fn host(id: i32, address: &str, open: &str) -> Change {
    let ports = bson::rawbson!([{ "_id": 10 * id, "open": open }]);
    change("hosts", id, 1, Some(rawdoc! { "_id": id, "address": address, "note": format!("n{id}"), "ports": ports }))
}

#[tokio::test]
async fn a_value_that_the_comparison_refuses_is_the_difference_of_its_document_alone() {
    let mut world = World::of(Constraints::Replica, HOSTS, HOSTS_MAPPING).await;
    let mut hosts = (1..=40).map(|id| host(id, "10.0.0.1", "[1,2)")).collect::<Vec<_>>();
    hosts[6] = host(7, "nowhere", "[1,2)");
    hosts[19] = host(20, "10.0.0.1", "[2,1)");
    world.apply(&hosts).await;
    assert_eq!(world.letters().await.len(), 2);
    let damage = |act: &str, id: &str| format!("{act} WHERE note = '{id}'");
    world.execute(&damage("UPDATE hosts SET note = 'damaged'", "n30")).await;
    world.execute(&damage("DELETE FROM hosts", "n31")).await;

    let session = world.target.open(Purpose::Read).await.expect("connects");
    let mapped = &world.prepared.all().collections()[0];
    let document = |change: &Change| mapped.map(change.document.as_ref().expect("a document")).expect("rows");
    let expected = hosts.iter().map(document).collect::<Vec<_>>();
    let keys = hosts.iter().map(|change| change.key.clone()).collect::<Vec<_>>();
    let reader = TargetReader::begin(&session, &world.prepared).await.expect("begins");
    let found = reader.compare(0, &keys, &expected).await.expect("compares");
    let mut places = found.keys().copied().collect::<Vec<_>>();
    places.sort_unstable();
    assert_eq!(places, [6, 19, 29, 30]);
    assert_eq!((found[&29].columns.as_slice(), found[&30].missing), (&["public.hosts.note".to_owned()][..], true));
    // The refused values did not abort the transaction of the snapshot.
    assert_eq!(reader.entries(0, &keys).await.expect("reads").len(), 40);
    reader.end().await.expect("ends");
    drop(session);
    world.end().await;
}

#[tokio::test]
async fn a_text_that_the_encoding_of_the_target_cannot_hold_is_named_so() {
    let database = Database::create_with("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").await;
    let tables = "CREATE TABLE notes (id integer PRIMARY KEY, body text, tags text[], meta jsonb, n integer)";
    let mapping = "[collections.notes]\ntable = \"public.notes\"\nid = \"integer\"\ncolumns.n = \"数\"\n";
    let mut world = World::on(database, Constraints::Replica, tables, mapping).await;
    let note = |id, document: RawDocumentBuf| change("notes", id, 1, Some(document));
    world
        .apply(&[
            note(1, rawdoc! { "_id": 1, "body": "caf\u{e9}", "meta": { "a": "\u{fc}" } }),
            note(2, rawdoc! { "_id": 2, "body": "\u{201c}quoted\u{201d}" }),
            note(3, rawdoc! { "_id": 3, "tags": ["a", "\u{1f980}"] }),
            note(4, rawdoc! { "_id": 4, "meta": { "\u{65e5}": 1 } }),
            note(5, rawdoc! { "_id": 5, "数": "no number" }),
            note(6, rawdoc! { "_id": 6, "body": "a\0b" }),
        ])
        .await;
    assert_eq!(world.rows("SELECT id FROM notes").await, ["1"]);
    let letters = "SELECT reason, detail LIKE '%LATIN1%' FROM driftless.dead_letter ORDER BY key";
    let expected = ["ENCODING|t", "ENCODING|t", "ENCODING|t", "TYPE_MISMATCH|f", "NUL_IN_TEXT|f"];
    assert_eq!(world.rows(letters).await, expected);
    let path = "SELECT position('\\u6570' IN detail) > 0 FROM driftless.dead_letter WHERE reason = 'TYPE_MISMATCH'";
    assert_eq!(world.rows(path).await, ["t"]);
    world.end().await;
}

/// Returns the SQL of a domain that refuses a value with the SQLSTATE `code`.
fn odd(code: &str) -> String {
    format!(
        "CREATE FUNCTION sound(t text) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN IF t = 'bad' THEN RAISE EXCEPTION 'bad' USING ERRCODE = '{code}'; END IF; RETURN true; END $$;
         CREATE DOMAIN odd AS text CHECK (public.sound(VALUE));
         CREATE TABLE things (id integer PRIMARY KEY, v odd)"
    )
}

const THINGS: &str = "[collections.things]\ntable = \"public.things\"\nid = \"integer\"\n";

fn thing(id: i32, v: &str) -> Change {
    change("things", id, 1, Some(rawdoc! { "_id": id, "v": v }))
}

#[rstest]
#[case::internal(odd("XX000"))]
#[case::not_supported(odd("0A000"))]
#[case::external_routine(odd("38001"))]
#[case::external_routine_invocation(odd("39000"))]
#[case::routine(odd("2F000"))]
#[case::foreign_data(odd("HV000"))]
#[case::plpython(odd("U0001"))]
#[case::syntax(odd("42601"))]
#[case::extension("CREATE EXTENSION seg; CREATE TABLE things (id integer PRIMARY KEY, v seg)".to_owned())]
#[tokio::test]
async fn an_unknown_error_of_one_row_is_that_rows(#[case] tables: String) {
    let mut world = World::of(Constraints::Replica, &tables, THINGS).await;
    let things = (0..20).map(|id| thing(id, if id == 7 { "bad" } else { "1.5" })).collect::<Vec<_>>();
    world.apply(&things).await;
    assert_eq!(world.letters().await, ["REFUSED|open|1"]);
    assert_eq!(world.rows("SELECT count(*) FROM things").await, ["19"]);
    let detail = world.rows("SELECT detail FROM driftless.dead_letter").await.join("");
    assert!(detail.starts_with("SQLSTATE ") && !detail.contains("bad"), "{detail}");
    // The same document alone in its batch.
    world.apply(&[thing(50, "bad")]).await;
    assert_eq!(world.letters().await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn an_unknown_error_of_every_row_halts() {
    let mut world = World::of(Constraints::Replica, &odd("XX000"), THINGS).await;
    let things = (0..200).map(|id| thing(id, "bad")).collect::<Vec<_>>();
    let records = world.append(&things);
    let error = world.apply_records(records).await.expect_err("nothing passes");
    assert_eq!(error.class(), Class::Halt, "{error:?}");
    assert_eq!(world.letters().await, [""; 0]);
    world.end().await;
}
