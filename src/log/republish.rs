//! Republish.

use super::Error;
use crate::config::LogConfig;

/// A record as it was found in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// The topic.
    pub topic: String,
    /// Kafka key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Writes records again as they were, marked as retries so that no frontier counts them.
///
/// # Errors
/// [`Error::Kafka`], [`Error::Timeout`], [`Error::TooLarge`]: some of them may have been written. Repeating is harmless.
pub async fn republish(_cfg: &LogConfig, _records: Vec<RawRecord>) -> Result<(), Error> {
    todo!()
}
