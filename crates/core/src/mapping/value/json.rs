//! A BSON value as JSON text for `json` and `jsonb` columns. Nothing changes silently.
//!
//! | BSON | JSON |
//! | --- | --- |
//! | string, symbol | string |
//! | int32, int64, decimal | number with exactly these digits |
//! | double | number: a whole one with exactly its digits, any other with the shortest that read back as the same double |
//! | boolean, null, document, array | the same |
//! | ObjectId | string of 24 hexadecimal digits |
//! | UUID (binary subtype 4) | string `xxxxxxxx-xxxx-…` |
//! | date in the years 0000 to 9999 | string `YYYY-MM-DDTHH:MM:SS.mmmZ` |
//! | everything else | wrapper object `{"$driftless": "<type>", …}` |
//!
//! "Everything else" is what JSON or PostgreSQL cannot hold: NaN and the infinities, texts with NUL or invalid UTF-8,
//! other dates, binary data, timestamps, regular expressions, code, undefined, MinKey, MaxKey, DBPointer. A document that
//! itself has a field `$driftless`, or a field name that is no valid UTF-8, becomes the wrapper
//! `{"$driftless": "object", "fields": [[name, value], …]}`, so a wrapper is never mistaken.
//!
//! Two things are lost on purpose: the sign of `-0`, which `jsonb` drops and [`Losses`] counts, and all but the last of several
//! fields of one name, because `jsonb` keeps the last as this mapping does.
//!
//! The writer has its own stack, so that it can refuse deep nesting instead of overflowing the stack of the process.

use std::io::Write;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    number::numeric,
    raw::{Fields, Raw, Value},
    time,
};
use crate::mapping::{Loss, Losses};
use crate::model::{Decimal, Reason};

/// The version of the format, with which the binary form of `jsonb` begins.
///
/// Source: `jsonb_recv` of PostgreSQL.
pub(crate) const JSONB_VERSION: u8 = 1;

const WRAPPER: &str = "$driftless";
/// MongoDB takes at most 250 levels, whatever its configuration says (`maxBSONDepth`).
const MAX_DEPTH: usize = 250;
/// Largest `jsonb` value in bytes.
///
/// Source: `JENTRY_OFFLENMASK` of PostgreSQL; SQLSTATE 54000 beyond it.
const MAX_BYTES: usize = 0x0fff_ffff;
/// Most characters of all numbers together, as PostgreSQL prints them without exponents. A text has 1 GiB at most, and a row
/// that can be written but never read is worse than a dead letter.
const MAX_PRINTED: usize = MAX_BYTES;

/// Appends the JSON text of a value.
///
/// # Errors
/// `MALFORMED`, `DEPTH`, `TOO_BIG`, `AMPLIFY`; nothing else is refused.
pub(crate) fn write(value: Value<'_>, losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Reason> {
    write_without(value, &NOTHING, losses, out)
}

/// The same, without some of the fields.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_without(
    value: Value<'_>,
    omit: &Omit,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    let start = out.len();
    let mut writer = Writer { out, losses, open: Vec::new(), printed: 0 };
    writer.value(value, omit)?;
    while let Some(level) = writer.open.last_mut() {
        match level.fields.next() {
            Some(field) => {
                let (name, value) = field?;
                let Some(omit) = level.omit.below(name) else { continue };
                let first = std::mem::replace(&mut level.first, false);
                let kind = level.kind;
                writer.name(kind, first, name);
                writer.value(value, omit)?;
            }
            None => writer.close(),
        }
        if writer.out.len() - start > MAX_BYTES {
            return Err(Reason::TooBig);
        }
    }
    Ok(())
}

/// Fields that are left out of an object, with everything in them, and what is left out of others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Omit {
    /// Sorted by name; `None` leaves the whole field out.
    fields: Vec<(Box<[u8]>, Option<Omit>)>,
}

/// Leaves nothing out.
static NOTHING: Omit = Omit { fields: Vec::new() };

impl Omit {
    /// Leaves out what a path of names leads to.
    pub(crate) fn add(&mut self, path: &[&str]) {
        let Some((name, below)) = path.split_first() else { return };
        let name = name.as_bytes();
        let at = match self.fields.binary_search_by(|(other, _)| other.as_ref().cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.fields.insert(at, (name.into(), Some(Self::default())));
                at
            }
        };
        match (&mut self.fields[at].1, below) {
            (omitted, []) => *omitted = None,
            (Some(omit), _) => omit.add(below),
            (None, _) => {}
        }
    }

    /// The fields that are left out of a field; `None` when the field itself is left out.
    fn below(&self, name: &[u8]) -> Option<&Self> {
        if self.fields.is_empty() {
            return Some(&NOTHING);
        }
        match self.fields.binary_search_by(|(other, _)| other.as_ref().cmp(name)) {
            Ok(at) => self.fields[at].1.as_ref(),
            Err(_) => Some(&NOTHING),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Array,
    Object,
    /// The fields of a wrapped object: pairs of name and value.
    Pairs,
}

/// A document or array that is being written.
struct Level<'a> {
    fields: Fields<'a>,
    kind: Kind,
    omit: &'a Omit,
    first: bool,
    /// Closing brackets that follow its own.
    tail: &'static [u8],
}

struct Writer<'a, 'o> {
    out: &'o mut Vec<u8>,
    losses: &'o mut Losses,
    open: Vec<Level<'a>>,
    printed: usize,
}

impl<'a> Writer<'a, '_> {
    fn value(&mut self, value: Value<'a>, omit: &'a Omit) -> Result<(), Reason> {
        match value {
            Value::String(bytes) | Value::Symbol(bytes) => self.text(bytes),
            Value::Int32(value) => self.print(format_args!("{value}")),
            Value::Int64(value) => self.print(format_args!("{value}")),
            Value::Bool(value) => self.print(format_args!("{value}")),
            Value::Null => self.raw("null"),
            Value::Double(value) => {
                return self.number(numeric::of_double(value), "double", |_| numeric::double_text(value));
            }
            Value::Decimal(value) => return self.number(Decimal::from_bson(value), "decimal", numeric::text),
            Value::Document(document) => return self.document(document, omit, b""),
            Value::Array(array) => return self.level(array, Kind::Array, &NOTHING, b""),
            Value::ObjectId(id) => self.print(format_args!("\"{}\"", hex::encode(id))),
            Value::Binary { subtype, bytes } => self.binary(subtype, bytes),
            Value::DateTime(ms) => match time::iso_text(ms) {
                Some(text) => self.print(format_args!("\"{text}\"")),
                None => self.print(format_args!("{{\"{WRAPPER}\":\"date\",\"ms\":{ms}}}")),
            },
            Value::Timestamp { t, i } => {
                self.print(format_args!("{{\"{WRAPPER}\":\"timestamp\",\"t\":{t},\"i\":{i}}}"))
            }
            Value::Undefined => self.tag("undefined"),
            Value::MinKey => self.tag("minKey"),
            Value::MaxKey => self.tag("maxKey"),
            Value::Regex { pattern, options } => {
                self.print(format_args!("{{\"{WRAPPER}\":\"regex\",\"pattern\":"));
                self.text(pattern);
                self.raw(",\"options\":");
                self.text(options);
                self.raw("}");
            }
            Value::DbPointer { namespace, id } => {
                self.print(format_args!("{{\"{WRAPPER}\":\"dbPointer\",\"namespace\":"));
                self.text(namespace);
                self.print(format_args!(",\"id\":\"{}\"}}", hex::encode(id)));
            }
            Value::Code(code) => {
                self.print(format_args!("{{\"{WRAPPER}\":\"code\",\"code\":"));
                self.text(code);
                self.raw("}");
            }
            Value::CodeWithScope { code, scope } => {
                self.print(format_args!("{{\"{WRAPPER}\":\"codeWithScope\",\"code\":"));
                self.text(code);
                self.raw(",\"scope\":");
                return self.document(scope, &NOTHING, b"}");
            }
        }
        Ok(())
    }

    /// Opens a document, as a wrapper where its names ask for it.
    fn document(&mut self, document: Raw<'a>, omit: &'a Omit, tail: &'static [u8]) -> Result<(), Reason> {
        let mut plain = true;
        for field in document.fields() {
            let (name, _) = field?;
            plain &= name != WRAPPER.as_bytes() && std::str::from_utf8(name).is_ok();
        }
        if plain {
            return self.level(document, Kind::Object, omit, tail);
        }
        self.print(format_args!("{{\"{WRAPPER}\":\"object\",\"fields\":"));
        self.level(document, Kind::Pairs, omit, if tail.is_empty() { b"}" } else { b"}}" })
    }

    fn level(&mut self, raw: Raw<'a>, kind: Kind, omit: &'a Omit, tail: &'static [u8]) -> Result<(), Reason> {
        if self.open.len() == MAX_DEPTH {
            return Err(Reason::Depth);
        }
        self.raw(if kind == Kind::Object { "{" } else { "[" });
        self.open.push(Level { fields: raw.fields(), kind, omit, first: true, tail });
        Ok(())
    }

    /// Writes everything before a field's value: comma, name and colon.
    fn name(&mut self, kind: Kind, first: bool, name: &[u8]) {
        match (kind, first) {
            (Kind::Pairs, true) => self.raw("["),
            (Kind::Pairs, false) => self.raw("],["),
            (_, true) => {}
            (_, false) => self.raw(","),
        }
        match kind {
            Kind::Array => {}
            Kind::Object => {
                self.text(name);
                self.raw(":");
            }
            Kind::Pairs => {
                self.text(name);
                self.raw(",");
            }
        }
    }

    fn close(&mut self) {
        let Some(level) = self.open.pop() else { return };
        match level.kind {
            Kind::Array => self.raw("]"),
            Kind::Object => self.raw("}"),
            Kind::Pairs if level.first => self.raw("]"),
            Kind::Pairs => self.raw("]]"),
        }
        self.out.extend_from_slice(level.tail);
    }

    fn number(&mut self, value: Decimal, kind: &str, text: impl Fn(Decimal) -> String) -> Result<(), Reason> {
        let text = text(value);
        if !matches!(value, Decimal::Finite { .. }) {
            self.print(format_args!("{{\"{WRAPPER}\":\"{kind}\",\"value\":\"{text}\"}}"));
            return Ok(());
        }
        self.losses.add_if(numeric::is_negative_zero(value), Loss::ZeroSign);
        self.printed += numeric::printed_length(value);
        if self.printed > MAX_PRINTED {
            return Err(Reason::Amplify);
        }
        self.raw(&text);
        Ok(())
    }

    fn binary(&mut self, subtype: u8, bytes: &[u8]) {
        const UUID: u8 = 4;
        match <[u8; 16]>::try_from(bytes) {
            Ok(id) if subtype == UUID => self.print(format_args!("\"{}\"", uuid::Uuid::from_bytes(id).hyphenated())),
            _ => {
                let encoded = BASE64_STANDARD.encode(bytes);
                self.print(format_args!("{{\"{WRAPPER}\":\"binary\",\"subtype\":{subtype},\"base64\":\"{encoded}\"}}"));
            }
        }
    }

    /// A text, wrapped where it holds NUL or is no valid UTF-8.
    fn text(&mut self, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) if !bytes.contains(&0) => self.string(text),
            _ => {
                let encoded = BASE64_STANDARD.encode(bytes);
                self.print(format_args!("{{\"{WRAPPER}\":\"text\",\"base64\":\"{encoded}\"}}"));
            }
        }
    }

    /// A JSON string: quotes, backslashes and control characters escaped, everything else as it is.
    fn string(&mut self, text: &str) {
        self.raw("\"");
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.out.extend_from_slice(&text.as_bytes()[plain..at]);
            plain = at + 1;
            match byte {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b'\n' => self.raw("\\n"),
                b'\r' => self.raw("\\r"),
                b'\t' => self.raw("\\t"),
                other => {
                    let digit = |value: u8| char::from_digit(u32::from(value), 16).map_or(b'0', |digit| digit as u8);
                    self.raw("\\u00");
                    self.out.extend_from_slice(&[digit(other >> 4), digit(other & 15)]);
                }
            }
        }
        self.out.extend_from_slice(&text.as_bytes()[plain..]);
        self.raw("\"");
    }

    fn tag(&mut self, kind: &str) {
        self.print(format_args!("{{\"{WRAPPER}\":\"{kind}\"}}"));
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn print(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = self.out.write_fmt(text);
    }
}

#[cfg(test)]
mod tests;
