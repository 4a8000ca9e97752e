//! Topics.

use std::sync::Arc;

use super::{Error, Fault};
use crate::{config::LogConfig, model::Namespace};

/// The topic of one collection, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The collection.
    pub namespace: Namespace,
    /// The topic's name.
    pub name: Arc<str>,
    /// Its partitions.
    pub partitions: i32,
}

/// The topics of one source, all verified.
#[derive(Clone, Debug)]
pub struct Topics {
    state: String,
    collections: Vec<Topic>,
}

impl Topics {
    /// Creates the topics that are missing and verifies all of them.
    ///
    /// # Errors
    /// [`Error::Faults`] with everything that is not as it must be; [`Error::Kafka`] and [`Error::Timeout`].
    pub async fn ensure(_cfg: &LogConfig, _namespaces: &[Namespace]) -> Result<Self, Error> {
        todo!()
    }

    /// Verifies the topics that exist and creates none.
    ///
    /// # Errors
    /// [`Error::Kafka`] and [`Error::Timeout`]; faults are the result.
    pub async fn check(_cfg: &LogConfig, _namespaces: &[Namespace]) -> Result<Vec<Fault>, Error> {
        todo!()
    }

    /// Name of the state topic.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Every collection topic, in the order of the namespaces given.
    pub fn collections(&self) -> &[Topic] {
        &self.collections
    }

    /// The topic of a collection.
    pub fn of(&self, namespace: &Namespace) -> Option<&Topic> {
        self.collections.iter().find(|topic| topic.namespace == *namespace)
    }

    /// The topic of that name.
    pub fn named(&self, name: &str) -> Option<&Topic> {
        self.collections.iter().find(|topic| &*topic.name == name)
    }
}
