//! Arbitrary and mutated bytes against everything that reads external bytes: it never panics or loops endlessly, and everything
//! it accepts is valid.
//!
//! `PROPTEST_CASES` sets the number of cases per test; the default takes seconds, a million takes some minutes.

use bson::{
    RawDocument, RawDocumentBuf,
    raw::{RawArrayBuf, RawBson},
    rawdoc,
};
use driftless::{
    log::{Headers, Record, envelope},
    mapping::{
        CollectionPlan, MappingFile, Plan,
        target::{Catalog, Column, ColumnType, Finest, Table, TableName},
    },
    model::{Change, ClusterTime, Key, Namespace, Op, ResumeToken, Version},
};
use proptest::{prelude::*, sample::Index};

const MAPPING: &str = r#"
namespace = "dns"
[collections.things]
table = "app.things"
id = "uuid5"
on_drop = "ignore"
[collections.things.columns]
city = "profile.address.city"
owner = { path = "owner", reference = "things", default = 5 }
[collections.things.children.parts]
table = "app.parts"
parent = "thing_id"
order = "place"
id = { column = "id", from = "code" }
ignore = ["extra"]
"#;

/// Start of a mapping file, before the columns.
const PLAIN: &str = r#"
namespace = "dns"
[collections.things]
table = "app.things"
id = "uuid5"
[collections.things.columns]
"#;

fn table(name: &str, columns: Vec<Column>) -> Table {
    Table::new(TableName::new("app", name), &["id"], columns)
}

fn kinds() -> Vec<ColumnType> {
    let scalars = vec![
        ColumnType::Bool,
        ColumnType::Int2,
        ColumnType::Int8,
        ColumnType::Float4,
        ColumnType::Float8,
        ColumnType::Numeric { precision: None, scale: 0 },
        ColumnType::Numeric { precision: Some(12), scale: 3 },
        ColumnType::Numeric { precision: Some(3), scale: -2 },
        ColumnType::Money { scale: 2 },
        ColumnType::Text,
        ColumnType::Varchar(Some(3)),
        ColumnType::Enum { oid: 1, labels: vec!["a".to_owned(), "1".to_owned()] },
        ColumnType::Uuid,
        ColumnType::Date,
        ColumnType::Timestamp { precision: 0 },
        ColumnType::Timestamptz { precision: 6 },
        ColumnType::Time { precision: 1 },
        ColumnType::Timetz { precision: 6 },
        ColumnType::Interval { precision: 3, finest: Finest::Second },
        ColumnType::Interval { precision: 6, finest: Finest::Month },
        ColumnType::Bit(3),
        ColumnType::Point,
        ColumnType::Range(Box::new(ColumnType::Timestamptz { precision: 6 })),
        ColumnType::Multirange(Box::new(ColumnType::Int4)),
        ColumnType::Hstore,
        ColumnType::Ltree,
        ColumnType::Tsvector,
        ColumnType::Vector(None),
        ColumnType::Other { name: "inet".to_owned(), delimiter: b',' },
        ColumnType::Jsonb,
        ColumnType::Bytea,
    ];
    let arrays = scalars.iter().map(|kind| ColumnType::Array(Box::new(kind.clone()))).collect::<Vec<_>>();
    scalars.into_iter().chain(arrays).collect()
}

/// Returns every policy that a column of this type may declare, all at once.
fn policies(kind: &ColumnType) -> &'static str {
    let element = if let ColumnType::Array(element) = kind { element } else { kind };
    match element {
        ColumnType::Bool => "coerce = \"boolean\"",
        ColumnType::Numeric { precision: None, .. } => "coerce = \"number\"",
        ColumnType::Int2
        | ColumnType::Int8
        | ColumnType::Float4
        | ColumnType::Float8
        | ColumnType::Numeric { .. }
        | ColumnType::Money { .. } => "coerce = \"number\", misfit = [\"round\", \"clamp\"]",
        ColumnType::Date => "coerce = \"date\", misfit = \"clamp\"",
        ColumnType::Timestamp { .. } | ColumnType::Timestamptz { .. } => {
            "coerce = \"date\", epoch = \"seconds\", misfit = [\"round\", \"clamp\"]"
        }
        ColumnType::Time { .. } | ColumnType::Timetz { .. } | ColumnType::Vector(_) => "misfit = \"round\"",
        ColumnType::Text => "coerce = \"text\", misfit = \"replace\"",
        ColumnType::Varchar(_) => "coerce = \"text\", misfit = [\"replace\", \"truncate\"]",
        ColumnType::Bit(_) => "misfit = \"truncate\"",
        _ => "misfit = \"null\"",
    }
}

/// Returns two plans for each type: without policies, and with all policies that apply. Each plan has one column: the first
/// value that a column refuses ends its document, so a wide table would rarely get to its last columns.
fn plans() -> Vec<CollectionPlan> {
    let kinds = kinds();
    let with_and_without = kinds.iter().flat_map(|kind| [(kind, ""), (kind, policies(kind))]);
    with_and_without
        .map(|(kind, policies)| {
            let declared = match policies {
                "" => String::new(),
                policies => format!(", trim = true, empty = \"null\", {policies}"),
            };
            let text = format!("{PLAIN}value = {{ path = \"a\"{declared} }}\n");
            let file = MappingFile::parse(&text, "fuzz.toml").unwrap_or_else(|faults| panic!("{}", faults[0]));
            let columns = vec![Column::new("id", ColumnType::Uuid), Column::new("value", kind.clone())];
            let catalog = Catalog { tables: vec![table("things", columns)] };
            let plan = Plan::compile(&file, &catalog).unwrap_or_else(|faults| panic!("{}", faults[0]));
            plan.collections()[0].clone()
        })
        .collect()
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 5).expect("short");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(body);
    bytes.push(0);
    bytes
}

/// Strategy of byte changes: overwritten, removed, doubled.
fn mutations() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    proptest::collection::vec(any::<(Index, u8, u8)>(), 0..6)
}

fn mutated(mut bytes: Vec<u8>, mutations: &[(Index, u8, u8)]) -> Vec<u8> {
    for (at, how, byte) in mutations {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match how % 4 {
            0 => {
                bytes.remove(at);
            }
            1 => bytes.insert(at, *byte),
            2 => bytes.truncate(at),
            _ => bytes[at] = *byte,
        }
    }
    bytes
}

fn value() -> impl Strategy<Value = RawBson> {
    let leaf = prop_oneof![
        "[-+0-9.:eTZPYMD \\[\\](){},a=>\"']{0,24}".prop_map(RawBson::String),
        any::<String>().prop_map(RawBson::String),
        any::<i32>().prop_map(RawBson::Int32),
        any::<i64>().prop_map(RawBson::Int64),
        any::<f64>().prop_map(RawBson::Double),
        any::<bool>().prop_map(RawBson::Boolean),
        any::<i64>().prop_map(|ms| RawBson::DateTime(bson::DateTime::from_millis(ms))),
        any::<[u8; 16]>().prop_map(|bytes| RawBson::Decimal128(bson::Decimal128::from_bytes(bytes))),
        Just(RawBson::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let array = proptest::collection::vec(inner.clone(), 0..4)
            .prop_map(|values| RawBson::Array(values.into_iter().collect::<RawArrayBuf>()));
        let document = proptest::collection::vec(("(e|type|coordinates|[^\0]{0,3})", inner), 0..4)
            .prop_map(|fields| RawBson::Document(document(fields)));
        prop_oneof![array, document]
    })
}

fn document(fields: Vec<(String, RawBson)>) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    for (name, value) in fields {
        document.append(bson::raw::CString::try_from(name).expect("no NUL"), value);
    }
    document
}

/// Checks that a document becomes rows of the planned widths, or is refused with a reason.
fn check_mapping(plan: &CollectionPlan, bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(document) = RawDocument::from_bytes(bytes) else { return Ok(()) };
    if let Ok(rows) = plan.map(document) {
        for (rows, table) in rows.tables.iter().zip(&plan.tables) {
            for row in rows {
                prop_assert_eq!(row.fields().count(), table.columns.len());
            }
        }
    }
    Ok(())
}

/// Returns the numeric that a plan of one column makes of a Decimal128, printed as PostgreSQL prints it.
fn numeric_text(plan: &CollectionPlan, bytes: [u8; 16]) -> String {
    let document = rawdoc! { "_id": 1, "value": bson::Decimal128::from_bytes(bytes) };
    let rows = plan.map(&document).expect("a row");
    let field = rows.tables[0][0].fields().nth(1).flatten().expect("a value");
    let words: Vec<u16> = field.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let (count, weight, sign, scale) =
        (usize::from(words[0]), i32::from(words[1] as i16), words[2], usize::from(words[3]));
    let groups = &words[4..];
    assert_eq!(groups.len(), count);
    assert!(groups.iter().all(|group| *group < 10_000));
    match sign {
        0xc000 => return "NaN".to_owned(),
        0xd000 => return "Infinity".to_owned(),
        0xf000 => return "-Infinity".to_owned(),
        _ => {}
    }
    let group = |power: i32| usize::try_from(weight - power).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
    let whole: String = (0..=weight.max(0)).rev().map(|power| format!("{:04}", group(power))).collect();
    let whole = whole.trim_start_matches('0');
    let places = i32::try_from(scale.div_ceil(4)).expect("few");
    let mut fraction: String = (1..=places).map(|at| format!("{:04}", group(-at))).collect();
    fraction.truncate(scale);
    let sign = if sign == 0x4000 { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Returns the same number by IEEE 754-2008 alone: the coefficient's digits, moved by the exponent.
fn decimal_text(bytes: [u8; 16]) -> String {
    let bits = u128::from_le_bytes(bytes);
    let field = |from: u32, width: u32| (bits >> from) & ((1 << width) - 1);
    let negative = field(127, 1) == 1;
    match field(122, 5) {
        0b11111 => return "NaN".to_owned(),
        0b11110 => return if negative { "-Infinity" } else { "Infinity" }.to_owned(),
        _ => {}
    }
    // Two leading ones shift the exponent by two bits and imply a coefficient of more than 34 digits, which reads as zero.
    let (biased, coefficient) =
        if field(125, 2) == 0b11 { (field(111, 14), 0) } else { (field(113, 14), field(0, 113)) };
    let coefficient = if coefficient >= 10u128.pow(34) { 0 } else { coefficient };
    let exponent = i32::try_from(biased).expect("14 bits") - 6176;
    let mut digits = coefficient.to_string();
    if exponent > 0 && coefficient > 0 {
        digits.push_str(&"0".repeat(usize::try_from(exponent).expect("positive")));
    }
    let places = usize::try_from(-exponent).unwrap_or(0);
    let mut digits = format!("{digits:0>width$}", width = places + 1);
    if places > 0 {
        digits.insert(digits.len() - places, '.');
    }
    if negative && coefficient > 0 { format!("-{digits}") } else { digits }
}

fn decimal_plan() -> CollectionPlan {
    let columns = vec![
        Column::new("id", ColumnType::Uuid),
        Column::new("value", ColumnType::Numeric { precision: None, scale: 0 }),
    ];
    let file = MappingFile::parse(PLAIN, "fuzz.toml").expect("a mapping file");
    let plan = Plan::compile(&file, &Catalog { tables: vec![table("things", columns)] }).expect("a plan");
    plan.collections()[0].clone()
}

fn change(id: i32, t: u32, document: RawDocumentBuf) -> Change {
    let id = rawdoc! { "_id": id };
    let time = ClusterTime { t, i: 3 };
    Change {
        namespace: Namespace::new("shop", "orders"),
        key: Key::from_id(&id).expect("a key"),
        id,
        version: Version { epoch: 1, time, op: 2 },
        op: Op::Replace,
        document: Some(document),
        upper: time,
        wall_ms: i64::from(t) * 1000,
        update_description: None,
        collection_uuid: Some([0xab; 16]),
        replaces: None,
    }
}

fn headers(encoded: &envelope::Encoded) -> Headers {
    encoded.headers.iter().chain([(envelope::header::PUBLISHER, b"7".as_slice())]).collect()
}

/// Checks that a record that decodes is equal after it is encoded and decoded again.
fn check_record(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) -> Result<(), TestCaseError> {
    let _ = envelope::counted_by(headers);
    if let Ok(Record::Change(read)) = envelope::decode(key, value, headers) {
        let encoded = envelope::encode(&read, "t");
        let again = envelope::decode(Some(&encoded.key), encoded.value.as_deref(), &self::headers(&encoded));
        prop_assert_eq!(again, Ok(Record::Change(read)));
    }
    Ok(())
}

/// Checks that a file is accepted, or that every fault lies inside the file.
fn check_file(text: &str) -> Result<(), TestCaseError> {
    match MappingFile::parse(text, "fuzz.toml") {
        Ok(file) => {
            let things = vec![
                Column::new("id", ColumnType::Uuid),
                Column::new("city", ColumnType::Text),
                Column::new("owner", ColumnType::Uuid),
            ];
            let parts = vec![
                Column::new("id", ColumnType::Uuid),
                Column::new("thing_id", ColumnType::Uuid),
                Column::new("place", ColumnType::Int4),
                Column::new("extra", ColumnType::Text),
            ];
            let catalog = Catalog { tables: vec![table("things", things), table("parts", parts)] };
            if let Ok(plan) = Plan::compile(&file, &catalog) {
                prop_assert_eq!(plan.collections().len(), file.collections().count());
            }
        }
        Err(faults) => {
            prop_assert!(!faults.is_empty());
            let lines = u32::try_from(text.lines().count()).expect("few");
            for location in faults.iter().filter_map(|fault| fault.location.as_ref()) {
                prop_assert!(location.line <= lines + 1, "{location} of {lines}");
            }
        }
    }
    Ok(())
}

/// Strategy of the head of a token: cluster time, then integers, in hexadecimal digits.
fn token() -> impl Strategy<Value = (ClusterTime, String)> {
    (any::<(u32, u32)>(), 1..3u8, prop::sample::select(vec![0u16, 128]), 0..2000u16, "([0-9A-F]{2}){0,20}").prop_map(
        |((t, i), version, kind, op, rest)| {
            let integer = |value: u16| match value << 1 {
                0 => "29".to_owned(),
                shifted if shifted < 256 => format!("2B{shifted:02X}"),
                shifted => format!("2C{shifted:04X}"),
            };
            let head = [u16::from(version), kind, op].map(integer).concat();
            (ClusterTime { t, i }, format!("82{t:08X}{i:08X}{head}{rest}"))
        },
    )
}

#[test]
fn bson_is_mapped_or_refused() {
    let plans = plans();
    proptest!(|(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        value in value(),
        more in proptest::collection::vec(("(a|b|[^\0]{0,2})", value()), 0..3),
        mutations in mutations(),
        chosen in proptest::collection::vec(any::<Index>(), 8),
    )| {
        let mut fields = more;
        fields.push(("_id".to_owned(), RawBson::Int32(1)));
        fields.push(("a".to_owned(), value));
        let legal = document(fields);
        let body = legal.as_bytes()[4..legal.as_bytes().len() - 1].to_vec();
        for plan in chosen.iter().map(|at| at.get(&plans)) {
            check_mapping(plan, &framed(&bytes))?;
            check_mapping(plan, legal.as_bytes())?;
            check_mapping(plan, &framed(&mutated(body.clone(), &mutations)))?;
        }
    });
}

#[test]
fn every_decimal_keeps_its_digits() {
    let plan = decimal_plan();
    proptest!(|(bytes: [u8; 16], low in 0..10u128.pow(34), exponent in 0..12_288u128, negative: bool)| {
        let canonical = (u128::from(negative) << 127) | (exponent << 113) | low;
        for bytes in [bytes, canonical.to_le_bytes()] {
            prop_assert_eq!(numeric_text(&plan, bytes), decimal_text(bytes));
        }
    });
}

proptest! {
    #[test]
    fn a_resume_token_is_read_or_refused((time, data) in token(), noise in ".{0,40}|[0-9a-fA-F]{0,64}", mutations in mutations()) {
        let read = |data: &str| ResumeToken::from_raw(&rawdoc! { "_data": data });
        let whole = read(&data);
        prop_assert_eq!(whole.as_ref().map(ResumeToken::time), Ok(time));
        let _ = read(&noise);
        if let Ok(text) = String::from_utf8(mutated(data.into_bytes(), &mutations))
            && let Ok(token) = read(&text)
        {
            let head = |from: usize| u32::from_str_radix(&text[from..from + 8], 16).expect("it was read");
            prop_assert_eq!(token.time(), ClusterTime { t: head(2), i: head(10) });
        }
    }

    #[test]
    fn a_record_is_read_or_refused(
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        noise in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        odd in proptest::collection::vec(("driftless\\.[a-z]{2,9}|.{0,8}", proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        id: i32,
        t: u32,
        fields in proptest::collection::vec(("[^\0]{0,3}", value()), 0..5),
        mutations in mutations(),
        place in 0..3usize,
        header in any::<Index>(),
    ) {
        let record = envelope::encode(&change(id, t, document(fields)), "t");
        let valid = headers(&record);
        prop_assert!(matches!(envelope::decode(Some(&record.key), record.value.as_deref(), &valid), Ok(Record::Change(_))));
        check_record(key.as_deref(), noise.as_deref(), &odd.into_iter().collect())?;
        check_record(Some(&record.key), noise.as_deref(), &valid)?;
        let (mut key, mut value, mut headers) = (record.key, record.value, valid);
        match place {
            0 => key = mutated(key, &mutations),
            1 => value = value.map(|value| mutated(value, &mutations)),
            _ => {
                let at = header.index(headers.iter().count());
                let damaged = headers.iter().enumerate().map(|(place, (name, value))| {
                    (name, if place == at { mutated(value.to_vec(), &mutations) } else { value.to_vec() })
                });
                headers = damaged.collect();
            }
        }
        check_record(Some(&key), value.as_deref(), &headers)?;
    }

    #[test]
    fn a_mapping_file_is_read_or_refused(noise in ".{0,200}|([a-z\\[\\]{}=\".#'\n ]){0,200}", mutations in mutations()) {
        prop_assert!(check_file(MAPPING).is_ok());
        check_file(&noise)?;
        check_file(&String::from_utf8_lossy(&mutated(MAPPING.as_bytes().to_vec(), &mutations)))?;
    }
}
