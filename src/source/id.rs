//! `_id`s as the server gave them, byte for byte.
//!
//! A typed `_id` would lose what the type cannot hold (MongoDB stores strings that are not UTF-8), so an `_id` travels as
//! the document `{_id: …}`, and commands that name ids are put together from those bytes.

use bson::raw::{RawDocument, RawDocumentBuf};

/// Length, type byte and `_id\0`.
const ELEMENT_HEAD: usize = 4 + 1 + 4;

/// The `{_id: …}` of a document or a document key; `None` where there is no `_id`.
pub(crate) fn id_of(document: &RawDocument) -> Option<RawDocumentBuf> {
    let mut start = 4;
    for element in document.iter_elements() {
        let element = element.ok()?;
        // Type byte, name and its NUL, value.
        let end = start + 1 + element.key().as_str().len() + 1 + element.size();
        if element.key().as_str() == "_id" {
            return wrapped(document.as_bytes().get(start..end)?);
        }
        start = end;
    }
    None
}

/// `{_id: {$in: […]}}` of these `{_id: …}` documents.
pub(crate) fn any_of<'a>(ids: impl IntoIterator<Item = &'a RawDocument>) -> Option<RawDocumentBuf> {
    let mut elements = Vec::new();
    for (position, id) in ids.into_iter().enumerate() {
        let bytes = id.as_bytes();
        elements.push(*bytes.get(4)?);
        elements.extend_from_slice(position.to_string().as_bytes());
        elements.push(0);
        elements.extend_from_slice(bytes.get(ELEMENT_HEAD..bytes.len().checked_sub(1)?)?);
    }
    let array = wrapped(&elements)?;
    let list = wrapped(&[b"\x04$in\0", array.as_bytes()].concat())?;
    wrapped(&[b"\x03_id\0", list.as_bytes()].concat())
}

/// A document around elements that are already encoded.
fn wrapped(elements: &[u8]) -> Option<RawDocumentBuf> {
    let length = i32::try_from(elements.len() + 5).ok()?;
    RawDocumentBuf::from_bytes([&length.to_le_bytes(), elements, &[0]].concat()).ok()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    /// `{_id: "\xff\xfe"}`, which no typed `_id` can hold.
    fn invalid_utf8() -> RawDocumentBuf {
        let bytes = [&17i32.to_le_bytes()[..], b"\x02_id\0", &3i32.to_le_bytes(), b"\xff\xfe\0", &[0]].concat();
        RawDocumentBuf::from_bytes(bytes).expect("a document")
    }

    #[test]
    fn finds_the_id_wherever_it_is() {
        assert_eq!(id_of(&rawdoc! { "_id": 1, "x": 2 }), Some(rawdoc! { "_id": 1 }));
        assert_eq!(id_of(&rawdoc! { "shard": "a", "_id": { "a": 1 } }), Some(rawdoc! { "_id": { "a": 1 } }));
        assert_eq!(id_of(&invalid_utf8()), Some(invalid_utf8()));
        assert_eq!(id_of(&rawdoc! { "x": { "_id": 1 } }), None);
    }

    #[test]
    fn names_many_ids() {
        let ids = [rawdoc! { "_id": 1 }, rawdoc! { "_id": "b" }, rawdoc! { "_id": { "a": 1 } }];
        let expected = rawdoc! { "_id": { "$in": [1, "b", { "a": 1 }] } };
        assert_eq!(any_of(ids.iter().map(|id| id.as_ref())), Some(expected));
        assert_eq!(any_of([]), Some(rawdoc! { "_id": { "$in": [] } }));
        let raw = any_of([invalid_utf8().as_ref()]).expect("a filter");
        assert!(raw.as_bytes().windows(3).any(|window| window == b"\xff\xfe\0"));
    }
}
