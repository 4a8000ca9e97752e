//! The epoch of the source: a version of a later one is higher than anything that the source has done.
//!
//! An operator raises `source.epoch` where the source runs, and a process that only compares may not have heard of it. So a version of
//! a later epoch than is known has the log asked. It has a new epoch no later than the first change under it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::Error;
use crate::{config::LogConfig, log::read_state};

/// How long an epoch that the log did not have is taken for a wrong one: every judgement of such an entry would read the log.
const REFUTED_FOR: Duration = Duration::from_secs(10);
/// Refuted epochs that are kept; beyond that all are asked for again.
const MAX_REFUTED: usize = 1_000;

/// The epoch of the source, as far as it is known.
pub(crate) struct Epochs {
    log: LogConfig,
    known: AtomicU32,
    /// Epochs that entries are of and the log did not have, and when it was asked.
    refuted: Mutex<HashMap<u32, Instant>>,
}

impl Epochs {
    /// Begins with the epoch that is configured.
    pub(crate) fn new(configured: u32, log: LogConfig) -> Self {
        Self { log, known: AtomicU32::new(configured), refuted: Mutex::default() }
    }

    /// Returns the epoch of the source; `met` is the latest of an entry in the ledger.
    ///
    /// # Errors
    /// [`Error::Epoch`] by the class of its cause.
    pub(crate) async fn when_met(&self, met: u32) -> Result<u32, Error> {
        let known = self.known.load(Ordering::Relaxed);
        if met <= known || self.is_refuted(met) {
            return Ok(known);
        }
        let stored = read_state(&self.log).await.map_err(|error| Error::Epoch(Box::new(error)))?.epoch();
        let known = self.known.fetch_max(stored, Ordering::Relaxed).max(stored);
        if met > known {
            let mut refuted = self.refuted.lock().unwrap_or_else(PoisonError::into_inner);
            if refuted.len() >= MAX_REFUTED {
                refuted.clear();
            }
            refuted.insert(met, Instant::now());
        }
        Ok(known)
    }

    fn is_refuted(&self, met: u32) -> bool {
        let refuted = self.refuted.lock().unwrap_or_else(PoisonError::into_inner);
        refuted.get(&met).is_some_and(|asked| asked.elapsed() < REFUTED_FOR)
    }
}
