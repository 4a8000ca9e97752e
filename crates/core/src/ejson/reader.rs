//! Extended JSON text to raw BSON, as a stream: each value is appended to the document while it is parsed.

use std::fmt;

use bson::{raw::RawDocumentBuf, spec::ElementType};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{
    append::{Value, close, open, patch, string},
    typed::{Tag, Text, end},
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
                let value = Self { out, kind_at };
                return if matches!(tag, Tag::Code) { code(value, map) } else { tag.value(value, map) };
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
