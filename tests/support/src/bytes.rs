//! BSON assembled byte by byte, in forms that no library writes.

use mongodb::bson::raw::{RawDocument, RawDocumentBuf};

/// Assembles a document of elements: type, name, bytes of the value.
pub fn document(elements: &[(u8, &[u8], Vec<u8>)]) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(bytes(elements)).expect("the length is right")
}

/// Assembles the bytes of such a document.
pub fn bytes(elements: &[(u8, &[u8], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for (kind, name, value) in elements {
        bytes.push(*kind);
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
    }
    bytes.push(0);
    let length = i32::try_from(bytes.len()).expect("shorter than 2 GiB");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Returns the value of a string element with arbitrary bytes.
pub fn text(bytes: &[u8]) -> Vec<u8> {
    let length = i32::try_from(bytes.len() + 1).expect("short");
    [&length.to_le_bytes()[..], bytes, &[0]].concat()
}

/// Returns the value of a binary element.
pub fn binary(subtype: u8, bytes: &[u8]) -> Vec<u8> {
    let length = i32::try_from(bytes.len()).expect("short");
    [&length.to_le_bytes()[..], &[subtype], bytes].concat()
}

/// Assembles `{_id: <text>, <name>: <value>}`.
pub fn with_id(id: &str, kind: u8, name: &[u8], value: Vec<u8>) -> RawDocumentBuf {
    document(&[(0x02, b"_id", text(id.as_bytes())), (kind, name, value)])
}

/// Returns `{_id: …}` of a document that begins with its `_id`.
pub fn id_of(document: &RawDocument) -> RawDocumentBuf {
    let first = document.iter_elements().next().expect("an element").expect("a whole element");
    assert_eq!(first.key().as_str(), "_id", "documents of these tests begin with their `_id`");
    // Skips the length of the document, the type byte, `_id` and NUL.
    let value = &document.as_bytes()[9..9 + first.size()];
    self::document(&[(document.as_bytes()[4], b"_id", value.to_vec())])
}
