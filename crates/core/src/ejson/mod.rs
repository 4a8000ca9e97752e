//! Extended JSON v2, canonical, straight between bytes: no document tree in between.
//!
//! Two promises. What [`write()`] wrote, [`read`] turns back into the same bytes. What would not come back as the same bytes
//! is refused with [`Unfaithful`], and then travels as base64 of the BSON itself. Refused are: names that start with `$`
//! (a user's `{"$oid": …}` would come back as an ObjectId), duplicate names (other readers of JSON keep one), invalid UTF-8
//! and every other malformed element, depth above [`MAX_DEPTH`], NaN payloads and non-canonical decimals, binary subtype 2
//! and DBPointer, whose layouts have variants.
//!
//! The bytes are walked here and not by `bson`'s iterator: that one accepts an array whose names are not `0, 1, …`, or
//! bytes after the last element, which the text cannot show.
//!
//! Source: "MongoDB Extended JSON (v2)" of the MongoDB specifications.

#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
mod id;
mod reader;
mod writer;

pub use id::{exact_double, relaxed_date};
pub use id::{id_text, ids_of};
pub use reader::{NotExtendedJson, read};
pub use writer::{MAX_DEPTH, Unfaithful, write};
pub use writer::{hex_of, json_string, write_quoted, write_spaced};
