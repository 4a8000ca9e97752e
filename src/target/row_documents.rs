//! The documents that rows belong to, for rows that somebody else has written and for rows that lack their parent.
//!
//! The owner of a remembered row is looked up. For any other row the ids of the whole ledger are gone through, a page at a time and
//! without holding a snapshot, because most rules that make a key of an `_id` cannot be inverted. That costs the reading of the
//! ledger: a second for about 200,000 documents.

use std::collections::HashMap;

use bson::RawDocumentBuf;
use serde_json::{Map, Value};
use tokio_postgres::types::{FromSql, Type};

use super::DocumentId;
use crate::{
    mapping::{PlanColumn, TablePlan, target::quote_ident},
    model::Key,
    postgres::{
        Error, Session,
        session::{Param, field},
        sql::numbered,
    },
    sink::{Prepared, row_documents::RowWay},
};

/// Entries of the ledger that are read at a time.
const PAGE: i64 = 5_000;

/// A row, as the texts of those of its columns that are known.
pub(crate) type NamedRow = Map<String, Value>;

/// A document of a mapped collection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owner {
    /// Number of its collection in the schema `driftless`.
    pub(crate) collection: i32,
    /// The document.
    pub(crate) document: DocumentId,
}

/// Finds the document of each of the rows of a table; parallel to `rows`, `None` for a row that leads to no document that was ever
/// applied. `None` altogether where the rows cannot be led back.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn owners(
    session: &Session,
    prepared: &Prepared,
    (collection, table): (usize, usize),
    rows: &[NamedRow],
) -> Result<Option<Vec<Option<Owner>>>, Error> {
    let statements = &prepared.statements(collection).tables[table];
    let ways = &statements.documents;
    let mut texts: Vec<Vec<Option<&str>>> = Vec::with_capacity(ways.columns.len());
    for column in &ways.columns {
        let Some(values) = rows.iter().map(|row| row.get(column).map(Value::as_str)).collect() else { return Ok(None) };
        texts.push(values);
    }
    let mut found = vec![None; rows.len()];
    match &ways.way {
        RowWay::Unknown => return Ok(None),
        RowWay::Owner(sql) => {
            let act = format!("find the owners of rows of {}", statements.name);
            let relation = prepared.relation_of(collection, table);
            let params: Vec<Param<'_>> =
                [&relation as Param<'_>].into_iter().chain(texts.iter().map(|column| column as Param<'_>)).collect();
            for row in session.query(&act, sql, &params).await? {
                let key = Key::from_bytes(field(&row, 2, &act)?);
                let document = document(key, field(&row, 3, &act)?);
                let place = ordinal(&row, &act)?;
                if let Some(found) = found.get_mut(place) {
                    *found = Some(Owner { collection: field(&row, 1, &act)?, document });
                }
            }
        }
        RowWay::Id(sql) => {
            let act = format!("find the documents of rows of {}", statements.name);
            let params: Vec<Param<'_>> = texts.iter().map(|column| column as Param<'_>).collect();
            let mut wanted: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
            for row in session.query(&act, sql, &params).await? {
                if let Some(Bytes(id)) = field::<Option<Bytes>>(&row, 1, &act)? {
                    wanted.entry(id).or_default().push(ordinal(&row, &act)?);
                }
            }
            by_id(session, prepared, collection, statements.of, wanted, &mut found).await?;
        }
    }
    Ok(Some(found))
}

/// Reads the key of the mapping of those rows that are there, as the target writes it; parallel to `rows`. The texts of `rows` come
/// from JSON, where a time has another form.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn keys_of_existing(
    session: &Session,
    plan: &TablePlan,
    rows: &[NamedRow],
) -> Result<Vec<Option<Vec<String>>>, Error> {
    let act = format!("look for rows of {}", plan.table);
    let key: Vec<_> = plan.key.iter().map(|&at| &plan.columns[at]).collect();
    let text = |column: &PlanColumn| rows.iter().map(|row| row.get(&column.name).and_then(Value::as_str)).collect();
    let texts: Vec<Vec<Option<&str>>> = key.iter().map(|column| text(column)).collect();
    let params: Vec<Param<'_>> = texts.iter().map(|column| column as Param<'_>).collect();
    let same = key.iter().enumerate();
    let same = same.map(|(at, column)| format!("t.{} = e.k{at}::{}", quote_ident(&column.name), column.sql_type));
    let texts = key.iter().map(|column| format!("t.{}::text", quote_ident(&column.name))).collect::<Vec<_>>();
    let sql = format!(
        "SELECT e.n, ARRAY[{}] FROM {} JOIN {} AS t ON {}",
        texts.join(", "),
        numbered("e", (0..key.len()).map(|at| (at + 1, "text", format!("k{at}")))),
        plan.table,
        same.collect::<Vec<_>>().join(" AND "),
    );
    let mut keys = vec![None; rows.len()];
    for row in session.query(&act, &sql, &params).await? {
        if let Some(key) = keys.get_mut(ordinal(&row, &act)?) {
            *key = Some(field(&row, 1, &act)?);
        }
    }
    Ok(keys)
}

/// Goes through the ledger until every wanted id is found. `of` is the root table whose keys they are.
async fn by_id(
    session: &Session,
    prepared: &Prepared,
    collection: usize,
    of: usize,
    mut wanted: HashMap<Vec<u8>, Vec<usize>>,
    found: &mut [Option<Owner>],
) -> Result<(), Error> {
    let act = "look for documents in the ledger";
    let sql = "SELECT key, target FROM driftless.ledger WHERE collection = $1 AND key > $2 ORDER BY key LIMIT $3";
    let (plan, number) = (prepared.plan(collection), prepared.id(collection));
    let mut after: Vec<u8> = Vec::new();
    while !wanted.is_empty() {
        let page = session.query(act, sql, &[&number, &after, &PAGE]).await?;
        for row in &page {
            let key: Vec<u8> = field(row, 0, act)?;
            after.clone_from(&key);
            let document = document(Key::from_bytes(key), field(row, 1, act)?);
            let Some(keys) = document.id.as_ref().and_then(|id| plan.keys(id).ok()) else { continue };
            let places = keys.fields().nth(of).flatten().and_then(|id| wanted.remove(id));
            for place in places.into_iter().flatten() {
                found[place] = Some(Owner { collection: number, document: document.clone() });
            }
        }
        if i64::try_from(page.len()).is_ok_and(|length| length < PAGE) {
            return Ok(());
        }
    }
    Ok(())
}

fn document(key: Key, target: Option<Vec<u8>>) -> DocumentId {
    let id = key.to_id().or_else(|| target.and_then(|bytes| RawDocumentBuf::from_bytes(bytes).ok()));
    DocumentId { key, id }
}

/// The place of a row by its ordinal, which counts from 1.
fn ordinal(row: &tokio_postgres::Row, act: &str) -> Result<usize, Error> {
    Ok(usize::try_from(field::<i64>(row, 0, act)? - 1).unwrap_or(usize::MAX))
}

/// A value of any type in its binary form, which is also that of the mapping's rows.
struct Bytes(Vec<u8>);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
