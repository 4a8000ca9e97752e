//! What the reconciler reads of this side: positions, ledger, dead letters and rows of one instant.
//!
//! A [`TargetReader`] is one repeatable-read transaction, so all its answers belong together. Rows are compared here, inside
//! PostgreSQL: expected ones go in, names of columns come out, never a value.

use std::collections::HashMap;

use crate::{
    mapping::{Row, Rows},
    model::{ClusterTime, Frontier, Key, Version},
    postgres::{
        Error, Refusal, Session,
        params::{self, Column, refs},
        session::{Param, field},
    },
    retry::{Class, Classify},
    sink::{Prepared, bisect::MAX_UNKNOWN, checkpoint},
};

/// A repeatable-read transaction over everything the sink keeps.
pub struct TargetReader<'a> {
    session: &'a Session,
    prepared: &'a Prepared,
}

/// What the ledger says of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Version of the last change.
    pub version: Version,
    /// Whether that was a delete.
    pub deleted: bool,
    /// Its document may contain operations up to this cluster time.
    pub upper: ClusterTime,
    /// Digest of the source document; none for a delete.
    pub digest: Option<[u8; 16]>,
    /// Number of the transaction that wrote the entry: another one whenever a change is applied, be it one that was known.
    pub applied: i64,
}

/// How the rows of one document differ from the expected ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The root row is not there.
    pub missing: bool,
    /// `schema.table.column` that differ; `schema.table` for a child row that is missing or not expected.
    pub columns: Vec<String>,
    /// PostgreSQL takes no such values, not even to compare them, so the rows cannot hold them.
    pub refused: Option<Refusal>,
}

/// A waiting dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingLetter {
    /// Its number.
    pub id: i64,
    /// Whether it is open, which is drift that already has a name; else it is parked.
    pub open: bool,
}

/// Documents of a collection by the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Live, with a version at or below the bound.
    pub live: u64,
    /// Changed after the bound, live or not.
    pub newer: u64,
}

impl<'a> TargetReader<'a> {
    /// Begins the transaction. Give it back with [`Self::end`]; when it is dropped, the session is spent.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn begin(session: &'a Session, prepared: &'a Prepared) -> Result<Self, Error> {
        session.batch("begin a read", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(Self { session, prepared })
    }

    /// Ends the transaction.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn end(self) -> Result<(), Error> {
        self.session.batch("end a read", "COMMIT").await
    }

    /// The bound below which every change of the topic is applied; `None` while a partition has none, or the snapshot of
    /// the collection is not applied everywhere.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn watermark(&self, topic: &str, partitions: i32) -> Result<Option<Frontier>, Error> {
        let act = "read the watermark";
        let sql = "SELECT watermark_t, watermark_i FROM driftless.position \
                    WHERE topic = $1 AND partition < $2 AND complete AND watermark_t IS NOT NULL \
                    ORDER BY watermark_t, watermark_i";
        let rows = self.session.query(act, sql, &[&topic, &partitions]).await?;
        match rows.first() {
            Some(row) if i32::try_from(rows.len()) == Ok(partitions) => {
                Ok(checkpoint::cluster_time(field(row, 0, act)?, field(row, 1, act)?).map(Frontier))
            }
            _ => Ok(None),
        }
    }

    /// The ledger's entries of these keys; a key it never heard of is left out.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn entries(&self, collection: usize, keys: &[Key]) -> Result<HashMap<Key, Entry>, Error> {
        let act = "read the ledger";
        let sql = "SELECT key, version, deleted, upper_t, upper_i, digest, xmin::text::int8 FROM driftless.ledger \
                    WHERE collection = $1 AND key = ANY ($2)";
        let rows = self.session.query(act, sql, &[&self.prepared.id(collection), &bytes(keys)]).await?;
        let mut entries = HashMap::with_capacity(rows.len());
        for row in &rows {
            let version = field::<&[u8]>(row, 1, act)?;
            let entry = Entry {
                version: Version::from_bytes(version).unwrap_or(Version {
                    epoch: u32::MAX,
                    time: ClusterTime { t: u32::MAX, i: u32::MAX },
                    op: u32::MAX,
                }),
                deleted: field(row, 2, act)?,
                upper: checkpoint::cluster_time(field(row, 3, act)?, field(row, 4, act)?).unwrap_or_default(),
                digest: field::<Option<&[u8]>>(row, 5, act)?.and_then(|digest| digest.try_into().ok()),
                applied: field(row, 6, act)?,
            };
            entries.insert(Key::from_bytes(field(row, 0, act)?), entry);
        }
        Ok(entries)
    }

    /// Those of the keys whose last change waits as a dead letter.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn dead_letters(&self, collection: usize, keys: &[Key]) -> Result<HashMap<Key, WaitingLetter>, Error> {
        let act = "read dead letters";
        let sql = "SELECT key, id, state = 'open' FROM driftless.dead_letter \
                    WHERE state IN ('open', 'parked') AND collection = $1 AND key = ANY ($2) ORDER BY id";
        let rows = self.session.query(act, sql, &[&self.prepared.id(collection), &bytes(keys)]).await?;
        let letter = |row| Ok::<_, Error>(WaitingLetter { id: field(row, 1, act)?, open: field(row, 2, act)? });
        rows.iter().map(|row| Ok((Key::from_bytes(field(row, 0, act)?), letter(row)?))).collect()
    }

    /// Compares the rows that documents should have with those that are there. Gives back the documents that differ, by
    /// their place in `expected`, to which `keys` is parallel.
    ///
    /// What PostgreSQL refuses to compare is isolated by halves, each in a savepoint, so that it is the difference of its own
    /// document and spends no snapshot.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause; also where an error of no known kind meets one document after the other and none
    /// passes.
    pub async fn compare(
        &self,
        collection: usize,
        keys: &[Key],
        expected: &[Rows],
    ) -> Result<HashMap<usize, Difference>, Error> {
        assert_eq!(keys.len(), expected.len(), "each document has its key");
        let mut found = HashMap::new();
        let (mut unknown, mut passed) = (0, false);
        let mut open = vec![(0, expected.len())];
        while let Some((from, to)) = open.pop() {
            let some = &expected[from..to];
            self.session.batch("set a savepoint", "SAVEPOINT comparison").await?;
            let error = match self.compare_all(collection, &keys[from..to], some).await {
                Ok(differences) => {
                    self.session.batch("release a savepoint", "RELEASE comparison").await?;
                    passed |= some.iter().any(|rows| !rows.tables.iter().all(Vec::is_empty));
                    found.extend(differences.into_iter().map(|(place, difference)| (from + place, difference)));
                    continue;
                }
                Err(error) => error,
            };
            let refusal = match error.refusal() {
                Some(refusal) if error.class() == Class::Poison => refusal.clone(),
                _ => return Err(error),
            };
            self.session.batch("roll back to a savepoint", "ROLLBACK TO comparison; RELEASE comparison").await?;
            if some.len() > 1 {
                let middle = from + some.len() / 2;
                open.extend([(middle, to), (from, middle)]);
                continue;
            }
            unknown += usize::from(!refusal.is_of_a_value());
            if unknown > MAX_UNKNOWN && !passed {
                return Err(error);
            }
            found.insert(from, Difference { refused: Some(refusal), ..Difference::default() });
        }
        Ok(found)
    }

    async fn compare_all(
        &self,
        collection: usize,
        keys: &[Key],
        expected: &[Rows],
    ) -> Result<HashMap<usize, Difference>, Error> {
        let mut found = HashMap::<usize, Difference>::new();
        let all = (0..expected.len()).filter_map(|place| i32::try_from(place).ok()).collect::<Vec<_>>();
        for (table, statements) in self.prepared.statements(collection).tables.iter().enumerate() {
            let act = format!("compare rows of {}", statements.name);
            let rows = expected
                .iter()
                .zip(&all)
                .flat_map(|(rows, &place)| rows.tables.get(table).into_iter().flatten().map(move |row| (place, row)));
            let (places, rows): (Vec<i32>, Vec<&Row>) = rows.unzip();
            if !rows.is_empty() {
                let arrays = params::columns(statements.width, rows.iter().copied());
                for row in self.session.query(&act, &statements.compare, &with(&places, &arrays)).await? {
                    let missing: bool = field(&row, 1, &act)?;
                    let difference = found.entry(place(&row, &act)?).or_default();
                    match (missing, statements.root) {
                        (true, true) => difference.missing = true,
                        (true, false) => difference.add(statements.name.clone()),
                        (false, _) => {
                            for column in field::<Vec<String>>(&row, 2, &act)? {
                                difference.add(format!("{}.{column}", statements.name));
                            }
                        }
                    }
                }
            }
            for place in self.extra(collection, table, &all, keys, expected).await? {
                found.entry(usize::try_from(place).unwrap_or(usize::MAX)).or_default().add(statements.name.clone());
            }
        }
        Ok(found)
    }

    /// The documents that have rows in the table that they should not have.
    async fn extra(
        &self,
        collection: usize,
        table: usize,
        all: &Vec<i32>,
        keys: &[Key],
        expected: &[Rows],
    ) -> Result<Vec<i32>, Error> {
        let statements = &self.prepared.statements(collection).tables[table];
        let act = format!("compare rows of {}", statements.name);
        let wanted = || {
            expected
                .iter()
                .zip(keys)
                .flat_map(|(rows, key)| rows.tables.get(table).into_iter().flatten().map(|row| (key.as_bytes(), row)))
        };
        if let Some(owned) = self.prepared.owned(collection, table) {
            let mut documents = Column::default();
            keys.iter().for_each(|key| documents.push(Some(key.as_bytes())));
            return owned.extra(self.session, all, &documents, &wanted().collect::<Vec<_>>()).await;
        }
        let ids = |rows: &Rows| rows.key.fields().nth(statements.of).flatten().map(<[u8]>::to_vec);
        let rows = if let Some(extra) = &statements.extra {
            let mut arrays = vec![Column::default()];
            expected.iter().for_each(|rows| arrays[0].push(ids(rows).as_deref()));
            arrays.extend(statements.key.iter().map(|&at| params::column(at, wanted().map(|(_, row)| row))));
            self.session.query(&act, extra, &with(all, &arrays)).await?
        } else if let Some(present) = &statements.present {
            let without =
                all.iter().zip(expected).filter(|(_, rows)| rows.tables.get(table).is_some_and(Vec::is_empty));
            let (places, without): (Vec<i32>, Vec<&Rows>) = without.unzip();
            if places.is_empty() {
                return Ok(Vec::new());
            }
            let mut column = Column::default();
            without.iter().for_each(|rows| column.push(ids(rows).as_deref()));
            self.session.query(&act, present, &with(&places, &[column])).await?
        } else {
            Vec::new()
        };
        rows.iter().map(|row| field(row, 0, &act)).collect()
    }

    /// Counts the collection's documents by the ledger: those at or below `at`, and those changed later.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn ledger_counts(&self, collection: usize, at: Version) -> Result<LedgerCounts, Error> {
        let act = "count the ledger";
        let sql = "SELECT count(*) FILTER (WHERE NOT deleted AND version <= $2), count(*) FILTER (WHERE version > $2) \
                     FROM driftless.ledger WHERE collection = $1";
        let row = self.session.query_one(act, sql, &[&self.prepared.id(collection), &&at.to_bytes()[..]]).await?;
        let number = |at: usize| Ok::<_, Error>(u64::try_from(field::<i64>(&row, at, act)?).unwrap_or(0));
        Ok(LedgerCounts { live: number(0)?, newer: number(1)? })
    }

    /// Counts the rows that no document stands behind: by table, only those that have any.
    ///
    /// Exact at any time, because rows, ledger and owners commit together and are counted in one transaction: a root table
    /// has as many rows as the ledger says, a remembered one as many as are owned, and each child row has a root row. A table
    /// that several collections write is counted for the first of them. It reads every row.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn extra_rows(&self, collection: usize) -> Result<Vec<(String, u64)>, Error> {
        let mut extra_rows = Vec::new();
        for (table, statements) in self.prepared.statements(collection).tables.iter().enumerate() {
            let act = format!("count rows of {}", statements.name);
            let count = async |sql: &str, params: &[Param<'_>]| {
                let row = self.session.query_one(&act, sql, params).await?;
                Ok::<_, Error>(u64::try_from(field::<i64>(&row, 0, &act)?).unwrap_or(0))
            };
            let found = if let Some(owned) = self.prepared.owned(collection, table) {
                if !self.prepared.speaks_for(collection, table) {
                    continue;
                }
                let sql = "SELECT count(*) FROM driftless.owner WHERE relation = $1";
                count(&statements.count, &[]).await?.saturating_sub(count(sql, &[&owned.relation]).await?)
            } else if let (true, Some(relation)) = (statements.root, self.prepared.relation(collection, statements.of))
            {
                let sql = "SELECT count(*) FROM driftless.ledger WHERE collection = $1 AND root = $2";
                let known = count(sql, &[&self.prepared.id(collection), &relation]).await?;
                count(&statements.count, &[]).await?.saturating_sub(known)
            } else if let Some(missing_parent) = &statements.missing_parent {
                count(missing_parent, &[]).await?
            } else {
                continue;
            };
            if found > 0 {
                extra_rows.push((statements.name.clone(), found));
            }
        }
        Ok(extra_rows)
    }

    /// Whether any document of the collection was ever applied, deletes included.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn knows_any(&self, collection: usize) -> Result<bool, Error> {
        let act = "look for the collection in the ledger";
        let sql = "SELECT EXISTS (SELECT FROM driftless.ledger WHERE collection = $1)";
        field(&self.session.query_one(act, sql, &[&self.prepared.id(collection)]).await?, 0, act)
    }

    /// The next keys of live documents, in the order of their bytes.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn live_keys(&self, collection: usize, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, Error> {
        let act = "walk the ledger";
        let sql = "SELECT key FROM driftless.ledger \
                    WHERE collection = $1 AND key > $2 AND NOT deleted ORDER BY key LIMIT $3";
        let (after, limit) = (after.map_or(&[][..], Key::as_bytes), i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = self.session.query(act, sql, &[&self.prepared.id(collection), &after, &limit]).await?;
        rows.iter().map(|row| Ok(Key::from_bytes(field(row, 0, act)?))).collect()
    }

    /// Keys of live documents at random, every one as likely as any other.
    ///
    /// Of a large ledger random pages are read, many times more rows than wanted, and thinned, so that neighbours on a page
    /// rarely come together.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub async fn sample(&self, collection: usize, count: usize) -> Result<Vec<Key>, Error> {
        let act = "sample the ledger";
        let sql = "SELECT greatest(reltuples, 0)::float8 FROM pg_class WHERE oid = 'driftless.ledger'::regclass";
        let estimate: f64 = field(&self.session.query_one(act, sql, &[]).await?, 0, act)?;
        let percent = 100.0 * (count as f64) * OVERSAMPLING / estimate.max(1.0);
        if percent < 50.0 {
            let keys = self.sample_from(&format!("TABLESAMPLE SYSTEM ({percent})"), collection, count).await?;
            // A collection that has a small part of the ledger is not met often enough.
            if keys.len() == count {
                return Ok(keys);
            }
        }
        self.sample_from("", collection, count).await
    }

    async fn sample_from(&self, pages: &str, collection: usize, count: usize) -> Result<Vec<Key>, Error> {
        let act = "sample the ledger";
        let sql = format!(
            "SELECT key FROM driftless.ledger {pages} WHERE collection = {} AND NOT deleted ORDER BY random() LIMIT {count}",
            self.prepared.id(collection)
        );
        // Not kept: the text is new each time.
        let rows = self.session.query_once(act, &sql).await?;
        rows.iter().map(|row| Ok(Key::from_bytes(field(row, 0, act)?))).collect()
    }
}

/// Rows read for each that is wanted.
const OVERSAMPLING: f64 = 50.0;

impl Difference {
    fn add(&mut self, column: String) {
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
    }
}

fn bytes(keys: &[Key]) -> Vec<&[u8]> {
    keys.iter().map(Key::as_bytes).collect()
}

fn with<'a>(places: &'a Vec<i32>, arrays: &'a [Column]) -> Vec<Param<'a>> {
    let mut all: Vec<Param<'a>> = vec![places];
    all.extend(refs(arrays));
    all
}

fn place(row: &tokio_postgres::Row, act: &str) -> Result<usize, Error> {
    Ok(usize::try_from(field::<i32>(row, 0, act)?).unwrap_or(usize::MAX))
}
