//! The shape of a record.

use crate::{
    model::{Change, Control, Frontier, Reason},
    retry::Class,
};

/// A record of a collection topic, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Kafka key; it alone decides the partition of a change.
    pub key: Vec<u8>,
    /// JSON.
    pub value: Vec<u8>,
    /// All headers but the publisher's, which the publisher adds.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

/// What a record of a collection topic says.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A versioned fact about one document.
    Change(Change),
    /// How far the stream had come when this partition held everything before this record.
    Frontier(FrontierRecord),
    /// A versioned fact about the whole collection.
    Control(Control),
}

/// Every change of this partition whose cluster time is below `before` lies before this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontierRecord {
    /// The bound, exclusive.
    pub before: Frontier,
    /// Source wall clock, milliseconds since 1970, at which the stream stood there.
    pub as_of_ms: i64,
    /// 1 for the publisher's first frontier in this partition, then one more each time.
    pub seq: u64,
    /// Generation of the publisher.
    pub publisher: u64,
    /// Changes that this publisher wrote to this partition since its previous frontier there.
    pub changes: u64,
}

/// Why bytes are no record of ours. Names places, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The code for the dead letter.
    pub reason: Reason,
    /// Which part does not fit.
    pub detail: String,
    /// [`Class::Poison`], but [`Class::Halt`] for a record of a newer format: dead-lettering those would lose good changes.
    pub class: Class,
}

/// The bytes of a change. `prefix` is what Debezium calls the connector's name.
pub fn encode(_change: &Change, _prefix: &str) -> Encoded {
    todo!()
}

/// Reads a record.
///
/// # Errors
/// [`Malformed`], for any bytes that [`encode`] did not write.
pub fn decode(_key: Option<&[u8]>, _value: Option<&[u8]>, _headers: &[(String, Vec<u8>)]) -> Result<Record, Malformed> {
    todo!()
}

/// The publisher whose next frontier counts this record: `None` for anything but a change, and for a retried dead letter.
pub fn counted_by(_headers: &[(String, Vec<u8>)]) -> Option<u64> {
    todo!()
}
