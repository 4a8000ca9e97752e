//! Reads documents of the source in pieces, each as large as the bounds of bytes and time allow.

use bson::raw::{RawDocument, RawDocumentBuf};
use tokio::time::Instant;

use super::{Error, bounds::Bounds, sides::SourceSide};
use crate::{
    model::ClusterTime,
    source::{Chunk, ChunkSizer, Read, ReadTime},
};

/// Documents that were read by `_id`.
pub(super) struct Piece<'i> {
    /// The ids that were requested.
    pub(super) asked: &'i [RawDocumentBuf],
    /// The documents that exist.
    pub(super) documents: Vec<RawDocumentBuf>,
    /// Cluster time of the read.
    pub(super) read_at: ClusterTime,
}

/// Reads pieces, and learns from each how large the next one may be.
pub(super) struct PieceReader<'a, S> {
    source: &'a S,
    sizer: ChunkSizer,
}

impl<'a, S: SourceSide> PieceReader<'a, S> {
    pub(super) fn new(source: &'a S, bounds: Bounds) -> Self {
        Self { source, sizer: ChunkSizer::new(bounds.limits, bounds.read_time) }
    }

    /// Makes the next pieces smaller, after one that took longer than the server keeps its instant.
    pub(super) fn shrink(&mut self) {
        self.sizer.shrink();
    }

    /// Reads the documents that follow `after` in the order of `_id`.
    pub(super) async fn chunk(&mut self, after: Option<&RawDocument>, at: ReadTime) -> Result<Chunk, Error> {
        let began = Instant::now();
        let chunk = self.source.chunk(after, self.sizer.limits(), at).await?;
        self.sizer.learn(chunk.documents.len(), chunk.bytes, began.elapsed());
        Ok(chunk)
    }

    /// Reads the documents of any collection that follow `after` in the order of `_id`.
    pub(super) async fn chunk_of(
        &mut self,
        collection: &str,
        after: Option<&RawDocument>,
        at: ReadTime,
    ) -> Result<Chunk, Error> {
        self.source.chunk_of(collection, after, self.sizer.limits(), at).await
    }

    /// The most documents that the next piece may hold.
    pub(super) fn most(&self) -> usize {
        self.sizer.limits().documents
    }

    /// Reads the cluster time that no change has passed yet.
    pub(super) async fn latest(&self) -> Result<ClusterTime, Error> {
        self.source.latest().await
    }

    /// Removes the first of these `{_id: …}` from the list and reads their documents; returns `None` when the list is empty.
    pub(super) async fn next_of<'i>(
        &mut self,
        ids: &mut &'i [RawDocumentBuf],
        at: ReadTime,
    ) -> Result<Option<Piece<'i>>, Error> {
        if ids.is_empty() {
            return Ok(None);
        }
        let (asked, rest) = ids.split_at(ids.len().min(self.sizer.limits().documents));
        *ids = rest;
        let began = Instant::now();
        let Read { value: documents, read_at } = self.source.by_ids(asked, at).await?;
        let bytes = documents.iter().map(|document| document.as_bytes().len()).sum();
        self.sizer.learn(documents.len(), bytes, began.elapsed());
        Ok(Some(Piece { asked, documents, read_at }))
    }
}
