//! The two sides of a comparison on real servers: MongoDB and PostgreSQL.

use std::collections::HashMap;

use bson::raw::{RawDocument, RawDocumentBuf};

use super::{
    Epochs, Error,
    sides::{Compared, Moment, SourceSide, TargetSide},
};
use crate::{
    mapping::{CollectionPlan, Rows},
    model::{ClusterTime, Frontier, Key},
    postgres::Session,
    sink::Prepared,
    source::{Chunk, Limits, Read, ReadTime, SnapshotReader},
    target::{Difference, DocumentId, LivePage, RowSearch, RowsPage, TargetReader},
};

/// A collection of the source.
#[derive(Clone, Copy)]
pub(crate) struct SourceCollection<'a> {
    /// The reader of its database.
    pub(crate) reader: &'a SnapshotReader,
    /// Its name.
    pub(crate) name: &'a str,
}

impl SourceSide for SourceCollection<'_> {
    async fn exists(&self) -> Result<bool, Error> {
        Ok(self.reader.exists(self.name).await?)
    }

    async fn estimate(&self) -> Result<u64, Error> {
        Ok(self.reader.estimate(self.name).await?)
    }

    async fn latest(&self) -> Result<ClusterTime, Error> {
        Ok(self.reader.latest().await?)
    }

    async fn chunk(&self, after: Option<&RawDocument>, limits: Limits, at: ReadTime) -> Result<Chunk, Error> {
        self.chunk_of(self.name, after, limits, at).await
    }

    async fn chunk_of(
        &self,
        collection: &str,
        after: Option<&RawDocument>,
        limits: Limits,
        at: ReadTime,
    ) -> Result<Chunk, Error> {
        Ok(self.reader.chunk(collection, after, limits, at).await?)
    }

    async fn sample(&self, size: usize) -> Result<Vec<RawDocumentBuf>, Error> {
        Ok(self.reader.sample_ids(self.name, size).await?)
    }

    async fn by_ids(&self, ids: &[RawDocumentBuf], at: ReadTime) -> Result<Read<Vec<RawDocumentBuf>>, Error> {
        Ok(self.reader.by_ids(self.name, ids, at).await?)
    }

    async fn existing(&self, ids: &[RawDocumentBuf], at: ReadTime) -> Result<Read<Vec<RawDocumentBuf>>, Error> {
        Ok(self.reader.existing(self.name, ids, at).await?)
    }
}

/// The rows of a collection, and the sink's records about them.
#[derive(Clone, Copy)]
pub(crate) struct TargetCollection<'a> {
    /// A connection that reads.
    pub(crate) session: &'a Session,
    /// The plan, prepared for the target.
    pub(crate) prepared: &'a Prepared,
    /// Index of the collection in the plan.
    pub(crate) collection: usize,
    /// Its topic.
    pub(crate) topic: &'a str,
    /// Partitions of the topic.
    pub(crate) partitions: i32,
    /// The epoch of the source.
    pub(crate) epochs: &'a Epochs,
}

impl<'a> TargetCollection<'a> {
    /// Returns the plan of the collection.
    pub(crate) fn plan(&self) -> &'a CollectionPlan {
        &self.prepared.all().collections()[self.collection]
    }

    async fn begin(&self) -> Result<TargetReader<'a>, Error> {
        Ok(TargetReader::begin(self.session, self.prepared).await?)
    }

    fn apart(&self) -> TargetReader<'a> {
        TargetReader::apart(self.session, self.prepared)
    }

    async fn watermark_in(&self, reader: &TargetReader<'a>) -> Result<Frontier, Error> {
        Ok(reader.watermark(self.topic, self.partitions).await?.unwrap_or_default())
    }
}

/// A snapshot of the target, for one collection.
pub(crate) struct TargetMoment<'a> {
    target: TargetCollection<'a>,
    reader: TargetReader<'a>,
}

impl Moment for TargetMoment<'_> {
    async fn records(&self, keys: &[Key]) -> Result<Compared, Error> {
        let (reader, collection) = (&self.reader, self.target.collection);
        let entries = reader.entries(collection, keys).await?;
        let met = entries.values().map(|entry| entry.version.epoch).max().unwrap_or(0);
        Ok(Compared {
            watermark: self.target.watermark_in(reader).await?,
            epoch: self.target.epochs.when_met(met).await?,
            entries,
            letters: reader.dead_letters(collection, keys).await?,
            differences: HashMap::new(),
        })
    }

    async fn differences(&self, keys: &[Key], expected: &[Rows]) -> Result<HashMap<usize, Difference>, Error> {
        Ok(self.reader.compare(self.target.collection, keys, expected).await?)
    }

    async fn end(self) -> Result<(), Error> {
        Ok(self.reader.end().await?)
    }
}

impl<'a> TargetSide for TargetCollection<'a> {
    type Moment = TargetMoment<'a>;

    async fn moment(&self) -> Result<TargetMoment<'a>, Error> {
        Ok(TargetMoment { target: *self, reader: self.begin().await? })
    }

    async fn watermark(&self) -> Result<Frontier, Error> {
        self.watermark_in(&self.apart()).await
    }

    async fn compare(&self, keys: &[Key], expected: &[Rows]) -> Result<Compared, Error> {
        let moment = self.moment().await?;
        let differences = moment.differences(keys, expected).await?;
        let compared = Compared { differences, ..moment.records(keys).await? };
        moment.end().await?;
        Ok(compared)
    }

    async fn live(&self, after: Option<&Key>) -> Result<LivePage, Error> {
        Ok(self.apart().live_documents(self.collection, after).await?)
    }

    async fn sample(&self, size: usize) -> Result<Vec<DocumentId>, Error> {
        let reader = self.begin().await?;
        let sample = reader.sample(self.collection, size).await?;
        reader.end().await?;
        Ok(sample)
    }

    async fn knows_any(&self) -> Result<bool, Error> {
        Ok(self.apart().knows_any(self.collection).await?)
    }

    async fn search_rows(&self, search: &mut RowSearch) -> Result<RowsPage, Error> {
        Ok(self.apart().search_rows(self.collection, search).await?)
    }

    fn awaits<'s>(&'s self, search: &'s RowSearch) -> Option<(&'s str, Option<&'s RawDocument>)> {
        let (writer, after) = search.awaits()?;
        let &(collection, _) = self.prepared.writers(self.collection, search.table()).get(writer)?;
        Some((&self.prepared.plan(collection).collection, after))
    }

    async fn hold_against(
        &self,
        search: &mut RowSearch,
        documents: &[(DocumentId, RawDocumentBuf)],
        until: Option<RawDocumentBuf>,
    ) -> Result<RowsPage, Error> {
        Ok(self.apart().hold_against(self.collection, search, documents, until).await?)
    }

    async fn without_entry(&self) -> Result<Vec<DocumentId>, Error> {
        Ok(self.apart().without_entry(self.collection).await?)
    }
}
