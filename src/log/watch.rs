//! Whether the brokers are there, asked again and again on a connection of its own.
//!
//! A publisher or a consumer whose brokers are away waits for as long as an answer may take (`log.timeout`), and the client
//! library gets over most outages without a word. People who look at the status meanwhile must not wait for either.

use std::{sync::Arc, time::Duration};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{Error, client, topics::state_name};
use crate::config::LogConfig;

/// Longest time that brokers which are well may take to say which topics they have.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that only asks.
pub struct Watch {
    client: Arc<BaseConsumer<client::Context>>,
    brokers: String,
    topic: String,
}

impl Watch {
    /// Makes the client; it connects by itself.
    ///
    /// # Errors
    /// [`Error::Faults`] for settings that the client library refuses.
    pub fn new(cfg: &LogConfig) -> Result<Self, Error> {
        let client = Arc::new(client::create(&client::settings(cfg)?, client::Context::default())?);
        Ok(Self { client, brokers: cfg.brokers.clone(), topic: state_name(&cfg.prefix) })
    }

    /// Asks the brokers for what they know of one topic, which need not exist.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Timeout`] or [`Error::Kafka`], with the addresses, when there is no answer within three seconds.
    pub async fn ask(&self) -> Result<(), Error> {
        let (client, topic, brokers) = (Arc::clone(&self.client), self.topic.clone(), self.brokers.clone());
        client::blocking("watch of the brokers", move || {
            let answered = client.fetch_metadata(Some(&topic), METADATA_TIMEOUT);
            // What the library has to say meanwhile must not pile up; there is never a record.
            drop(client.poll(Duration::ZERO));
            answered
                .map(drop)
                .map_err(|error| Error::kafka("reach the brokers at", brokers)(error).because(client.context().why()))
        })
        .await
    }
}
