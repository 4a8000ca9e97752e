//! Compares both sides field by field, with code that shares nothing with the daemon.

use std::{collections::BTreeMap, pin::pin};

use anyhow::Context;
use bson::{
    doc,
    raw::{RawDocument, RawDocumentBuf},
};
use futures_util::{TryStreamExt, future::try_join};
use mongodb::{Collection, Database};
use tokio_postgres::{Client, Row};

use crate::users::{COLUMNS, USERS};

/// The differences between both sides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Documents with a row.
    pub(crate) compared: u64,
    /// Documents without a row.
    pub(crate) missing: u64,
    /// Rows without a document.
    pub(crate) extra: u64,
    /// Rows in which at least one column differs.
    pub(crate) different: u64,
    /// The number of rows that differ, by column.
    pub(crate) columns: BTreeMap<&'static str, u64>,
}

impl Differences {
    /// Returns the number of rows and documents that are not as they should be.
    pub(crate) fn total(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// Compares everything; nothing may write meanwhile.
pub(crate) async fn compare(source: &Database, target: &Client) -> anyhow::Result<Differences> {
    let collection: Collection<RawDocumentBuf> = source.collection(USERS);
    let mut documents = collection.find(doc! {}).sort(doc! { "_id": 1 }).await?;
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|(name, sql)| match *sql {
            // Microseconds since 1970, exactly.
            "timestamptz" => format!("(extract(epoch FROM \"{name}\") * 1000000)::int8"),
            _ => format!("\"{name}\""),
        })
        .collect();
    let select = format!("SELECT {} FROM {USERS} ORDER BY id COLLATE \"C\"", columns.join(", "));
    let mut rows = pin!(target.query_raw(&select, Vec::<i32>::new()).await?);
    let mut differences = Differences::default();
    let (mut document, mut row) = (documents.try_next().await?, rows.try_next().await?);
    // Both lists are sorted: an ObjectId sorts like its hex digits.
    loop {
        let order = match (&document, &row) {
            (None, None) => return Ok(differences),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(document), Some(row)) => id(document)?.as_str().cmp(row.get::<_, &str>(0)),
        };
        match order {
            std::cmp::Ordering::Less => {
                differences.missing += 1;
                document = documents.try_next().await?;
            }
            std::cmp::Ordering::Greater => {
                differences.extra += 1;
                row = rows.try_next().await?;
            }
            std::cmp::Ordering::Equal => {
                if let (Some(document), Some(row)) = (&document, &row) {
                    differences.judge(document, row)?;
                }
                (document, row) = try_join(async { anyhow::Ok(documents.try_next().await?) }, async {
                    anyhow::Ok(rows.try_next().await?)
                })
                .await?;
            }
        }
    }
}

impl Differences {
    fn judge(&mut self, document: &RawDocument, row: &Row) -> anyhow::Result<()> {
        self.compared += 1;
        let mut differs = false;
        for (place, (name, sql)) in COLUMNS.iter().enumerate() {
            let equal = match *sql {
                "text" if matches!(*name, "id" | "_id") => row.get::<_, Option<&str>>(place) == Some(&*id(document)?),
                "text" => row.get::<_, Option<&str>>(place) == document.get_str(name).ok(),
                "int8" => row.get::<_, Option<i64>>(place) == document.get_i64(name).ok(),
                "bool" => row.get::<_, Option<bool>>(place) == document.get_bool(name).ok(),
                "float8" => {
                    let bits = |value: Option<f64>| value.map(f64::to_bits);
                    bits(row.get(place)) == bits(document.get_f64(name).ok())
                }
                _ => {
                    let micros = document.get_datetime(name).ok().map(|at| at.timestamp_millis() * 1_000);
                    row.get::<_, Option<i64>>(place) == micros
                }
            };
            if !equal {
                differs = true;
                *self.columns.entry(name).or_default() += 1;
            }
        }
        self.different += u64::from(differs);
        Ok(())
    }
}

fn id(document: &RawDocument) -> anyhow::Result<String> {
    Ok(document.get_object_id("_id").context("read the id of a document")?.to_hex())
}
