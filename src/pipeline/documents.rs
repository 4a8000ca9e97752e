//! Single documents, as both sides hold them: for commands that repair them, or show them.

use std::{collections::HashMap, time::Duration};

use bson::raw::RawDocumentBuf;
use serde_json::Value;

use super::{Error, reconciler::Comparison};
use crate::{
    control::findings::Scope,
    log::partition_of_key,
    mapping::CollectionPlan,
    model::{ClusterTime, Key},
    reconcile::{
        self, Bounds,
        again::{self, Judged},
    },
    source::{ReadTime, id_of},
    target::{DocumentId, ShownRow, TargetReader},
};

/// Both sides of a document.
pub(crate) struct Sides {
    /// The document; `None` if the source does not have it.
    pub(crate) document: Option<RawDocumentBuf>,
    /// Cluster time at which it was read.
    pub(crate) as_of: ClusterTime,
    /// Its rows.
    pub(crate) rows: Vec<ShownRow>,
}

impl Comparison {
    /// Place of a collection.
    pub(crate) fn named(&self, collection: &str) -> Option<usize> {
        self.both.prepared.named(collection)
    }

    /// The plan of a collection.
    pub(crate) fn plan(&self, collection: usize) -> &CollectionPlan {
        self.both.plan(collection)
    }

    /// The tables of a collection, as foreign writes name them.
    pub(crate) fn tables(&self, collection: usize) -> Vec<String> {
        self.both.tables(collection)
    }

    /// The scope of a collection's findings; `tables` are those of [`Self::tables`].
    pub(crate) fn scope<'a>(&'a self, collection: usize, tables: &'a [String]) -> Scope<'a> {
        self.both.findings(collection, tables)
    }

    /// About how many documents the source has of a collection.
    ///
    /// # Errors
    /// Those of the source.
    pub(crate) async fn estimate(&self, collection: usize) -> Result<u64, Error> {
        Ok(self.both.reader.estimate(&self.plan(collection).collection).await?)
    }

    /// The partition in which the changes of a document lie.
    pub(crate) fn partition(&self, collection: usize, key: &Key) -> i32 {
        partition_of_key(key, self.both.topics.collections()[collection].partitions)
    }

    /// Judges documents of a collection as of now; waits no longer than this for those that are undecided.
    ///
    /// # Errors
    /// Those of either side.
    pub(crate) async fn judge(
        &self,
        collection: usize,
        documents: Vec<DocumentId>,
        wait: Duration,
    ) -> Result<Vec<Judged>, Error> {
        let bounds = Bounds { wait: wait.min(self.both.bounds.wait), ..self.both.bounds };
        let sides = (&self.both.source_of(collection), &self.both.target_of(&self.session, collection));
        Ok(again::judge(sides, self.plan(collection), bounds, documents).await?)
    }

    /// Finds the documents that the source has now behind rows of a table of a collection, each with the place of its own collection;
    /// parallel to the keys of the rows, and `None` for a row of no document.
    ///
    /// # Errors
    /// Those of either side.
    pub(crate) async fn documents_of_rows(
        &self,
        collection: usize,
        table: &str,
        row_keys: &[Value],
    ) -> Result<Vec<Option<(usize, DocumentId)>>, Error> {
        let mut tables = self.both.prepared.statements(collection).tables.iter();
        match tables.position(|statements| statements.name == table) {
            Some(table) => {
                Ok(reconcile::documents_of_rows(&self.both, &self.session, (collection, table), row_keys).await?)
            }
            None => Ok(vec![None; row_keys.len()]),
        }
    }

    /// Reads both sides of documents, parallel to these: the source at one cluster time, and the target as it is now.
    ///
    /// # Errors
    /// Those of either side.
    pub(crate) async fn both_sides(&self, collection: usize, documents: &[DocumentId]) -> Result<Vec<Sides>, Error> {
        let ids: Vec<_> = documents.iter().filter_map(|document| document.id.clone()).collect();
        let read = self.both.reader.by_ids(&self.plan(collection).collection, &ids, ReadTime::NOW).await?;
        let keyed = read.value.into_iter().filter_map(|document| Some((Key::from_id(&id_of(&document)?)?, document)));
        let mut held: HashMap<Key, RawDocumentBuf> = keyed.collect();
        let asked: Vec<_> = documents.iter().map(|document| (document.key.clone(), document.id.clone())).collect();
        let reader = TargetReader::begin(&self.session, &self.both.prepared).await?;
        let rows = reader.rows_of(collection, &asked).await?;
        reader.end().await?;
        let sides = documents.iter().zip(rows).map(|(document, rows)| Sides {
            document: held.remove(&document.key),
            as_of: read.read_at,
            rows,
        });
        Ok(sides.collect())
    }
}
