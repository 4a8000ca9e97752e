//! Dates and timestamps.

use bson::{DateTime, Timestamp, raw::RawBson, rawdoc};

use crate::world::{World, run};

fn date(ms: i64) -> RawBson {
    DateTime::from_millis(ms).into()
}

/// Returns the wrapped form of a year that JSON writers do not agree on.
fn wrapped(ms: i64) -> String {
    format!(r#"{{"$driftless": "date", "ms": {ms}}}"#)
}

/// Returns microseconds since 1970.
fn micros(ms: i64) -> String {
    (i128::from(ms) * 1000).to_string()
}

async fn out_of_range(world: &World, number: &str, ms: i64) {
    let refused = Err("RANGE_TS");
    let json = wrapped(ms);
    let cases = [("tz", date(ms), refused), ("ts", date(ms), refused), ("j", date(ms), Ok(json.as_str()))];
    world.typed(number, &cases).await;
}

async fn exact(world: &World, number: &str, ms: i64, text: &str, json: &str) {
    let micros = micros(ms);
    let cases = [("tz", date(ms), Ok(micros.as_str())), ("ts", date(ms), Ok(&micros)), ("j", date(ms), Ok(json))];
    world.typed(number, &cases).await;
    // The same instant by PostgreSQL's own calendar.
    let mut doc = world.insert("typed", rawdoc! { "_id": format!("{number} text"), "ts": date(ms) }).await;
    doc.is(&format!("ts = '{text}'"), "true").await;
}

#[test]
fn input_086_smallest_milliseconds() {
    run(async |world| {
        out_of_range(world, "086", i64::MIN).await;
        world.typed("086 d", &[("d", date(i64::MIN), Err("RANGE_TS"))]).await;
    });
}

#[test]
fn input_087_largest_milliseconds() {
    run(async |world| {
        out_of_range(world, "087", i64::MAX).await;
        world.typed("087 d", &[("d", date(i64::MAX), Err("RANGE_TS"))]).await;
    });
}

#[test]
fn input_088_year_10000() {
    let ms = 253_402_300_800_000;
    run(async |world| exact(world, "088", ms, "10000-01-01 00:00:00", &wrapped(ms)).await);
}

#[test]
fn input_089_last_year() {
    let ms = 9_224_318_015_999_999;
    run(async |world| exact(world, "089", ms, "294276-12-31 23:59:59.999", &wrapped(ms)).await);
}

#[test]
fn input_090_after_the_last_year() {
    run(async |world| out_of_range(world, "090", 9_224_318_016_000_000).await);
}

#[test]
fn input_091_first_instant() {
    let first = -210_866_803_200_000;
    run(async |world| {
        exact(world, "091", first, "4714-11-24 00:00:00 BC", &wrapped(first)).await;
        out_of_range(world, "091 before", first - 1).await;
    });
}

#[test]
fn input_092_year_0() {
    let ms = -62_167_219_200_000;
    run(async |world| exact(world, "092", ms, "0001-01-01 00:00:00 BC", r#""0000-01-01T00:00:00.000Z""#).await);
}

#[test]
fn input_093_before_1970() {
    run(async |world| exact(world, "093", -1, "1969-12-31 23:59:59.999", r#""1969-12-31T23:59:59.999Z""#).await);
}

#[test]
fn input_094_into_date() {
    run(async |world| {
        let cases = [
            ("d", date(1_583_020_799_999), Ok("2020-02-29")),
            ("d", date(1_582_934_400_000), Ok("2020-02-29")),
            ("d", date(-1), Ok("1969-12-31")),
        ];
        world.typed("094", &cases).await;
    });
}

#[test]
fn input_095_whole_seconds() {
    run(async |world| {
        let cases = [
            ("tz0", date(1_500), Err("LOSSY")),
            ("tz0", date(2_000), Ok("2000000")),
            ("tz0_round", date(978_307_201_500), Ok("978307202000000")),
        ];
        world.typed("095", &cases).await;
        // A half is rounded away from the year 2000, as PostgreSQL's own cast does.
        let mut doc = world.insert("typed", rawdoc! { "_id": "095 before", "tz0_round": date(1_500) }).await;
        doc.is("tz0_round", "1000000").await;
        doc.is("tz0_round = '1970-01-01 00:00:01.5+00'::timestamptz(0)", "true").await;
    });
}

#[test]
fn input_096_without_time_zone() {
    run(async |world| {
        world.typed("096", &[("ts", date(1_583_020_799_999), Ok("1583020799999000"))]).await;
        // It is no fault, beside one that has nothing to do with it.
        let mapping = "[collections.zoneless]\nid = \"text\"\ncolumns.missing = \"x\"\n";
        let report: serde_json::Value = serde_json::from_str(&world.check(mapping).await).expect("JSON");
        let faults = report["faults"].to_string();
        assert!(faults.contains("has no column \\\"missing\\\"") && !faults.contains("time zone"), "{report}");
        let notes = world.migration.succeed(&["check", "--sample", "0"]).await;
        assert!(notes.contains("column \"ts\" of \"public\".\"typed\" has no time zone: instants are stored in UTC"));
    });
}

#[test]
fn input_097_number_for_a_date() {
    run(async |world| {
        let refused = Err("TYPE_MISMATCH");
        let seconds = || 1_600_000_000_i64.into();
        world.typed("097 policy", &[("tz_seconds", seconds(), Ok("1600000000000000"))]).await;
        world.typed("097", &[("tz", seconds(), refused), ("d", seconds(), refused), ("ts", 1.5.into(), refused)]).await;
    });
}

#[test]
fn input_098_zero_timestamp() {
    run(async |world| {
        let zero = Timestamp { time: 0, increment: 0 };
        let nested = rawdoc! { "_id": "098 below", "below": { "zero": zero } };
        let mut nested = world.insert("docs", nested).await;
        let mut top = world.insert("typed", rawdoc! { "_id": "098", "n": zero }).await;
        nested.is_json("doc->'below'->'zero'", r#"{"$driftless": "timestamp", "t": 0, "i": 0}"#).await;
        let typed = world.migration.collection("typed");
        let stored = typed.find_one(mongodb::bson::doc! { "_id": "098" }).await.expect("read").expect("a document");
        let Timestamp { time, increment } = stored.get_timestamp("n").expect("a timestamp");
        assert!(time > 1_700_000_000, "MongoDB filled it in: {time}.{increment}");
        top.is("n", &(u64::from(time) << 32 | u64::from(increment)).to_string()).await;
    });
}

#[test]
fn input_099_largest_timestamp() {
    run(async |world| {
        let largest = || Timestamp { time: u32::MAX, increment: u32::MAX }.into();
        let wrapped = r#"{"$driftless": "timestamp", "t": 4294967295, "i": 4294967295}"#;
        world.typed("099", &[("n", largest(), Ok("18446744073709551615")), ("j", largest(), Ok(wrapped))]).await;
    });
}
