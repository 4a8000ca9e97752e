//! Both sides of all collections, as the tasks of the reconciler share them. Each task has sessions of its own.

use std::{sync::Arc, time::Instant};

use super::{
    bounds::Bounds,
    epochs::Epochs,
    servers::{SourceCollection, TargetCollection},
};
use crate::{
    control::findings,
    log::Topics,
    mapping::CollectionPlan,
    postgres::{self, Postgres, Purpose, Session},
    sink::Prepared,
    source::{Rate, SnapshotReader, Source},
};

/// Both sides.
pub(crate) struct Both {
    /// The source.
    pub(crate) source: Source,
    /// Its reader.
    pub(crate) reader: SnapshotReader,
    /// The target.
    pub(crate) target: Postgres,
    /// The plan, prepared for the target.
    pub(crate) prepared: Prepared,
    /// The topics, in the order of the plan.
    pub(crate) topics: Topics,
    /// The epoch of the source.
    pub(crate) epochs: Epochs,
    /// Open findings of a collection that are kept.
    pub(crate) findings_kept: u32,
    /// Bounds of what is read at once.
    pub(crate) bounds: Bounds,
    /// How fast whole collections are read: documents and bytes per second; 0 is no limit.
    pub(crate) rates: (u64, u64),
}

impl Both {
    /// The number of collections.
    pub(crate) fn len(&self) -> usize {
        self.prepared.ids().len()
    }

    /// The plan of a collection, by place.
    pub(crate) fn plan(&self, collection: usize) -> &CollectionPlan {
        &self.prepared.all().collections()[collection]
    }

    /// The rate at which whole collections are read, from now on.
    pub(crate) fn rate(&self) -> Rate {
        let (documents, bytes) = self.rates;
        Rate::new(documents, bytes, Instant::now())
    }

    /// Opens a session to read with.
    ///
    /// # Errors
    /// Those of [`Postgres::open`].
    pub(crate) async fn session(&self) -> Result<Session, postgres::Error> {
        self.target.open(Purpose::Read).await
    }

    /// The source's side of a collection, by place.
    pub(crate) fn source_of(&self, collection: usize) -> SourceCollection<'_> {
        SourceCollection { reader: &self.reader, name: &self.plan(collection).collection }
    }

    /// The target's side of a collection, by place, in a session.
    pub(crate) fn target_of<'a>(&'a self, session: &'a Session, collection: usize) -> TargetCollection<'a> {
        let topic = &self.topics.collections()[collection];
        let (topic, partitions) = (&*topic.name, topic.partitions);
        TargetCollection { session, prepared: &self.prepared, collection, topic, partitions, epochs: &self.epochs }
    }

    /// The topic of a collection, by place, and its partitions.
    pub(crate) fn topic(&self, collection: usize) -> (Arc<str>, i32) {
        let topic = &self.topics.collections()[collection];
        (topic.name.clone(), topic.partitions)
    }

    /// The tables of a collection, by place, as the guard names them.
    pub(crate) fn tables(&self, collection: usize) -> Vec<String> {
        self.plan(collection).tables.iter().map(|table| table.table.label()).collect()
    }

    /// The collection, by place, whose findings are meant.
    pub(crate) fn findings<'a>(&'a self, collection: usize, tables: &'a [String]) -> findings::Scope<'a> {
        let plan = self.plan(collection);
        let collection = self.prepared.id(collection);
        findings::Scope { collection, name: &plan.collection, plan: plan.digest(), tables, kept: self.findings_kept }
    }
}
