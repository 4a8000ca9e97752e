//! What the reconciler reads: ledger, rows and watermark of one instant of PostgreSQL.
//!
//! Expected rows are sent in the form in which the sink writes them, and PostgreSQL answers which columns differ. So values
//! never leave the database, and two values are equal when the target says so. Reads nothing but through one
//! repeatable-read transaction at a time, and writes nothing.

use std::{collections::HashMap, sync::Arc};

use super::{
    Error, Session,
    catalog::read_catalog,
    checkpoint,
    connect::{Purpose, Target},
    params::{self, Column},
    session::{Param, field},
    statements::{CollectionStatements, TableStatements},
};
use crate::{
    log::{TopicPartition, Topics},
    mapping::{CollectionPlan, Plan, Row, Rows},
    model::{ClusterTime, Frontier, Key, Namespace, Version},
};

/// What the ledger knows of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Version of the change that was applied last.
    pub version: Version,
    /// Whether that was a delete.
    pub deleted: bool,
    /// The applied document may contain operations up to here.
    pub upper: ClusterTime,
    /// Whether the change of that version is a dead letter or parked: its rows are known to be old.
    pub refused: bool,
}

/// How a document's rows compare with what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowState {
    /// All there, all equal.
    Equal,
    /// The root row is not there.
    Missing,
    /// These columns differ: `column` of the root table, `schema.table` of a child table.
    Different(Vec<String>),
    /// The mapping refuses the document, so no rows can stand for it.
    Unmappable,
}

/// Ledger and rows of some documents, and the watermark, all of one instant.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Everything before this is applied; the zero bound where nothing is known.
    pub watermark: Frontier,
    /// Parallel to the documents asked for.
    pub documents: Vec<(Option<Entry>, RowState)>,
}

/// Ledger entries and the watermark, all of one instant.
#[derive(Clone, Debug)]
pub struct Entries {
    /// See [`Comparison::watermark`].
    pub watermark: Frontier,
    /// Parallel to the keys asked for.
    pub entries: Vec<Option<Entry>>,
}

/// How many there are of each, all of one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the root table.
    pub rows: u64,
    /// Live ledger entries.
    pub live: u64,
    /// Live ledger entries whose last change is a dead letter or parked, so that they may have no row.
    pub refused: u64,
}

/// Reads the target. Spent after an error: make another one.
pub struct Reader {
    session: Session,
    collections: HashMap<String, Mapped>,
}

struct Mapped {
    id: Option<i32>,
    plan: CollectionPlan,
    statements: CollectionStatements,
    partitions: Vec<TopicPartition>,
}

impl Reader {
    /// Connects.
    ///
    /// # Errors
    /// As [`Target::open`], and [`Error::TableGone`] when the target has lost a table of the plan.
    pub async fn connect(target: &Target, plan: &Plan, topics: &Topics, database: &str) -> Result<Self, Error> {
        let session = target.open(Purpose::Read).await?;
        let catalog = read_catalog(&session).await?;
        let mut collections = HashMap::new();
        for plan in plan.collections() {
            let topic = topics.of(&Namespace::new(database, &plan.collection));
            let partitions = topic.map_or_else(Vec::new, |topic| {
                let name: Arc<str> = topic.name.clone();
                (0..topic.partitions).map(|partition| TopicPartition { topic: name.clone(), partition }).collect()
            });
            let statements = CollectionStatements::new(plan, &catalog)?;
            collections
                .insert(plan.collection.clone(), Mapped { id: None, plan: plan.clone(), statements, partitions });
        }
        Ok(Self { session, collections })
    }

    /// Everything of the collection before this is applied; `None` while a partition has not said so, or its snapshot is
    /// not applied.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn watermark(&self, collection: &str) -> Result<Option<Frontier>, Error> {
        let Some(mapped) = self.collections.get(collection) else { return Ok(None) };
        let positions = checkpoint::read(&self.session, &mapped.partitions).await?;
        if !positions.iter().all(|position| position.complete) {
            return Ok(None);
        }
        // `None` is below every bound, and no partition at all proves nothing.
        Ok(positions.iter().map(|position| position.watermark).min().flatten())
    }

    /// Holds the rows that documents must have against the rows that are there.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn compare(
        &mut self,
        collection: &str,
        expected: &[(Key, Option<Rows>)],
    ) -> Result<Comparison, Error> {
        let keys: Vec<&[u8]> = expected.iter().map(|(key, _)| key.as_bytes()).collect();
        self.begin().await?;
        let (watermark, entries) = self.ledger(collection, &keys).await?;
        let rows: Vec<Option<&Rows>> = expected.iter().map(|(_, rows)| rows.as_ref()).collect();
        let states = match self.collections.get(collection) {
            Some(mapped) => self.states(mapped, &rows).await?,
            None => vec![RowState::Unmappable; rows.len()],
        };
        self.end().await?;
        Ok(Comparison { watermark, documents: entries.into_iter().zip(states).collect() })
    }

    /// Looks keys up in the ledger.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn entries(&mut self, collection: &str, keys: &[Key]) -> Result<Entries, Error> {
        let keys: Vec<&[u8]> = keys.iter().map(Key::as_bytes).collect();
        self.begin().await?;
        let (watermark, entries) = self.ledger(collection, &keys).await?;
        self.end().await?;
        Ok(Entries { watermark, entries })
    }

    /// The next live keys after `after`, in the order of their bytes.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn live_keys(&mut self, collection: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, Error> {
        let sql = "SELECT key FROM driftless.ledger \
                    WHERE collection = $1 AND key > $2 AND NOT deleted ORDER BY key LIMIT $3";
        let after = after.map_or(&[][..], Key::as_bytes);
        self.keys("read live keys", collection, sql, &[&after, &limit_of(limit)]).await
    }

    /// Random live keys.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn sample_keys(&mut self, collection: &str, limit: usize) -> Result<Vec<Key>, Error> {
        // Random places of the index would favour keys behind gaps; the ledger is narrow, so it is read whole.
        let sql = "SELECT key FROM driftless.ledger \
                    WHERE collection = $1 AND NOT deleted ORDER BY random() LIMIT $2";
        self.keys("choose random live keys", collection, sql, &[&limit_of(limit)]).await
    }

    /// Counts rows and ledger entries.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn counts(&mut self, collection: &str) -> Result<Counts, Error> {
        let id = self.id(collection).await?;
        let rows_sql = self.root(collection).map_or("SELECT 0::bigint", |table| &table.count).to_owned();
        self.begin().await?;
        let act = "count rows";
        let rows: i64 = field(&self.session.query_one(act, &rows_sql, &[]).await?, 0, act)?;
        let act = "count ledger entries";
        let sql = "SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM driftless.dead_letter AS d \
                     WHERE d.collection = l.collection AND d.key = l.key AND d.state IN ('open', 'parked'))) \
                     FROM driftless.ledger AS l WHERE l.collection = $1 AND NOT l.deleted";
        let found = self.session.query_one(act, sql, &[&id]).await?;
        let (live, refused): (i64, i64) = (field(&found, 0, act)?, field(&found, 1, act)?);
        self.end().await?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Counts { rows: count(rows), live: count(live), refused: count(refused) })
    }

    async fn begin(&self) -> Result<(), Error> {
        self.session.batch("begin a read", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn end(&self) -> Result<(), Error> {
        self.session.batch("end a read", "COMMIT").await
    }

    /// Id of the collection in the ledger; -1 while it has none, which no entry has.
    async fn id(&mut self, collection: &str) -> Result<i32, Error> {
        if let Some(id) = self.collections.get(collection).and_then(|mapped| mapped.id) {
            return Ok(id);
        }
        let act = "find a collection";
        let sql = "SELECT id FROM driftless.collection WHERE name = $1";
        let Some(row) = self.session.query_opt(act, sql, &[&collection]).await? else { return Ok(-1) };
        let id: i32 = field(&row, 0, act)?;
        if let Some(mapped) = self.collections.get_mut(collection) {
            mapped.id = Some(id);
        }
        Ok(id)
    }

    async fn keys(
        &mut self,
        act: &str,
        collection: &str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Key>, Error> {
        let id = self.id(collection).await?;
        let mut all: Vec<Param<'_>> = vec![&id];
        all.extend_from_slice(params);
        let rows = self.session.query(act, sql, &all).await?;
        rows.iter().map(|row| Ok(Key::from_bytes(field(row, 0, act)?))).collect()
    }

    /// Watermark and entries, inside the caller's transaction.
    async fn ledger(&mut self, collection: &str, keys: &[&[u8]]) -> Result<(Frontier, Vec<Option<Entry>>), Error> {
        let id = self.id(collection).await?;
        let watermark = self.watermark(collection).await?.unwrap_or_default();
        let act = "read ledger entries";
        let sql = "SELECT e.n::int8, l.version, l.deleted, l.upper_t, l.upper_i, \
                          EXISTS (SELECT FROM driftless.dead_letter AS d WHERE d.collection = l.collection \
                                     AND d.key = l.key AND d.state IN ('open', 'parked')) \
                     FROM unnest($2::bytea[]) WITH ORDINALITY AS e(key, n) \
                     JOIN driftless.ledger AS l ON l.collection = $1 AND l.key = e.key";
        let mut entries = vec![None; keys.len()];
        for row in self.session.query(act, sql, &[&id, &keys]).await? {
            let version = Version::from_bytes(field::<&[u8]>(&row, 1, act)?);
            let upper = checkpoint::cluster_time(field(&row, 3, act)?, field(&row, 4, act)?);
            let entry = version.zip(upper).map(|(version, upper)| {
                Ok::<_, Error>(Entry { version, deleted: field(&row, 2, act)?, upper, refused: field(&row, 5, act)? })
            });
            if let Some(slot) = place(field::<i64>(&row, 0, act)?).and_then(|at| entries.get_mut(at)) {
                *slot = entry.transpose()?;
            }
        }
        Ok((watermark, entries))
    }

    fn root(&self, collection: &str) -> Option<&TableStatements> {
        self.collections.get(collection)?.statements.tables.first()
    }

    /// Compares table by table, inside the caller's transaction.
    async fn states(&self, mapped: &Mapped, expected: &[Option<&Rows>]) -> Result<Vec<RowState>, Error> {
        let mut states: Vec<RowState> = expected
            .iter()
            .map(|rows| if rows.is_some() { RowState::Equal } else { RowState::Unmappable })
            .collect();
        for (at, (statements, table)) in mapped.statements.tables.iter().zip(&mapped.plan.tables).enumerate() {
            let (ordinals, rows): (Vec<i32>, Vec<&Row>) =
                numbered(expected).flat_map(|(n, rows)| rows.tables[at].iter().map(move |row| (n, row))).unzip();
            let columns = params::columns(statements.width, rows.iter().copied());
            let act = "compare rows";
            for row in self.session.query(act, &statements.compare, &with(&[&ordinals], &columns)).await? {
                let (n, missing): (i32, bool) = (field(&row, 0, act)?, field(&row, 1, act)?);
                let differing: Vec<String> = field(&row, 2, act)?;
                let Some(state) = usize::try_from(n).ok().and_then(|n| states.get_mut(n)) else { continue };
                match (at, missing) {
                    (0, true) => *state = RowState::Missing,
                    (0, false) => state.add(differing),
                    _ => state.add(vec![statements.name.clone()]),
                }
            }
            let Some(surplus) = &statements.surplus else { continue };
            let root_key = mapped.plan.tables[0].key[0];
            let (parents, roots): (Vec<i32>, Vec<&Row>) =
                numbered(expected).filter_map(|(n, rows)| Some((n, rows.tables[0].first()?))).unzip();
            let roots = params::column(root_key, roots.iter().copied());
            let keys: Vec<Column> = table.key.iter().map(|&at| params::column(at, rows.iter().copied())).collect();
            let act = "find surplus child rows";
            for row in self.session.query(act, surplus, &with(&[&parents, &roots], &keys)).await? {
                let n: i32 = field(&row, 0, act)?;
                if let Some(state) = usize::try_from(n).ok().and_then(|n| states.get_mut(n)) {
                    state.add(vec![statements.name.clone()]);
                }
            }
        }
        Ok(states)
    }
}

impl RowState {
    fn add(&mut self, mut columns: Vec<String>) {
        match self {
            Self::Equal => *self = Self::Different(columns),
            Self::Different(known) => {
                columns.retain(|column| !known.contains(column));
                known.append(&mut columns);
            }
            // A missing root says it all.
            Self::Missing | Self::Unmappable => {}
        }
    }
}

/// Expected rows with the place of their document.
fn numbered<'a>(expected: &'a [Option<&'a Rows>]) -> impl Iterator<Item = (i32, &'a Rows)> {
    expected.iter().enumerate().filter_map(|(n, rows)| Some((i32::try_from(n).ok()?, (*rows)?)))
}

fn with<'a>(first: &[Param<'a>], columns: &'a [Column]) -> Vec<Param<'a>> {
    first.iter().copied().chain(columns.iter().map(|column| column as Param<'a>)).collect()
}

fn place(ordinality: i64) -> Option<usize> {
    usize::try_from(ordinality - 1).ok()
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
