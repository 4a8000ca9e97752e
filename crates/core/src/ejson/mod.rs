//! Extended JSON v2, canonical, straight between bytes: no document tree in between.
//!
//! Two promises. [`read`] turns the text of [`write()`] back into the same bytes. A document that would not come back as the same
//! bytes is refused with [`Unfaithful`], and then travels as base64 of the BSON itself. Refused are: names that start with `$`
//! (a user's `{"$oid": …}` would come back as an ObjectId), duplicate names (other readers of JSON keep one), invalid UTF-8
//! and every other malformed element, too deep nesting, NaN payloads and non-canonical decimals, binary subtype 2 and
//! DBPointer, whose layouts have variants.
//!
//! The bytes are walked here and not by `bson`'s iterator: that one accepts an array whose names are not `0, 1, …`, or
//! bytes after the last element, which the text cannot show.
//!
//! Source: "MongoDB Extended JSON (v2)" of the MongoDB specifications.

mod append;
#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
mod elements;
mod id;
mod reader;
mod text;
mod typed;
mod writer;

pub use elements::Unfaithful;
pub use id::{NoId, exact_double, id_of, id_text, ids_of, relaxed_date};
pub use reader::{NotExtendedJson, read};
pub use text::{hex_of, json_string};
pub use writer::{write, write_quoted, write_spaced};
