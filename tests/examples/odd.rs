//! Collections with every odd value and shape of `docs/inputs.md` that a document can hold and some column type takes. Their sizes are
//! small: what is large, and what PostgreSQL or MongoDB refuses whatever the columns are, is the subject of `tests/inputs`.
//!
//! Most values are alone at their path, so that the draft decides about each of them alone.

use driftless_testing::bytes::{binary, document, text};
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc, oid::ObjectId,
    raw::RawDocumentBuf, rawdoc, spec::BinarySubtype,
};

/// Far more names than an analysis counts one by one.
const VERY_WIDE: usize = 1_200;

/// A collection and its documents.
pub(crate) type Filled = (String, Vec<RawDocumentBuf>);

/// Every collection.
pub(crate) fn collections() -> Vec<Filled> {
    let owners: Vec<ObjectId> = (1..9).map(|at| ObjectId::from_bytes([at; 12])).collect();
    let collections = [
        ("odd_owners", owners.iter().map(|id| doc! { "_id": id, "name": "secret value" }).collect()),
        ("odd_numbers", numbers()),
        ("odd_number_shapes", number_shapes()),
        ("odd_dates", dates()),
        ("odd_mixed", mixed()),
        ("odd_texts", texts()),
        ("odd_maps", maps()),
        ("odd_lists", lists(&owners)),
        ("odd_structure", structure()),
        ("odd names.x", vec![names()]),
        ("OddNames X", vec![names()]),
        ("odd_names_x", vec![names()]),
        ("odd.a_b", vec![doc! { "_id": "one" }]),
        ("odd_a.b", vec![doc! { "_id": "other" }]),
        ("odd_types", types()),
        ("odd_wide", vec![wide(500), wide(3)]),
        ("odd_very_wide", vec![wide(VERY_WIDE), wide(3)]),
        ("odd_kinds", kinds()),
        ("odd_ids", with_lists(every_id())),
        ("odd_ids_of_texts", with_lists(texts_of_ids())),
        ("odd_ids_of_numbers", with_lists(whole_numbers())),
        ("odd_ids_with_nul", with_lists(["before\0after", "\0", "plain"].map(Bson::from))),
        ("odd_ids_hashed", with_lists(["x".repeat(10_000), "y".repeat(10_000), "short".to_owned()].map(Bson::from))),
        ("odd_uuids", uuids()),
    ];
    let raw = |document: &Document| RawDocumentBuf::try_from(document).expect("a document");
    let mut collections: Vec<Filled> = collections
        .iter()
        .map(|(name, documents): &(&str, Vec<Document>)| ((*name).to_owned(), documents.iter().map(raw).collect()))
        .collect();
    collections.push((format!("odd {}", "ä".repeat(40)), vec![rawdoc! { "_id": 1, "name": "a long name" }]));
    collections.push(("odd_bytes".to_owned(), bytes()));
    collections.push(("odd_ids_of_bad_texts".to_owned(), [&b"\xff"[..], b"\xed\xa0\x80"].map(bad_id).to_vec()));
    collections
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse::<Decimal128>().expect("a decimal"))
}

fn numbers() -> Vec<Document> {
    vec![
        doc! { "_id": 1, "small": 1, "big": i64::MAX, "ratio": 0.1, "mixed": 1, "far": f64::MAX, "money": decimal("12.30"), "textOrNumber": 7 },
        doc! { "_id": 2_i64, "small": -5, "big": 1, "ratio": f64::NAN, "mixed": 0.5, "far": 1_i64, "money": decimal("1E+40"), "textOrNumber": "07" },
        doc! { "_id": 3.0, "small": 0, "big": i64::MIN, "ratio": f64::INFINITY, "mixed": i64::MAX, "far": 5e-324, "money": decimal("NaN"), "textOrNumber": 0.25 },
        doc! { "_id": decimal("4"), "small": 2, "big": 3, "ratio": -1.0, "mixed": decimal("0.1"), "far": -1e300, "money": decimal("Infinity"), "textOrNumber": "x" },
    ]
}

fn number_shapes() -> Vec<Document> {
    let beyond = (1_i64 << 53) + 1;
    // A coefficient of more digits than there are is zero by definition.
    let mut not_canonical = [0; 16];
    not_canonical[15] = 0x6c;
    let document = doc! {
        "_id": ObjectId::from_bytes([1; 12]), "beyondSmallint": 70_000, "beyondInteger": 3e9, "smallest": i64::MIN, "beyondMantissa": beyond,
        "fraction": 2.5, "wholeDouble": 3.0, "largeDouble": 1e23, "huge": 1e308, "tiny": 5e-324, "negativeZero": -0.0, "nan": f64::NAN,
        "infinity": f64::NEG_INFINITY, "largest": decimal("9.99E+6144"), "smallestPower": decimal("1E-6176"), "zero": decimal("-0E-6176"),
        "decimalNaN": decimal("NaN"), "decimalInfinity": decimal("-Infinity"), "scale": decimal("1.10"),
        "notCanonical": Decimal128::from_bytes(not_canonical), "large": [decimal("1E+6144"), decimal("1E-6176")],
        "time": Timestamp { time: u32::MAX, increment: u32::MAX }, "noTime": Timestamp { time: 1, increment: 0 },
        "inJson": { "a": { "b": { "mantissa": beyond, "nan": f64::NAN, "zero": -0.0, "large": decimal("1E+6144"), "not": decimal("NaN") } } },
    };
    vec![document, doc! { "_id": ObjectId::from_bytes([2; 12]), "scale": decimal("1.1") }]
}

fn dates() -> Vec<Document> {
    let document = |id: i32, dates: &[(&str, i64)]| -> Document {
        let dates = dates.iter().map(|(name, at)| ((*name).to_owned(), DateTime::from_millis(*at).into()));
        std::iter::once(("_id".to_owned(), id.into())).chain(dates).collect()
    };
    let all = [
        ("smallest", i64::MIN),
        ("largest", i64::MAX),
        ("year10000", 253_402_300_800_000),
        ("lastYear", 9_224_318_015_999_999),
        ("afterLastYear", 9_224_318_016_000_000),
        ("firstYear", -210_866_803_200_000),
        ("beforeFirstYear", -210_898_425_600_001),
        ("year0", -62_167_219_200_000),
        ("beforeEpoch", -1),
        ("plain", 1_700_000_000_123),
    ];
    let mut seconds = document(3, &all[8..]);
    seconds.insert("year0", 1_700_000_000);
    vec![document(1, &all), document(2, &all[2..4]), seconds]
}

fn mixed() -> Vec<Document> {
    vec![
        doc! { "_id": 1, "v": 1, "w": true, "x": "a", "y": { "z": 1 }, "when": DateTime::MAX, "deep": { "a": { "b": { "c": { "d": 1 } } } }, "flips": 1 },
        doc! { "_id": 2, "v": "one", "w": "yes", "x": Bson::Null, "y": "text", "when": DateTime::MIN, "deep": { "a": Bson::Null }, "flips": "a" },
        doc! { "_id": 3, "v": ObjectId::from_bytes([9; 12]), "w": DateTime::from_millis(0), "y": ["list"], "nothing": Bson::Null, "when": DateTime::from_millis(0), "deep": Bson::Null, "flips": { "a": 1 } },
        doc! { "_id": 4, "x": Bson::Undefined, "y": Bson::Undefined, "deep": {} },
        doc! { "_id": 5 },
    ]
}

fn texts() -> Vec<Document> {
    vec![
        doc! {
            "_id": "a", "nul": "before\0after", "onlyNul": "\0", "long": "x".repeat(20_000), "html": "<b>bold</b>", "status": "open",
            "word": "NaN", "day": "2020-02-30", "padded": " 12 ", "maybe": "maybe", "uuid": "zz", "number": "", "xml": "<a>", "json": "{\"a\":",
            "inet": "300.1.1.1", "six": "\\u0000", "bidi": "\u{202e}abc\u{200b}", "escapes": "\u{1b}[31m\r\n", "not": "\u{fffe}\u{ffff}",
            "emoji": "👩‍👩‍👧", "controls": "\u{1}".repeat(5_000), "nested": { "nul": "\0", "six": "\\u0000" }, "list": ["\0", "a"],
        },
        doc! { "_id": "B", "nul": "plain", "long": "", "html": "<b>bold</b>", "status": "it's \"done\"\n; DROP TABLE x; --", "word": "null", "day": "2020-02-29", "maybe": "true", "number": "1" },
        doc! { "_id": "507f1f77bcf86cd799439011", "nul": "", "long": " ", "html": "<b>bold</b>", "status": "open", "word": "true" },
    ]
}

fn maps() -> Vec<Document> {
    let document = |at: i32| {
        let key = format!("k{at}");
        doc! { "_id": at, "byDay": { "2025-03-01": at, "2025-03-02": { "n": at } }, "by_key": { key: { "n": at } }, "empty": {} }
    };
    (0..30).map(document).collect()
}

fn lists(owners: &[ObjectId]) -> Vec<Document> {
    (0..6_i32)
        .map(|at| {
            let owners: Vec<ObjectId> = owners.iter().take(at as usize).copied().collect();
            doc! {
                "_id": at, "tags": ["a", Bson::Null, "b\\\"{}"], "numbers": [1, 2.5], "any": [1, "x", { "y": 1 }], "grid": [[1, 2], [3]],
                "lines": [{ "sku": "s", "parts": [{ "n": 1 }, { "n": at }] }, { "sku": Bson::Null, "parts": [] }, {}],
                "owners": owners, "holes": [{ "a": 1 }, Bson::Null], "none": [], "inner": [[]], "nulls": [Bson::Null],
                "many": vec![at; 3_000], "whole": [1, 2.0, i64::MAX],
                "late": if at == 5 { Bson::from(doc! { "a": [1] }) } else { Bson::Null },
            }
        })
        .collect()
}

/// Objects that mean something to MongoDB, Debezium or Extended JSON, and objects of great depth.
fn structure() -> Vec<Document> {
    let nested = |depth: usize| (0..depth).fold(doc! { "end": 1 }, |inner, _| doc! { "a": inner });
    vec![
        doc! {
            "_id": ObjectId::from_bytes([1; 12]), "a.b": 1, "a": { "b": 2 }, "id": { "$oid": "507f1f77bcf86cd799439011" },
            "number": { "$numberDecimal": "abc" }, "wrapper": { "$driftless": "nan" }, "op": "d", "ts": 1, "before": Bson::Null, "after": {},
            "ref": { "$ref": "odd_owners", "$id": ObjectId::from_bytes([1; 12]), "$db": "x" }, "deep": nested(100), "tooDeep": nested(140),
            "empty": {}, "list": [], "__proto__": 1, "constructor": { "name": "x" },
        },
        doc! { "_id": ObjectId::from_bytes([2; 12]), "deep": nested(2), "order": { "x": 1, "y": 2 } },
        doc! { "_id": ObjectId::from_bytes([3; 12]), "order": { "y": 2, "x": 1 } },
        doc! { "_id": ObjectId::from_bytes([4; 12]) },
    ]
}

/// Names that a path, an identifier or a statement could trip over.
fn names() -> Document {
    const NAMES: [&str; 24] = [
        "",
        "a.b",
        "$set",
        "x[0]",
        "user",
        "USER",
        "User",
        "select",
        "\"quoted\"",
        "'; --",
        "two\nlines",
        "\u{1}",
        "^up",
        "back\\slash",
        "xmin",
        "id",
        "Id",
        "extra",
        "ä ö",
        "2nd",
        "createdAt",
        "created_at",
        "[]",
        "*",
    ];
    let long = "n".repeat(70);
    let mut document = doc! { "_id": ObjectId::from_bytes([3; 12]) };
    document.extend(NAMES.iter().zip(0_i32..).map(|(name, at)| ((*name).to_owned(), Bson::from(at))));
    document.insert(format!("{long}1"), 1);
    document.insert(format!("{long}2"), 2);
    document.insert("m".repeat(100_000), 3);
    document.insert("inside", doc! { "a.b": 1, "$ref": "x", "": 2, "ID": 3 });
    document
        .insert("rows", vec![doc! { "_id": ObjectId::from_bytes([4; 12]), "id": 1, "position": 2, "user": 3, "$": 4 }]);
    document
}

fn wide(fields: usize) -> Document {
    let fields = (0..fields).map(|at| (format!("field{at}"), Bson::from(at as i32)));
    std::iter::once(("_id".to_owned(), Bson::from(fields.len() as i32))).chain(fields).collect()
}

fn kinds() -> Vec<Document> {
    (0..12_i32)
        .map(|at| match at % 3 {
            0 => doc! { "_id": at, "type": "card", "number": at, "holder": { "name": "x" } },
            1 => doc! { "_id": at, "type": "transfer", "iban": format!("DE{at}"), "number": "7" },
            _ => doc! { "_id": at, "type": Bson::Null, "cash": true },
        })
        .collect()
}

fn types() -> Vec<Document> {
    let cstr = |text: &str| text.to_owned().try_into().expect("no NUL");
    let regex = |pattern: &str, options: &str| Regex { pattern: cstr(pattern), options: cstr(options) };
    let scope = |depth: usize| (0..depth).fold(doc! { "a": 1 }, |inner, _| doc! { "a": inner });
    let code = JavaScriptCodeWithScope { code: "g()".to_owned(), scope: scope(20) };
    vec![
        doc! {
            "_id": ObjectId::from_bytes([1; 12]), "regex": regex("a+", "i"), "flags": regex("(", "msx"), "code": Bson::JavaScriptCode("f()".to_owned()),
            "scope": Bson::JavaScriptCodeWithScope(code), "symbol": Bson::Symbol("s".to_owned()), "at": Timestamp { time: u32::MAX, increment: 1 },
            "low": Bson::MinKey, "high": Bson::MaxKey, "undefined": Bson::Undefined, "bytes": some(BinarySubtype::Generic, vec![]),
            "old": some(BinarySubtype::BinaryOld, vec![1, 2]), "function": some(BinarySubtype::Function, vec![1]), "md5": some(BinarySubtype::Md5, vec![2; 16]),
            "encrypted": some(BinarySubtype::Encrypted, vec![3; 9]), "own": some(BinarySubtype::UserDefined(0x80), vec![4]),
            "several": [some(BinarySubtype::Generic, vec![1]), some(BinarySubtype::Md5, vec![1; 16])], "shortUuid": some(BinarySubtype::Uuid, vec![5; 3]),
            "chunk": some(BinarySubtype::Generic, vec![6; 5_000]),
        },
        doc! { "_id": ObjectId::from_bytes([2; 12]), "regex": "text", "low": Bson::MaxKey, "bytes": some(BinarySubtype::Md5, vec![6; 16]) },
    ]
}

/// Documents that no `Document` can be.
fn bytes() -> Vec<RawDocumentBuf> {
    const STRING: u8 = 0x02;
    let one = |id: i32| (0x10, &b"_id"[..], id.to_le_bytes().to_vec());
    let bad =
        |id: i32, bytes: &[u8]| document(&[one(id), (STRING, b"bad", text(bytes)), (STRING, b"good", text(b"x"))]);
    let pointer = [text(b"db.things"), vec![1; 12]].concat();
    vec![
        bad(1, b"\xed\xa0\x80"),
        bad(2, b"\xed\xb0\x80"),
        bad(3, b"\xc0\x80"),
        bad(4, b"\xff"),
        bad(5, b"a\xe2\x82"),
        document(&[one(6), (STRING, b"\xff", text(b"a name")), (STRING, b"good", text(b"y"))]),
        document(&[one(7), (0x10, b"twice", 1_i32.to_le_bytes().to_vec()), (STRING, b"twice", text(b"last"))]),
        document(&[
            one(8),
            (0x0c, b"pointer", pointer),
            (0x05, b"sensitive", binary(8, &[1])),
            (0x05, b"vector", binary(9, &[3, 0, 1])),
        ]),
    ]
}

fn bad_id(id: &[u8]) -> RawDocumentBuf {
    document(&[(0x02, b"_id", text(id)), (0x02, b"text", text(b"x"))])
}

fn with_lists(ids: impl IntoIterator<Item = Bson>) -> Vec<Document> {
    ids.into_iter().map(|id| doc! { "_id": id, "list": [{ "a": 1 }], "tags": ["x"] }).collect()
}

/// An `_id` of every type, for which no rule makes a key.
fn every_id() -> Vec<Bson> {
    let dates = [i64::MIN, 5, 9_214_646_400_000_000].map(|at| DateTime::from_millis(at).into());
    let bytes = [vec![], vec![0], vec![7; 40]].map(|bytes| some(BinarySubtype::Generic, bytes));
    let objects = [
        doc! { "a": 1, "b": 2 },
        doc! { "a": 1, "b": { "c": [1, 2] } },
        doc! { "a.b": [1, [2]], "c": {} },
        doc! { "": "" },
        doc! {},
    ];
    let others: [Bson; 17] = [
        1.into(),
        2.5.into(),
        (-0.0).into(),
        f64::NAN.into(),
        f64::INFINITY.into(),
        decimal("0.1"),
        decimal("1E+6144"),
        "text".into(),
        ObjectId::from_bytes([5; 12]).into(),
        some(BinarySubtype::Uuid, vec![1; 16]),
        some(BinarySubtype::UuidOld, vec![1; 16]),
        true.into(),
        false.into(),
        Bson::Null,
        Bson::MinKey,
        Bson::MaxKey,
        Timestamp { time: 1, increment: 2 }.into(),
    ];
    others.into_iter().chain(dates).chain(bytes).chain(objects.map(Bson::from)).collect()
}

fn texts_of_ids() -> Vec<Bson> {
    [
        "",
        "a",
        "a ",
        "\u{e9}",
        "e\u{301}",
        "ABC",
        "abc",
        "1",
        "507f1f77bcf86cd799439011",
        "507F1F77BCF86CD799439011",
        "\u{202e}",
        "'; --",
    ]
    .map(Bson::from)
    .to_vec()
}

fn whole_numbers() -> Vec<Bson> {
    vec![
        ((1_i64 << 53) + 1).into(),
        ((1_i64 << 53) as f64).into(),
        (-0.0).into(),
        decimal("7.0"),
        i64::MIN.into(),
        1.into(),
    ]
}

fn uuids() -> Vec<Document> {
    let document = |at: u8| {
        let uuid = || some(BinarySubtype::Uuid, vec![at; 16]);
        doc! { "_id": uuid(), "ref": uuid(), "raw": some(BinarySubtype::Generic, vec![at; 3]), "old": some(BinarySubtype::UuidOld, vec![at; 16]) }
    };
    (0..3).map(document).collect()
}

fn some(subtype: BinarySubtype, bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary { subtype, bytes })
}
