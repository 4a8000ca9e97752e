//! Offsets of partitions, for an operator who chooses where a replay begins, and for the lag: the ends of the log, the first record
//! since an instant, and the time of a record. Reads only.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

use super::{Error, TopicPartition, client, client::Context, leader};
use crate::config::LogConfig;

/// How long one poll waits.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Longest wait for the first records of all partitions together. Their times are shown, and nothing depends on them.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time in which healthy brokers answer for the ends of all partitions. A later answer is no news.
const LATEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the brokers for offsets. Joins no group.
pub struct Offsets {
    client: Arc<BaseConsumer<Context>>,
    timeout: Duration,
}

impl Offsets {
    /// Creates the client, which connects by itself.
    ///
    /// # Errors
    /// Fails with [`Error::Faults`] for settings that the client library refuses.
    pub fn new(cfg: &LogConfig) -> Result<Self, Error> {
        let mut settings = client::settings(cfg)?;
        // The library demands a group even from a reader that assigns its partitions itself; the reader never joins it.
        client::member(&mut settings, cfg, &leader::group(&cfg.prefix));
        settings.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        // One record of each partition is wanted, not the many that the library would fetch ahead.
        client::tune(&mut settings, &["queued.max.messages.kbytes"], "1024");
        client::tune(&mut settings, &["fetch.wait.max.ms"], "5");
        Ok(Self { client: Arc::new(client::create(&settings, Context::default())?), timeout: cfg.timeout })
    }

    /// Returns `[beginning, end)` of each partition, in the given order. Records before the beginning are deleted.
    ///
    /// # Errors
    /// Fails with [`Error::Kafka`], [`Error::Unreachable`] or [`Error::Timeout`].
    pub async fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<(i64, i64)>, Error> {
        let (client, partitions, timeout) = (self.client.clone(), partitions.to_vec(), self.timeout);
        client::blocking("ends of the partitions", move || {
            let ends = |TopicPartition { topic, partition }: &TopicPartition| {
                let asked = client.fetch_watermarks(topic, *partition, timeout);
                asked.map_err(|error| {
                    Error::kafka("ask for the ends of", &**topic)(error).because(client.context().why())
                })
            };
            partitions.iter().map(ends).collect()
        })
        .await
    }

    /// Returns the offset of the first record at or after the instant, for each partition in the given order; `None`: there is none.
    /// The time of a record is that of its change in the source.
    ///
    /// # Errors
    /// Fails with [`Error::Kafka`], [`Error::Unreachable`] or [`Error::Timeout`].
    pub async fn since(&self, partitions: &[TopicPartition], at: Timestamp) -> Result<Vec<Option<i64>>, Error> {
        // A negative time would be one of the protocol's own words for an end of the log.
        self.asked(partitions, "offsets by time", Offset::Offset(at.as_millisecond().max(0)), self.timeout).await
    }

    /// Returns the offset behind the last committed record of each partition, in the given order, with one request to each broker;
    /// `None`: a broker has not said.
    ///
    /// # Errors
    /// Fails with [`Error::Kafka`], [`Error::Unreachable`] or [`Error::Timeout`].
    pub async fn latest(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, Error> {
        self.asked(partitions, "ends of the log", Offset::End, LATEST_TIMEOUT).await
    }

    /// Asks the same of all partitions: a time in milliseconds since 1970, or an end of the log.
    async fn asked(
        &self,
        partitions: &[TopicPartition],
        task: &'static str,
        asked: Offset,
        timeout: Duration,
    ) -> Result<Vec<Option<i64>>, Error> {
        let (client, partitions) = (self.client.clone(), partitions.to_vec());
        client::blocking(task, move || {
            let object = partitions.first().map_or("", |partition| &*partition.topic).to_owned();
            let failed =
                |error| Error::kafka("ask for offsets by time in", &object)(error).because(client.context().why());
            let list = list(&partitions, |_| asked).map_err(&failed)?;
            let found = client.offsets_for_times(list, timeout).map_err(&failed)?;
            let offset = |partition: &TopicPartition| {
                let element = found.find_partition(&partition.topic, partition.partition);
                let Some(element) = element else { return Ok(None) };
                element.error().map_err(&failed)?;
                Ok(match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                })
            };
            partitions.iter().map(offset).collect()
        })
        .await
    }

    /// Returns the time of the first record at or after each of these offsets, in the given order; `None` where there is no record, or
    /// the brokers do not give it soon.
    ///
    /// # Errors
    /// Fails with [`Error::Kafka`] when the client refuses a partition.
    pub async fn times(&self, starts: Vec<(TopicPartition, i64)>) -> Result<Vec<Option<Timestamp>>, Error> {
        let client = self.client.clone();
        client::blocking("times of records", move || {
            let deadline = Instant::now() + RECORDS_TIMEOUT;
            starts.iter().map(|(partition, offset)| time(&client, partition, *offset, deadline)).collect()
        })
        .await
    }
}

fn time(
    client: &BaseConsumer<Context>,
    partition: &TopicPartition,
    offset: i64,
    deadline: Instant,
) -> Result<Option<Timestamp>, Error> {
    let topic = &*partition.topic;
    // The library looks for the leader of the partition at once if it already knows the topic, otherwise a second later.
    let _ = client.fetch_metadata(Some(topic), RECORDS_TIMEOUT);
    let start = list(std::slice::from_ref(partition), |_| Offset::Offset(offset));
    start.and_then(|start| client.assign(&start)).map_err(Error::kafka("read a record of", topic))?;
    while Instant::now() < deadline {
        match client.poll(POLL_INTERVAL) {
            Some(Ok(record)) if (record.topic(), record.partition()) == (topic, partition.partition) => {
                return Ok(record.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok()));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => tracing::debug!(topic, %error, "read the time of a record"),
            Some(Ok(_)) | None => {}
        }
    }
    Ok(None)
}

fn list(
    partitions: &[TopicPartition],
    offset: impl Fn(&TopicPartition) -> Offset,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(&partition.topic, partition.partition, offset(partition))?;
    }
    Ok(list)
}
