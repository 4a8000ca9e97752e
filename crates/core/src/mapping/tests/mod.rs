//! Whole mappings: what a document becomes, written out.

use bson::{oid::ObjectId, raw::RawDocumentBuf, rawdoc};
use proptest::prelude::*;
use rstest::rstest;
use uuid::Uuid;

use super::{
    CollectionPlan, Found, Loss, MappingFile, Plan, Reached, Row, TablePlan,
    target::{Catalog, Column, ColumnType, Table, TableName},
};

mod children;
mod columns;
mod documents;
mod filters;
mod keys;
mod values;
mod variants;

/// A table by its columns, `name:type`, with `!` for NOT NULL; the first are the key.
fn table(name: &str, key: usize, columns: &str) -> Table {
    let columns: Vec<Column> = columns
        .split(' ')
        .map(|column| {
            let (name, kind) = column.split_once(':').expect("name:type");
            let (kind, not_null) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
            let kind = match kind {
                "uuid" => ColumnType::Uuid,
                "int" => ColumnType::Int4,
                "bool" => ColumnType::Bool,
                "jsonb" => ColumnType::Jsonb,
                "texts" => ColumnType::Array(Box::new(ColumnType::Text)),
                "uuids" => ColumnType::Array(Box::new(ColumnType::Uuid)),
                _ => ColumnType::Text,
            };
            Column { not_null, ..Column::new(name, kind) }
        })
        .collect();
    let primary_key = columns[..key].iter().map(|column| column.name.clone()).collect();
    Table { primary_key, ..Table::new(TableName::new("public", name), &[], columns) }
}

fn catalog(tables: &[(&str, usize, &str)]) -> Catalog {
    Catalog { tables: tables.iter().map(|(name, key, columns)| table(name, *key, columns)).collect() }
}

fn compile(text: &str, tables: &[(&str, usize, &str)]) -> CollectionPlan {
    let file = MappingFile::parse(&format!("namespace = \"dns\"\n{text}"), "m.toml").expect("a mapping file");
    let plan = Plan::compile(&file, &catalog(tables));
    plan.expect("a plan").collection("a").expect("the collection").clone()
}

/// A row as text: UUIDs shortened to their first four digits, NULL as `-`.
fn shown(table: &TablePlan, row: &Row) -> String {
    let fields =
        table.columns.iter().zip(row.fields()).map(|(column, field)| match (column.param_type.as_str(), field) {
            (_, None) => "-".to_owned(),
            ("uuid", Some(bytes)) => hex::encode(&bytes[..2]),
            ("int4", Some(bytes)) => i32::from_be_bytes(bytes.try_into().expect("four bytes")).to_string(),
            ("jsonb", Some(bytes)) => String::from_utf8(bytes[1..].to_vec()).expect("UTF-8"),
            ("bool", Some(bytes)) => (bytes == [1]).to_string(),
            (_, Some(bytes)) => String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        });
    fields.collect::<Vec<_>>().join(" ")
}

/// All rows of a document: `table: row; row`.
fn rows(plan: &CollectionPlan, document: &RawDocumentBuf) -> Vec<String> {
    match plan.map(document) {
        Err(rejects) => vec![rejects.to_string()],
        Ok(rows) => {
            let tables = plan.tables.iter().zip(&rows.tables).filter(|(_, rows)| !rows.is_empty());
            let shown = tables.map(|(table, rows)| {
                let rows: Vec<_> = rows.iter().map(|row| shown(table, row)).collect();
                format!("{}: {}", table.table.name, rows.join("; "))
            });
            shown.collect()
        }
    }
}

fn id(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()).simple().to_string()[..4].to_owned()
}

fn oid(byte: u8) -> ObjectId {
    ObjectId::from_bytes([byte; 12])
}
