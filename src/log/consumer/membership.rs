//! Assignments of partitions. The library calls back from inside its poll, so always on the thread of the consumer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use tokio::{runtime::Handle, sync::mpsc};

use super::event::{ConsumerEvent, StartOffsets};
use crate::log::{Error, TopicPartition, client};

type Events = mpsc::UnboundedSender<Result<ConsumerEvent, Error>>;

/// The state of the membership.
pub(super) struct Membership {
    starts: Arc<dyn StartOffsets>,
    runtime: Handle,
    timeout: Duration,
    /// Unbounded, because the thread must never wait; the budget bounds the records in it, and other events are few.
    events: Events,
    /// The assigned partitions, each with the number of its assignment.
    pub(super) assigned: Mutex<HashMap<TopicPartition, u64>>,
    assignments: AtomicU64,
    pub(super) paused: AtomicBool,
    pub(super) failure: Mutex<Option<Error>>,
}

impl Membership {
    pub(super) fn new(starts: Arc<dyn StartOffsets>, runtime: Handle, timeout: Duration, events: Events) -> Self {
        Self {
            starts,
            runtime,
            timeout,
            events,
            assigned: Mutex::default(),
            assignments: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    pub(super) fn send(&self, event: Result<ConsumerEvent, Error>) {
        // The receiver is gone only if the consumer was dropped, and then the thread is being stopped.
        let _ = self.events.send(event);
    }

    pub(super) fn assigned_list(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for TopicPartition { topic, partition } in lock(&self.assigned).keys() {
            list.add_partition(topic, *partition);
        }
        list
    }

    fn take(&self, member: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> Result<(), Error> {
        let partitions = partitions(list);
        let asked = self.starts.start_offsets(&partitions);
        let starts = self
            .runtime
            .block_on(async { tokio::time::timeout(self.timeout, asked).await })
            .unwrap_or_else(|_| Err(Error::Timeout { act: "look up", object: "the start of partitions".to_owned() }))?;
        assert_eq!(starts.len(), partitions.len(), "each partition has a start");
        let mut assign = || -> Result<(), KafkaError> {
            for (partition, start) in partitions.iter().zip(&starts) {
                let start = start.map_or(Offset::Beginning, Offset::Offset);
                list.set_partition_offset(&partition.topic, partition.partition, start)?;
            }
            member.incremental_assign(list)?;
            if self.paused.load(Ordering::Relaxed) {
                member.pause(list)?;
            }
            Ok(())
        };
        assign().map_err(Error::kafka("take", "the assigned partitions"))?;
        let assignment = self.assignments.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.assigned).extend(partitions.iter().map(|partition| (partition.clone(), assignment)));
        self.send(Ok(ConsumerEvent::Assigned(partitions.into_iter().zip(starts).collect())));
        Ok(())
    }

    fn give(&self, member: &BaseConsumer<Self>, list: &TopicPartitionList) -> Result<(), Error> {
        let partitions = partitions(list);
        lock(&self.assigned).retain(|partition, _| !partitions.contains(partition));
        self.send(Ok(ConsumerEvent::Revoked(partitions)));
        member.incremental_unassign(list).map_err(Error::kafka("release", "the revoked partitions"))
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    elements.iter().map(|one| TopicPartition { topic: one.topic().into(), partition: one.partition() }).collect()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::broker_trouble(&error, reason);
    }

    fn stats(&self, _statistics: Statistics) {}
}

impl ConsumerContext for Membership {
    fn rebalance(&self, member: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.take(member, list),
            _ => self.give(member, list),
        };
        if let Err(error) = done {
            lock(&self.failure).get_or_insert(error);
        }
    }
}
