//! Consumer.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Error, Topics};
use crate::config::LogConfig;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// A record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset. Offsets grow; they have gaps where transactions ended, were aborted, or compaction was at work.
    pub offset: i64,
    /// Milliseconds since 1970; -1 when the record has none.
    pub timestamp_ms: i64,
    /// Kafka key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What the consumer has to tell, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerEvent {
    /// A record.
    Fetched(Fetched),
    /// These partitions belong to this consumer from here on, each from the offset that [`StartOffsets`] gave.
    Assigned(Vec<TopicPartition>),
    /// These partitions belong to another consumer now.
    Revoked(Vec<TopicPartition>),
    /// The next record of this partition is the first at or after this offset; those before this event are stale.
    Sought {
        /// The partition.
        partition: TopicPartition,
        /// The offset asked for.
        offset: i64,
    },
}

/// Knows where each partition goes on: the sink, from its offset rows.
pub trait StartOffsets: Send + Sync + 'static {
    /// The next offset of each partition, in the same order; `None` starts at the earliest record there is.
    ///
    /// Runs while the partitions wait, so it has a bound: the log's own timeout.
    ///
    /// # Errors
    /// [`Error::StartOffsets`]; the consumer ends with it.
    fn start_offsets<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>>;
}

/// A member of the sink's consumer group.
pub struct Consumer {
    _private: (),
}

impl Consumer {
    /// Joins the group for all collection topics. `max_bytes` and `max_records` bound what waits in memory.
    ///
    /// Must be called inside a Tokio runtime: `starts` runs on it.
    ///
    /// # Errors
    /// [`Error::Faults`] and [`Error::Kafka`] for settings that the client library refuses.
    pub fn join(
        _cfg: &LogConfig,
        _topics: &Topics,
        _max_bytes: usize,
        _max_records: usize,
        _starts: Arc<dyn StartOffsets>,
    ) -> Result<Self, Error> {
        todo!()
    }

    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    /// The one that ended the consumer; then [`Error::Ended`].
    pub async fn next(&mut self) -> Result<ConsumerEvent, Error> {
        todo!()
    }

    /// The next event if one is there already.
    pub fn try_next(&mut self) -> Option<ConsumerEvent> {
        todo!()
    }

    /// Asks for a partition to be read again from `offset`; [`ConsumerEvent::Sought`] marks the place.
    ///
    /// Nothing happens when the partition has been revoked meanwhile.
    pub fn seek(&self, _partition: TopicPartition, _offset: i64) {
        todo!()
    }

    /// Leaves the group, so that others take over at once.
    ///
    /// # Errors
    /// The one that had ended the consumer, if it was not told by [`Consumer::next`].
    pub async fn close(self) -> Result<(), Error> {
        todo!()
    }
}
