//! The contents of a dead letter, in a form that people and programs can read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::raw::RawDocument;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    log::{Fetched, Record, ejson, envelope},
    model::Change,
};

/// The document of a record, or the reason why there is none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Contents {
    /// The document as canonical Extended JSON.
    Document(Box<RawValue>),
    /// The document's BSON in base64, because Extended JSON cannot carry it without loss.
    Bson(String),
    /// The `_id` of a delete, in one of the two forms above.
    Deleted(Box<Contents>),
    /// The record's value in base64, because it cannot be decoded as a change.
    Unreadable(Option<String>),
}

impl Contents {
    pub(super) fn of(record: &Fetched) -> Self {
        match change(record) {
            Some(Change { document: Some(document), .. }) => Self::document(&document),
            Some(Change { id, .. }) => Self::Deleted(Box::new(Self::document(&id))),
            None => Self::Unreadable(record.value.as_ref().map(|value| STANDARD.encode(value))),
        }
    }

    fn document(document: &RawDocument) -> Self {
        let mut text = Vec::new();
        let written = ejson::write(document, &mut text).ok().and_then(|()| String::from_utf8(text).ok());
        match written.and_then(|text| RawValue::from_string(text).ok()) {
            Some(value) => Self::Document(value),
            None => Self::Bson(STANDARD.encode(document.as_bytes())),
        }
    }
}

/// Formats the contents for a person; a document needs no label.
impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Document(text) => f.write_str(text.get()),
            Self::Bson(text) => write!(f, "BSON in base64: {text}"),
            Self::Deleted(id) => write!(f, "deleted: {id}"),
            Self::Unreadable(Some(text)) => write!(f, "value of the record in base64: {text}"),
            Self::Unreadable(None) => f.write_str("the record has no value"),
        }
    }
}

/// Decodes the change of a record; `None` if it cannot be decoded.
pub(super) fn change(record: &Fetched) -> Option<Change> {
    match envelope::decode(record.key.as_deref(), record.value.as_deref(), &record.headers) {
        Ok(Record::Change(change)) => Some(change),
        _ => None,
    }
}
