//! Keys and values with their schemas, as Kafka Connect's JsonConverter writes and reads them: `{"schema":…,"payload":…}`.
//!
//! The schemas are those of Debezium's MongoDB connector 3.6, field for field, so that everything made for its topics takes these.
//! The payload has further fields of ours, which JsonConverter passes over. Each record repeats its schemas; brokers and clients
//! compress them well.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Encoded, Malformed, decode::json};

/// The schemas, with `TOPIC` for the name of the topic.
const KEY: &str = r#"{
    "type": "struct",
    "fields": [{ "type": "string", "optional": false, "field": "id" }],
    "optional": false,
    "name": "TOPIC.Key"
}"#;
const VALUE: &str = include_str!("value_schema.json");
/// The beginning of a key or a value with its schema, and of no other.
const HEAD: &[u8] = br#"{"schema":"#;

/// The schemas of one topic.
pub(in crate::log) struct Schemas {
    /// Everything before the payload of a key.
    key: Vec<u8>,
    /// Everything before the payload of a value.
    value: Vec<u8>,
}

impl Schemas {
    /// Returns the schemas of the topic of that name.
    pub(in crate::log) fn of(topic: &str) -> Self {
        let before_payload = |schema: &str| {
            // No name in the schemas has a space.
            let schema: String = schema.replace("TOPIC", topic).split_ascii_whitespace().collect();
            format!(r#"{{"schema":{schema},"payload":"#).into_bytes()
        };
        Self { key: before_payload(KEY), value: before_payload(VALUE) }
    }

    /// Puts the schemas before key and value.
    pub(in crate::log) fn wrap(&self, encoded: Encoded) -> Encoded {
        let Encoded { key, value, headers } = encoded;
        Encoded { key: wrapped(&self.key, &key), value: value.map(|value| wrapped(&self.value, &value)), headers }
    }
}

fn wrapped(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + payload.len() + 1);
    out.extend_from_slice(head);
    out.extend_from_slice(payload);
    out.push(b'}');
    out
}

/// Returns the payload of a key or a value; all of it if it carries no schema.
///
/// # Errors
/// Fails with [`Malformed`] if it begins like one with a schema and is not JSON with a payload.
pub(super) fn payload(bytes: &[u8]) -> Result<&[u8], Malformed> {
    #[derive(Deserialize)]
    struct WithSchema<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    if !bytes.starts_with(HEAD) {
        return Ok(bytes);
    }
    json::<WithSchema<'_>>(bytes).map(|with_schema| with_schema.payload.get().as_bytes())
}
