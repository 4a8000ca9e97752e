//! The events of a consumer, and where its partitions start.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::log::{Error, Headers, TopicPartition};

/// Memory of a record beside its bytes.
const RECORD_BYTES: usize = 128;

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset. Offsets grow, with gaps where transactions ended or were aborted, and after compaction.
    pub offset: i64,
    /// Milliseconds since 1970; -1 if the record has no timestamp.
    pub timestamp_ms: i64,
    /// Kafka key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Headers,
}

impl Fetched {
    /// Returns the memory that the record takes.
    pub(crate) fn size_bytes(&self) -> usize {
        let parts = [&self.key, &self.value].into_iter().flatten().map(Vec::len).sum::<usize>();
        RECORD_BYTES + parts + self.headers.size_bytes()
    }
}

/// An event of the consumer; events come in order of occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerEvent {
    /// A record.
    Fetched(Fetched),
    /// These partitions belong to this consumer from now on, each from the offset that [`StartOffsets`] returned; `None` is the
    /// earliest record. The offset travels with its assignment, because a later assignment may have another one.
    Assigned(Vec<(TopicPartition, Option<i64>)>),
    /// These partitions belong to another consumer now.
    Revoked(Vec<TopicPartition>),
    /// The next record of this partition is the first at or after this offset; earlier records are stale.
    Sought {
        /// The partition.
        partition: TopicPartition,
        /// The requested offset.
        offset: i64,
    },
}

/// Provides the next offset of each partition; the sink implements it from its offset rows.
pub trait StartOffsets: Send + Sync + 'static {
    /// Returns the next offset of each partition, in the same order; `None` is the earliest record.
    ///
    /// The partitions wait for the answer, so it is bounded by `log.timeout`.
    ///
    /// # Errors
    /// Fails with [`Error::StartOffsets`]; the consumer ends with it.
    fn start_offsets<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>>;
}
