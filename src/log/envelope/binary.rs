//! The envelope as BSON, for speed: the document is copied unchanged, without a text in between.
//!
//! ```text
//!  { before: null, after: <document>, updateDescription: <as MongoDB gave it>, source: {…}, op, ts_ms, transaction: null,
//!    documentKey: {_id: …} }
//! ```
//! Any bytes of a document are carried without loss, because only its length is checked. So there is no `raw` here.

use bson::{
    raw::{RawBsonRef, RawDocument, RawDocumentBuf},
    spec::ElementType,
};

use super::{MAX_ASIDE, Malformed, Parts, debezium_op};
use crate::model::{Change, Namespace, Op};

/// Encodes the value of a change.
pub(super) fn write(change: &Change, prefix: &str) -> Vec<u8> {
    let size = |document: &Option<RawDocumentBuf>| document.as_ref().map_or(0, |document| document.as_bytes().len());
    let mut out = Writer(Vec::with_capacity(384 + size(&change.document) + size(&change.update_description)));
    let start = out.open();
    out.head(ElementType::Null, "before");
    out.document("after", change.document.as_deref());
    let aside = change.update_description.as_deref().filter(|description| description.as_bytes().len() <= MAX_ASIDE);
    out.document("updateDescription", aside);
    out.head(ElementType::EmbeddedDocument, "source");
    let source = out.open();
    out.text("version", env!("CARGO_PKG_VERSION"));
    out.text("connector", "mongodb");
    out.text("name", prefix);
    out.long("ts_ms", change.version.time.unix_ms());
    out.text("snapshot", if change.op == Op::Snapshot { "true" } else { "false" });
    out.text("db", &change.namespace.db);
    out.text("collection", &change.namespace.collection);
    out.long("ord", i64::from(change.version.time.i));
    out.long("wallTime", change.wall_ms);
    out.close(source);
    out.text("op", debezium_op(change));
    out.long("ts_ms", change.wall_ms);
    out.head(ElementType::Null, "transaction");
    out.document("documentKey", Some(&change.id));
    out.close(start);
    out.0
}

/// Decodes the value of a change. Each document is copied once.
pub(super) fn read(value: &[u8]) -> Result<Parts, Malformed> {
    let envelope = RawDocument::from_bytes(value).map_err(|_| not("the value"))?;
    let (mut document, mut id, mut source) = (None, None, None);
    for element in envelope.iter_elements() {
        let element = element.map_err(|_| not("the value"))?;
        let part = match element.key().as_str() {
            "after" => &mut document,
            "documentKey" => &mut id,
            "source" => &mut source,
            _ => continue,
        };
        *part = match element.value() {
            Ok(RawBsonRef::Document(document)) => Some(document),
            Ok(RawBsonRef::Null) => None,
            _ => return Err(not("a document in it")),
        };
    }
    let source = source.ok_or_else(|| not("its `source`"))?;
    let (mut db, mut collection, mut wall_ms) = (None, None, None);
    for element in source.iter_elements() {
        let element = element.map_err(|_| not("its `source`"))?;
        match (element.key().as_str(), element.value()) {
            ("db", Ok(RawBsonRef::String(text))) => db = Some(text),
            ("collection", Ok(RawBsonRef::String(text))) => collection = Some(text),
            ("wallTime", Ok(RawBsonRef::Int64(number))) => wall_ms = Some(number),
            _ => {}
        }
    }
    match (db, collection, wall_ms) {
        (Some(db), Some(collection), Some(wall_ms)) => Ok(Parts {
            namespace: Namespace::new(db, collection),
            id: id.ok_or_else(|| Malformed::new("the value has no `documentKey`"))?.to_owned(),
            document: document.map(ToOwned::to_owned),
            wall_ms,
        }),
        _ => Err(not("its `source`")),
    }
}

fn not(what: &str) -> Malformed {
    Malformed::new(format!("{what} is not the BSON of this op"))
}

struct Writer(Vec<u8>);

impl Writer {
    /// Reserves the length of a document.
    fn open(&mut self) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        start
    }

    fn close(&mut self, start: usize) {
        self.0.push(0);
        let length = length(self.0.len() - start);
        self.0[start..start + 4].copy_from_slice(&length);
    }

    fn head(&mut self, kind: ElementType, name: &str) {
        self.0.push(kind as u8);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.head(ElementType::String, name);
        self.0.extend_from_slice(&length(text.len() + 1));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn long(&mut self, name: &str, number: i64) {
        self.head(ElementType::Int64, name);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn document(&mut self, name: &str, document: Option<&RawDocument>) {
        match document {
            Some(document) => {
                self.head(ElementType::EmbeddedDocument, name);
                self.0.extend_from_slice(document.as_bytes());
            }
            None => self.head(ElementType::Null, name),
        }
    }
}

/// Encodes a length of BSON.
///
/// # Panics
/// Panics above 2 GiB, which three documents of MongoDB cannot reach.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("no record comes near 2 GiB").to_le_bytes()
}
