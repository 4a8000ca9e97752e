//! Dead letters published again, outside of any stream.
//!
//! Not through the [`Publisher`](super::Publisher): whoever retries is an operator's command, not the leader of the source.
//! Idempotent, not transactional; the sink's ledger makes a repetition harmless.

use rdkafka::{
    error::RDKafkaErrorCode,
    producer::{BaseProducer, BaseRecord},
};

use super::{
    Error, Headers, client,
    envelope::header,
    error::code_of,
    producer::{self, Deliveries},
    transaction,
};
use crate::config::LogConfig;

/// A record as it was found in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// The topic.
    pub topic: String,
    /// Kafka key; the record goes to the partition of this key, as it did before.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Headers,
}

/// Writes records again as they were, marked as retries so that no frontier counts them, and waits until all have arrived.
///
/// # Errors
/// [`Error::Kafka`], [`Error::Timeout`], [`Error::TooLarge`]: some of them may have been written. Repeating is harmless.
pub async fn republish(cfg: &LogConfig, records: Vec<RawRecord>) -> Result<(), Error> {
    let mut settings = producer::settings(cfg)?;
    settings.set("message.timeout.ms", client::millis(cfg.timeout));
    let producer: BaseProducer<Deliveries> = client::create(&settings, Deliveries::default())?;
    let timeout = cfg.timeout;
    client::blocking("republisher", move || {
        for record in &records {
            let kept = record.headers.iter().filter(|(name, _)| *name != header::RETRY);
            let mut again = BaseRecord::to(&record.topic)
                .headers(transaction::headers(kept.chain([(header::RETRY, b"1".as_slice())])));
            (again.key, again.payload) = (record.key.as_ref(), record.value.as_ref());
            producer::send(&producer, again, timeout, |error| match code_of(&error) {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    let bytes = [&record.key, &record.value].into_iter().flatten().map(Vec::len).sum();
                    Error::TooLarge { topic: record.topic.clone(), bytes }
                }
                _ => Error::kafka("republish to", &record.topic)(error),
            })?;
        }
        let (act, object) = ("republish to", "the topics of dead letters");
        producer::deliver(&producer, timeout, (act, object), Error::kafka(act, object))
    })
    .await
}
