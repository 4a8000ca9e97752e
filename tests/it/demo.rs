//! The demo application against real servers: after any number of its writes, the source satisfies every constraint of the
//! target. PostgreSQL itself is the judge: a small separate mapper inserts all documents into `config/demo/schema.sql`. It
//! knows only the shape of `config/demo/mapping.toml` and nothing of the crate's mapping.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use driftless_demo::{Collection, Generator, Operation, Poison, Until, Workload, load};
use driftless_testing::{mongo, postgres, unique};
use futures_util::TryStreamExt;
use mongodb::{
    Database,
    bson::{Bson, Document, doc, oid::ObjectId},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SCHEMA: &str = include_str!("../../config/demo/schema.sql");
const MAPPING: &str = include_str!("../../config/demo/mapping.toml");
const FAST: f64 = 100_000.0;

#[tokio::test]
async fn the_schema_applies_twice() {
    let target = postgres::Database::create().await;
    let postgres = target.client().await;
    for _ in 0..2 {
        postgres.batch_execute(SCHEMA).await.expect("apply schema");
    }
    postgres.batch_execute("DROP SCHEMA app CASCADE").await.expect("drop schema");
    postgres.batch_execute(SCHEMA).await.expect("apply schema again");
    target.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_keep_the_constraints_of_the_target() {
    let (client, name) = (mongo().await, unique("demo_writes"));
    let database = client.database(&name);
    let generator = Generator::new(21, 1_500);
    let mut reported = 0;
    let loaded = load(&database, &generator, |documents| reported = documents).await.expect("load");
    assert_eq!((loaded.documents, reported), (1_500, 1_500));
    judge(&database).await;

    let mut workload = Workload::new(client.clone(), &name, 4);
    let counts = workload.run(FAST, Until::Count(2_000), CancellationToken::new()).await.expect("run");
    assert_eq!((counts.total(), counts.unknown), (2_000, 0), "{counts:?}");
    let missing: Vec<_> = Operation::ALL.iter().filter(|one| !counts.operations.contains_key(one)).collect();
    assert!(missing.len() <= 2, "kinds that never came: {missing:?}");
    judge(&database).await;

    // The same seed over the existing documents: another sequence, which collides with nothing.
    let mut again = Workload::new(client.clone(), &name, 4);
    again.run(FAST, Until::Count(500), CancellationToken::new()).await.expect("run again");
    judge(&database).await;
    database.drop().await.expect("drop");
}

#[tokio::test(flavor = "multi_thread")]
async fn poisoned_documents_are_refused_until_they_are_mended() {
    let (client, name) = (mongo().await, unique("demo_poison"));
    let database = client.database(&name);
    load(&database, &Generator::new(5, 100), |_| {}).await.expect("load");
    let mut workload = Workload::new(client.clone(), &name, 1);
    for (kind, state) in [
        (Poison::NulInText, "22P05"), // as jsonb, which is how the judge sends it
        (Poison::CheckViolation, "23514"),
        (Poison::TooLong, "22001"),
    ] {
        let poisoned = workload.poison(kind).await.expect("poison");
        let refused = accepts(&database).await.expect_err("a poisoned document was accepted");
        assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some(state), "{kind:?}");
        // The application continues to write around it.
        workload.run(FAST, Until::Count(100), CancellationToken::new()).await.expect("run");
        workload.mend(poisoned).await.expect("mend");
        judge(&database).await;
    }
    database.drop().await.expect("drop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_its_rate_and_stops_when_cancelled() {
    let (client, name) = (mongo().await, unique("demo_rate"));
    let database = client.database(&name);
    load(&database, &Generator::new(6, 100), |_| {}).await.expect("load");
    let mut workload = Workload::new(client.clone(), &name, 1);
    workload.run(FAST, Until::Count(1), CancellationToken::new()).await.expect("warm up");

    let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    let counts = workload.run(50.0, Until::Deadline(deadline), CancellationToken::new()).await.expect("run");
    assert!((1..=102).contains(&counts.total()), "{} steps in two seconds at no more than 50 a second", counts.total());

    let cancel = CancellationToken::new();
    let (stop, run) = (cancel.clone(), workload.run(FAST, Until::Cancelled, cancel));
    let stopper = async {
        let writes = database.collection::<Document>(Collection::Plans.name());
        let before = writes.count_documents(doc! {}).await.expect("count");
        while writes.count_documents(doc! {}).await.expect("count") == before {}
        stop.cancel();
    };
    let (counts, ()) = tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(run, stopper) })
        .await
        .expect("the run ends after it was cancelled");
    assert_eq!(counts.expect("run").unknown, 0);
    judge(&database).await;
    database.drop().await.expect("drop");
}

/// Panics when PostgreSQL refuses what the source holds.
async fn judge(database: &Database) {
    if let Err(refused) = accepts(database).await {
        let detail = refused.as_db_error().map(|error| format!("{error} {:?} {:?}", error.detail(), error.where_()));
        panic!("the source breaks a constraint of the target: {refused}: {detail:?}");
    }
}

/// Inserts all documents into an empty target, parents first.
async fn accepts(database: &Database) -> Result<(), tokio_postgres::Error> {
    let target = postgres::Database::create().await;
    let postgres = target.client().await;
    postgres.batch_execute(SCHEMA).await.expect("apply schema");
    let verdict = insert_all(&postgres, database).await;
    target.drop().await;
    verdict
}

async fn insert_all(client: &tokio_postgres::Client, database: &Database) -> Result<(), tokio_postgres::Error> {
    let mapping: toml::Table = MAPPING.parse().expect("mapping");
    for collection in Collection::ALL {
        let declared = &mapping["collections"][collection.name()];
        let cursor = database.collection::<Document>(collection.name()).find(doc! {}).await.expect("find");
        let documents: Vec<Document> = cursor.try_collect().await.expect("read");
        let table = Table::read(client, declared).await;
        let mut rows: Vec<Value> = documents.iter().map(|document| table.row(document, &[])).collect();
        for (row, document) in rows.iter_mut().zip(&documents) {
            row["id"] = json!(uuid5(&document.get_object_id("_id").expect("_id").to_hex()));
        }
        table.insert(client, &rows).await?;
        for (array, declared) in declared.get("children").and_then(toml::Value::as_table).into_iter().flatten() {
            let table = Table::read(client, declared).await;
            let text = |field: &str| declared[field].as_str().expect("text").to_owned();
            let (parent, order) = (text("parent"), text("order"));
            let from = declared["id"]["from"].as_str().expect("from");
            let mut rows = Vec::new();
            for (document, row) in documents.iter().zip(&mapping_ids(&documents)) {
                for (position, element) in document.get_array(array).ok().into_iter().flatten().enumerate() {
                    let element = element.as_document().expect("an element");
                    let mut child = table.row(element, &[&parent, &order]);
                    child["id"] = json!(uuid5(&format!("{row} {array} {}", element.get(from).expect("a key"))));
                    child[&parent] = json!(row);
                    child[&order] = json!(position);
                    rows.push(child);
                }
            }
            table.insert(client, &rows).await?;
        }
    }
    Ok(())
}

fn mapping_ids(documents: &[Document]) -> Vec<Uuid> {
    documents.iter().map(|document| uuid5(&document.get_object_id("_id").expect("_id").to_hex())).collect()
}

fn uuid5(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes())
}

/// A table of the target, and the sources of its columns.
struct Table {
    name: String,
    /// Name and type of each column that the mapping fills.
    columns: BTreeMap<String, String>,
    declared: toml::Table,
}

impl Table {
    async fn read(client: &tokio_postgres::Client, declared: &toml::Value) -> Self {
        let name = declared["table"].as_str().expect("table").to_owned();
        let catalog = "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute \
                       WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped";
        let mut columns: BTreeMap<String, String> = client
            .query(catalog, &[&name])
            .await
            .expect("read catalog")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        for ignored in declared.get("ignore").and_then(toml::Value::as_array).into_iter().flatten() {
            columns.remove(ignored.as_str().expect("text")).expect("an ignored column");
        }
        let declared = declared["columns"].as_table().expect("columns").clone();
        let unknown: BTreeSet<_> = declared.keys().filter(|column| !columns.contains_key(*column)).collect();
        assert!(unknown.is_empty(), "{name} has no columns {unknown:?}");
        Self { name, columns, declared }
    }

    fn row(&self, document: &Document, filled_elsewhere: &[&str]) -> Value {
        let mut row = serde_json::Map::new();
        for (column, kind) in &self.columns {
            if column == "id" || filled_elsewhere.contains(&column.as_str()) {
                continue;
            }
            let declared = self.declared.get(column);
            let path = declared
                .and_then(|declared| declared.as_str().or_else(|| declared.get("path")?.as_str()))
                .unwrap_or(column);
            let value = match find(document, path) {
                None | Some(Bson::Null) => {
                    let default = declared.and_then(|declared| declared.get("default"));
                    default.map_or(Value::Null, |default| serde_json::to_value(default).expect("a default"))
                }
                Some(value) => convert(value, kind),
            };
            row.insert(column.clone(), value);
        }
        Value::Object(row)
    }

    async fn insert(&self, client: &tokio_postgres::Client, rows: &[Value]) -> Result<(), tokio_postgres::Error> {
        let ids: HashSet<String> = rows.iter().map(|row| row["id"].to_string()).collect();
        assert_eq!(ids.len(), rows.len(), "{} has an id twice", self.name);
        let columns = self.columns.keys().cloned().collect::<Vec<_>>().join(", ");
        let (name, rows) = (&self.name, Value::Array(rows.to_vec()));
        let sql = format!(
            "INSERT INTO {name} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{name}, $1::jsonb)"
        );
        client.execute(&sql, &[&rows]).await.map(drop)
    }
}

fn find<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    match path.split_once('.') {
        None => document.get(path),
        Some((head, rest)) => find(document.get(head)?.as_document()?, rest),
    }
}

/// Returns the JSON that PostgreSQL turns into a value of this type without loss; anything else is a fault of the demo.
fn convert(value: &Bson, kind: &str) -> Value {
    match (value, kind.strip_suffix("[]")) {
        (Bson::Array(values), Some(element)) => values.iter().map(|value| convert(value, element)).collect(),
        _ => match (kind, value) {
            ("uuid", Bson::ObjectId(id)) => json!(uuid5(&id.to_hex())),
            ("uuid", Bson::String(hex)) => json!(uuid5(&hex.parse::<ObjectId>().expect("hex digits").to_hex())),
            ("jsonb", value) => serde_json::to_value(value).expect("JSON"),
            ("integer" | "bigint" | "smallint", Bson::Double(number)) if number.fract() == 0.0 => json!(*number as i64),
            ("integer" | "bigint" | "smallint", Bson::Int32(number)) => json!(number),
            ("integer" | "bigint" | "smallint", Bson::Int64(number)) => json!(number),
            ("double precision", Bson::Double(number)) => json!(number),
            ("boolean", Bson::Boolean(truth)) => json!(truth),
            ("text" | "character varying", Bson::String(text)) => json!(text),
            ("numeric", Bson::Decimal128(amount)) => {
                let text = amount.to_string();
                let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
                assert!(scale <= 2 && !text.contains('E'), "{text} does not fit numeric(14,2)");
                json!(text)
            }
            ("timestamp with time zone", Bson::DateTime(at)) => json!(at.try_to_rfc3339_string().expect("a date")),
            ("date", Bson::DateTime(at)) => {
                assert_eq!(at.timestamp_millis() % 86_400_000, 0, "a day is midnight UTC");
                json!(at.try_to_rfc3339_string().expect("a date"))
            }
            (kind, other) => panic!("{:?} does not go into {kind}", other.element_type()),
        },
    }
}
