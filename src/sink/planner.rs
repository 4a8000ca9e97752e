//! Plans batches on threads of their own: decoding and mapping take a core for a while, and the threads that serve connections
//! must not wait for that.

use std::{collections::HashMap, sync::Arc};

use super::plan::{self, Batch};
use crate::{
    log::{Fetched, Topics},
    mapping::Plan,
    postgres::Error,
    tasks::{self, Blocking},
};

/// The plan, and the topics whose records it is applied to. Cheap to clone.
#[derive(Clone)]
pub(super) struct Planner {
    plan: Arc<Plan>,
    /// Place of the collection in the plan, by topic.
    collections: Arc<HashMap<Arc<str>, usize>>,
}

/// A batch that is being planned.
pub(super) struct Planning(Blocking<Result<Batch, Error>>);

impl Planner {
    pub(super) fn new(plan: Arc<Plan>, topics: &Topics) -> Self {
        let place = |name: &str| plan.collections().iter().position(|known| known.collection == name);
        let topics = topics.collections().iter();
        let collections = topics.filter_map(|topic| Some((topic.name.clone(), place(&topic.namespace.collection)?)));
        let collections = Arc::new(collections.collect());
        Self { plan, collections }
    }

    /// A planner of records whose topics are not known.
    #[cfg(test)]
    pub(super) fn without_topics(plan: Arc<Plan>) -> Self {
        Self { plan, collections: Arc::default() }
    }

    /// Begins to plan a batch, see [`plan::plan`].
    pub(super) fn plan(&self, records: Vec<Fetched>, parked: Vec<Fetched>) -> Planning {
        let Self { plan, collections } = self.clone();
        Planning(tasks::blocking("planner", move || {
            let mut batch = plan::plan(records, parked, &plan)?;
            batch.file(|topic| collections.get(topic).copied());
            Ok(batch)
        }))
    }
}

impl Planning {
    /// Waits until the batch is planned.
    ///
    /// # Errors
    /// Those of [`plan::plan`]; [`Error::Panicked`].
    pub(super) async fn batch(self) -> Result<Batch, Error> {
        self.0.await?
    }
}
