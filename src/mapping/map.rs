//! A document becomes rows.

use bson::raw::{RawBsonRef, RawDocument};

use super::{CollectionPlan, Fault, MappingFile, Plan, Reject, Row, Rows, target::Catalog};
use crate::model::Reason;

/// Digest of a document's bytes, for the ledger: XXH3, 128 bits, big-endian.
pub fn digest(document: &RawDocument) -> [u8; 16] {
    xxhash_rust::xxh3::xxh3_128(document.as_bytes()).to_be_bytes()
}

/// The compiled steps of one collection.
#[derive(Clone, Debug)]
pub(super) struct Program;

impl Plan {
    /// Checks a mapping file against the target's catalog.
    ///
    /// # Errors
    /// Every fault, in the order of the file.
    pub fn compile(file: &MappingFile, catalog: &Catalog) -> Result<Self, Vec<Fault>> {
        let _ = (file, catalog);
        Ok(Self { collections: Vec::new(), warnings: Vec::new() })
    }
}

impl CollectionPlan {
    /// The rows of a document.
    ///
    /// # Errors
    /// [`Reject`]: the document goes to the dead letters under its reason.
    pub fn map(&self, document: &RawDocument) -> Result<Rows, Reject> {
        let _ = (document, &self.program);
        Err(Reject::new(Reason::Malformed))
    }

    /// The key columns of the root row that belongs to an `_id`; all that a delete carries.
    ///
    /// # Errors
    /// [`Reject`] where the `_id` cannot be a key of the target; such a document never had a row.
    pub fn root_key(&self, id: RawBsonRef<'_>) -> Result<Row, Reject> {
        let _ = id;
        Err(Reject::new(Reason::KeyUnsupported))
    }
}
