//! The limits of the servers: each operation alone, with the bare client, on the data of the other chapters.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bson::{Timestamp, doc, raw::RawDocumentBuf, rawdoc};
use bytes::{Bytes, BytesMut};
use driftless::{
    log::{envelope, partition_of},
    model::{Change, ClusterTime, Key, Namespace, Op, Version},
};
use futures_util::{SinkExt, StreamExt, future::try_join_all};
use mongodb::{Collection, Database};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio_postgres::{Client, types::ToSql};

use crate::{
    Bench, changes,
    report::Chapter,
    users::{self, COLUMNS, COPY_HEADER, COPY_TRAILER, USERS, User},
    ways,
};

/// Rows per upsert.
pub(crate) const BATCH: usize = 5_000;
/// The minimum number of Kafka records: with fewer, opening the connections would dominate.
const RECORDS: u64 = 100_000;
/// Bytes per piece of a COPY.
const PIECE: usize = 64 << 10;

/// Measures all ceilings.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    mongodb(bench, chapter).await.context("ceilings of MongoDB")?;
    kafka(bench, chapter).await.context("ceilings of Kafka")?;
    postgres(bench, chapter).await.context("ceilings of PostgreSQL")
}

async fn mongodb(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let documents = bench.scale.documents;
    let database = bench.servers.empty_database("ceilings").await?;
    changes::load(&database, bench.users, documents).await?;
    for run in 0..=bench.scale.runs {
        bench.step(&format!("MongoDB scan, run {run}"));
        let rate = scan(&database, documents).await?;
        keep(chapter, run, "ceilings.scan", "MongoDB scan", "documents/s", rate);
    }
    let start = now(&database).await?;
    changes::update_all(&database, bench.users, documents).await?;
    for run in 0..=bench.scale.runs {
        bench.step(&format!("MongoDB change stream, run {run}"));
        let rate = drain(&database, start, documents, false).await?;
        keep(chapter, run, "ceilings.stream.bare", "change stream drain, without documents", "events/s", rate);
    }
    for run in 0..=bench.scale.runs.min(3) {
        bench.step(&format!("MongoDB change stream with updateLookup, run {run}"));
        let rate = drain(&database, start, documents, true).await?;
        keep(chapter, run, "ceilings.stream.update_lookup", "change stream drain, `updateLookup`", "events/s", rate);
    }
    Ok(database.drop().await?)
}

/// Adds the value of a run; the first run warms up and is not counted.
pub(crate) fn keep(chapter: &mut Chapter, run: u32, id: &str, what: &str, unit: &'static str, value: f64) {
    if run > 0 {
        chapter.add(id, what, unit, value);
    }
}

pub(crate) async fn scan(database: &Database, documents: u64) -> anyhow::Result<f64> {
    let collection: Collection<RawDocumentBuf> = database.collection(USERS);
    let began = Instant::now();
    let mut cursor = collection.find(doc! {}).batch_size(10_000).await?;
    let (mut seen, mut bytes) = (0, 0);
    while cursor.advance().await? {
        seen += 1;
        bytes += cursor.current().as_bytes().len();
    }
    anyhow::ensure!(seen == documents && bytes > 0, "the scan gave {seen} of {documents} documents");
    Ok(seen as f64 / began.elapsed().as_secs_f64())
}

/// Returns the cluster time of the last write.
pub(crate) async fn now(database: &Database) -> anyhow::Result<Timestamp> {
    let answer = database.run_command(doc! { "ping": 1 }).await?;
    Ok(answer.get_timestamp("operationTime")?)
}

/// Measures the events a second of a change stream over the updates that are already in the oplog.
async fn drain(database: &Database, start: Timestamp, updates: u64, lookup: bool) -> anyhow::Result<f64> {
    let mut stage = rawdoc! { "startAtOperationTime": start };
    if lookup {
        stage.append(bson::raw::cstr!("fullDocument"), "updateLookup");
    }
    let command = rawdoc! {
        "aggregate": USERS,
        "pipeline": [{ "$changeStream": stage }, { "$match": { "operationType": "update" } }],
        "cursor": { "batchSize": 5_000 },
    };
    let began = Instant::now();
    let mut cursor = database.run_raw_cursor_command(command).batch().await?;
    let mut seen = 0;
    while seen < updates {
        let reply = cursor.next().await.context("the change stream has ended")??;
        let cursor = reply.as_raw_document().get_document("cursor")?;
        let batch = cursor.get_array("nextBatch").or_else(|_| cursor.get_array("firstBatch"))?;
        for event in batch {
            event?;
            seen += 1;
        }
    }
    Ok(seen as f64 / began.elapsed().as_secs_f64())
}

async fn kafka(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let records: Vec<(Vec<u8>, Vec<u8>)> = (0..bench.scale.documents.max(RECORDS))
        .map(|seq| {
            let encoded = envelope::encode(&change(&bench.users.user(seq, 0), Op::Insert)?, "bench");
            Ok((encoded.key, encoded.value.context("a change has a value")?))
        })
        .collect::<anyhow::Result<_>>()?;
    let records = std::sync::Arc::new(records);
    for run in 0..=bench.scale.runs {
        bench.step(&format!("Kafka, run {run}"));
        let topic = format!("bench-ceiling-{}", jiff::Timestamp::now().as_millisecond());
        bench.servers.make_topic(&topic).await?;
        let mut config = bench.servers.kafka()?;
        config.set("enable.idempotence", "true").set("compression.type", "lz4").set("linger.ms", "5");
        config.set("queue.buffering.max.kbytes", "262144");
        let (sent, to) = (records.clone(), topic.clone());
        let rate = tokio::task::spawn_blocking(move || produce(&config.create()?, &to, &sent)).await??;
        keep(chapter, run, "ceilings.produce", "Kafka produce, records of the daemon's own codec", "records/s", rate);
        let mut config = bench.servers.kafka()?;
        config.set("group.id", "bench-ceiling").set("enable.auto.commit", "false");
        let (wanted, from) = (records.len(), topic.clone());
        let rate = tokio::task::spawn_blocking(move || consume(&config.create()?, &from, wanted)).await??;
        keep(chapter, run, "ceilings.consume", "Kafka consume", "records/s", rate);
        bench.servers.remove_topics(&topic).await?;
    }
    Ok(())
}

/// Converts a user to a change, as the source would.
pub(crate) fn change(user: &User, op: Op) -> anyhow::Result<Change> {
    let id = rawdoc! { "_id": user.id };
    let time = ClusterTime { t: 1_704_067_200, i: 1 + user.seq as u32 };
    Ok(Change {
        namespace: Namespace::new("bench", USERS),
        key: Key::from_id(&id).context("make a key")?,
        id,
        version: Version { epoch: 1, time, op: 0 },
        op,
        document: (op != Op::Delete).then(|| user.document()),
        upper: time,
        wall_ms: user.created_at_ms,
        update_description: None,
        collection_uuid: Some([7; 16]),
        replaces: None,
    })
}

fn produce(producer: &BaseProducer, topic: &str, records: &[(Vec<u8>, Vec<u8>)]) -> anyhow::Result<f64> {
    let began = Instant::now();
    for (key, value) in records {
        let mut record = BaseRecord::to(topic).partition(partition_of(key, 4)).key(key).payload(value);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::QueueFull) {
                bail!("produce: {error}");
            }
            producer.poll(Duration::from_millis(1));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(records.len() as f64 / began.elapsed().as_secs_f64())
}

fn consume(consumer: &BaseConsumer, topic: &str, wanted: usize) -> anyhow::Result<f64> {
    let mut assignment = TopicPartitionList::new();
    for partition in 0..4 {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    let began = Instant::now();
    consumer.assign(&assignment)?;
    let (mut seen, mut bytes) = (0, 0);
    while seen < wanted {
        let message = consumer.poll(Duration::from_secs(30)).context("no record within 30 s")??;
        bytes += message.payload_len();
        seen += 1;
    }
    anyhow::ensure!(bytes > 0, "the records were empty");
    Ok(seen as f64 / began.elapsed().as_secs_f64())
}

async fn postgres(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let trial = bench.servers.trial("ceilings", "bench_ceilings", &users::application()).await?;
    let client = bench.servers.postgres(&trial.target).await?;
    // As many rows as the snapshot that is compared with this: inserts become slower as the indexes grow.
    let rows = bench.scale.snapshot;
    let pieces = first_users(bench, rows);
    for run in 0..=bench.scale.runs {
        bench.step(&format!("PostgreSQL COPY, run {run}"));
        client.batch_execute(&format!("TRUNCATE {USERS}")).await?;
        let rate = copy(&client, &pieces, rows).await?;
        let what = format!("PostgreSQL COPY of {rows} rows, with its indexes");
        keep(chapter, run, "ceilings.copy", &what, "rows/s", rate);
    }
    drop(pieces);
    let documents = bench.scale.documents;
    client.batch_execute(&format!("TRUNCATE {USERS}")).await?;
    copy(&client, &first_users(bench, documents), documents).await?;
    let second = bench.servers.postgres(&trial.target).await?;
    let mut revision = 0;
    for run in 0..=bench.scale.runs {
        bench.step(&format!("PostgreSQL upsert, run {run}"));
        for (id, what, clients) in [
            ("ceilings.upsert.one", "PostgreSQL set-based upsert of existing rows, one connection", &[&client][..]),
            (
                "ceilings.upsert.two",
                "PostgreSQL set-based upsert of existing rows, two connections",
                &[&client, &second],
            ),
        ] {
            revision += 1;
            let rows: Vec<User> = (0..documents).map(|seq| bench.users.user(seq, revision)).collect();
            client.batch_execute(&format!("VACUUM ANALYZE {USERS}")).await?;
            let rate = upsert(clients, &rows).await?;
            keep(chapter, run, id, what, "rows/s", rate);
        }
    }
    ways::measure(bench, chapter, &client).await?;
    bench.servers.clear(trial).await
}

/// Measures the rows a second of one `COPY` of as many rows as a large snapshot has, into an empty table with its indexes.
pub(crate) async fn one_copy(bench: &Bench) -> anyhow::Result<f64> {
    let trial = bench.servers.trial("ceilings", "bench_ceilings", &users::application()).await?;
    let client = bench.servers.postgres(&trial.target).await?;
    let rows = bench.scale.snapshot;
    let rate = copy(&client, &first_users(bench, rows), rows).await?;
    bench.servers.clear(trial).await?;
    Ok(rate)
}

/// Returns a binary COPY of this many users in their first revision.
fn first_users(bench: &Bench, rows: u64) -> Vec<Bytes> {
    copy_pieces((0..rows).map(|seq| bench.users.user(seq, 0)))
}

/// Returns a binary COPY of these rows, in pieces.
pub(crate) fn copy_pieces(rows: impl Iterator<Item = User>) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut piece = BytesMut::from(COPY_HEADER);
    for row in rows {
        row.copy_row(&mut piece);
        if piece.len() >= PIECE {
            pieces.push(piece.split().freeze());
        }
    }
    piece.extend_from_slice(COPY_TRAILER);
    pieces.push(piece.freeze());
    pieces
}

async fn copy(client: &Client, pieces: &[Bytes], rows: u64) -> anyhow::Result<f64> {
    let began = Instant::now();
    let columns: Vec<String> = COLUMNS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let statement = format!("COPY {USERS} ({}) FROM STDIN BINARY", columns.join(", "));
    let sink = client.copy_in::<_, Bytes>(&statement).await?;
    let mut sink = std::pin::pin!(sink);
    for piece in pieces {
        sink.send(piece.clone()).await?;
    }
    let copied = sink.finish().await?;
    anyhow::ensure!(copied == rows, "COPY took {copied} of {rows} rows");
    Ok(rows as f64 / began.elapsed().as_secs_f64())
}

/// Upserts the rows batch by batch, one transaction each, with the batches shared among the connections.
async fn upsert(clients: &[&Client], rows: &[User]) -> anyhow::Result<f64> {
    let arrays: Vec<String> =
        COLUMNS.iter().enumerate().map(|(place, (_, sql))| format!("${}::{sql}[]", place + 1)).collect();
    let statement = upsert_statement(&format!("SELECT * FROM unnest({})", arrays.join(", ")));
    let batches: Vec<Columns> = rows.chunks(BATCH).map(Columns::new).collect();
    let began = Instant::now();
    let work = clients.iter().enumerate().map(|(worker, client)| {
        let (statement, batches) = (&statement, &batches);
        async move {
            let statement = client.prepare(statement).await?;
            for batch in batches.iter().skip(worker).step_by(clients.len()) {
                client.execute(&statement, &batch.parameters()).await?;
            }
            anyhow::Ok(())
        }
    });
    try_join_all(work).await?;
    Ok(rows.len() as f64 / began.elapsed().as_secs_f64())
}

/// Returns the statement that upserts the rows of a query.
pub(crate) fn upsert_statement(query: &str) -> String {
    let names: Vec<String> = COLUMNS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let set: Vec<String> = names[1..].iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let (names, set) = (names.join(", "), set.join(", "));
    format!("INSERT INTO {USERS} ({names}) {query} ON CONFLICT (id) DO UPDATE SET {set}")
}

/// Rows, stored column by column.
pub(crate) struct Columns {
    ids: Vec<String>,
    numbers: Vec<i64>,
    texts: [Vec<String>; 6],
    scores: Vec<f64>,
    active: Vec<bool>,
    bios: Vec<String>,
    created: Vec<std::time::SystemTime>,
}

impl Columns {
    pub(crate) fn new(rows: &[User]) -> Self {
        let text = |of: fn(&User) -> &str| rows.iter().map(|row| of(row).to_owned()).collect::<Vec<_>>();
        let instant = |ms: i64| std::time::UNIX_EPOCH + Duration::from_millis(ms as u64);
        Self {
            ids: rows.iter().map(|row| row.id.to_hex()).collect(),
            numbers: rows.iter().map(|row| row.seq).collect(),
            texts: [
                text(|row| &row.email),
                text(|row| &row.name),
                text(|row| &row.company),
                text(|row| row.country),
                text(|row| row.city),
                text(|row| &row.street),
            ],
            scores: rows.iter().map(|row| row.score).collect(),
            active: rows.iter().map(|row| row.active).collect(),
            bios: text(|row| &row.bio),
            created: rows.iter().map(|row| instant(row.created_at_ms)).collect(),
        }
    }

    /// Returns the parameters in the order of [`COLUMNS`].
    pub(crate) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&self.ids, &self.ids, &self.numbers];
        parameters.extend(self.texts.iter().map(|text| text as &(dyn ToSql + Sync)));
        parameters.extend([&self.scores as &(dyn ToSql + Sync), &self.active, &self.bios, &self.created]);
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Users;

    #[test]
    fn a_copy_begins_and_ends_as_the_manual_says() {
        let pieces = copy_pieces((0..1_000).map(|seq| Users { seed: 1 }.user(seq, 0)));
        assert!(pieces.len() > 1 && pieces[0].starts_with(b"PGCOPY\n\xff\r\n\0"));
        assert!(pieces.last().expect("one piece at least").ends_with(&[0xff, 0xff]));
    }

    #[test]
    fn an_upsert_has_a_parameter_for_each_column() {
        let rows: Vec<User> = (0..3).map(|seq| Users { seed: 1 }.user(seq, 0)).collect();
        assert_eq!(Columns::new(&rows).parameters().len(), COLUMNS.len());
    }
}
