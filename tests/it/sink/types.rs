//! Every type that a column of the target can have, against the server that decides.

use bson::{RawArrayBuf, RawBson, RawDocumentBuf, raw::CString, rawdoc};
use driftless::config::Constraints;

use super::world::{World, change};

const MAPPING: &str = "
[collections.things]
table = \"app.things\"
id = \"integer\"
";

/// SQL type, value of a document, and the text that PostgreSQL then shows.
type Case = (&'static str, RawBson, &'static str);

fn text(text: &str) -> RawBson {
    RawBson::String(text.to_owned())
}

fn array(values: impl IntoIterator<Item = RawBson>) -> RawBson {
    RawBson::Array(values.into_iter().collect::<RawArrayBuf>())
}

fn decimal(text: &str) -> RawBson {
    RawBson::Decimal128(text.parse().expect("a decimal"))
}

fn date(ms: i64) -> RawBson {
    RawBson::DateTime(bson::DateTime::from_millis(ms))
}

fn cases() -> Vec<Case> {
    let point = rawdoc! { "type": "Point", "coordinates": [7.1, -50] };
    let scalars: Vec<Case> = vec![
        ("boolean", true.into(), "true"),
        ("smallint", RawBson::Int32(-5), "-5"),
        ("bigint", RawBson::Int64(i64::MIN), "-9223372036854775808"),
        ("real", RawBson::Double(0.1), "0.1"),
        ("double precision", RawBson::Double(5e-324), "5e-324"),
        ("numeric", decimal("1.10"), "1.10"),
        ("numeric(3, -2)", RawBson::Int32(12_300), "12300"),
        ("money", decimal("-92233720368547758.08"), "-$92,233,720,368,547,758.08"),
        ("text", text("a\"\\,{}"), "a\"\\,{}"),
        ("varchar(3)", text("🦀é "), "🦀é "),
        ("char(3)", text("a"), "a"),
        ("app.label", text("b c"), "b c"),
        ("app.small", RawBson::Int32(7), "7"),
        ("uuid", text("C02BB386-0C9E-5F4E-A2B9-7E8F3A6D1C05"), "c02bb386-0c9e-5f4e-a2b9-7e8f3a6d1c05"),
        (
            "bytea",
            RawBson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0, 255] }),
            "\\x00ff",
        ),
        ("date", date(-62_167_219_200_000), "0001-01-01 BC"),
        ("timestamp(3)", date(253_402_300_800_001), "10000-01-01 00:00:00.001"),
        ("timestamptz", date(-1), "1969-12-31 23:59:59.999+00"),
        ("time", text("23:59:59.123456"), "23:59:59.123456"),
        ("time(1)", text("12:30:00.5"), "12:30:00.5"),
        ("timetz(0)", text("12:30-02:30"), "12:30:00-02:30"),
        ("interval", text("P1Y2M-3DT-0.5S"), "1 year 2 mons -3 days -00:00:00.5"),
        ("interval(1)", text("1 day 02:03:04.5"), "1 day 02:03:04.5"),
        ("interval year to month", text("14 mons"), "1 year 2 mons"),
        ("inet", text("10.0.0.1/8"), "10.0.0.1/8"),
        ("cidr", text("10.0.0.0/8"), "10.0.0.0/8"),
        ("macaddr", text("08002b:010203"), "08:00:2b:01:02:03"),
        ("macaddr8", text("08:00:2b:01:02:03:04:05"), "08:00:2b:01:02:03:04:05"),
        ("bit(3)", text("101"), "101"),
        ("varbit(5)", text("1"), "1"),
        ("int4range", text("[1,5]"), "[1,6)"),
        ("numrange", text("(1.50,]"), "(1.50,)"),
        ("tstzrange", text("[2020-01-01T00:00:00+01:00,infinity)"), "[\"2019-12-31 23:00:00+00\",infinity)"),
        ("daterange", text("empty"), "empty"),
        ("int8multirange", text("{[1,2),[5,)}"), "{[1,2),[5,)}"),
        ("point", array([RawBson::Double(0.1), RawBson::Int32(-2)]), "(0.1,-2)"),
        ("point", point.into(), "(7.1,-50)"),
        ("box", text("(1,1),(0,0)"), "(1,1),(0,0)"),
        ("circle", text("<(0,0),1>"), "<(0,0),1>"),
        (
            "public.hstore",
            rawdoc! { "a\"b": 1, "n": null, "t": "x\\y" }.into(),
            "\"n\"=>NULL, \"t\"=>\"x\\\\y\", \"a\\\"b\"=>\"1\"",
        ),
        ("public.hstore", text("a=>1, b=>NULL"), "\"a\"=>\"1\", \"b\"=>NULL"),
        ("public.ltree", text("top.mid_1"), "top.mid_1"),
        ("public.citext", text("MiXed"), "MiXed"),
        ("public.cube", text("(1, 2)"), "(1, 2)"),
        ("xml", text("<a>&lt;</a>"), "<a>&lt;</a>"),
        ("tsvector", text("fat:1A cat"), "'cat' 'fat':1A"),
        ("oid", RawBson::Int32(5), "5"),
        ("pg_lsn", text("16/B374D848"), "16/B374D848"),
        ("jsonb", rawdoc! { "a": [1, 2.50] }.into(), "{\"a\": [1, 2.5]}"),
        ("json", RawBson::Null, "null"),
    ];
    let arrays: Vec<Case> = vec![
        ("numeric(5,2)[]", array([decimal("1.10"), RawBson::Null]), "{1.10,NULL}"),
        ("text[]", array([text("NULL"), text("a b"), text("")]), "{\"NULL\",\"a b\",\"\"}"),
        (
            "bytea[]",
            array([RawBson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1] })]),
            "{\"\\\\x01\"}",
        ),
        ("money[]", array([RawBson::Double(1.5), RawBson::Int32(-2)]), "{$1.50,-$2.00}"),
        ("interval[]", array([text("-00:00:00.5"), text("1 mon")]), "{-00:00:00.5,\"1 mon\"}"),
        ("time(1)[]", array([text("12:30:00.5")]), "{12:30:00.5}"),
        ("timetz[]", array([text("12:30+01")]), "{12:30:00+01}"),
        ("date[]", array([date(0)]), "{1970-01-01}"),
        ("bit(2)[]", array([text("10")]), "{10}"),
        ("point[]", array([array([RawBson::Int32(1), RawBson::Int32(2)])]), "{\"(1,2)\"}"),
        ("box[]", array([text("(1,1),(0,0)"), text("(2,2),(0,0)")]), "{(1,1),(0,0);(2,2),(0,0)}"),
        ("int4range[]", array([text("[1,2)"), text("empty")]), "{\"[1,2)\",empty}"),
        ("nummultirange[]", array([text("{[1,2)}")]), "{\"{[1,2)}\"}"),
        ("public.hstore[]", array([rawdoc! { "a": "\"" }.into()]), "{\"\\\"a\\\"=>\\\"\\\\\\\"\\\"\"}"),
        ("app.label[]", array([text("b c"), text("a")]), "{\"b c\",a}"),
        ("app.small[]", array([RawBson::Int32(7)]), "{7}"),
        ("jsonb[]", array([rawdoc! { "a": "\\" }.into()]), "{\"{\\\"a\\\": \\\"\\\\\\\\\\\"}\"}"),
        ("xml[]", array([text("<a b=\"c\"/>")]), "{\"<a b=\\\"c\\\"/>\"}"),
        ("inet[]", array([text("::1")]), "{::1}"),
        (
            "int4[]",
            array([array([RawBson::Int32(1), RawBson::Int32(2)]), array([RawBson::Int32(3), RawBson::Null])]),
            "{{1,2},{3,NULL}}",
        ),
    ];
    scalars.into_iter().chain(arrays).collect()
}

/// Creates a table with one column for each case, and for each a row that fills only that column.
async fn world(kinds: impl Iterator<Item = &str>) -> World {
    let columns: String = kinds.enumerate().map(|(at, kind)| format!(", c{at} {kind}")).collect();
    let tables = format!(
        "CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION citext; CREATE EXTENSION cube;
         CREATE SCHEMA app;
         CREATE TYPE app.label AS ENUM ('a', 'b c');
         CREATE DOMAIN app.small AS smallint CHECK (VALUE < 100);
         CREATE TABLE app.things (id integer PRIMARY KEY{columns});"
    );
    World::of(Constraints::Replica, &tables, MAPPING).await
}

fn document(at: usize, value: &RawBson) -> RawDocumentBuf {
    let mut document = rawdoc! { "_id": i32::try_from(at).expect("few") };
    document.append(CString::try_from(format!("c{at}")).expect("no NUL"), value.clone());
    document
}

#[tokio::test]
async fn every_type_is_written_as_it_reads() {
    let cases = cases();
    let mut world = world(cases.iter().map(|(kind, ..)| *kind)).await;
    let documents = |t: u32| {
        let one = |(at, (_, value, _)): (usize, &Case)| {
            change("things", i32::try_from(at).expect("few"), t, Some(document(at, value)))
        };
        cases.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    world.apply(&documents(1)).await;
    assert_eq!(world.letters().await, [""; 0]);
    let client = world.database.client().await;
    client.batch_execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET lc_monetary = 'C'").await.expect("sets");
    let mut wrong = Vec::new();
    for (at, (kind, _, expected)) in cases.iter().enumerate() {
        let sql = format!("SELECT c{at}::text FROM app.things WHERE id = {at}");
        let found: Option<String> = client.query_one(&sql, &[]).await.expect("a row").get(0);
        let found = found.unwrap_or_else(|| "NULL".to_owned());
        // In some builds, `C` has no currency sign.
        let plain = |text: &str| if kind.contains("money") { text.replace(['$', ','], "") } else { text.to_owned() };
        if plain(&found) != plain(expected) {
            wrong.push(format!("{kind}: {found}, not {expected}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
    // Stored values equal those that would be written, so the same documents touch no row again.
    let before = world.rows("SELECT id, xmin FROM app.things ORDER BY id").await;
    world.apply(&documents(2)).await;
    assert_eq!(world.rows("SELECT id, xmin FROM app.things ORDER BY id").await, before);
    world.end().await;
}

#[tokio::test]
async fn what_postgresql_refuses_costs_one_document() {
    let cases = [
        ("inet", "zz", "TYPE_MISMATCH"),
        ("cidr", "1.2.3.4/8", "TYPE_MISMATCH"),
        ("macaddr", "zz", "TYPE_MISMATCH"),
        ("int4range", "[5,1]", "REFUSED"),
        ("xml", "<a>", "REFUSED"),
        ("box", "zz", "TYPE_MISMATCH"),
        ("public.cube", "zz", "TYPE_MISMATCH"),
        ("pg_lsn", "zz", "TYPE_MISMATCH"),
        ("oid", "-99999999999", "RANGE_NUM"),
        ("inet[]", "zz", "TYPE_MISMATCH"),
        ("app.small", "100", "CHECK"),
        ("public.hstore", "a=>", "TYPE_MISMATCH"),
        ("public.ltree", "a..b", "TYPE_MISMATCH"),
        ("tsvector", "a:x", "TYPE_MISMATCH"),
        ("bit(3)", "1111", "TOO_LONG"),
        ("time", "now", "TYPE_MISMATCH"),
    ];
    let mut world = world(cases.iter().map(|(kind, ..)| *kind)).await;
    let mut changes = Vec::new();
    for (at, (kind, value, _)) in cases.iter().enumerate() {
        let value = match *kind {
            "app.small" => RawBson::Int32(value.parse().expect("a number")),
            kind if kind.ends_with("[]") => array([text(value)]),
            _ => text(value),
        };
        let id = i32::try_from(at).expect("few");
        changes.push(change("things", id, 1, Some(document(at, &value))));
        changes.push(change("things", id + 100, 1, Some(rawdoc! { "_id": id + 100 })));
    }
    world.apply(&changes).await;
    assert_eq!(world.rows("SELECT count(*) FROM app.things").await, [cases.len().to_string()]);
    let found = world.rows("SELECT reason FROM driftless.dead_letter ORDER BY log_offset").await;
    assert_eq!(found, cases.map(|(_, _, reason)| reason));
    world.end().await;
}

#[tokio::test]
async fn input_132_fields_in_another_order_are_no_change() {
    let mut world = world(["jsonb"].into_iter()).await;
    world.apply(&[change("things", 1, 1, Some(rawdoc! { "_id": 1, "c0": { "a": 1, "b": 2 } }))]).await;
    let before = world.rows("SELECT xmin FROM app.things").await;
    world.apply(&[change("things", 1, 2, Some(rawdoc! { "c0": { "b": 2, "a": 1 }, "_id": 1 }))]).await;
    assert_eq!(world.rows("SELECT xmin FROM app.things").await, before);
    world.end().await;
}
