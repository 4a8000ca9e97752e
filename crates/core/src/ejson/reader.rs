//! Extended JSON text to raw BSON, as a stream: each value is appended to the document while it is parsed.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::{Decimal128, raw::RawDocumentBuf, spec::ElementType};
use hex::FromHex;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The text is no canonical Extended JSON document.
///
/// The parser's own message is not kept: it quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotExtendedJson {
    /// Where, in bytes from 1.
    pub column: usize,
}

/// Reads a document that [`write`](super::write()) wrote.
///
/// # Errors
/// [`NotExtendedJson`] for everything else, relaxed numbers included: their type would be a guess.
pub fn read(text: &str) -> Result<RawDocumentBuf, NotExtendedJson> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Document(&mut bytes)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| NotExtendedJson { column: error.column() })?;
    RawDocumentBuf::from_bytes(bytes).map_err(|_| NotExtendedJson { column: text.len() })
}

/// A document, which is no typed value.
struct Document<'o>(&'o mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = open(self.0);
        fields(self.0, &mut map)?;
        close(self.0, start)
    }
}

fn fields<'de, A: MapAccess<'de>>(out: &mut Vec<u8>, map: &mut A) -> Result<(), A::Error> {
    while let Some(name) = map.next_key_seed(Name(out))? {
        match name {
            Named::Field { kind_at } => map.next_value_seed(Value { out, kind_at })?,
            Named::Tag(_) => return Err(A::Error::custom("a tag among fields")),
        }
    }
    Ok(())
}

/// The name of an element, whose type is patched in when its value is known.
struct Name<'o>(&'o mut Vec<u8>);

enum Named {
    /// A field; its header has been appended.
    Field { kind_at: usize },
    /// A name that starts with `$`; nothing has been appended.
    Tag(Tag),
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Named;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Named, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Named;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Named, E> {
        if name.starts_with('$') {
            return Tag::named(name).map(Named::Tag).ok_or_else(|| E::custom("an unknown tag"));
        }
        if name.contains('\0') {
            return Err(E::custom("a NUL in a name"));
        }
        let kind_at = self.0.len();
        self.0.push(0);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        Ok(Named::Field { kind_at })
    }
}

/// A value; its type goes to `kind_at`.
struct Value<'o> {
    out: &'o mut Vec<u8>,
    kind_at: usize,
}

impl Value<'_> {
    fn put(self, kind: ElementType, bytes: &[u8]) {
        self.out[self.kind_at] = kind as u8;
        self.out.extend_from_slice(bytes);
    }

    fn put_string<E: Error>(self, kind: ElementType, text: &str) -> Result<(), E> {
        self.out[self.kind_at] = kind as u8;
        string(self.out, text)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of canonical Extended JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.put(ElementType::Null, &[]);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.put(ElementType::Boolean, &[u8::from(value)]);
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.put_string(ElementType::String, text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { out, kind_at } = self;
        out[kind_at] = ElementType::Array as u8;
        let start = open(out);
        for index in 0usize.. {
            let kind_at = out.len();
            out.push(0);
            out.extend_from_slice(index.to_string().as_bytes());
            out.push(0);
            if seq.next_element_seed(Value { out, kind_at })?.is_none() {
                out.truncate(kind_at);
                break;
            }
        }
        close(out, start)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { out, kind_at } = self;
        let start = open(out);
        match map.next_key_seed(Name(out))? {
            Some(Named::Tag(tag)) => {
                out.truncate(start);
                return tag.value(Self { out, kind_at }, map);
            }
            Some(Named::Field { kind_at }) => {
                map.next_value_seed(Value { out, kind_at })?;
                fields(out, &mut map)?;
            }
            None => {}
        }
        out[kind_at] = ElementType::EmbeddedDocument as u8;
        close(out, start)
    }
}

/// The first name of a typed value.
#[derive(Clone, Copy)]
enum Tag {
    Oid,
    Symbol,
    Int,
    Long,
    Double,
    Decimal,
    Binary,
    Code,
    Scope,
    Timestamp,
    Regex,
    Date,
    MinKey,
    MaxKey,
    Undefined,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BinaryValue<'a> {
    #[serde(borrow)]
    base64: Cow<'a, str>,
    #[serde(borrow, rename = "subType")]
    subtype: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimestampValue {
    t: u32,
    i: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegexValue<'a> {
    #[serde(borrow)]
    pattern: Cow<'a, str>,
    #[serde(borrow)]
    options: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DateValue<'a> {
    #[serde(borrow, rename = "$numberLong")]
    millis: Cow<'a, str>,
}

impl Tag {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "$oid" => Self::Oid,
            "$symbol" => Self::Symbol,
            "$numberInt" => Self::Int,
            "$numberLong" => Self::Long,
            "$numberDouble" => Self::Double,
            "$numberDecimal" => Self::Decimal,
            "$binary" => Self::Binary,
            "$code" => Self::Code,
            "$scope" => Self::Scope,
            "$timestamp" => Self::Timestamp,
            "$regularExpression" => Self::Regex,
            "$date" => Self::Date,
            "$minKey" => Self::MinKey,
            "$maxKey" => Self::MaxKey,
            "$undefined" => Self::Undefined,
            _ => return None,
        })
    }

    fn value<'de, A: MapAccess<'de>>(self, value: Value<'_>, mut map: A) -> Result<(), A::Error> {
        match self {
            Self::Oid => {
                let id = parsed::<A, [u8; 12]>(&mut map, |text| FromHex::from_hex(text).ok())?;
                value.put(ElementType::ObjectId, &id);
            }
            Self::Symbol => {
                let Text(text) = map.next_value()?;
                value.put_string(ElementType::Symbol, &text)?;
            }
            Self::Int => {
                let number = parsed::<A, i32>(&mut map, |text| text.parse().ok())?;
                value.put(ElementType::Int32, &number.to_le_bytes());
            }
            Self::Long => {
                let number = parsed::<A, i64>(&mut map, |text| text.parse().ok())?;
                value.put(ElementType::Int64, &number.to_le_bytes());
            }
            Self::Double => {
                let number = parsed::<A, f64>(&mut map, double)?;
                value.put(ElementType::Double, &number.to_le_bytes());
            }
            Self::Decimal => {
                let number = parsed::<A, Decimal128>(&mut map, |text| text.parse().ok())?;
                value.put(ElementType::Decimal128, &number.bytes());
            }
            Self::Binary => binary(value, map.next_value()?)?,
            Self::Code => return code(value, map),
            Self::Timestamp => {
                let TimestampValue { t, i } = map.next_value()?;
                value.put(ElementType::Timestamp, &[i.to_le_bytes(), t.to_le_bytes()].concat());
            }
            Self::Regex => {
                let RegexValue { pattern, options } = map.next_value()?;
                if pattern.contains('\0') || options.contains('\0') {
                    return Err(A::Error::custom("a NUL in a regular expression"));
                }
                value.put(
                    ElementType::RegularExpression,
                    &[pattern.as_bytes(), &[0], options.as_bytes(), &[0]].concat(),
                );
            }
            Self::Date => {
                let DateValue { millis } = map.next_value()?;
                let millis: i64 = millis.parse().map_err(|_| A::Error::custom("a date"))?;
                value.put(ElementType::DateTime, &millis.to_le_bytes());
            }
            Self::MinKey => constant(&mut map, value, ElementType::MinKey, 1u8)?,
            Self::MaxKey => constant(&mut map, value, ElementType::MaxKey, 1u8)?,
            Self::Undefined => constant(&mut map, value, ElementType::Undefined, true)?,
            Self::Scope => return Err(A::Error::custom("a scope without code")),
        }
        end(map)
    }
}

fn parsed<'de, A: MapAccess<'de>, T>(map: &mut A, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, A::Error> {
    let Text(text) = map.next_value()?;
    parse(&text).ok_or_else(|| A::Error::custom("a typed value that does not parse"))
}

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        finite => finite.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

fn constant<'de, A: MapAccess<'de>, T: Deserialize<'de> + PartialEq>(
    map: &mut A,
    value: Value<'_>,
    kind: ElementType,
    expected: T,
) -> Result<(), A::Error> {
    if map.next_value::<T>()? != expected {
        return Err(A::Error::custom("a constant of another value"));
    }
    value.put(kind, &[]);
    Ok(())
}

fn binary<E: Error>(value: Value<'_>, BinaryValue { base64, subtype }: BinaryValue<'_>) -> Result<(), E> {
    let bytes = STANDARD.decode(base64.as_bytes()).map_err(|_| E::custom("a binary's base64"))?;
    let subtype = u8::from_str_radix(&subtype, 16).map_err(|_| E::custom("a binary's subtype"))?;
    let length = length::<E>(bytes.len())?;
    value.put(ElementType::Binary, &[&length[..], &[subtype], &bytes].concat());
    Ok(())
}

fn code<'de, A: MapAccess<'de>>(value: Value<'_>, mut map: A) -> Result<(), A::Error> {
    let Text(code) = map.next_value()?;
    match map.next_key::<Text<'de>>()? {
        None => return value.put_string(ElementType::JavaScriptCode, &code),
        Some(Text(name)) if name == "$scope" => {}
        Some(_) => return Err(A::Error::custom("a name beside code")),
    }
    let Value { out, kind_at } = value;
    out[kind_at] = ElementType::JavaScriptCodeWithScope as u8;
    let start = open(out);
    string(out, &code)?;
    map.next_value_seed(Document(out))?;
    patch(out, start)?;
    end(map)
}

fn end<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    match map.next_key::<IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("a name beside a typed value")),
    }
}

fn string<E: Error>(out: &mut Vec<u8>, text: &str) -> Result<(), E> {
    out.extend_from_slice(&length::<E>(text.len() + 1)?);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    Ok(())
}

/// Leaves room for a length.
fn open(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

fn close<E: Error>(out: &mut Vec<u8>, start: usize) -> Result<(), E> {
    out.push(0);
    patch(out, start)
}

fn patch<E: Error>(out: &mut [u8], start: usize) -> Result<(), E> {
    let length = length::<E>(out.len() - start)?;
    out[start..start + 4].copy_from_slice(&length);
    Ok(())
}

fn length<E: Error>(bytes: usize) -> Result<[u8; 4], E> {
    i32::try_from(bytes).map(i32::to_le_bytes).map_err(|_| E::custom("more than BSON can hold"))
}

#[cfg(test)]
mod tests {
    use bson::raw::RawDocument;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::{super::arbitrary, *};
    use crate::ejson::{json_string, write, write_quoted};

    fn written(document: &RawDocument) -> Option<String> {
        let mut out = Vec::new();
        write(document, &mut out).ok()?;
        Some(String::from_utf8(out).expect("UTF-8"))
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back_as_the_same_bytes(document in arbitrary::document()) {
            if let Some(text) = written(&document) {
                prop_assert_eq!(read(&text), Ok(document));
            }
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_back_the_same(document in arbitrary::damaged()) {
            if let Some(text) = written(&document) {
                prop_assert_eq!(read(&text), Ok(document));
            }
        }

        #[test]
        fn quoted_at_once_or_afterwards_is_the_same(document in prop_oneof![arbitrary::document(), arbitrary::damaged()]) {
            let afterwards = written(&document).map(|text| {
                let mut quoted = b"before".to_vec();
                json_string(&mut quoted, text);
                quoted
            });
            let mut at_once = b"before".to_vec();
            let written = write_quoted(&document, &mut at_once).is_ok();
            prop_assert_eq!(written.then(|| at_once.clone()), afterwards);
            prop_assert!(written || at_once == b"before");
        }

        #[test]
        fn well_behaved_documents_are_written(document in arbitrary::well_behaved()) {
            prop_assert!(written(&document).is_some());
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn damaged_text_is_read_or_refused(document in arbitrary::well_behaved(), at in any::<prop::sample::Index>(), by in any::<char>()) {
            let mut text: Vec<char> = written(&document).expect("written").chars().collect();
            let at = at.index(text.len());
            text[at] = by;
            let _ = read(&text.into_iter().collect::<String>());
        }
    }

    #[rstest]
    #[case("")]
    #[case("[]")]
    #[case("null")]
    #[case("{} {}")]
    #[case(r#"{"a":1}"#)]
    #[case(r#"{"a":{"$oid":"12"}}"#)]
    #[case(r#"{"$oid":"000000000000000000000000"}"#)]
    #[case(r#"{"a":{"$oid":"000000000000000000000000","b":null}}"#)]
    #[case(r#"{"a":{"b":null,"$oid":"000000000000000000000000"}}"#)]
    #[case(r#"{"a":{"$unknown":"1"}}"#)]
    #[case(r#"{"a":{"$numberInt":"2147483648"}}"#)]
    #[case(r#"{"a":{"$numberDouble":"inf"}}"#)]
    #[case(r#"{"a":{"$scope":{}}}"#)]
    #[case(r#"{"a\u0000b":null}"#)]
    #[case(r#"{"a":{"$binary":{"base64":"AA==","subType":"100"}}}"#)]
    fn refused(#[case] text: &str) {
        assert!(read(text).is_err());
    }

    #[test]
    fn deep_text_is_refused_without_overflow() {
        let text = format!("{}{}", r#"{"a":"#.repeat(100_000), "null");
        assert!(read(&text).is_err());
    }
}
