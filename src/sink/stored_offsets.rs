//! Gives the consumer the offsets where its partitions go on: the positions in PostgreSQL.

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::checkpoint;
use crate::{
    log::{self, StartOffsets, TopicPartition},
    postgres::{Error, Postgres, Purpose, Session},
    retry::Classify,
};

/// Reads positions on a connection of its own, because the worker's may be in the middle of a batch.
pub(super) struct StoredOffsets {
    target: Postgres,
    session: Mutex<Option<Session>>,
}

impl StoredOffsets {
    pub(super) fn new(target: Postgres) -> Self {
        Self { target, session: Mutex::new(None) }
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
        failpoint!(SINK_ASSIGNMENT);
        Ok(positions.into_iter().map(|position| position.next_offset).collect())
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
