//! Rows: the program of a collection, and a document mapped by it.

use bson::raw::RawDocument;

pub(crate) mod condition;
pub(crate) mod element_id;
pub(crate) mod level;
mod output;
pub(crate) mod program;
pub(crate) mod repeats;
pub(crate) mod row;
pub(crate) mod rule;
pub(crate) mod scope;
pub(crate) mod step;
pub(crate) mod tree;

/// Digest of a document's bytes, for the ledger: XXH3, 128 bits, big-endian.
pub fn digest(document: &RawDocument) -> [u8; 16] {
    xxhash_rust::xxh3::xxh3_128(document.as_bytes()).to_be_bytes()
}
