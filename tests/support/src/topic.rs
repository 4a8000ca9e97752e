//! Topics as an outsider sees them: reads every committed record, writes its own records, removes topics.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Header, Headers, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio::task::spawn_blocking;

use crate::{DEADLINE, wait};

const ANSWER: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
const READ: Duration = Duration::from_secs(120);

/// A record as it is in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Number of its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Its time, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// Returns the text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value).ok()
    }

    /// Returns whether it carries a document or its removal, unlike frontier and control records.
    pub fn is_change(&self) -> bool {
        self.header("driftless.op").is_some_and(|op| !["frontier", "control"].contains(&op))
    }
}

/// Returns every record of a topic that is committed at the time of the call (some later ones may be included), partition by
/// partition in the order of offsets; none if there is no such topic.
pub async fn records(brokers: &str, topic: &str) -> Vec<Record> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    spawn_blocking(move || read(&brokers, &topic)).await.expect("read the topic")
}

fn read(brokers: &str, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "law")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()
        .expect("make a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER).expect("list the partitions");
    let mut assignment = TopicPartitionList::new();
    let mut ends = HashMap::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()) {
        let (_, end) = consumer.fetch_watermarks(topic, partition, ANSWER).expect("look where a partition ends");
        ends.insert(partition, end);
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition of the topic");
    }
    consumer.assign(&assignment).expect("assign the partitions");
    let (mut records, deadline) = (Vec::new(), Instant::now() + READ);
    while !ends.is_empty() {
        assert!(Instant::now() < deadline, "{topic} was not read to its end within {READ:?}");
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                records.push(own(&message));
                // If a publisher continues to write, an answer without records, which would signal the end, may never come.
                if ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                    ends.remove(&message.partition());
                }
            }
            // The end may be a transaction marker, which is no record.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            Some(Err(error)) => panic!("read {topic}: {error}"),
            None => {}
        }
    }
    records.sort_by_key(|record: &Record| (record.partition, record.offset));
    records
}

fn own(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect(),
    }
}

/// Appends the records in this order, each to its own partition; returns once the broker has them all.
pub async fn append(brokers: &str, topic: &str, records: Vec<Record>) {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    spawn_blocking(move || write(&brokers, &topic, &records)).await.expect("write to the topic");
}

fn write(brokers: &str, topic: &str, records: &[Record]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "67108864")
        .create()
        .expect("make a producer");
    for record in records {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut message: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(topic).partition(record.partition).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.timestamp = record.timestamp_ms;
        producer.send(message).map_err(|(error, _)| error).expect("append a record");
        producer.poll(Duration::ZERO);
    }
    producer.flush(READ).expect("the broker takes the records");
}

/// Creates a topic of one partition with these settings.
pub async fn create(brokers: &str, topic: &str, settings: &[(&str, &str)]) {
    let (admin, _) = list(brokers, topic).await;
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
    for created in admin.create_topics([&new], &AdminOptions::new()).await.expect("create a topic") {
        created.expect("create a topic");
    }
}

/// Removes every topic with that prefix.
pub async fn remove(brokers: &str, prefix: &str) {
    let (admin, names) = list(brokers, prefix).await;
    let doomed: Vec<&str> = names.iter().map(String::as_str).collect();
    if !doomed.is_empty() {
        admin.delete_topics(&doomed, &AdminOptions::new()).await.expect("delete topics");
    }
}

/// Deletes the records of a partition before this offset, as retention does.
pub async fn delete_before(brokers: &str, topic: &str, partition: i32, offset: i64) {
    let (admin, _) = list(brokers, topic).await;
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
    let deleted = admin.delete_records(&before, &AdminOptions::new()).await.expect("delete records");
    deleted.elements().iter().for_each(|element| element.error().expect("delete records"));
}

/// Returns the names of every topic with that prefix.
pub async fn names(brokers: &str, prefix: &str) -> Vec<String> {
    list(brokers, prefix).await.1
}

async fn list(brokers: &str, prefix: &str) -> (AdminClient<DefaultClientContext>, Vec<String>) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers);
    let admin: AdminClient<DefaultClientContext> = settings.create().expect("make an administration client");
    let list = spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, ANSWER);
        let names = metadata.map(|metadata| metadata.topics().iter().map(|topic| topic.name().to_owned()).collect());
        (admin, names)
    });
    let (admin, names) = list.await.expect("list the topics");
    let mut names: Vec<String> = names.expect("list the topics");
    names.retain(|name| name.starts_with(prefix));
    (admin, names)
}

/// Returns the current number of members of a consumer group.
pub async fn members(brokers: &str, group: &str) -> usize {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let group = group.to_owned();
    let list = spawn_blocking(move || {
        let asking: BaseConsumer = config.create().expect("a client");
        let groups = asking.fetch_group_list(Some(&group), ANSWER).expect("list the members");
        groups.groups().first().map_or(0, |group| group.members().len())
    });
    list.await.expect("list the members")
}

/// Bound on the size of an assignment without partitions: its version and two empty lists are shorter.
const SOME: usize = 16;

/// Waits until the consumer group has `members` members and each of them has partitions.
pub async fn shared_out(brokers: &str, group: &str, members: usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let asking: BaseConsumer = config.create().expect("a client");
    wait::until("the partitions are shared out", DEADLINE, async || {
        let groups = asking.fetch_group_list(Some(group), DEADLINE).map_err(|error| error.to_string())?;
        let group = groups.groups().first().ok_or("no such group")?;
        let shares: Vec<usize> = group.members().iter().map(|one| one.assignment().map_or(0, <[u8]>::len)).collect();
        wait::holds(shares.len() == members && shares.iter().all(|share| *share > SOME), "not yet")
    })
    .await;
}
