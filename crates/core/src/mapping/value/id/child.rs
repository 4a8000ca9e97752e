//! Ids of child rows.

use uuid::Uuid;

use super::{
    Id,
    identity::{self, Identity},
    rule::IdStep,
};
use crate::mapping::value::raw::Value;
use crate::model::Reason;

impl IdStep {
    /// The namespace of all child ids below a root row.
    pub(crate) fn child_namespace(&self, root: &Id<'_>) -> Uuid {
        match root {
            Id::Uuid(id) => *id,
            Id::Md5(bytes) => Uuid::from_bytes(*bytes),
            Id::Text(text) | Id::Wanted(text) => Uuid::new_v5(&self.namespace, text.as_bytes()),
            Id::Bytes(bytes) => Uuid::new_v5(&self.namespace, bytes),
            Id::Integer(value) => Uuid::new_v5(&self.namespace, value.to_string().as_bytes()),
        }
    }
}

/// The id of a child row by the value that identifies its element.
///
/// # Errors
/// `KEY_UNSUPPORTED` for a value that identifies nothing.
pub(crate) fn child(namespace: Uuid, path: &str, key: Value<'_>) -> Result<Uuid, Reason> {
    let identity = identity::of(key)?.ok_or(Reason::KeyUnsupported)?;
    let kind = match identity {
        Identity::ObjectId(_) => "oid",
        Identity::Text(_) => "string",
        Identity::Integer(_) => "integer",
        Identity::Uuid(_) => "uuid",
        Identity::Binary(_) => return Err(Reason::KeyUnsupported),
    };
    Ok(Uuid::new_v5(&namespace, format!("{path}/{kind}:{}", identity.text()).as_bytes()))
}

/// The id of a child row by its index.
pub(crate) fn child_at(namespace: Uuid, path: &str, index: usize) -> Uuid {
    Uuid::new_v5(&namespace, format!("{path}/index:{index}").as_bytes())
}
