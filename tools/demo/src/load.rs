//! The initial load of a database, in unordered batches.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Database, IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};

use super::{Collection, Error, Generator};

/// Documents per insert: about a megabyte, well below the 48 MB limit of a message.
const BATCH: u64 = 1_000;
/// Inserts in flight at once: enough to generate the next batch while the server writes.
const MAX_CONCURRENT: usize = 4;
/// The server's code for "a collection of that name exists".
const NAMESPACE_EXISTS: i32 = 48;

/// The result of a load.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// The number of documents inserted.
    pub documents: u64,
    /// The time that the load took.
    pub elapsed: Duration,
}

/// Creates the collections and the indexes of the application; harmless when they exist.
///
/// The unique indexes are those of the target schema, so the source cannot hold what the target must refuse.
///
/// # Errors
/// [`Error::Prepare`] with the class of the driver's error.
pub async fn prepare(database: &Database) -> Result<(), Error> {
    for collection in Collection::ALL {
        let failed = |source| Error::Prepare { collection, source };
        // The collection is created explicitly: a transaction that has to create one conflicts with everything else.
        match database.create_collection(collection.name()).await {
            Err(error) if !exists(&error) => return Err(failed(error)),
            _ => {}
        }
        database.collection::<Document>(collection.name()).create_indexes(indexes(collection)).await.map_err(failed)?;
    }
    Ok(())
}

fn exists(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), mongodb::error::ErrorKind::Command(refused) if refused.code == NAMESPACE_EXISTS)
}

fn indexes(collection: Collection) -> Vec<IndexModel> {
    let unique = || IndexOptions::builder().unique(true).build();
    let plain = |keys: &[&str]| -> Vec<IndexModel> {
        keys.iter().map(|key| IndexModel::builder().keys(doc! { *key: 1 }).build()).collect()
    };
    let mut indexes = match collection {
        Collection::Organisations => Vec::new(),
        Collection::Users => plain(&["organisation"]),
        Collection::Plans => plain(&["owner", "organisation", "basedOn", "collaborators"]),
        Collection::ResearchPacks => plain(&["owner", "plan"]),
        Collection::Sections => plain(&["researchPack", "review.by"]),
        Collection::FinancialModels => plain(&["plan"]),
    };
    let keys = match collection {
        Collection::Organisations => Some(doc! { "slug": 1 }),
        Collection::Users => Some(doc! { "email": 1 }),
        Collection::Sections => Some(doc! { "plan": 1, "order": 1 }),
        Collection::Plans | Collection::ResearchPacks | Collection::FinancialModels => None,
    };
    indexes.extend(keys.map(|keys| IndexModel::builder().keys(keys).options(unique()).build()));
    indexes
}

/// Inserts all documents of a generator; `progress` receives the number inserted so far after each batch.
///
/// The database must not hold documents of the same seed.
///
/// # Errors
/// [`Error::Prepare`] or [`Error::Load`] with the class of the driver's error. Some of the documents may then exist. A
/// load cannot be resumed: drop the database and start again.
pub async fn load(database: &Database, generator: &Generator, mut progress: impl FnMut(u64)) -> Result<Loaded, Error> {
    let started = Instant::now();
    prepare(database).await?;
    let batches = Collection::ALL.into_iter().flat_map(|collection| {
        let size = generator.sizes().get(collection);
        (0..size).step_by(BATCH as usize).map(move |start| (collection, start..size.min(start + BATCH)))
    });
    let mut inserts = stream::iter(batches)
        .map(|(collection, indexes)| async move {
            let documents: Vec<Document> = indexes.map(|index| generator.document(collection, index)).collect();
            let amount = documents.len() as u64;
            database
                .collection::<Document>(collection.name())
                .insert_many(documents)
                .ordered(false)
                .await
                .map_err(|source| Error::Load { collection, source })?;
            Ok::<u64, Error>(amount)
        })
        .buffer_unordered(MAX_CONCURRENT);
    let mut documents = 0;
    while let Some(amount) = inserts.try_next().await? {
        documents += amount;
        progress(documents);
    }
    Ok(Loaded { documents, elapsed: started.elapsed() })
}
