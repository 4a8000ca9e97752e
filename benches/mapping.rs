//! The cost of one document on its way to a row: 1 kB of BSON, twelve columns, mapped and encoded.
//!
//! The budget is 5 µs on one core: then the mapping is a tenth of what PostgreSQL needs for the row.

use bson::{RawDocumentBuf, oid::ObjectId, rawdoc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use driftless::mapping::{
    CollectionPlan, MappingFile, Plan,
    target::{Catalog, Column, ColumnType, Table, TableName},
};

const MAPPING: &str = r#"
namespace = "dns"
[collections.users]
table = "app.users"
id = "uuid5"
[collections.users.columns]
city = "profile.address.city"
manager_id = { path = "manager", reference = "users" }
"#;

fn plan() -> CollectionPlan {
    let columns = vec![
        Column::new("id", ColumnType::Uuid),
        Column::new("email", ColumnType::Text),
        Column::new("name", ColumnType::Varchar(Some(80))),
        Column::new("age", ColumnType::Int4),
        Column::new("score", ColumnType::Numeric { precision: Some(10), scale: 2 }),
        Column::new("height", ColumnType::Float8),
        Column::new("active", ColumnType::Bool),
        Column::new("created_at", ColumnType::Timestamptz { precision: 6 }),
        Column::new("city", ColumnType::Text),
        Column::new("manager_id", ColumnType::Uuid),
        Column::new("tags", ColumnType::Array(Box::new(ColumnType::Text))),
        Column::new("settings", ColumnType::Jsonb),
    ];
    let table = Table::new(TableName::new("app", "users"), &["id"], columns);
    let file = MappingFile::parse(MAPPING, "bench.toml").expect("a mapping file");
    let plan = Plan::compile(&file, &Catalog { tables: vec![table] }).expect("a plan");
    plan.collection("users").expect("the collection").clone()
}

fn document() -> RawDocumentBuf {
    rawdoc! {
        "_id": ObjectId::from_bytes([7; 12]),
        "email": "margarethe.hohenstein@example.org",
        "name": "Margarethe Hohenstein",
        "age": 42,
        "score": 1234.56,
        "height": 1.78,
        "active": true,
        "created_at": bson::DateTime::from_millis(1_700_000_000_123),
        "profile": { "phone": "+49 228 123456", "address": { "street": "Am Hofgarten 1", "zip": "53113", "city": "Bonn" } },
        "manager": ObjectId::from_bytes([8; 12]),
        "tags": ["admin", "beta", "newsletter", "berlin"],
        "settings": {
            "theme": "dark", "language": "de", "columns": [1, 2, 3, 5, 8], "ratio": 0.75,
            "notifications": { "email": true, "push": false, "digest": "weekly" },
            "limits": { "projects": 12, "storage": 5_000_000_000_i64 },
        },
        "unmapped": "x".repeat(480),
    }
}

fn mapping(criterion: &mut Criterion) {
    let (plan, document) = (plan(), document());
    let mut group = criterion.benchmark_group("mapping");
    group.throughput(Throughput::Bytes(document.as_bytes().len() as u64));
    group.bench_function("one document of 1 kB, 12 columns", |bencher| {
        bencher.iter(|| plan.map(std::hint::black_box(&document)).expect("rows"));
    });
    group.finish();
}

criterion_group!(benches, mapping);
criterion_main!(benches);
