//! Reads the documents that an analysis is made of: all, or random ones, at a bounded rate and in bounded memory.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use bson::raw::RawDocumentBuf;
use clap::Args;
use indicatif::ProgressBar;
use tokio::task::JoinHandle;

use super::schemas::Schemas;
use crate::{
    cli::{print, setup},
    config::{Config, Secret, SourceConfig},
    profile::{Analysis, Database, Description, Facts, Index, Validator},
    source::{ChunkSizer, CollectionKind, Described, Error, Limits, Rate, ReadTime, Source},
};

/// Random documents that are read at once: the largest take 16 MiB each.
const PAGE: usize = 100;
/// How long reading a chunk may take.
const CHUNK_TIME: Duration = Duration::from_secs(1);

/// Which documents are read, and from where.
#[derive(Debug, Args)]
pub(crate) struct Documents {
    /// Connection string of MongoDB, in place of `source.uri`. Others can see it in the list of processes: put one with a password
    /// into DRIFTLESS__SOURCE__URI or `source.uri_file`.
    #[arg(long, value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Secret::from(text.to_owned())))]
    uri: Option<Secret>,
    /// The database, in place of `source.database`.
    #[arg(long)]
    database: Option<String>,
    /// Only this collection; may be repeated.
    #[arg(long = "collection", value_name = "NAME")]
    collections: Vec<String>,
    /// Read this many random documents of each collection.
    #[arg(long, value_name = "N", default_value_t = 10_000, conflicts_with = "all")]
    sample: usize,
    /// Read every document: nothing is estimated, and rare values are seen.
    #[arg(long)]
    all: bool,
    /// The most documents per second [default: source.snapshot_rate, without a limit if that is 0].
    #[arg(long, value_name = "DOCUMENTS")]
    rate: Option<u64>,
    #[command(flatten)]
    schemas: Schemas,
}

impl Documents {
    /// Reads the documents and analyses them; prints the faults of the configuration and returns `None` if there are any.
    ///
    /// # Errors
    /// Fails when MongoDB or a schema cannot be read, and for a collection that does not exist.
    pub(crate) async fn analyze(&self, path: &Path) -> anyhow::Result<Option<Analysis>> {
        let descriptions = self.schemas.read()?;
        let Some(config) = self.config(path) else { return Ok(None) };
        let source = Source::connect(&config).await?;
        let described = source.describe().await?;
        let names: Vec<&str> = described.iter().map(|collection| collection.name.as_str()).collect();
        anyhow::ensure!(!names.is_empty(), "find the database {}: it has no collections", config.database);
        if let Some(unknown) = self.collections.iter().find(|name| !names.contains(&name.as_str())) {
            anyhow::bail!("find collection {unknown}: the database has {}", names.join(", "));
        }
        for unknown in descriptions.keys().filter(|name| !names.contains(&name.as_str())) {
            tracing::warn!(collection = unknown, "a schema describes it, but the database has no such collection");
        }
        let mut reading = Reading {
            descriptions,
            analyst: Analyst::new(Database::new(&config.database)),
            rate: Rate::new(
                self.rate.unwrap_or(config.snapshot_rate),
                config.snapshot_bytes_rate.as_u64(),
                Instant::now(),
            ),
            sample: (!self.all).then_some(self.sample),
            source: &source,
            config: &config,
        };
        let wanted =
            |collection: &&Described| self.collections.is_empty() || self.collections.contains(&collection.name);
        for collection in described.iter().filter(wanted) {
            reading.collection(collection).await?;
        }
        Ok(Some(reading.analyst.end().await.analysis()))
    }

    /// Returns the connection string, where it can be read.
    pub(crate) fn address(&self, path: &Path) -> Option<String> {
        let source = Config::load_source(path, self.given()).ok()?;
        let uri = source.uri.map(|uri| secrecy::ExposeSecret::expose_secret(&uri).to_owned());
        let file = || std::fs::read_to_string(source.uri_file?).ok().map(|text| text.trim().to_owned());
        uri.or_else(file)
    }

    /// Returns the settings of the source; prints their faults and returns `None` if there are any.
    fn config(&self, path: &Path) -> Option<SourceConfig> {
        let faults = match Config::load_source(path, self.given()) {
            Ok(config) => return Some(config),
            Err(faults) => faults,
        };
        print::faults(&faults.into_iter().map(|fault| setup::finding(path, fault)).collect::<Vec<_>>());
        None
    }

    /// Returns the settings that the command line gives.
    fn given(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut given = serde_json::Map::new();
        if let Some(uri) = &self.uri {
            given.insert("uri".to_owned(), secrecy::ExposeSecret::expose_secret(uri).into());
        }
        if let Some(database) = &self.database {
            given.insert("database".to_owned(), database.as_str().into());
        }
        given
    }
}

/// A database that is being read.
struct Reading<'a> {
    analyst: Analyst,
    /// Descriptions, by schemas, of the collections that were not read yet.
    descriptions: BTreeMap<String, Vec<Description>>,
    rate: Rate,
    /// How many documents of a collection; `None` for all.
    sample: Option<usize>,
    source: &'a Source,
    config: &'a SourceConfig,
}

impl Reading<'_> {
    async fn collection(&mut self, described: &Described) -> anyhow::Result<()> {
        let Described { name, kind, options } = described;
        let left_out = match kind {
            CollectionKind::Plain => None,
            CollectionKind::Capped => Some("capped"),
            CollectionKind::View => Some("a view"),
            CollectionKind::TimeSeries => Some("a time-series collection"),
            CollectionKind::Missing => Some("gone"),
        };
        if let Some(what) = left_out {
            tracing::warn!(collection = name, "not read: it is {what}, and cannot be replicated");
            return Ok(());
        }
        let documents = self.source.reader().estimate(name).await?;
        let facts = Facts {
            name: name.clone(),
            documents,
            bytes: granted("its size", name, self.source.bytes(name).await)?.unwrap_or_default(),
            indexes: granted("its indexes", name, self.source.indexes(name).await)?
                .unwrap_or_default()
                .iter()
                .filter_map(Index::read)
                .collect(),
            validator: Validator::read(options),
            descriptions: self.descriptions.remove(name).unwrap_or_default(),
        };
        self.analyst.next(|database| database.begin(facts)).await;
        let expected = self.sample.map_or(documents, |sample| documents.min(sample as u64));
        let bar = print::bar(name, expected, "{prefix} {bar:24} {pos}/{len} {per_sec} {eta}");
        let all = match self.sample {
            Some(sample) if (sample as u64) < documents => self.some(name, sample, &bar).await.map(|()| false),
            _ => self.all(name, &bar).await.map(|()| true),
        };
        bar.finish_and_clear();
        let all = all?;
        self.analyst.next(move |database| database.end(all)).await;
        Ok(())
    }

    async fn all(&mut self, name: &str, bar: &ProgressBar) -> Result<(), Error> {
        let bytes = usize::try_from(self.config.chunk_bytes.as_u64()).unwrap_or(usize::MAX);
        let mut sizer = ChunkSizer::new(Limits { documents: self.config.chunk_documents, bytes }, CHUNK_TIME);
        let mut after = None;
        loop {
            tokio::time::sleep(self.rate.wait(Instant::now())).await;
            let begun = Instant::now();
            let reader = self.source.reader();
            let chunk = reader.chunk(name, after.as_deref(), sizer.limits(), ReadTime::NOW).await?;
            let took = begun.elapsed();
            sizer.learn(chunk.documents.len(), chunk.bytes, took);
            self.add(chunk.documents, bar).await;
            if chunk.end {
                return Ok(());
            }
            after = chunk.last_id;
        }
    }

    async fn some(&mut self, name: &str, sample: usize, bar: &ProgressBar) -> Result<(), Error> {
        let reader = self.source.reader();
        for ids in reader.sample_ids(name, sample).await?.chunks(PAGE) {
            tokio::time::sleep(self.rate.wait(Instant::now())).await;
            let documents = reader.by_ids(name, ids, ReadTime::NOW).await?.value;
            self.add(documents, bar).await;
        }
        Ok(())
    }

    async fn add(&mut self, documents: Vec<RawDocumentBuf>, bar: &ProgressBar) {
        let bytes = documents.iter().map(|document| document.as_bytes().len()).sum();
        self.rate.spend(documents.len(), bytes, Instant::now());
        bar.inc(documents.len() as u64);
        self.analyst.next(move |database| documents.iter().for_each(|document| database.add(document))).await;
    }
}

/// Analyses documents on a thread of its own, while the next ones are read.
struct Analyst(Option<JoinHandle<Database>>);

impl Analyst {
    fn new(database: Database) -> Self {
        Self(Some(tokio::task::spawn_blocking(|| database)))
    }

    /// Waits until what came before is analysed, then begins with this.
    async fn next(&mut self, analyse: impl FnOnce(&mut Database) + Send + 'static) {
        let mut database = self.take().await;
        self.0 = Some(tokio::task::spawn_blocking(move || {
            analyse(&mut database);
            database
        }));
    }

    async fn end(mut self) -> Database {
        self.take().await
    }

    async fn take(&mut self) -> Database {
        let Some(working) = self.0.take() else { unreachable!("each task is followed by another") };
        match working.await {
            Ok(database) => database,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// Returns an answer, or nothing if the user may not ask; the analysis goes on without it.
fn granted<T>(what: &str, collection: &str, answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_denied() => {
            tracing::warn!(
                collection,
                "{what} cannot be read: the user lacks the right (the roles `read` and deploy/roles/mongodb have it)"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
