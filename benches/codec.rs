//! The cost of one change between its document and the bytes in the log: a flat user of 524 bytes and 12 fields.
//!
//! The budget is 8 µs on one core for both ways together as JSON, and 2 µs as BSON.

use bson::{RawDocumentBuf, oid::ObjectId, rawdoc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use driftless::{
    config::Codec,
    log::{
        Headers,
        envelope::{Encoded, decode, encode_as, header},
    },
    model::{Change, ClusterTime, Key, Namespace, Op, Version},
};

fn document() -> RawDocumentBuf {
    rawdoc! {
        "_id": ObjectId::from_bytes([7; 12]),
        "seq": 123_456_i64,
        "email": "margarethe.hohenstein.123456@example.org",
        "name": "Margarethe Hohenstein",
        "company": "Hohenstein & Söhne GmbH",
        "city": "Bonn",
        "country": "DE",
        "age": 42,
        "score": 1234.56,
        "active": true,
        "created_at": bson::DateTime::from_millis(1_700_000_000_123),
        "bio": "Line one says \"hello\".\nLine two goes on for a while, as such texts do. ".repeat(3),
    }
}

fn change() -> Change {
    let id = rawdoc! { "_id": ObjectId::from_bytes([7; 12]) };
    let time = ClusterTime { t: 1_700_000_000, i: 3 };
    Change {
        namespace: Namespace::new("shop", "users"),
        key: Key::from_id(&id).expect("a key"),
        id,
        version: Version { epoch: 1, time, op: 0 },
        op: Op::Insert,
        document: Some(document()),
        upper: time,
        wall_ms: 1_700_000_000_123,
        update_description: None,
        collection_uuid: Some([7; 16]),
        replaces: None,
    }
}

/// The headers as a consumer has them.
fn headers(encoded: &Encoded) -> Headers {
    encoded.headers.iter().chain([(header::PUBLISHER, b"7".as_slice())]).collect()
}

fn codec(criterion: &mut Criterion) {
    let change = change();
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(document().as_bytes().len() as u64));
    for (codec, name) in [(Codec::Json, "json"), (Codec::Bson, "bson")] {
        let encoded = encode_as(codec, &change, "bench");
        let headers = headers(&encoded);
        group.bench_function(format!("{name}, change to bytes"), |bencher| {
            bencher.iter(|| encode_as(codec, std::hint::black_box(&change), "bench"));
        });
        group.bench_function(format!("{name}, bytes to change"), |bencher| {
            bencher.iter(|| {
                let (key, value) = (Some(&*encoded.key), encoded.value.as_deref());
                decode(std::hint::black_box(key), std::hint::black_box(value), &headers).expect("a record")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
