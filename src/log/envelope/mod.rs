//! The format of a record: the only place where a change becomes bytes, and bytes become a change.
//!
//! The value is the envelope of Debezium's MongoDB connector as JSON, with `after` in canonical Extended JSON, so that other
//! consumers and consoles can read it. We add `documentKey`; `raw` and `rawKey`, which are base64 of the BSON if the text would
//! lose something (see [`ejson`](super::ejson)) or exceed [`MAX_TEXT`]; and headers, which carry everything that order and counts
//! rest on. `updateDescription` is for other consumers only: it is written if possible, and never read.
//!
//! With `log.codec = "bson"` the value is the same envelope as BSON (see [`binary`]), and the header `driftless.codec` names it.
//! Each record names its codec, so a topic may contain both.
//!
//! With `log.schemas` key and value are JSON with their [`schemas`]. With `log.tombstones` a Kafka tombstone follows each delete, so
//! that compaction removes the document for other consumers, too. It carries what the delete says; for us it is that delete.
//!
//! Records that are no change have their facts in a header, so that a consumer of Debezium's topics passes over them: see
//! [`markers`].
//!
//! Both directions are pure. Decoding checks everything: lengths, types, names, and that the key of the record is that of its
//! document.

mod binary;
mod decode;
mod encode;
mod markers;
mod schemas;

use bson::raw::RawDocumentBuf;

pub use decode::{counted_by, decode};
pub(super) use encode::encode_for_schema;
pub use encode::{encode, encode_as, encode_tombstone};
pub use markers::{encode_control, encode_frontier, encode_removal};
pub(super) use schemas::Schemas;

use super::Headers;
use crate::{
    model::{Change, Control, Frontier, Namespace, Op, Reason, Removal},
    retry::Class,
};

/// The newest format that this version reads. The header `driftless.format` of a record has the oldest that can carry it, so that an
/// older version halts at a record it cannot read, and reads the others.
pub const FORMAT: u32 = 2;
/// The format of a change whose value is the envelope.
const PLAIN: u32 = 1;
/// The format of a record whose facts are in a header, or whose key and value carry their schemas.
const EXTENDED: u32 = 2;
/// Longest text of a document inside a value. A longer document travels as base64, whose growth is known.
///
/// 16 MiB of control characters would become 112 MiB of escapes. With this bound no record exceeds [`MAX_RECORD`].
pub(crate) const MAX_TEXT: usize = 24 << 20;
/// Size of the largest record: a document and its `_id` as base64 or text, 16 MiB each as MongoDB allows, and the rest.
pub(crate) const MAX_RECORD: usize = 64 << 20;
/// Longest text of a repeated part of the document: its `_id`, or the update description.
const MAX_ASIDE: usize = 1 << 20;

/// Names of the headers.
pub mod header {
    /// At most [`FORMAT`](super::FORMAT), decimal.
    pub const FORMAT: &str = "driftless.format";
    /// Version: 32 hexadecimal digits.
    pub const VERSION: &str = "driftless.version";
    /// An [`Op`](crate::model::Op), `frontier`, `control` or `removal`.
    pub const OP: &str = "driftless.op";
    /// Cluster time up to which the document may contain operations, as `t.i`.
    pub(crate) const UPPER: &str = "driftless.upper";
    /// UUID of the collection: 32 hexadecimal digits.
    pub(crate) const UUID: &str = "driftless.uuid";
    /// Generation of the publisher, decimal.
    pub const PUBLISHER: &str = "driftless.publisher";
    /// [`BSON`] if the value of a change is BSON; absent if it is JSON.
    pub const CODEC: &str = "driftless.codec";
    /// A version that the change replaces although it is higher, as [`VERSION`]; only where a repair says so.
    pub const REPLACES: &str = "driftless.replaces";
    /// See [`CODEC`].
    pub(crate) const BSON: &[u8] = b"bson";
    /// The facts of a frontier, as JSON.
    pub const FRONTIER: &str = "driftless.frontier";
    /// The facts of a control, as JSON.
    pub(crate) const CONTROL: &str = "driftless.control";
    /// The facts of a removal, as JSON.
    pub(crate) const REMOVAL: &str = "driftless.removal";
    /// The envelope of a change without document, in the tombstone behind it.
    pub(crate) const TOMBSTONE: &str = "driftless.tombstone";
    /// Marks a dead letter that an earlier version published again without its publisher; no frontier counts it.
    pub const RETRY: &str = "driftless.retry";
}

/// A record of a collection topic, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Kafka key; it alone decides the partition of a change.
    pub key: Vec<u8>,
    /// JSON, or BSON if the headers say so; `None` is a Kafka tombstone.
    pub value: Option<Vec<u8>>,
    /// All headers but [`header::PUBLISHER`], which the publisher adds.
    pub headers: Headers,
}

impl Encoded {
    /// Returns the size of key and value.
    pub fn size_bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// A decoded record of a collection topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A versioned fact about one document; its `update_description` is never read back.
    Change(Change),
    /// A frontier: the changes below it lie before this record.
    Frontier(FrontierRecord),
    /// A versioned fact about the whole collection.
    Control(Control),
    /// A row that no document stands behind.
    Removal(Removal),
}

/// Every change of this partition whose cluster time is below `before` lies before this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontierRecord {
    /// The bound, exclusive.
    pub before: Frontier,
    /// Wall clock of the source at the frontier, in milliseconds since 1970.
    pub as_of_ms: i64,
    /// Number of the frontier, counted per publisher and partition from 1.
    pub seq: u64,
    /// Generation of the publisher.
    pub publisher: u64,
    /// Number of changes that this publisher wrote to this partition since its previous frontier there.
    pub changes: u64,
    /// Whether the snapshot of the collection lies before this record.
    pub complete: bool,
}

/// The reason why bytes are not a valid record. It names places, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The reason for the dead letter.
    pub(crate) reason: Reason,
    /// The faulty part.
    pub detail: String,
    /// [`Class::Poison`], but [`Class::Halt`] for a record of a newer format, because a dead letter would lose a valid change.
    pub(crate) class: Class,
}

impl Malformed {
    fn new(detail: impl Into<String>) -> Self {
        Self { reason: Reason::Malformed, detail: detail.into(), class: Class::Poison }
    }
}

/// The contents of a change, whichever codec wrote it.
struct Parts {
    namespace: Namespace,
    id: RawDocumentBuf,
    document: Option<RawDocumentBuf>,
    wall_ms: i64,
}

fn debezium_op(change: &Change) -> &'static str {
    match change.op {
        Op::Repair if change.document.is_none() => "d",
        Op::Insert => "c",
        Op::Update | Op::Replace | Op::Repair => "u",
        Op::Delete => "d",
        Op::Snapshot => "r",
    }
}

#[cfg(test)]
mod tests {
    use bson::{
        raw::{RawBson, RawDocumentBuf},
        rawdoc,
    };
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::{
        config::Codec,
        log::ejson::arbitrary,
        model::{ClusterTime, Key, Namespace, Op, Version},
    };

    /// The parts of a record, for tests to damage.
    type Pairs = Vec<(String, Vec<u8>)>;

    fn decode(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Pairs) -> Result<Record, Malformed> {
        super::decode(key, value, &headers.iter().map(|(name, value)| (name, value)).collect())
    }

    fn counted_by(headers: &Pairs) -> Option<u64> {
        super::counted_by(&headers.iter().map(|(name, value)| (name, value)).collect())
    }

    fn pairs(headers: &Headers) -> Pairs {
        headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
    }

    fn headers(encoded: &Encoded, publisher: u64) -> Pairs {
        let mut headers = encoded.headers.clone();
        headers.push(header::PUBLISHER, publisher.to_string().as_bytes());
        pairs(&headers)
    }

    fn value_of(encoded: &Encoded) -> &[u8] {
        encoded.value.as_deref().expect("a value")
    }

    fn read_back(encoded: &Encoded) -> Result<Record, Malformed> {
        decode(Some(&encoded.key), encoded.value.as_deref(), &headers(encoded, 7))
    }

    fn time() -> impl Strategy<Value = ClusterTime> {
        (any::<u32>(), any::<u32>()).prop_map(|(t, i)| ClusterTime { t, i })
    }

    fn version() -> impl Strategy<Value = Version> {
        (any::<u32>(), time(), any::<u32>()).prop_map(|(epoch, time, op)| Version { epoch, time, op })
    }

    fn documents() -> impl Strategy<Value = RawDocumentBuf> {
        prop_oneof![arbitrary::document(), arbitrary::damaged(), arbitrary::well_behaved()]
    }

    fn change() -> impl Strategy<Value = Change> {
        let id = arbitrary::id().prop_filter_map("a key", |id| Some((Key::from_id(&id)?, id)));
        let what = (prop::sample::select(&Op::ALL[..]), prop::option::of(documents()), documents());
        let rest = (version(), time(), any::<i64>(), prop::option::of(any::<[u8; 16]>()), prop::option::of(version()));
        (id, what, rest, ".{1,8}", ".{1,8}").prop_map(
            |((key, id), (op, read, other), (version, upper, wall_ms, collection_uuid, replaces), db, collection)| {
                let document = match op {
                    Op::Delete => None,
                    Op::Repair => read.clone(),
                    _ => Some(other),
                };
                Change {
                    namespace: Namespace::new(db, collection),
                    id,
                    key,
                    version,
                    op,
                    document,
                    upper,
                    wall_ms,
                    update_description: read,
                    collection_uuid,
                    replaces,
                }
            },
        )
    }

    fn simple(op: Op, document: Option<RawDocumentBuf>) -> Change {
        let id = rawdoc! { "_id": 7 };
        Change {
            namespace: Namespace::new("shop", "orders"),
            key: Key::from_id(&id).expect("a key"),
            id,
            version: Version { epoch: 1, time: ClusterTime { t: 1_700_000_000, i: 3 }, op: 2 },
            op,
            document,
            upper: ClusterTime { t: 1_700_000_000, i: 9 },
            wall_ms: 1_700_000_000_123,
            update_description: None,
            collection_uuid: Some([0xab; 16]),
            replaces: None,
        }
    }

    const BOTH: [Codec; 2] = [Codec::Json, Codec::Bson];

    fn ann() -> Change {
        simple(Op::Insert, Some(rawdoc! { "_id": 7, "name": "Ann" }))
    }

    fn insert() -> Encoded {
        encode(&ann(), "demo")
    }

    proptest! {
        #[test]
        fn a_change_is_read_back_whole(change in change()) {
            let [json, bson] = BOTH.map(|codec| encode_as(codec, &change, "demo"));
            let expected = Change { update_description: None, ..change };
            prop_assert_eq!(read_back(&json), Ok(Record::Change(expected.clone())));
            prop_assert_eq!(read_back(&bson), Ok(Record::Change(expected)));
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(value_of(&json)).is_ok());
            prop_assert_eq!(json.key, bson.key);
        }

        #[test]
        fn a_change_with_schemas_and_its_tombstone_are_read_back_whole(change in change()) {
            let schemas = Schemas::of("demo.shop.orders");
            let encoded = schemas.wrap(encode_for_schema(&change, "demo"));
            let expected = Change { update_description: None, ..change.clone() };
            prop_assert_eq!(read_back(&encoded), Ok(Record::Change(expected.clone())));
            prop_assert_eq!(counted_by(&headers(&encoded, 7)), Some(7));
            for form in [&encoded.key, value_of(&encoded)] {
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(form).is_ok());
            }
            if change.document.is_none() {
                let tombstone = encode_tombstone(&change, "demo");
                prop_assert_eq!(tombstone.value.as_ref(), None);
                prop_assert_eq!(counted_by(&headers(&tombstone, 7)), None);
                for tombstone in [tombstone.clone(), schemas.wrap(tombstone)] {
                    prop_assert_eq!(read_back(&tombstone), Ok(Record::Change(expected.clone())));
                }
            }
        }

        #[test]
        fn any_bytes_are_a_record_or_malformed(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
            op in prop_oneof![Just("insert"), Just("delete"), Just("frontier"), Just("control"), Just("removal"), Just("other")],
        ) {
            for codec in BOTH {
                let mut headers = headers(&encode_as(codec, &ann(), "demo"), 7);
                headers[1].1 = op.into();
                let _ = decode(key.as_deref(), value.as_deref(), &headers);
            }
            let _ = decode(key.as_deref(), value.as_deref(), &Pairs::new());
        }

        #[test]
        fn a_damaged_record_is_a_record_or_malformed(
            change in change(),
            codec in prop::sample::select(&BOTH[..]),
            damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            part in 0..3usize,
        ) {
            let mut encoded = encode_as(codec, &change, "demo");
            let mut headers = headers(&encoded, 7);
            for (at, byte) in damages {
                let header = at.index(headers.len());
                let bytes = match part {
                    0 => &mut encoded.key,
                    1 => encoded.value.as_mut().expect("a value"),
                    _ => &mut headers[header].1,
                };
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = decode(Some(&encoded.key), encoded.value.as_deref(), &headers);
        }
    }

    #[test]
    fn the_value_is_debeziums_envelope() {
        let mut change = simple(Op::Update, Some(rawdoc! { "_id": 7, "name": "Ann" }));
        change.update_description = Some(rawdoc! {
            "updatedFields": { "name": "Ann" },
            "removedFields": ["age", "a.b"],
            "truncatedArrays": [{ "field": "tags", "newSize": 2 }],
        });
        let encoded = encode(&change, "demo");
        let expected = concat!(
            r#"{"before":null,"after":"{\"_id\":{\"$numberInt\":\"7\"},\"name\":\"Ann\"}","#,
            r#""updateDescription":{"removedFields":["age","a.b"],"updatedFields":"{\"name\":\"Ann\"}","#,
            r#""truncatedArrays":[{"field":"tags","size":2}]},"#,
            r#""source":{"version":""#,
            env!("CARGO_PKG_VERSION"),
            r#"","connector":"mongodb","name":"demo","ts_ms":1700000000000,"snapshot":"false","#,
            r#""db":"shop","collection":"orders","ord":3,"wallTime":1700000000123},"#,
            r#""op":"u","ts_ms":1700000000123,"transaction":null,"documentKey":{"_id":{"$numberInt":"7"}}}"#,
        );
        assert_eq!(String::from_utf8_lossy(value_of(&encoded)), expected);
        assert_eq!(encoded.key, br#"{"id":"7"}"#);
        let expected: [(&str, &str); 5] = [
            (header::FORMAT, "1"),
            (header::OP, "update"),
            (header::VERSION, "000000016553f1000000000300000002"),
            (header::UPPER, "1700000000.9"),
            (header::UUID, "abababababababababababababababab"),
        ];
        assert_eq!(encoded.headers, expected.into_iter().collect());
    }

    #[test]
    fn as_bson_the_envelope_is_the_same() {
        let description =
            rawdoc! { "updatedFields": { "name": "Ann" }, "removedFields": ["age"], "truncatedArrays": [] };
        let change = Change { update_description: Some(description.clone()), ..ann() };
        let encoded = encode_as(Codec::Bson, &change, "demo");
        let expected = rawdoc! {
            "before": RawBson::Null,
            "after": { "_id": 7, "name": "Ann" },
            "updateDescription": description,
            "source": {
                "version": env!("CARGO_PKG_VERSION"), "connector": "mongodb", "name": "demo", "ts_ms": 1_700_000_000_000i64,
                "snapshot": "false", "db": "shop", "collection": "orders", "ord": 3i64, "wallTime": 1_700_000_000_123i64,
            },
            "op": "c",
            "ts_ms": 1_700_000_000_123i64,
            "transaction": RawBson::Null,
            "documentKey": { "_id": 7 },
        };
        assert_eq!(RawDocumentBuf::from_bytes(value_of(&encoded).to_vec()).expect("a document"), expected);
        assert_eq!(encoded.headers.iter().last(), Some((header::CODEC, header::BSON)));
    }

    #[rstest]
    #[case::json_said_to_be_bson(value_of(&insert()).to_vec(), "the value is not the BSON")]
    #[case::no_source(rawdoc! { "documentKey": { "_id": 7 } }.into_bytes(), "`source` is not")]
    #[case::no_key(rawdoc! { "source": { "db": "", "collection": "", "wallTime": 1i64 } }.into_bytes(), "no `documentKey`")]
    #[case::odd_after(rawdoc! { "after": "x" }.into_bytes(), "a document in it")]
    #[case::odd_source(rawdoc! { "source": { "db": 1 } }.into_bytes(), "`source` is not")]
    fn malformed_bson(#[case] value: Vec<u8>, #[case] detail: &str) {
        let encoded = Encoded { value: Some(value), ..encode_as(Codec::Bson, &ann(), "demo") };
        let malformed = read_back(&encoded).expect_err("malformed");
        assert!(malformed.detail.contains(detail), "{}", malformed.detail);
        assert!(!malformed.detail.contains("Ann"));
        assert_eq!((malformed.reason, malformed.class), (Reason::Malformed, Class::Poison));
    }

    #[test]
    fn a_codec_that_does_not_exist_is_malformed() {
        let encoded = encode_as(Codec::Bson, &ann(), "demo");
        let mut headers = pairs(&encoded.headers);
        headers.last_mut().expect("the codec").1 = b"xml".to_vec();
        let malformed = decode(Some(&encoded.key), encoded.value.as_deref(), &headers).expect_err("malformed");
        assert!(malformed.detail.contains("`driftless.codec` does not parse"));
    }

    #[test]
    fn what_text_cannot_carry_travels_as_bson() {
        let document = rawdoc! { "_id": 7, "a": { "$oid": "x" } };
        let encoded = encode(&simple(Op::Insert, Some(document.clone())), "demo");
        assert!(String::from_utf8_lossy(value_of(&encoded)).contains(r#""after":null"#));
        match read_back(&encoded) {
            Ok(Record::Change(change)) => assert_eq!(change.document, Some(document)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_largest_and_oddest_document_stays_below_the_bound() {
        let id = rawdoc! { "_id": "\u{1}".repeat(15 << 20) };
        let mut document = id.clone();
        document.append(bson::raw::cstr!("x"), "\u{1}".repeat(1 << 20));
        let mut change = simple(Op::Insert, Some(document));
        change.key = Key::from_id(&id).expect("a key");
        change.id = id;
        for codec in BOTH {
            let encoded = encode_as(codec, &change, "demo");
            assert!(encoded.size_bytes() < MAX_RECORD);
            assert_eq!(read_back(&encoded), Ok(Record::Change(change.clone())));
        }
    }

    #[test]
    fn the_deepest_documents_are_read_back() {
        for depth in [60, 99, 100, 101, 127, 180] {
            let plain = (1..depth).fold(rawdoc! { "x": 1 }, |inner, _| rawdoc! { "a": inner });
            let scoped = (1..depth).fold(rawdoc! { "x": 1 }, |inner, _| {
                rawdoc! { "a": RawBson::JavaScriptCodeWithScope(bson::raw::RawJavaScriptCodeWithScope { code: "f".into(), scope: inner }) }
            });
            for document in [plain, scoped] {
                let change = simple(Op::Insert, Some(document));
                for codec in BOTH {
                    let read = read_back(&encode_as(codec, &change, "demo"));
                    assert_eq!(read, Ok(Record::Change(change.clone())), "depth {depth}");
                }
            }
        }
    }

    struct Parts {
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Pairs,
    }

    #[rstest]
    #[case::no_key(|r: &mut Parts| r.key = None, "has no key")]
    #[case::tombstone(|r: &mut Parts| r.value = None, "has no value")]
    #[case::garbage(|r: &mut Parts| r.value = Some(b"secret".to_vec()), "not the JSON")]
    #[case::other_key(|r: &mut Parts| r.key = Some(br#"{"id":"8"}"#.to_vec()), "not the one of its `documentKey`")]
    #[case::no_format(|r: &mut Parts| drop(r.headers.remove(0)), "no header `driftless.format`")]
    #[case::bad_version(|r: &mut Parts| r.headers[2].1 = b"12".to_vec(), "`driftless.version` does not parse")]
    #[case::bad_upper(|r: &mut Parts| r.headers[3].1 = b"12".to_vec(), "`driftless.upper` does not parse")]
    #[case::document_of_a_delete(|r: &mut Parts| r.headers[1].1 = b"delete".to_vec(), "a delete has a document")]
    fn malformed(#[case] damage: fn(&mut Parts), #[case] detail: &str) {
        let encoded = insert();
        let mut parts = Parts { headers: headers(&encoded, 7), key: Some(encoded.key), value: encoded.value };
        damage(&mut parts);
        let malformed = decode(parts.key.as_deref(), parts.value.as_deref(), &parts.headers).expect_err("malformed");
        assert!(malformed.detail.contains(detail), "{}", malformed.detail);
        assert!(!malformed.detail.contains("secret") && !malformed.detail.contains("Ann"));
        assert_eq!((malformed.reason, malformed.class), (Reason::Malformed, Class::Poison));
    }

    #[rstest]
    #[case::no_payload(br#"{"schema":{}}"#, "not the JSON")]
    #[case::no_json(br#"{"schema":secret"#, "not the JSON")]
    #[case::another_key(br#"{"schema":{},"payload":{"id":"8"}}"#, "not the one of its `documentKey`")]
    fn a_key_with_a_schema_is_checked_like_any_other(#[case] key: &[u8], #[case] detail: &str) {
        let malformed = read_back(&Encoded { key: key.to_vec(), ..insert() }).expect_err("malformed");
        assert!(malformed.detail.contains(detail) && !malformed.detail.contains("secret"), "{}", malformed.detail);
        let foreign = Encoded { key: br#"{"schema":{},"payload":{"id":"7"}}"#.to_vec(), ..insert() };
        assert!(read_back(&foreign).is_ok());
    }

    #[test]
    fn a_tombstone_of_a_document_is_malformed() {
        let encoded = insert();
        let mut headers = headers(&encoded, 7);
        headers.push((header::TOMBSTONE.to_owned(), value_of(&encoded).to_vec()));
        let malformed = decode(Some(&encoded.key), None, &headers).expect_err("malformed");
        assert_eq!(malformed.detail, "a tombstone has a document");
    }

    #[test]
    fn raw_bson_of_a_false_length_is_malformed() {
        for bytes in [vec![], vec![4, 0, 0, 0], vec![255; 5], vec![5, 0, 0, 0, 0, 0], vec![255, 255, 255, 127, 0]] {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            let mut encoded = insert();
            let value = String::from_utf8_lossy(value_of(&encoded)).into_owned();
            let (head, tail) = value.split_once(r#""after":""#).expect("an after");
            let (_, tail) = tail.split_once(r#"}","#).expect("its end");
            encoded.value = Some(format!(r#"{head}"raw":"{}",{tail}"#, STANDARD.encode(bytes)).into_bytes());
            assert!(read_back(&encoded).expect_err("malformed").detail.contains("is not base64 of a document"));
        }
    }

    #[test]
    fn a_newer_format_halts() {
        let encoded = insert();
        let mut headers = headers(&encoded, 7);
        headers[0].1 = (FORMAT + 1).to_string().into_bytes();
        let malformed = decode(Some(&encoded.key), encoded.value.as_deref(), &headers).expect_err("malformed");
        assert_eq!(malformed.class, Class::Halt);
    }

    #[test]
    fn an_unknown_op_has_its_own_reason() {
        let encoded = insert();
        let mut headers = headers(&encoded, 7);
        headers[1].1 = b"merge".to_vec();
        let malformed = decode(Some(&encoded.key), encoded.value.as_deref(), &headers).expect_err("malformed");
        assert_eq!((malformed.reason, malformed.class), (Reason::UnknownOp, Class::Poison));
    }

    #[test]
    fn a_publisher_counts_its_changes_only() {
        let mut headers = headers(&insert(), 7);
        assert_eq!(counted_by(&headers), Some(7));
        headers.push((header::RETRY.to_owned(), b"1".to_vec()));
        assert_eq!(counted_by(&headers), None);
        let before = Frontier::default();
        let frontier = FrontierRecord { before, as_of_ms: 0, seq: 1, publisher: 7, changes: 0, complete: false };
        assert_eq!(counted_by(&self::headers(&encode_frontier(&frontier), 7)), None);
        assert_eq!(counted_by(&Pairs::new()), None);
    }
}
