//! Which columns can hold the keys of a rule, and how a key gets into one.

use super::{
    Id,
    rule::{IdRule, IdStep, Lookup},
};
use crate::mapping::{
    Losses,
    target::ColumnType,
    value::{number, policy::REFUSING, scalar::Scalar, text},
};
use crate::model::Reason;

const HEX_DIGITS: usize = 24;
const MD5_DIGITS: usize = 32;
const UUID_LENGTH: usize = 36;

impl IdStep {
    /// Whether a column of that type can hold the rule's keys.
    pub(crate) fn fits(&self, kind: &ColumnType) -> bool {
        let holds = |length: usize| match kind.base() {
            ColumnType::Text | ColumnType::Varchar(None) => true,
            ColumnType::Varchar(Some(limit)) => *limit as usize >= length,
            _ => false,
        };
        match self.rule {
            IdRule::Uuid5 | IdRule::Uuid | IdRule::PadLeft | IdRule::PadRight => {
                *kind.base() == ColumnType::Uuid || holds(UUID_LENGTH)
            }
            IdRule::Md5 => *kind.base() == ColumnType::Uuid || holds(MD5_DIGITS),
            IdRule::Bytes => *kind.base() == ColumnType::Bytea,
            // PostgreSQL converts what the table says, or refuses it when the statement is prepared.
            IdRule::Lookup => !matches!(kind.base(), ColumnType::Array(_) | ColumnType::Unsupported(_)),
            IdRule::Hex => holds(HEX_DIGITS),
            IdRule::Text => holds(0),
            IdRule::Integer => matches!(
                kind.base(),
                ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 | ColumnType::Numeric { .. }
            ),
        }
    }

    /// Returns the remedy for a column of that type, which does not fit.
    pub(crate) fn hint(&self, kind: &ColumnType) -> String {
        let element = match kind.base() {
            ColumnType::Array(element) => element.base(),
            kind => kind,
        };
        match element {
            ColumnType::Bpchar(_) if self.rule != IdRule::Lookup => format!(
                "it needs {}: char(n) pads with spaces, which comparisons ignore, so two ids could be equal there; \
                 ALTER TABLE … ALTER COLUMN … TYPE varchar(n), in the columns that refer to it, too",
                self.wants()
            ),
            _ => format!("it needs {}", self.wants()),
        }
    }

    /// The column types that hold the rule's keys, in words.
    fn wants(&self) -> &'static str {
        match self.rule {
            IdRule::Uuid5 | IdRule::Uuid | IdRule::PadLeft | IdRule::PadRight => "uuid, text or varchar(36)",
            IdRule::Md5 => "uuid, text or varchar(32)",
            IdRule::Bytes => "bytea",
            IdRule::Lookup => "the type of the column that `to` names",
            IdRule::Hex => "text or varchar(24)",
            IdRule::Text => "text or varchar",
            IdRule::Integer => "smallint, integer, bigint or numeric",
        }
    }

    /// The rule in words, with its namespace where that has a part in the keys: of the documents, or of what they embed.
    pub(crate) fn in_words(&self, embeds: bool) -> String {
        let named = IdRule::NAMES.iter().find(|(_, rule)| *rule == self.rule);
        let mut words = named.map_or("id", |(name, _)| name).to_owned();
        if let Some(Lookup { table, from: (from, _), to }) = self.lookup() {
            words.push_str(&format!(" in {table} (from {from} to {to})"));
        }
        let gives_uuids = matches!(self.rule, IdRule::Uuid | IdRule::Md5 | IdRule::PadLeft | IdRule::PadRight);
        if self.rule == IdRule::Uuid5 || embeds && !gives_uuids {
            words.push_str(&format!(" in namespace {}", self.namespace));
        }
        words
    }

    /// Whether ids of child rows need a namespace that the mapping does not give.
    pub(crate) fn lacks_namespace(&self) -> bool {
        let gives_uuids =
            matches!(self.rule, IdRule::Uuid5 | IdRule::Uuid | IdRule::Md5 | IdRule::PadLeft | IdRule::PadRight);
        !gives_uuids && self.namespace.is_nil()
    }
}

/// A key in a column of that type; `too_long` is the reason for a text that does not fit.
///
/// # Errors
/// `NUL_IN_TEXT`, `too_long`, `RANGE_INT`, `RANGE_NUM`, and `TYPE_MISMATCH` for a column that the rule does not fit.
pub(crate) fn in_column<'a>(id: Id<'a>, kind: &ColumnType, too_long: Reason) -> Result<Scalar<'a>, Reason> {
    let losses = &mut Losses::default();
    let mut bounded = |text| {
        text::bounded(text, kind, &REFUSING, losses)
            .map(Scalar::Text)
            .map_err(|reason| if reason == Reason::TooLong { too_long } else { reason })
    };
    match (id, kind.base()) {
        (Id::Uuid(id), ColumnType::Uuid) => Ok(Scalar::Uuid(id.into_bytes())),
        (Id::Uuid(id), ColumnType::Text | ColumnType::Varchar(_)) => bounded(id.hyphenated().to_string().into()),
        (Id::Md5(bytes), ColumnType::Uuid) => Ok(Scalar::Uuid(bytes)),
        (Id::Md5(bytes), ColumnType::Text | ColumnType::Varchar(_)) => bounded(hex::encode(bytes).into()),
        (Id::Bytes(bytes), ColumnType::Bytea) => Ok(Scalar::Bytes(bytes)),
        (Id::Text(text), ColumnType::Text | ColumnType::Varchar(_)) => bounded(text),
        // PostgreSQL compares it as text with the lookup table; the type of this column plays no part.
        (Id::Wanted(text), _) if text.contains('\0') => Err(Reason::NulInText),
        (Id::Wanted(text), _) => Ok(Scalar::Text(text)),
        (Id::Integer(value), _) => number::integer(value, kind),
        _ => Err(Reason::TypeMismatch),
    }
}
