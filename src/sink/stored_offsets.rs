//! Tells the consumer where its partitions go on: where PostgreSQL says.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use futures_util::future::BoxFuture;

use super::checkpoint;
use crate::{
    log::{self, StartOffsets, TopicPartition},
    postgres::{Error, Postgres, Purpose, Session},
    retry::Classify,
};

/// Reads positions on a connection of its own, because the worker's may be in the middle of a batch.
pub(super) struct StoredOffsets {
    target: Postgres,
    session: tokio::sync::Mutex<Option<Session>>,
    given: Mutex<HashMap<TopicPartition, Option<i64>>>,
}

impl StoredOffsets {
    pub(super) fn new(target: Postgres) -> Self {
        Self { target, session: tokio::sync::Mutex::new(None), given: Mutex::new(HashMap::new()) }
    }

    /// The offset that was given out last for this partition.
    pub(super) fn given(&self, partition: &TopicPartition) -> Option<i64> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).get(partition).copied().flatten()
    }

    async fn read(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, Error> {
        let mut slot = self.session.lock().await;
        // Taken out while in use: a call that fails or is dropped half-way leaves no session of unknown state behind.
        let session = match slot.take() {
            Some(session) if session.is_alive() => session,
            _ => self.target.open(Purpose::Read).await?,
        };
        let positions = checkpoint::read(&session, partitions).await?;
        *slot = Some(session);
        let offsets = positions.iter().map(|position| position.next_offset).collect::<Vec<_>>();
        failpoint!(SINK_ASSIGNMENT);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.extend(partitions.iter().cloned().zip(offsets.iter().copied()));
        Ok(offsets)
    }
}

impl StartOffsets for StoredOffsets {
    fn start_offsets<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>, log::Error>> {
        Box::pin(async move {
            let read = self.read(partitions).await;
            read.map_err(|error| log::Error::StartOffsets { class: error.class(), source: Box::new(error) })
        })
    }
}
