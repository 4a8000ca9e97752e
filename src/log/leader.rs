//! Leadership.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::config::LogConfig;

/// One candidate for the leadership of a source stream.
pub struct Leadership {
    _private: (),
}

impl Leadership {
    /// Joins the candidates; the receiver tells whether this one leads.
    ///
    /// # Errors
    /// [`Error::Faults`] and [`Error::Kafka`] for settings that the client library refuses.
    pub fn join(_cfg: &LogConfig) -> Result<(Self, watch::Receiver<bool>), Error> {
        todo!()
    }

    /// Stays a candidate until cancelled, then leaves, so that another takes over at once.
    ///
    /// # Errors
    /// [`Error::Kafka`] that membership cannot survive; the receiver says `false` by then.
    pub async fn run(self, _cancel: CancellationToken) -> Result<(), Error> {
        todo!()
    }
}
