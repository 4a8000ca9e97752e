//! The primary key of a collection: the id rule for the sorts of `_id` that it has.

use super::{Choices, ObjectIds};
use crate::profile::{Collection, IdForm};

/// A text longer than this is hashed: an entry of PostgreSQL's B-tree has at most 2,704 bytes.
const MAX_KEY_TEXT: u64 = 1_000;

/// The key of a collection's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The type of its column, as SQL.
    pub(super) kind: &'static str,
    /// The rule, as the mapping file has it; `None` if the column takes the `_id` itself.
    pub(super) rule: Option<&'static str>,
    /// The sort of `_id`, which a reference must have too.
    pub(super) form: Option<IdForm>,
    /// Why.
    pub(super) remark: Option<String>,
}

/// Chooses the key of a collection.
pub(super) fn choose(collection: &Collection, choices: &Choices) -> Key {
    let is = |form: &IdForm| collection.id_forms.contains(form);
    let id = collection.fields.iter().find(|field| field.name == "_id");
    let longest = id.map_or(0, |id| id.longest);
    let forms = [IdForm::ObjectId, IdForm::Uuid, IdForm::Integer, IdForm::Text, IdForm::HashedText, IdForm::Mixed];
    let form = forms.into_iter().filter(is).find(|form| *form != IdForm::Text || longest <= MAX_KEY_TEXT);
    let key = |kind, rule: &'static str, remark: Option<&str>| Key {
        kind,
        rule: Some(rule),
        form,
        remark: remark.map(str::to_owned),
    };
    match form {
        Some(IdForm::ObjectId) => match choices.ids {
            ObjectIds::Uuid5 => key("uuid", "\"uuid5\"", None),
            ObjectIds::Ordered => key("uuid", "\"pad_right\"", None),
            ObjectIds::Padded => key("uuid", "\"pad_left\"", None),
            ObjectIds::Md5 => key("uuid", "\"md5\"", None),
            ObjectIds::Text => key("text", "\"hex\"", None),
            ObjectIds::Native => key("bytea", "\"bytes\"", None),
        },
        Some(IdForm::Uuid) => key("uuid", "\"uuid\"", Some("every _id is a UUID")),
        Some(IdForm::Integer) => key("bigint", "\"integer\"", Some("every _id is a whole number")),
        Some(IdForm::Text) => key("text", "\"text\"", Some("every _id is a text")),
        Some(IdForm::HashedText) => key(
            "uuid",
            "{ rule = \"uuid5\", type = \"string\" }",
            Some("the texts of _id are hashed: some cannot be keys"),
        ),
        Some(IdForm::Mixed) => key("uuid", "\"uuid5\"", Some("_id has several types; each becomes a UUID")),
        None => Key {
            kind: "jsonb",
            rule: None,
            form: None,
            remark: Some("_id has types of which no rule makes a key; the column takes it as it is".to_owned()),
        },
    }
}
