//! The rows of documents against the expected ones.
//!
//! A row whose bytes are the expected ones is equal, and most are; rows that cannot be equal by their length are not read. PostgreSQL
//! compares the others, because only it knows which values are equal: expected rows go in, names of columns come out, never a value.

use std::collections::{HashMap, HashSet};

use tokio_postgres::types::{FromSql, Type};

use super::TargetReader;
use crate::{
    mapping::{Row, Rows},
    model::Key,
    postgres::{
        Error, Refusal,
        params::{self, Column, refs},
        session::{Param, field},
    },
    retry::{Class, Classify},
    sink::bisect::MAX_UNKNOWN,
};

/// How the rows of one document differ from the expected ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The root row is not there.
    pub missing: bool,
    /// The columns that differ, each `schema.table.column`; `schema.table` for a child row that is missing or not expected, and for a
    /// row that is not recorded as the document's.
    pub columns: Vec<String>,
    /// Why PostgreSQL refuses even to compare the values; the rows cannot hold them.
    pub refused: Option<Refusal>,
}

impl TargetReader<'_> {
    /// Compares the rows that documents should have with those that are there. Gives the documents that differ, by their place
    /// in `expected`, to which `keys` is parallel.
    ///
    /// A document that PostgreSQL refuses to compare is found by bisection. Each half has a savepoint, so the refusal is the
    /// difference of that document alone and does not end the transaction.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause; also where every document fails with an error of no known kind.
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
            let table_name = &self.prepared.plan(collection).tables[table].table;
            let rows = expected
                .iter()
                .zip(&all)
                .flat_map(|(rows, &place)| rows.tables.get(table).into_iter().flatten().map(move |row| (place, row)));
            let (places, rows) = self.not_identical(collection, table, rows.unzip()).await?;
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
                                difference.add(table_name.column_label(&column));
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

    /// Those of the expected rows, each with its place, that the table does not have byte for byte.
    async fn not_identical<'r>(
        &self,
        collection: usize,
        table: usize,
        (places, rows): (Vec<i32>, Vec<&'r Row>),
    ) -> Result<(Vec<i32>, Vec<&'r Row>), Error> {
        let statements = &self.prepared.statements(collection).tables[table];
        let Some(read) = statements.read.as_ref().filter(|_| !rows.is_empty()) else { return Ok((places, rows)) };
        let act = format!("read rows of {}", statements.name);
        let longest = rows.iter().map(|row| row.as_bytes().len()).max().and_then(|length| i64::try_from(length).ok());
        let keys: Vec<Column> = statements.key.iter().map(|&at| params::column(at, rows.iter().copied())).collect();
        let mut params: Vec<Param<'_>> = vec![&longest];
        params.extend(refs(&keys));
        let mut found: HashSet<Vec<u8>> = HashSet::with_capacity(rows.len());
        for row in self.session.query(&act, read, &params).await? {
            let mut fields = Column::default();
            for at in 0..row.len() {
                fields.push(field::<Option<Raw<'_>>>(&row, at, &act)?.map(|Raw(bytes)| bytes));
            }
            found.insert(fields.into_elements());
        }
        Ok(places.into_iter().zip(rows).filter(|(_, row)| !found.contains(row.as_bytes())).unzip())
    }

    /// The documents that have rows in the table which they should not have, or rows that the sink would not recognise as theirs.
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
            return owned.differs(self.session, all, &documents, &wanted().collect::<Vec<_>>()).await;
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
}

impl Difference {
    fn add(&mut self, column: String) {
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
    }
}

/// A value of any type in its binary form, which is also that of expected rows.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn with<'a>(places: &'a Vec<i32>, arrays: &'a [Column]) -> Vec<Param<'a>> {
    let mut all: Vec<Param<'a>> = vec![places];
    all.extend(refs(arrays));
    all
}

fn place(row: &tokio_postgres::Row, act: &str) -> Result<usize, Error> {
    Ok(usize::try_from(field::<i32>(row, 0, act)?).unwrap_or(usize::MAX))
}
