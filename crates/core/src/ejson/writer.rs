//! Raw BSON to Extended JSON text.

use std::{fmt, io::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::{Decimal128, raw::RawDocument, spec::ElementType};

use super::{
    elements::{Cursor, Names, Unfaithful, elements, is_index, next},
    text::{escaped, hex_of},
};

/// Appends a document as canonical Extended JSON.
///
/// # Errors
/// [`Unfaithful`]; `out` is as it was then.
pub fn write(document: &RawDocument, out: &mut Vec<u8>) -> Result<(), Unfaithful> {
    write_with(document, out, b":")
}

/// As [`write()`], as a JSON string: every quote and backslash of the text escaped, in one go.
///
/// # Errors
/// As [`write()`].
pub fn write_quoted(document: &RawDocument, out: &mut Vec<u8>) -> Result<(), Unfaithful> {
    let start = out.len();
    out.push(b'"');
    let written = Writer { out, colon: b":", inner: true }.document(document.as_bytes(), 1);
    match written {
        Ok(()) => out.push(b'"'),
        Err(_) => out.truncate(start),
    }
    written
}

/// As [`write()`], with the blank after each colon that Java's writer puts there.
pub fn write_spaced(document: &RawDocument, out: &mut Vec<u8>) -> Result<(), Unfaithful> {
    write_with(document, out, b": ")
}

fn write_with(document: &RawDocument, out: &mut Vec<u8>, colon: &'static [u8]) -> Result<(), Unfaithful> {
    let start = out.len();
    let written = Writer { out, colon, inner: false }.document(document.as_bytes(), 1);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    colon: &'static [u8],
    /// Whether the text is inside of a JSON string.
    inner: bool,
}

impl Writer<'_> {
    fn document(&mut self, bytes: &[u8], depth: usize) -> Result<(), Unfaithful> {
        let mut elements = elements(bytes, depth)?;
        let mut names = Names(Vec::with_capacity(Names::FEW));
        self.out.push(b'{');
        while let Some((kind, name)) = next(&mut elements)? {
            if name.starts_with('$') {
                return Err(Unfaithful("a name starts with `$`"));
            }
            if names.any() {
                self.out.push(b',');
            }
            names.add(name)?;
            self.name(name);
            self.value(kind, &mut elements, depth)?;
        }
        names.finish()?;
        self.out.push(b'}');
        Ok(())
    }

    fn list(&mut self, bytes: &[u8], depth: usize) -> Result<(), Unfaithful> {
        let mut elements = elements(bytes, depth)?;
        let mut expected = 0usize;
        self.out.push(b'[');
        while let Some((kind, name)) = next(&mut elements)? {
            if !is_index(name, expected) {
                return Err(Unfaithful("an array's names are not its indices"));
            }
            if expected > 0 {
                self.out.push(b',');
            }
            expected += 1;
            self.value(kind, &mut elements, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn value(&mut self, kind: u8, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Unfaithful> {
        match ElementType::from(kind).ok_or(Unfaithful("an element has an unknown type"))? {
            ElementType::EmbeddedDocument => self.document(cursor.document()?, depth + 1)?,
            ElementType::Array => self.list(cursor.document()?, depth + 1)?,
            ElementType::String => self.string(cursor.string()?),
            ElementType::Null => self.out.extend_from_slice(b"null"),
            ElementType::Boolean => match cursor.array()? {
                [0] => self.out.extend_from_slice(b"false"),
                [1] => self.out.extend_from_slice(b"true"),
                [_] => return Err(Unfaithful("a boolean is neither 0 nor 1")),
            },
            ElementType::Int32 => {
                let value = i32::from_le_bytes(cursor.array()?);
                self.tagged("$numberInt", |w| w.quoted(format_args!("{value}")));
            }
            ElementType::Int64 => {
                let value = i64::from_le_bytes(cursor.array()?);
                self.tagged("$numberLong", |w| w.quoted(format_args!("{value}")));
            }
            ElementType::Double => self.double(f64::from_le_bytes(cursor.array()?))?,
            ElementType::Decimal128 => self.decimal(cursor.array()?)?,
            ElementType::ObjectId => {
                let id: [u8; 12] = cursor.array()?;
                self.tagged("$oid", |w| {
                    w.quote();
                    hex_of(w.out, &id);
                    w.quote();
                });
            }
            ElementType::DateTime => {
                let millis = i64::from_le_bytes(cursor.array()?);
                self.tagged("$date", |w| w.tagged("$numberLong", |w| w.quoted(format_args!("{millis}"))));
            }
            ElementType::Timestamp => {
                let i = u32::from_le_bytes(cursor.array()?);
                let t = u32::from_le_bytes(cursor.array()?);
                self.tagged("$timestamp", |w| {
                    w.out.push(b'{');
                    w.name("t");
                    w.plain(format_args!("{t},"));
                    w.name("i");
                    w.plain(format_args!("{i}}}"));
                });
            }
            ElementType::Binary => self.binary(cursor)?,
            ElementType::RegularExpression => {
                let (pattern, options) = (cursor.cstring()?, cursor.cstring()?);
                self.tagged("$regularExpression", |w| {
                    w.out.push(b'{');
                    w.name("pattern");
                    w.string(pattern);
                    w.out.push(b',');
                    w.name("options");
                    w.string(options);
                    w.out.push(b'}');
                });
            }
            ElementType::JavaScriptCode => {
                let code = cursor.string()?;
                self.tagged("$code", |w| w.string(code));
            }
            ElementType::JavaScriptCodeWithScope => self.scoped(cursor.document()?, depth)?,
            ElementType::Symbol => {
                let text = cursor.string()?;
                self.tagged("$symbol", |w| w.string(text));
            }
            ElementType::MinKey => self.tagged("$minKey", |w| w.out.push(b'1')),
            ElementType::MaxKey => self.tagged("$maxKey", |w| w.out.push(b'1')),
            ElementType::Undefined => self.tagged("$undefined", |w| w.out.extend_from_slice(b"true")),
            ElementType::DbPointer => return Err(Unfaithful("a DBPointer has no standard text")),
        }
        Ok(())
    }

    fn double(&mut self, value: f64) -> Result<(), Unfaithful> {
        if value.is_nan() {
            if value.to_bits() != f64::NAN.to_bits() {
                return Err(Unfaithful("a NaN carries a payload"));
            }
            self.tagged("$numberDouble", |w| w.quoted(format_args!("NaN")));
        } else if value.is_infinite() {
            let text = if value < 0.0 { "-Infinity" } else { "Infinity" };
            self.tagged("$numberDouble", |w| w.quoted(format_args!("{text}")));
        } else {
            // The shortest digits that read back as the same double, with a point or an exponent.
            self.tagged("$numberDouble", |w| w.quoted(format_args!("{value:?}")));
        }
        Ok(())
    }

    fn decimal(&mut self, bytes: [u8; 16]) -> Result<(), Unfaithful> {
        let text = Decimal128::from_bytes(bytes).to_string();
        match text.parse::<Decimal128>() {
            Ok(read) if read.bytes() == bytes => {
                self.tagged("$numberDecimal", |w| w.quoted(format_args!("{text}")));
                Ok(())
            }
            _ => Err(Unfaithful("a decimal's text does not read back as its bytes")),
        }
    }

    fn binary(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Unfaithful> {
        let length = cursor.length(0)?;
        let [subtype] = cursor.array()?;
        if subtype == 2 {
            return Err(Unfaithful("binary subtype 2 holds a second length"));
        }
        let base64 = STANDARD.encode(cursor.take(length)?);
        self.tagged("$binary", |w| {
            w.out.push(b'{');
            w.name("base64");
            w.quoted(format_args!("{base64}"));
            w.out.push(b',');
            w.name("subType");
            w.quoted(format_args!("{subtype:02x}"));
            w.out.push(b'}');
        });
        Ok(())
    }

    fn scoped(&mut self, bytes: &[u8], depth: usize) -> Result<(), Unfaithful> {
        let mut cursor = Cursor(bytes);
        cursor.take(4)?;
        let code = cursor.string()?;
        self.out.push(b'{');
        self.name("$code");
        self.string(code);
        self.out.push(b',');
        self.name("$scope");
        // Two levels of the text: the typed value, and the scope in it.
        self.document(cursor.0, depth + 2)?;
        self.out.push(b'}');
        Ok(())
    }

    fn name(&mut self, name: &str) {
        self.string(name);
        self.out.extend_from_slice(self.colon);
    }

    /// The tag holds nothing to escape.
    fn tagged(&mut self, tag: &str, value: impl FnOnce(&mut Self)) {
        self.out.push(b'{');
        self.quote();
        self.out.extend_from_slice(tag.as_bytes());
        self.quote();
        self.out.extend_from_slice(self.colon);
        value(self);
        self.out.push(b'}');
    }

    fn string(&mut self, text: &str) {
        self.quote();
        escaped(self.out, text.as_bytes(), self.inner);
        self.quote();
    }

    /// The text holds nothing to escape.
    fn quoted(&mut self, text: fmt::Arguments<'_>) {
        self.quote();
        self.plain(text);
        self.quote();
    }

    fn quote(&mut self) {
        self.out.extend_from_slice(if self.inner { br#"\""# } else { b"\"" });
    }

    fn plain(&mut self, text: fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = self.out.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use bson::{
        Binary, DateTime, JavaScriptCodeWithScope, Regex, Timestamp,
        oid::ObjectId,
        raw::{RawBson, RawDocumentBuf},
        rawdoc,
        spec::BinarySubtype,
    };
    use rstest::rstest;

    use super::*;
    use crate::ejson::elements::MAX_DEPTH;

    fn text(document: &RawDocument) -> Result<String, Unfaithful> {
        let mut out = Vec::new();
        write(document, &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    fn decimal(text: &str) -> Decimal128 {
        text.parse().expect("a decimal")
    }

    #[rstest]
    #[case(rawdoc! {}, "{}")]
    #[case(rawdoc! { "a": 1, "b": 2i64 }, r#"{"a":{"$numberInt":"1"},"b":{"$numberLong":"2"}}"#)]
    #[case(rawdoc! { "": [true, RawBson::Null] }, r#"{"":[true,null]}"#)]
    #[case(rawdoc! { "a": 1.0 }, r#"{"a":{"$numberDouble":"1.0"}}"#)]
    #[case(rawdoc! { "a": -0.0 }, r#"{"a":{"$numberDouble":"-0.0"}}"#)]
    #[case(rawdoc! { "a": f64::NEG_INFINITY }, r#"{"a":{"$numberDouble":"-Infinity"}}"#)]
    #[case(rawdoc! { "a": decimal("1.10") }, r#"{"a":{"$numberDecimal":"1.10"}}"#)]
    #[case(rawdoc! { "a": "\"\\\n\u{1}ü" }, r#"{"a":"\"\\\n\u0001ü"}"#)]
    #[case(rawdoc! { "a": ObjectId::from_bytes([0xab; 12]) }, r#"{"a":{"$oid":"abababababababababababab"}}"#)]
    #[case(rawdoc! { "a": DateTime::from_millis(-1) }, r#"{"a":{"$date":{"$numberLong":"-1"}}}"#)]
    #[case(rawdoc! { "a": Timestamp { time: 7, increment: 3 } }, r#"{"a":{"$timestamp":{"t":7,"i":3}}}"#)]
    #[case(rawdoc! { "a": Binary { subtype: BinarySubtype::Uuid, bytes: vec![0, 255] } }, r#"{"a":{"$binary":{"base64":"AP8=","subType":"04"}}}"#)]
    #[case(rawdoc! { "a": RawBson::MinKey, "b": RawBson::MaxKey, "c": RawBson::Undefined }, r#"{"a":{"$minKey":1},"b":{"$maxKey":1},"c":{"$undefined":true}}"#)]
    fn canonical(#[case] document: RawDocumentBuf, #[case] expected: &str) {
        assert_eq!(text(&document).as_deref(), Ok(expected));
    }

    #[test]
    fn canonical_of_old_types() {
        let regex = Regex { pattern: "a/b".try_into().expect("no NUL"), options: "im".try_into().expect("no NUL") };
        let scoped = JavaScriptCodeWithScope { code: "f()".into(), scope: bson::doc! { "x": 1 } };
        let document = bson::doc! { "r": regex, "c": bson::Bson::JavaScriptCode("g".into()), "s": scoped, "y": bson::Bson::Symbol("z".into()) };
        let raw = RawDocumentBuf::try_from(&document).expect("raw");
        assert_eq!(
            text(&raw).as_deref(),
            Ok(
                r#"{"r":{"$regularExpression":{"pattern":"a/b","options":"im"}},"c":{"$code":"g"},"s":{"$code":"f()","$scope":{"x":{"$numberInt":"1"}}},"y":{"$symbol":"z"}}"#
            )
        );
    }

    #[rstest]
    #[case(rawdoc! { "a": { "$oid": "no id" } })]
    #[case(rawdoc! { "$set": 1 })]
    #[case(rawdoc! { "a": f64::from_bits(0x7ff8_0000_0000_0001) })]
    #[case(rawdoc! { "a": f64::from_bits(0xfff8_0000_0000_0000) })]
    #[case(rawdoc! { "a": Decimal128::from_bytes([0xff; 16]) })]
    #[case(rawdoc! { "a": Binary { subtype: BinarySubtype::BinaryOld, bytes: vec![1] } })]
    #[case({ let mut twice = rawdoc! { "a": 1 }; twice.append(bson::raw::cstr!("a"), 2); twice })]
    #[case(nested(MAX_DEPTH + 1))]
    fn refused(#[case] document: RawDocumentBuf) {
        let mut out = b"kept".to_vec();
        assert!(write(&document, &mut out).is_err());
        assert_eq!(out, b"kept");
    }

    #[test]
    fn many_names_are_compared_too() {
        let mut document = RawDocumentBuf::new();
        for index in 0..40 {
            document.append(bson::raw::CString::try_from(format!("n{index}")).expect("no NUL"), index);
        }
        assert!(text(&document).is_ok());
        document.append(bson::raw::cstr!("n3"), 1);
        assert_eq!(text(&document), Err(Names::TWICE));
    }

    #[test]
    fn the_deepest_is_written() {
        assert!(text(&nested(MAX_DEPTH)).is_ok());
    }

    fn nested(depth: usize) -> RawDocumentBuf {
        (1..depth).fold(rawdoc! {}, |inner, _| rawdoc! { "a": inner })
    }
}
