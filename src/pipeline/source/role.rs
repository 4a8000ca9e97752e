//! The parts of the source role.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config::Config,
    model::{ClusterTime, Namespace},
    pipeline::Overview,
    retry::Backoff,
    source::{OnDrop, Scope},
    status::Status,
};

/// Reads MongoDB and writes the log.
pub(crate) struct SourceRole {
    /// The configuration.
    pub(crate) config: Arc<Config>,
    /// The mapped collections, and what to do when one is dropped.
    pub(crate) collections: BTreeMap<String, OnDrop>,
    /// Where this role reports its state.
    pub(crate) status: Status,
    /// This process's view of the target, if it reads the target: a snapshot waits for a sink that is far behind.
    pub(crate) overview: Overview,
}

impl SourceRole {
    pub(super) fn backoff(&self) -> Backoff {
        Backoff { min: self.config.retry.min, max: self.config.retry.max }
    }

    pub(super) fn namespaces(&self) -> Vec<Namespace> {
        self.collections.keys().map(|name| Namespace::new(&self.config.source.database, name)).collect()
    }

    /// The scope of a stream whose collections are read from `since` on.
    pub(super) fn scope(&self, since: BTreeMap<String, ClusterTime>) -> Scope {
        Scope {
            database: self.config.source.database.clone(),
            collections: self.collections.clone(),
            epoch: self.config.source.epoch,
            since,
        }
    }
}
