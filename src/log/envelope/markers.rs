//! Records that are no change: frontiers, controls and removals. Both directions.
//!
//! ```text
//!   key                                  value                        header with the facts
//!   {"id":" null","frontier":true}       none: a Kafka tombstone      driftless.frontier  {"before":{"t":…,"i":…},…}
//!   {"id":" null","control":"drop"}      envelope without document    driftless.control   {"kind":"drop",…}
//!   {"id":" null","removal":7}           envelope without document    driftless.removal   {"request":7,…}
//! ```
//! A consumer of Debezium's topics passes over them by itself. The `id` reads as the `_id` null, and a table has no row with the
//! key NULL; the space keeps it apart from the key of a document whose `_id` is null.
//!
//! A frontier may be a tombstone although compaction removes the last one of a partition after `delete.retention.ms`: only the
//! newest counts, and a leader writes another each second. A control or a removal must still be there for a sink that comes late, so
//! both have a value.
//!
//! Earlier versions wrote the facts as the value, under a key without `id`. Those records are read as well.

use serde::Deserialize;

use super::{
    EXTENDED, Encoded, FrontierRecord, Malformed, Record,
    decode::{json, no_value, publisher, version},
    encode::{self, Fields, Origin, hex_text, push},
    header,
};
use crate::{
    log::{Headers, ejson::json_string},
    model::{ClusterTime, Control, ControlKind, Frontier, Namespace, Removal},
};

/// Values of the header [`header::OP`].
const FRONTIER: &str = "frontier";
const CONTROL: &str = "control";
const REMOVAL: &str = "removal";
/// Name of all frontiers in their key.
const FRONTIER_NAME: &str = r#""frontier":true"#;

/// Encodes a frontier; its header carries the generation of the publisher.
pub fn encode_frontier(frontier: &FrontierRecord) -> Encoded {
    let FrontierRecord { before: Frontier(ClusterTime { t, i }), as_of_ms, seq, changes, complete, publisher: _ } =
        frontier;
    let facts = format!(
        r#"{{"before":{{"t":{t},"i":{i}}},"asOfMs":{as_of_ms},"seq":{seq},"changes":{changes},"complete":{complete}}}"#
    );
    let mut headers = encode::headers(EXTENDED, FRONTIER);
    headers.push(header::FRONTIER, facts.as_bytes());
    Encoded { key: key(FRONTIER_NAME), value: None, headers }
}

/// Encodes a control. To other consumers one that empties the target's tables is Debezium's `t`, and any other says nothing.
pub fn encode_control(control: &Control, prefix: &str) -> Encoded {
    let Control { namespace, kind, version, truncate } = control;
    let policy = if *truncate { "truncate" } else { "ignore" };
    let mut facts = Vec::new();
    push(&mut facts, format_args!(r#"{{"kind":"{}","policy":"{policy}","db":"#, kind_name(*kind)));
    json_string(&mut facts, &*namespace.db);
    facts.extend_from_slice(br#","collection":"#);
    json_string(&mut facts, &*namespace.collection);
    facts.push(b'}');
    let mut headers = encode::headers(EXTENDED, CONTROL);
    headers.push(header::VERSION, &hex_text(&version.to_bytes()));
    headers.push(header::CONTROL, &facts);
    let origin = Origin { namespace, time: version.time, snapshot: false, wall_ms: version.time.unix_ms() };
    let value = truncate.then(|| envelope("t", prefix, &origin));
    Encoded { key: key(&control_name(*kind)), value, headers }
}

/// Encodes the removal of a row, which the source asked for at that time.
pub fn encode_removal(removal: &Removal, prefix: &str, wall_ms: i64) -> Encoded {
    let Removal { namespace, request, table, row_key } = removal;
    let facts = serde_json::json!({
        "request": request, "db": &*namespace.db, "collection": &*namespace.collection, "table": table, "key": row_key,
    });
    let mut headers = encode::headers(EXTENDED, REMOVAL);
    headers.push(header::REMOVAL, facts.to_string().as_bytes());
    let time = ClusterTime { t: u32::try_from(wall_ms / 1000).unwrap_or(0), i: 0 };
    let origin = Origin { namespace, time, snapshot: false, wall_ms };
    Encoded { key: key(&removal_name(*request)), value: Some(envelope("d", prefix, &origin)), headers }
}

/// The envelope of a record without a document.
fn envelope(op: &str, prefix: &str, origin: &Origin<'_>) -> Vec<u8> {
    let mut value = br#"{"before":null,"after":null,"updateDescription":null"#.to_vec();
    encode::source(&mut value, prefix, origin, Fields::Ours);
    push(&mut value, format_args!(r#","op":"{op}","ts_ms":{},"transaction":null}}"#, origin.wall_ms));
    value
}

/// Decodes a record that is no change; `None` if the op is another one.
///
/// # Errors
/// Fails with [`Malformed`] for any bytes that this module did not write.
pub(super) fn decode(
    op: &str,
    key: &[u8],
    value: Option<&[u8]>,
    headers: &Headers,
) -> Result<Option<Record>, Malformed> {
    let facts = |name| match headers.get(name) {
        Some(facts) => Ok((facts, true)),
        None => value.map(|value| (value, false)).ok_or_else(no_value),
    };
    let record = match op {
        FRONTIER => {
            let (facts, in_header) = facts(header::FRONTIER)?;
            check_key(key, FRONTIER_NAME, in_header, "a frontier has another key")?;
            Record::Frontier(frontier(facts, headers)?)
        }
        CONTROL => {
            let (facts, in_header) = facts(header::CONTROL)?;
            let control = control(facts, headers)?;
            check_key(key, &control_name(control.kind), in_header, "a control has another key")?;
            Record::Control(control)
        }
        REMOVAL => {
            let (facts, in_header) = facts(header::REMOVAL)?;
            let removal = removal(facts)?;
            check_key(key, &removal_name(removal.request), in_header, "a removal has another key")?;
            Record::Removal(removal)
        }
        _ => return Ok(None),
    };
    Ok(Some(record))
}

fn frontier(facts: &[u8], headers: &Headers) -> Result<FrontierRecord, Malformed> {
    #[derive(Deserialize)]
    struct Facts {
        before: ClusterTime,
        #[serde(rename = "asOfMs")]
        as_of_ms: i64,
        seq: u64,
        changes: u64,
        complete: bool,
    }
    let Facts { before, as_of_ms, seq, changes, complete } = json(facts)?;
    Ok(FrontierRecord { before: Frontier(before), as_of_ms, seq, publisher: publisher(headers)?, changes, complete })
}

fn control(facts: &[u8], headers: &Headers) -> Result<Control, Malformed> {
    #[derive(Deserialize)]
    struct Facts {
        kind: ControlKind,
        policy: Policy,
        db: String,
        collection: String,
    }
    #[derive(Deserialize, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    enum Policy {
        Truncate,
        Ignore,
    }
    let Facts { kind, policy, db, collection } = json(facts)?;
    let (namespace, truncate) = (Namespace::new(db, collection), policy == Policy::Truncate);
    Ok(Control { namespace, kind, version: version(headers, header::VERSION)?, truncate })
}

fn removal(facts: &[u8]) -> Result<Removal, Malformed> {
    #[derive(Deserialize)]
    struct Facts {
        request: i64,
        db: String,
        collection: String,
        table: String,
        key: serde_json::Value,
    }
    let Facts { request, db, collection, table, key } = json(facts)?;
    Ok(Removal { namespace: Namespace::new(db, collection), request, table, row_key: key })
}

/// The Kafka key of a record with this name. Compaction keeps the last record of each name in a partition.
fn key(name: &str) -> Vec<u8> {
    format!(r#"{{"id":" null",{name}}}"#).into_bytes()
}

/// Checks the key against the name; earlier versions, whose facts are not in a header, wrote the name alone.
fn check_key(found: &[u8], name: &str, in_header: bool, detail: &str) -> Result<(), Malformed> {
    let expected = if in_header { key(name) } else { format!("{{{name}}}").into_bytes() };
    if found == expected { Ok(()) } else { Err(Malformed::new(detail)) }
}

fn control_name(kind: ControlKind) -> String {
    format!(r#""control":"{}""#, kind_name(kind))
}

fn removal_name(request: i64) -> String {
    format!(r#""removal":{request}"#)
}

fn kind_name(kind: ControlKind) -> &'static str {
    match kind {
        ControlKind::Drop => "drop",
        ControlKind::Rename => "rename",
        ControlKind::Replace => "replace",
        ControlKind::Reset => "reset",
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::{
        log::{envelope, record_key::record_key},
        model::{Key, Version},
    };

    const NULL_ID: &str = r#""id":" null","#;

    fn read_back(encoded: &Encoded) -> Result<Record, Malformed> {
        let headers = encoded.headers.iter().chain([(header::PUBLISHER, b"7".as_slice())]).collect();
        envelope::decode(Some(&encoded.key), encoded.value.as_deref(), &headers)
    }

    /// Returns the record as versions before format 2 wrote it.
    fn before(encoded: &Encoded) -> Encoded {
        let in_header = [header::FRONTIER, header::CONTROL, header::REMOVAL];
        let facts = in_header.iter().find_map(|name| encoded.headers.get(name)).expect("facts");
        let others = encoded.headers.iter().filter(|(name, _)| !in_header.contains(name));
        let headers = others.map(|(name, value)| (name, if name == header::FORMAT { b"1" } else { value }));
        let key = String::from_utf8_lossy(&encoded.key).replace(NULL_ID, "").into_bytes();
        Encoded { key, value: Some(facts.to_vec()), headers: headers.collect() }
    }

    fn check(encoded: &Encoded, expected: &Record) -> Result<(), TestCaseError> {
        prop_assert_eq!(read_back(encoded), Ok(expected.clone()));
        prop_assert_eq!(read_back(&before(encoded)), Ok(expected.clone()));
        let mixed = Encoded { key: before(encoded).key, ..encoded.clone() };
        prop_assert!(read_back(&mixed).expect_err("malformed").detail.ends_with("has another key"));
        Ok(())
    }

    proptest! {
        #[test]
        fn a_frontier_is_read_back_in_both_forms(
            (t, i, as_of_ms, seq, changes, complete) in any::<(u32, u32, i64, u64, u64, bool)>(),
        ) {
            let before = Frontier(ClusterTime { t, i });
            let frontier = FrontierRecord { before, as_of_ms, seq, publisher: 7, changes, complete };
            check(&encode_frontier(&frontier), &Record::Frontier(frontier))?;
        }

        #[test]
        fn a_control_is_read_back_in_both_forms(
            (epoch, t, i, op, truncate) in any::<(u32, u32, u32, u32, bool)>(),
            db in ".{1,8}",
            collection in ".{1,8}",
        ) {
            let version = Version { epoch, time: ClusterTime { t, i }, op };
            for kind in [ControlKind::Drop, ControlKind::Rename, ControlKind::Replace, ControlKind::Reset] {
                let control = Control { namespace: Namespace::new(&*db, &*collection), kind, version, truncate };
                check(&encode_control(&control, "demo"), &Record::Control(control))?;
            }
        }

        #[test]
        fn a_removal_is_read_back_in_both_forms(request in any::<i64>(), table in ".{1,8}", key in ".{0,8}", db in ".{1,8}") {
            let row_key = serde_json::json!({ "id": key });
            let removal = Removal { namespace: Namespace::new(&*db, "orders"), request, table, row_key };
            check(&encode_removal(&removal, "demo", request), &Record::Removal(removal))?;
        }
    }

    fn frontier() -> FrontierRecord {
        let before = Frontier(ClusterTime { t: 5, i: 1 });
        FrontierRecord { before, as_of_ms: 5000, seq: 3, publisher: 7, changes: 2, complete: true }
    }

    #[test]
    fn the_frontiers_of_old_topics_are_read() {
        let value = br#"{"before":{"t":5,"i":1},"asOfMs":5000,"seq":3,"changes":2,"complete":true}"#;
        let headers = [("driftless.format", "1"), ("driftless.op", "frontier"), ("driftless.publisher", "7")];
        let read = envelope::decode(Some(br#"{"frontier":true}"#), Some(value), &headers.into_iter().collect());
        assert_eq!(read, Ok(Record::Frontier(frontier())));
    }

    #[test]
    fn a_frontier_is_a_tombstone_under_a_key_that_no_document_has() {
        let encoded = encode_frontier(&frontier());
        assert_eq!(encoded.value, None);
        assert_eq!(encoded.key, br#"{"id":" null","frontier":true}"#);
        let null = Key::from_id(&rawdoc! { "_id": bson::RawBson::Null }).expect("a key");
        assert_eq!(record_key(&null), br#"{"id":"null"}"#, "another text than that of a marker");
    }

    #[test]
    fn a_control_that_empties_the_tables_stays_through_compaction() {
        let version = Version { epoch: 1, time: ClusterTime { t: 1_700_000_000, i: 3 }, op: 2 };
        let control =
            Control { namespace: Namespace::new("shop", "orders"), kind: ControlKind::Drop, version, truncate: true };
        let value = encode_control(&control, "demo").value.expect("a value");
        let value: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
        assert_eq!((&value["op"], &value["after"]), (&"t".into(), &serde_json::Value::Null));
        assert_eq!((&value["source"]["collection"], &value["source"]["ord"]), (&"orders".into(), &3.into()));
        let ignored = encode_control(&Control { truncate: false, ..control }, "demo");
        assert_eq!(ignored.value, None);
    }

    #[rstest]
    #[case::no_facts(None, "has no value")]
    #[case::garbage(Some("secret"), "not the JSON")]
    fn malformed_facts(#[case] facts: Option<&str>, #[case] detail: &str) {
        let mut headers = encode::headers(EXTENDED, FRONTIER);
        headers.push(header::PUBLISHER, b"7");
        facts.inspect(|facts| headers.push(header::FRONTIER, facts.as_bytes()));
        let malformed = envelope::decode(Some(&key(FRONTIER_NAME)), None, &headers).expect_err("malformed");
        assert!(malformed.detail.contains(detail) && !malformed.detail.contains("secret"), "{}", malformed.detail);
    }
}
