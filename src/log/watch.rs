//! Checks repeatedly, on its own connection, whether the brokers answer.
//!
//! A publisher or a consumer without brokers waits for `log.timeout`, and the client library survives most outages silently. The
//! status must show an outage earlier than that.

use std::{sync::Arc, time::Duration};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{Error, client, topic_names::state_name};
use crate::config::LogConfig;

/// Longest time in which healthy brokers answer a request for metadata.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that only requests metadata.
pub(crate) struct Watch {
    client: Arc<BaseConsumer<client::Context>>,
    brokers: String,
    topic: String,
}

impl Watch {
    /// Creates the client, which connects by itself.
    ///
    /// # Errors
    /// Fails with [`Error::Faults`] for settings that the client library refuses.
    pub(crate) fn new(cfg: &LogConfig) -> Result<Self, Error> {
        let client = Arc::new(client::create(&client::settings(cfg)?, client::Context::default())?);
        Ok(Self { client, brokers: cfg.brokers.clone(), topic: state_name(&cfg.prefix) })
    }

    /// Requests the metadata of one topic, which need not exist.
    ///
    /// # Errors
    /// Fails with [`Error::Unreachable`], [`Error::Timeout`] or [`Error::Kafka`], with the addresses, without an answer within three
    /// seconds.
    pub(crate) async fn ask(&self) -> Result<(), Error> {
        let (client, topic, brokers) = (Arc::clone(&self.client), self.topic.clone(), self.brokers.clone());
        client::blocking("watch of the brokers", move || {
            let answered = client.fetch_metadata(Some(&topic), METADATA_TIMEOUT);
            // Events of the library must not pile up; there is never a record.
            drop(client.poll(Duration::ZERO));
            client::log_ended();
            answered
                .map(drop)
                .map_err(|error| Error::kafka("reach the brokers at", brokers)(error).because(client.context().why()))
        })
        .await
    }
}
