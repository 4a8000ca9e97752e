//! The log against a real broker.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bson::{raw::RawDocumentBuf, rawdoc};
use driftless::{
    config::{Codec, LogConfig},
    log::{
        Consumer, ConsumerEvent, Error, Fetched, Leadership, Offsets, Publisher, Record, StartOffsets, StoredState,
        StreamState, TopicPartition, Topics, Transaction, envelope, partition_of, read_state,
    },
    model::{
        Change, ClusterTime, Control, ControlKind, Frontier, Key, Namespace, Op, ResumeToken, SnapshotState, Version,
    },
    retry::{Class, Classify},
};
use driftless_testing::{DEADLINE, stack::setting, topic, unique, wait};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use rdkafka::{
    ClientConfig, Message,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tokio_util::sync::CancellationToken;

fn config(prefix: &str) -> LogConfig {
    let brokers = setting("KAFKA_BROKERS");
    let text = format!("brokers = \"{brokers}\"\nprefix = \"{prefix}\"\nreplication = 1\npartitions = 3");
    toml::from_str(&text).expect("a configuration")
}

fn orders() -> Namespace {
    Namespace::new("shop", "orders")
}

fn users() -> Namespace {
    Namespace::new("shop", "users")
}

async fn topics(cfg: &LogConfig) -> Topics {
    Topics::ensure(cfg, &[orders(), users()]).await.expect("topics")
}

fn time(i: u32) -> ClusterTime {
    ClusterTime { t: 1_700_000_000, i }
}

fn state(i: u32) -> StreamState {
    let raw = rawdoc! { "_data": format!("82{:08X}{i:08X}2B022C0100296E5A", 1_700_000_000) };
    let token = ResumeToken::from_raw(&raw).expect("a token");
    StreamState { epoch: 1, token, frontier: Frontier(time(i)), held: None }
}

fn change(namespace: Namespace, id: i32, i: u32) -> Change {
    let id_document = rawdoc! { "_id": id };
    Change {
        namespace,
        key: Key::from_id(&id_document).expect("a key"),
        id: id_document,
        version: Version { epoch: 1, time: time(i), op: 0 },
        op: Op::Insert,
        document: Some(rawdoc! { "_id": id, "i": i64::from(i) }),
        upper: time(i),
        wall_ms: 1_700_000_000_000,
        update_description: None,
        collection_uuid: None,
        replaces: None,
    }
}

fn transaction(changes: Vec<Change>, i: u32) -> Transaction {
    Transaction {
        changes,
        controls: Vec::new(),
        removals: Vec::new(),
        frontier: Some((Frontier(time(i)), 1_700_000_000_000)),
        idle: false,
        state: state(i),
        snapshots: Vec::new(),
        complete: BTreeSet::new(),
    }
}

/// Starts at the offsets that the test sets, and at the earliest one elsewhere.
#[derive(Default)]
struct Starts(Mutex<HashMap<(String, i32), i64>>);

impl StartOffsets for Starts {
    fn start_offsets<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>> {
        let starts = self.0.lock().expect("unpoisoned");
        let offsets = partitions.iter().map(|p| starts.get(&(p.topic.to_string(), p.partition)).copied()).collect();
        Box::pin(async move { Ok(offsets) })
    }
}

fn join(cfg: &LogConfig, topics: &Topics, starts: Starts) -> Consumer {
    Consumer::join(cfg, topics, 16 << 20, 10_000, Arc::new(starts)).expect("a consumer")
}

async fn next(consumer: &mut Consumer) -> ConsumerEvent {
    tokio::time::timeout(DEADLINE, consumer.next()).await.expect("an event in time").expect("an event")
}

/// Fetches the next records, until there are `count`.
async fn fetch(consumer: &mut Consumer, count: usize) -> Vec<Fetched> {
    let mut records = Vec::new();
    while records.len() < count {
        if let ConsumerEvent::Fetched(record) = next(consumer).await {
            records.push(record);
        }
    }
    records
}

fn decode(record: &Fetched) -> Record {
    envelope::decode(record.key.as_deref(), record.value.as_deref(), &record.headers).expect("a record")
}

fn changed(records: &[Fetched]) -> Vec<Change> {
    let records = records.iter().map(decode);
    records.filter_map(|record| if let Record::Change(change) = record { Some(change) } else { None }).collect()
}

#[tokio::test]
async fn a_transaction_is_read_whole_with_its_counts() {
    let cfg = config(&unique("whole"));
    let topics = topics(&cfg).await;
    let (mut publisher, stored) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    assert_eq!(stored, StoredState::default());
    let changes: Vec<_> = (0..50).map(|id| change(orders(), id, 1)).collect();
    let mut first = transaction(changes.clone(), 2);
    first.snapshots = vec![SnapshotState { documents: 50, ..SnapshotState::new("orders", 1, 0) }];
    first.snapshots[0].cut(vec![rawdoc! { "_id": 49 }]);
    publisher.publish(first.clone()).await.expect("published");
    let mut second = transaction(vec![change(users(), 1, 3)], 4);
    second.idle = true;
    second.complete = BTreeSet::from(["users".to_owned()]);
    second.controls =
        vec![Control { namespace: orders(), kind: ControlKind::Drop, version: changes[0].version, truncate: true }];
    publisher.publish(second.clone()).await.expect("published");

    // 50 changes and 3 frontiers; then 1 change, 3 controls and 6 frontiers.
    let mut consumer = join(&cfg, &topics, Starts::default());
    let records = fetch(&mut consumer, 63).await;
    consumer.close().await.expect("closed");

    let mut got = changed(&records);
    got.sort_by_key(|change| (change.namespace.clone(), change.key.clone()));
    let mut expected = changes.clone();
    expected.push(change(users(), 1, 3));
    expected.sort_by_key(|change| (change.namespace.clone(), change.key.clone()));
    assert_eq!(got, expected);

    let mut since: BTreeMap<(String, i32), (u64, u64)> = BTreeMap::new();
    for record in &records {
        let (seq, changes) = since.entry((record.topic.to_string(), record.partition)).or_default();
        match decode(record) {
            Record::Change(_) => {
                assert_eq!(envelope::counted_by(&record.headers), Some(publisher.generation()));
                assert_eq!(record.timestamp_ms, 1_700_000_000_000);
                *changes += 1;
            }
            Record::Frontier(frontier) => {
                *seq += 1;
                assert_eq!(frontier.complete, frontier.before == Frontier(time(4)) && record.topic.ends_with(".users"));
                assert_eq!(
                    (frontier.publisher, frontier.seq, frontier.changes),
                    (publisher.generation(), *seq, *changes)
                );
                *changes = 0;
            }
            Record::Control(control) => assert_eq!(control, second.controls[0]),
            Record::Removal(removal) => panic!("nothing was to be removed: {removal:?}"),
        }
    }
    assert_eq!(since.len(), 6, "a frontier in every partition of both topics");

    let stored = read_state(&cfg).await.expect("a state");
    assert_eq!((stored.publisher, stored.stream), (publisher.generation(), Some(second.state)));
    assert_eq!(stored.snapshots.into_values().collect::<Vec<_>>(), first.snapshots);
}

#[tokio::test]
async fn a_failed_transaction_is_never_seen_and_ends_its_publisher() {
    let cfg = config(&unique("failed"));
    let topics = topics(&cfg).await;
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    publisher.publish(transaction(vec![change(orders(), 1, 1)], 2)).await.expect("published");
    // Hundreds of records are encoded before the last one turns out to have no topic.
    let mut changes: Vec<_> = (100..900).map(|id| change(orders(), id, 3)).collect();
    changes.push(change(Namespace::new("shop", "unknown"), 1, 3));
    let error = publisher.publish(transaction(changes, 4)).await.expect_err("no topic");
    assert!(matches!(error, Error::NoTopic { .. }), "{error}");
    let error = publisher.publish(transaction(vec![], 5)).await.expect_err("unusable");
    assert!(matches!(error, Error::Unusable), "{error}");

    let first = publisher.generation();
    let (mut publisher, stored) = Publisher::connect(&cfg, &topics).await.expect("the next publisher");
    assert_eq!((stored.publisher, stored.stream), (first, Some(state(2))));
    assert!(publisher.generation() > first);
    publisher.publish(transaction(vec![change(orders(), 2, 3)], 4)).await.expect("published");

    let mut consumer = join(&cfg, &topics, Starts::default());
    let records = fetch(&mut consumer, 4).await;
    let mut ids: Vec<_> = changed(&records).into_iter().map(|change| change.id).collect();
    ids.sort_by_key(|id| id.get_i32("_id").expect("a number"));
    assert_eq!(ids, [rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }]);
    consumer.close().await.expect("closed");
}

#[tokio::test]
async fn transactions_follow_each_other_without_waiting_and_an_error_ends_those_behind_it() {
    let cfg = config(&unique("ahead"));
    let topics = topics(&cfg).await;
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    for i in 1..=5 {
        publisher.begin(transaction(vec![change(orders(), i, i as u32)], i as u32 + 1)).await.expect("begun");
    }
    publisher.committed().await.expect("committed");
    assert_eq!(read_state(&cfg).await.expect("a state").stream, Some(state(6)));

    // A newer publisher fences this one. The open transaction then fails, and so do those begun after it.
    publisher.begin(transaction(vec![change(orders(), 6, 7)], 8)).await.expect("begun");
    let (_new, stored) = Publisher::connect(&cfg, &topics).await.expect("another publisher");
    let mut failed = publisher.committed().await.is_err();
    failed |= publisher.begin(transaction(vec![change(orders(), 7, 9)], 10)).await.is_err();
    failed |= publisher.committed().await.is_err();
    assert!(failed, "a fenced publisher goes on");
    assert!(matches!(publisher.publish(transaction(vec![], 12)).await, Err(Error::Unusable)));
    assert_eq!(read_state(&cfg).await.expect("a state").stream, stored.stream);
}

#[tokio::test]
async fn the_form_of_records_may_change_at_any_time() {
    let mut cfg = config(&unique("codec"));
    let topics = topics(&cfg).await;
    let delete = Change { op: Op::Delete, document: None, ..change(orders(), 1, 5) };
    let changes = [change(orders(), 1, 1), change(orders(), 1, 3), delete];
    for ((codec, others), change) in
        [(Codec::Bson, false), (Codec::Json, false), (Codec::Json, true)].into_iter().zip(&changes)
    {
        (cfg.codec, cfg.schemas, cfg.tombstones) = (codec, others, others);
        let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
        let before = change.version.time.i + 1;
        publisher.publish(transaction(vec![change.clone()], before)).await.expect("published");
    }
    let mut consumer = join(&cfg, &topics, Starts::default());
    let records = fetch(&mut consumer, 7).await;
    consumer.close().await.expect("closed");
    let [first, second, delete] = changes;
    assert_eq!(
        changed(&records),
        [first, second, delete.clone(), delete],
        "all in one partition, a tombstone at the end"
    );
    let with_schema = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| bytes.starts_with(b"{\"schema\":"));
    let forms: Vec<_> = records.iter().map(|record| (with_schema(&record.key), with_schema(&record.value))).collect();
    let (plain, whole) = ((Some(false), Some(false)), (Some(true), Some(true)));
    let (frontier, tombstone) = ((Some(false), None), (Some(true), None));
    assert_eq!(forms, [plain, frontier, plain, frontier, whole, tombstone, tombstone]);
    let Record::Frontier(last) = decode(&records[6]) else { panic!("a frontier") };
    assert_eq!(last.changes, 1, "the tombstone is not counted");
}

#[tokio::test]
async fn a_topic_may_have_frontiers_of_both_forms() {
    let cfg = config(&unique("forms"));
    let topics = topics(&cfg).await;
    let topic = topics.of(&orders()).expect("a topic").name.to_string();
    let partition = partition_of(&envelope::encode(&change(orders(), 1, 1), "x").key, 3);
    // As versions before format 2 wrote them.
    let value = br#"{"before":{"t":1700000000,"i":1},"asOfMs":1,"seq":9,"changes":0,"complete":true}"#;
    let headers = [("driftless.format", "1"), ("driftless.op", "frontier"), ("driftless.publisher", "5")];
    let old = topic::Record {
        partition,
        offset: 0,
        timestamp_ms: None,
        key: Some(br#"{"frontier":true}"#.to_vec()),
        value: Some(value.to_vec()),
        headers: headers.map(|(name, value)| (name.to_owned(), value.into())).to_vec(),
    };
    topic::append(&setting("KAFKA_BROKERS"), &topic, vec![old]).await;
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    publisher.publish(transaction(vec![change(orders(), 1, 1)], 2)).await.expect("published");

    let mut consumer = join(&cfg, &topics, Starts::default());
    let records = fetch(&mut consumer, 3).await;
    consumer.close().await.expect("closed");
    let frontiers = [&records[0], &records[2]].map(|record| match decode(record) {
        Record::Frontier(frontier) => (frontier.publisher, frontier.before, record.value.is_some()),
        other => panic!("{other:?}"),
    });
    assert_eq!(frontiers, [(5, Frontier(time(1)), true), (publisher.generation(), Frontier(time(2)), false)]);
}

#[tokio::test]
async fn a_fenced_publisher_publishes_nothing() {
    let cfg = config(&unique("fenced"));
    let topics = topics(&cfg).await;
    let (mut old, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    old.publish(transaction(vec![change(orders(), 1, 1)], 2)).await.expect("published");
    let (mut new, stored) = Publisher::connect(&cfg, &topics).await.expect("another publisher");
    assert_eq!(stored.stream, Some(state(2)));
    let error = old.publish(transaction(vec![change(orders(), 2, 9)], 10)).await.expect_err("fenced");
    assert!(error.is_fenced(), "{error}");
    assert_eq!(error.class(), Class::Transient);
    new.publish(transaction(vec![change(orders(), 3, 3)], 4)).await.expect("published");
    let stored = read_state(&cfg).await.expect("a state");
    assert_eq!((stored.publisher, stored.stream), (new.generation(), Some(state(4))));

    let mut consumer = join(&cfg, &topics, Starts::default());
    let got = changed(&fetch(&mut consumer, 4).await);
    assert!(got.iter().all(|change| change.id != rawdoc! { "_id": 2 }));
    consumer.close().await.expect("closed");
}

#[tokio::test]
async fn a_publish_given_up_half_way_is_whole_or_not_there() {
    let cfg = config(&unique("dropped"));
    let topics = topics(&cfg).await;
    for (i, patience) in [(10, 0), (20, 1), (30, 20)] {
        let (mut publisher, before) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
        let changes = (0..500).map(|id| change(orders(), id, i)).collect();
        let publish = publisher.publish(transaction(changes, i + 1));
        let _ = tokio::time::timeout(Duration::from_millis(patience), publish).await;
        drop(publisher);
        let (mut publisher, after) = Publisher::connect(&cfg, &topics).await.expect("the next publisher");
        let committed = after.stream == Some(state(i + 1));
        assert!(committed || after.stream == before.stream);
        let last = change(orders(), 1_000, i + 3);
        publisher.publish(transaction(vec![last.clone()], i + 4)).await.expect("published");

        let mut consumer = join(&cfg, &topics, Starts::default());
        let mut seen = 0;
        loop {
            let ConsumerEvent::Fetched(record) = next(&mut consumer).await else { continue };
            match decode(&record) {
                Record::Change(change) if change == last => break,
                Record::Change(change) if change.version.time.i == i => seen += 1,
                _ => {}
            }
        }
        // Some of the other partitions may not have been read yet; aborted records never arrive.
        assert!(if committed { seen > 0 } else { seen == 0 }, "{seen} changes, committed: {committed}");
        consumer.close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_record_that_the_brokers_would_refuse_halts() {
    let mut cfg = config(&unique("toolarge"));
    let topics = topics(&cfg).await;
    cfg.client.insert("message.max.bytes".to_owned(), "1000000".to_owned());
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    let mut large = change(orders(), 1, 1);
    large.document = Some(rawdoc! { "_id": 1, "x": "x".repeat(2 << 20) });
    let error = publisher.publish(transaction(vec![large], 2)).await.expect_err("too large");
    assert!(matches!(error, Error::TooLarge { bytes, .. } if bytes > 2 << 20), "{error}");
    assert!(error.class() == Class::Halt && error.hint().is_some());
    assert_eq!(read_state(&cfg).await.expect("a state"), StoredState::default());
}

#[tokio::test]
async fn partitions_are_those_of_the_clients_partitioner() {
    let cfg = config(&unique("murmur2"));
    let topics = topics(&cfg).await;
    let topic = topics.of(&orders()).expect("a topic").clone();
    let (sent, read) = tokio::task::spawn_blocking(move || {
        let brokers = setting("KAFKA_BROKERS");
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("partitioner", "murmur2_random")
            .create()
            .expect("a producer");
        let keys: Vec<Vec<u8>> = (0..200).map(|id| envelope::encode(&change(orders(), id, 1), "x").key).collect();
        for key in &keys {
            producer.send(BaseRecord::to(&topic.name).key(key).payload("x")).expect("queued");
        }
        producer.flush(DEADLINE).expect("sent");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("group.id", "murmur2")
            .create()
            .expect("a consumer");
        let mut list = rdkafka::TopicPartitionList::new();
        for partition in 0..topic.partitions {
            list.add_partition_offset(&topic.name, partition, rdkafka::Offset::Beginning).expect("added");
        }
        consumer.assign(&list).expect("assigned");
        let started = Instant::now();
        let mut read = HashMap::new();
        while read.len() < keys.len() && started.elapsed() < DEADLINE {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                read.insert(message.key().expect("a key").to_vec(), message.partition());
            }
        }
        (keys, read)
    })
    .await
    .expect("joined");
    for key in sent {
        assert_eq!(read.get(&key), Some(&partition_of(&key, 3)));
    }
}

#[tokio::test]
async fn a_consumer_starts_where_it_is_told_and_seeks() {
    let cfg = config(&unique("seek"));
    let topics = topics(&cfg).await;
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    for i in 0..10 {
        publisher.publish(transaction(vec![change(orders(), 7, i + 1)], i + 2)).await.expect("published");
    }
    let topic = topics.of(&orders()).expect("a topic");
    let partition = partition_of(&envelope::encode(&change(orders(), 7, 1), "x").key, topic.partitions);
    // Each transaction is a change, a frontier and its end marker: 3 offsets.
    let starts = Starts::default();
    starts.0.lock().expect("unpoisoned").insert((topic.name.to_string(), partition), 9);
    let mut consumer = join(&cfg, &topics, starts);
    let records = fetch(&mut consumer, 14).await;
    assert_eq!(records[0].offset, 9);
    assert_eq!(
        changed(&records).iter().map(|change| change.version.time.i).collect::<Vec<_>>(),
        [4, 5, 6, 7, 8, 9, 10]
    );

    let place = TopicPartition { topic: topic.name.clone(), partition };
    consumer.seek(TopicPartition { topic: topic.name.clone(), partition: 99 }, 0);
    consumer.seek(place.clone(), 24);
    loop {
        match next(&mut consumer).await {
            ConsumerEvent::Sought { partition, offset } => {
                assert_eq!((partition, offset), (place, 24));
                break;
            }
            other => drop(other),
        }
    }
    assert_eq!(fetch(&mut consumer, 1).await[0].offset, 24);
    consumer.close().await.expect("closed");
}

/// Starts at the earliest offset, and records the partitions of each request.
#[derive(Default)]
struct Asked(tokio::sync::watch::Sender<Vec<Vec<TopicPartition>>>);

impl StartOffsets for Asked {
    fn start_offsets<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>> {
        // A member that keeps its partitions is asked about none.
        if !partitions.is_empty() {
            self.0.send_modify(|asked| asked.push(partitions.to_vec()));
        }
        Box::pin(async move { Ok(vec![None; partitions.len()]) })
    }
}

impl Asked {
    /// Waits for that many requests, and returns the partitions of the last one.
    async fn times(&self, times: usize) -> Vec<TopicPartition> {
        let mut asked = self.0.subscribe();
        let asked = tokio::time::timeout(DEADLINE, asked.wait_for(|asked| asked.len() >= times)).await;
        asked.expect("asked in time").expect("the sender lives").last().cloned().unwrap_or_default()
    }
}

#[tokio::test]
async fn a_seek_that_was_asked_for_before_a_revocation_is_not_carried_out_after_it() {
    let cfg = config(&unique("stale"));
    let topics = topics(&cfg).await;
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    for namespace in [orders(), users()] {
        let changes = (0..40).map(|id| change(namespace.clone(), id, 1)).collect();
        publisher.publish(transaction(changes, 2)).await.expect("published");
    }
    let starts = [Arc::new(Asked::default()), Arc::new(Asked::default())];
    let join =
        |starts: &Arc<Asked>| Consumer::join(&cfg, &topics, 16 << 20, 10_000, starts.clone()).expect("a consumer");
    let mut consumer = join(&starts[0]);
    while !matches!(next(&mut consumer).await, ConsumerEvent::Assigned(_)) {}
    // Another member takes some partitions and gives them back; this one has not looked yet.
    let second = join(&starts[1]);
    starts[1].times(1).await;
    second.close().await.expect("closed");
    let back = starts[0].times(2).await;
    assert!(!back.is_empty());
    for partition in &back {
        consumer.seek(partition.clone(), 5);
    }
    // The first offset that is read from each partition that came back.
    let mut first = HashMap::new();
    let mut again = false;
    while first.len() < back.len() {
        match next(&mut consumer).await {
            ConsumerEvent::Assigned(partitions) => {
                again = partitions.into_iter().map(|(partition, _)| partition).eq(back.iter().cloned())
            }
            ConsumerEvent::Fetched(record) if again => {
                let partition = TopicPartition { topic: record.topic, partition: record.partition };
                if back.contains(&partition) {
                    first.entry(partition).or_insert(record.offset);
                }
            }
            ConsumerEvent::Sought { partition, .. } => panic!("{partition:?} was sought"),
            ConsumerEvent::Fetched(_) | ConsumerEvent::Revoked(_) => {}
        }
    }
    assert!(first.values().all(|offset| *offset == 0), "{first:?}");
    consumer.close().await.expect("closed");
}

#[tokio::test]
async fn a_start_that_is_not_in_the_log_halts() {
    let cfg = config(&unique("lost"));
    let topics = topics(&cfg).await;
    let topic = topics.of(&orders()).expect("a topic");
    let starts = Starts::default();
    starts.0.lock().expect("unpoisoned").insert((topic.name.to_string(), 0), 1_000);
    let mut consumer = join(&cfg, &topics, starts);
    let error = loop {
        match tokio::time::timeout(DEADLINE, consumer.next()).await.expect("in time") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::OffsetLost { .. }), "{error}");
    assert_eq!(error.class(), Class::Halt);
}

#[tokio::test]
async fn offsets_are_found_by_time_and_deleted_ones_are_not_in_the_log() {
    let (brokers, prefix) = (setting("KAFKA_BROKERS"), unique("offsets"));
    let text = format!(
        "brokers = \"{brokers}\"\nprefix = \"{prefix}\"\nreplication = 1\npartitions = 3\ncleanup_policy = \"delete\""
    );
    let cfg: LogConfig = toml::from_str(&text).expect("a configuration");
    let topics = topics(&cfg).await;
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    // Not long ago, because the broker deletes old records.
    let began = Timestamp::now().as_second() - 10_000;
    let second = |second: u32| Timestamp::from_second(began + i64::from(second)).expect("a time");
    for (id, t) in [(1, 1_000), (2, 2_000), (3, 3_000)] {
        let wall_ms = second(t).as_millisecond();
        let of = |id: i32, t: u32| Change { wall_ms, ..change(orders(), id, t) };
        let frontier = Some((Frontier(time(t)), wall_ms));
        publisher.publish(Transaction { frontier, ..transaction(vec![of(id, t)], t) }).await.expect("publishes");
    }
    let topic = topics.of(&orders()).expect("a topic");
    let partitions: Vec<_> =
        (0..topic.partitions).map(|partition| TopicPartition { topic: topic.name.clone(), partition }).collect();
    let offsets = Offsets::new(&cfg).expect("a client");
    let ends = offsets.ends(&partitions).await.expect("ends");
    let latest = offsets.latest(&partitions).await.expect("ends");
    assert_eq!(latest, ends.iter().map(|(_, end)| Some(*end)).collect::<Vec<_>>());
    let all = offsets.since(&partitions, second(0)).await.expect("offsets");
    let third = offsets.since(&partitions, second(2_001)).await.expect("offsets");
    assert_eq!(offsets.since(&partitions, second(20_000)).await.expect("offsets"), [None; 3]);
    let filled: Vec<usize> = (0..3).filter(|at| ends[*at].1 > 0).collect();
    assert!(filled.iter().all(|at| all[*at] == Some(0)), "{ends:?} {all:?}");
    let starts = filled.iter().map(|at| (partitions[*at].clone(), 0)).collect();
    let times = offsets.times(starts).await.expect("times");
    assert!(times.iter().all(|time| time.is_some_and(|time| time <= second(3_000))), "{times:?}");
    // The brokers' marks of transactions have a time of their own, so an offset may be that of one; older records never follow it.
    let found = |at: usize| Some((partitions[at].clone(), third[at]?));
    let starts: Vec<_> = (0..3).filter_map(found).collect();
    let times = offsets.times(starts.clone()).await.expect("times");
    assert!(times.iter().flatten().all(|time| *time == second(3_000)), "{times:?}");
    let at = times.iter().position(Option::is_some).expect("the third change");
    let (partition, offset) = starts[at].clone();
    let at = partitions.iter().position(|one| *one == partition).expect("a partition");

    let before = offset + 1;
    topic::delete_before(&brokers, &topic.name, partition.partition, before).await;
    assert_eq!(offsets.ends(&partitions).await.expect("ends")[at], (before, ends[at].1));
}

#[tokio::test]
async fn a_full_channel_stops_reading_and_nothing_is_lost() {
    let cfg = config(&unique("full"));
    let topics = topics(&cfg).await;
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    let wide = |id| {
        let mut change = change(orders(), id, 1);
        change.document = Some(rawdoc! { "_id": id, "x": "x".repeat(1_000) });
        change
    };
    publisher.publish(transaction((0..2_000).map(wide).collect(), 2)).await.expect("published");
    const BOUND: usize = 64 << 10;
    let mut consumer = Consumer::join(&cfg, &topics, BOUND, 10_000, Arc::new(Starts::default())).expect("a consumer");
    let mut records = Vec::new();
    while records.len() < 2_003 {
        // Nobody takes records until the channel is full or holds all the rest; even the smallest record, a frontier, has 200
        // bytes. The first time, the channel stays full until the partitions are paused, and the bound holds all the while.
        let rest = (2_003 - records.len()) * 200;
        wait::until("it is full", DEADLINE, async || {
            let waiting = consumer.waiting_bytes();
            assert!(waiting < BOUND + 4_000, "at most one record above the bound");
            wait::holds(waiting >= BOUND.min(rest), waiting)
        })
        .await;
        while let Some(event) = consumer.try_next().expect("alive") {
            if let ConsumerEvent::Fetched(record) = event {
                records.push(record);
            }
        }
    }
    let offsets = records.iter().map(|record| (record.partition, record.offset));
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, offset) in offsets {
        assert_eq!(offset, last.get(&partition).map_or(0, |last| last + 1), "no gap and no repetition");
        last.insert(partition, offset);
    }
    assert_eq!(changed(&records).len(), 2_000);
    consumer.close().await.expect("closed");
}

/// Reads events until this member has exactly `count` partitions.
async fn until_assigned(consumer: &mut Consumer, have: &mut Vec<TopicPartition>, count: usize) {
    while have.len() != count {
        match next(consumer).await {
            ConsumerEvent::Assigned(partitions) => have.extend(partitions.into_iter().map(|(partition, _)| partition)),
            ConsumerEvent::Revoked(partitions) => have.retain(|partition| !partitions.contains(partition)),
            _ => {}
        }
    }
}

#[tokio::test]
async fn two_members_share_the_partitions_and_one_inherits_them() {
    let cfg = config(&unique("members"));
    let topics = topics(&cfg).await;
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    let mut first = join(&cfg, &topics, Starts::default());
    let mut firsts = Vec::new();
    until_assigned(&mut first, &mut firsts, 6).await;
    let mut second = join(&cfg, &topics, Starts::default());
    let mut seconds = Vec::new();
    tokio::join!(until_assigned(&mut first, &mut firsts, 3), until_assigned(&mut second, &mut seconds, 3));
    assert!(firsts.iter().all(|partition| !seconds.contains(partition)));
    first.close().await.expect("closed");
    let members = topic::members(&setting("KAFKA_BROKERS"), &format!("{}.sink", cfg.prefix)).await;
    assert_eq!(members, 1, "a member that closes has left, and its session need not end");
    until_assigned(&mut second, &mut seconds, 6).await;
    publisher.publish(transaction((0..30).map(|id| change(orders(), id, 1)).collect(), 2)).await.expect("published");
    assert_eq!(changed(&fetch(&mut second, 33).await).len(), 30);
    second.close().await.expect("closed");
}

#[tokio::test]
async fn foreign_records_are_malformed_and_retries_of_earlier_versions_are_not_counted() {
    let cfg = config(&unique("foreign"));
    let topics = topics(&cfg).await;
    let topic = topics.of(&orders()).expect("a topic").name.to_string();
    let encoded = envelope::encode(&change(orders(), 1, 1), "x");
    let mut headers = encoded.headers;
    headers.push(envelope::header::PUBLISHER, b"1");
    headers.push(envelope::header::RETRY, b"1");
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", setting("KAFKA_BROKERS")).create().expect("a producer");
    let headers = headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let partition = partition_of(&encoded.key, 3);
    let record = || BaseRecord::to(&topic).partition(partition).key(&encoded.key);
    producer
        .send(record().payload(encoded.value.as_ref().expect("a value")).headers(headers))
        .map_err(|(error, _)| error)
        .expect("sent");
    // Kafka's own tombstone.
    producer.send(record() as BaseRecord<'_, Vec<u8>, Vec<u8>>).map_err(|(error, _)| error).expect("sent");
    producer.flush(Duration::from_secs(30)).expect("arrived");
    let mut consumer = join(&cfg, &topics, Starts::default());
    let records = fetch(&mut consumer, 2).await;
    assert_eq!(decode(&records[0]), Record::Change(change(orders(), 1, 1)));
    assert_eq!(envelope::counted_by(&records[0].headers), None);
    let tombstone = &records[1];
    assert!(envelope::decode(tombstone.key.as_deref(), tombstone.value.as_deref(), &tombstone.headers).is_err());
    consumer.close().await.expect("closed");
}

#[tokio::test]
async fn topics_that_are_not_as_they_must_be_are_faults() {
    let cfg = config(&unique("topics"));
    assert_eq!(Topics::check(&cfg, &[orders()]).await.expect("checked"), [], "missing topics will be created");
    let brokers = setting("KAFKA_BROKERS");
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("an admin");
    let name = format!("{}.shop.orders", cfg.prefix);
    let wrong = NewTopic::new(&name, 2, TopicReplication::Fixed(1)).set("cleanup.policy", "delete");
    for result in admin.create_topics([&wrong], &AdminOptions::new()).await.expect("asked") {
        result.expect("created");
    }
    let error = Topics::ensure(&cfg, &[orders()]).await.expect_err("faults");
    assert_eq!(error.class(), Class::Halt);
    let Error::Faults(faults) = error else { panic!("faults") };
    let whats: Vec<_> = faults.iter().map(|fault| fault.what.as_str()).collect();
    assert_eq!(whats.len(), 3, "{whats:?}");
    assert!(whats[0].contains("has 2 partitions instead of 3"), "{whats:?}");
    assert!(whats[1].contains("`cleanup.policy=delete` instead of `compact`"), "{whats:?}");
    assert!(whats[2].contains("max.message.bytes"), "{whats:?}");
    assert_eq!(Topics::check(&cfg, &[orders()]).await.expect("checked"), faults);

    let mut older = config(&unique("older"));
    Topics::ensure(&older, &[orders()]).await.expect("topics");
    older.tombstones = true;
    let faults = Topics::check(&older, &[orders()]).await.expect("checked");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].what.contains("delete.retention.ms"), "{faults:?}");
    older.prefix = unique("tombstones");
    Topics::ensure(&older, &[orders()]).await.expect("topics");

    let mut greedy = config(&unique("greedy"));
    greedy.replication = 5;
    assert_eq!(Topics::check(&greedy, &[orders()]).await.expect("checked").len(), 2);
    assert!(matches!(Topics::ensure(&greedy, &[orders()]).await, Err(Error::Faults(_))));
}

#[tokio::test]
async fn a_large_document_fits() {
    let cfg = config(&unique("large"));
    let topics = topics(&cfg).await;
    let (mut publisher, _) = Publisher::connect(&cfg, &topics).await.expect("a publisher");
    let mut large = change(orders(), 1, 1);
    let document: RawDocumentBuf = rawdoc! { "_id": 1, "x": "\u{1}".repeat(15 << 20) };
    large.document = Some(document);
    publisher.publish(transaction(vec![large.clone()], 2)).await.expect("published");
    let mut consumer = join(&cfg, &topics, Starts::default());
    assert!(changed(&fetch(&mut consumer, 2).await) == [large]);
    consumer.close().await.expect("closed");
}

async fn until_leader(leads: &mut tokio::sync::watch::Receiver<bool>) {
    tokio::time::timeout(DEADLINE, leads.wait_for(|leads| *leads)).await.expect("in time").expect("alive");
}

#[tokio::test]
async fn a_leader_that_stops_hands_over_at_once() {
    let cfg = config(&unique("handover"));
    topics(&cfg).await;
    let (first, mut first_leads) = Leadership::join(&cfg).expect("a candidate");
    let stop = CancellationToken::new();
    let first = tokio::spawn(first.run(stop.clone()));
    until_leader(&mut first_leads).await;
    let (second, mut second_leads) = Leadership::join(&cfg).expect("a candidate");
    let cancel = CancellationToken::new();
    let second = tokio::spawn(second.run(cancel.clone()));
    assert!(!*second_leads.borrow());
    stop.cancel();
    first.await.expect("joined").expect("left");
    assert!(!*first_leads.borrow());
    let members = topic::members(&setting("KAFKA_BROKERS"), &format!("{}.source", cfg.prefix)).await;
    assert_eq!(members, 1, "a candidate that stops has left, and its session need not end");
    until_leader(&mut second_leads).await;
    cancel.cancel();
    second.await.expect("joined").expect("left");
}
