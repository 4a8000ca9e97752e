//! Raw BSON of every type for property tests: legal, odd, and broken.

use bson::{raw::RawDocumentBuf, spec::ElementType};
use proptest::{collection::vec, prelude::*};

/// A value with its type byte.
type Element = (u8, Vec<u8>);

/// Any document that MongoDB might hold, or almost: odd names, duplicates, every type, texts that are not UTF-8.
pub fn document() -> impl Strategy<Value = RawDocumentBuf> {
    fields(element(text_bytes().boxed(), true), odd_name().boxed()).prop_map(owned)
}

/// Documents that Extended JSON carries.
pub fn well_behaved() -> impl Strategy<Value = RawDocumentBuf> {
    let text = "[ -~äß€\u{1}]{0,8}".prop_map(String::into_bytes).boxed();
    unique_fields(element(text, false)).prop_map(owned)
}

/// A document whose inside has been damaged; its frame is sound, because nothing else can become a raw document.
pub fn damaged() -> impl Strategy<Value = RawDocumentBuf> {
    (document(), vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)).prop_map(|(document, damages)| {
        let mut bytes = document.into_bytes();
        let end = bytes.len() - 1;
        if end > 4 {
            for (at, byte) in damages {
                bytes[4 + at.index(end - 4)] = byte;
            }
        }
        owned(bytes)
    })
}

/// `{_id: …}` for any value of any type.
pub fn id() -> impl Strategy<Value = RawDocumentBuf> {
    element(text_bytes().boxed(), true).prop_map(|element| owned(framed(&[(b"_id".to_vec(), element)])))
}

fn owned(bytes: Vec<u8>) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(bytes).expect("a sound frame")
}

fn framed(fields: &[(Vec<u8>, Element)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, (kind, value)) in fields {
        body.push(*kind);
        body.extend_from_slice(name);
        body.push(0);
        body.extend_from_slice(value);
    }
    let length = i32::try_from(body.len() + 5).expect("small");
    [&length.to_le_bytes()[..], &body, &[0]].concat()
}

fn string(text: &[u8]) -> Vec<u8> {
    let length = i32::try_from(text.len() + 1).expect("small");
    [&length.to_le_bytes()[..], text, &[0]].concat()
}

fn text_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => ".{0,8}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..8)]
}

fn odd_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-c]{1,2}".prop_map(String::into_bytes),
        1 => prop_oneof![Just("$oid"), Just("$date"), Just(""), Just("a.b"), Just("_id")].prop_map(|s: &str| s.as_bytes().to_vec()),
        1 => vec(1..=255u8, 0..4),
    ]
}

fn fields(element: BoxedStrategy<Element>, name: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    vec((name, element), 0..5).prop_map(|fields| framed(&fields))
}

fn unique_fields(element: BoxedStrategy<Element>) -> impl Strategy<Value = Vec<u8>> {
    vec(element, 0..5).prop_map(|elements| {
        let named: Vec<_> = elements.into_iter().enumerate().map(|(n, e)| (format!("n{n}").into_bytes(), e)).collect();
        framed(&named)
    })
}

fn element(text: BoxedStrategy<Vec<u8>>, odd: bool) -> BoxedStrategy<Element> {
    let no_nul = |mut text: Vec<u8>| {
        text.retain(|byte| *byte != 0);
        text
    };
    let of = |kind: ElementType| move |bytes: Vec<u8>| (kind as u8, bytes);
    let plain = prop_oneof![
        prop_oneof![
            any::<f64>().prop_filter("well-behaved", |v| !v.is_nan()),
            Just(f64::NAN),
            Just(-0.0),
            Just(f64::INFINITY)
        ]
        .prop_map(move |v| (ElementType::Double as u8, v.to_le_bytes().to_vec())),
        text.clone().prop_map(move |t| (ElementType::String as u8, string(&t))),
        (vec(any::<u8>(), 0..8), prop_oneof![Just(0u8), Just(4), Just(128)]).prop_map(|(bytes, subtype)| {
            let length = (bytes.len() as i32).to_le_bytes();
            (ElementType::Binary as u8, [&length[..], &[subtype], &bytes].concat())
        }),
        vec(any::<u8>(), 12).prop_map(of(ElementType::ObjectId)),
        any::<bool>().prop_map(move |v| (ElementType::Boolean as u8, vec![u8::from(v)])),
        vec(any::<u8>(), 8).prop_map(of(ElementType::DateTime)),
        Just((ElementType::Null as u8, Vec::new())),
        Just((ElementType::Undefined as u8, Vec::new())),
        Just((ElementType::MinKey as u8, Vec::new())),
        Just((ElementType::MaxKey as u8, Vec::new())),
        (text.clone(), "[imsx]{0,3}").prop_map(move |(pattern, options)| {
            let bytes = [&no_nul(pattern)[..], &[0], options.as_bytes(), &[0]].concat();
            (ElementType::RegularExpression as u8, bytes)
        }),
        text.clone().prop_map(move |t| (ElementType::JavaScriptCode as u8, string(&t))),
        text.clone().prop_map(move |t| (ElementType::Symbol as u8, string(&t))),
        vec(any::<u8>(), 4).prop_map(of(ElementType::Int32)),
        vec(any::<u8>(), 8).prop_map(of(ElementType::Timestamp)),
        vec(any::<u8>(), 8).prop_map(of(ElementType::Int64)),
        (any::<i64>(), -6176..6111i32).prop_map(|(digits, exponent)| {
            let value: bson::Decimal128 =
                format!("{digits}E{exponent}").parse().unwrap_or_else(|_| "1.10".parse().expect("a decimal"));
            (ElementType::Decimal128 as u8, value.bytes().to_vec())
        }),
    ];
    let strange = prop_oneof![
        vec(any::<u8>(), 8).prop_map(of(ElementType::Double)),
        vec(any::<u8>(), 16).prop_map(of(ElementType::Decimal128)),
        any::<u8>().prop_map(move |v| (ElementType::Boolean as u8, vec![v])),
        (vec(any::<u8>(), 0..8)).prop_map(|bytes| {
            let (inner, outer) = (bytes.len() as i32, bytes.len() as i32 + 4);
            (ElementType::Binary as u8, [&outer.to_le_bytes()[..], &[2], &inner.to_le_bytes(), &bytes].concat())
        }),
        (text.clone(), vec(any::<u8>(), 12))
            .prop_map(|(name, id)| (ElementType::DbPointer as u8, [string(&name), id].concat())),
    ];
    let leaf = if odd { prop_oneof![8 => plain, 1 => strange].boxed() } else { plain.boxed() };
    leaf.prop_recursive(6, 40, 5, move |inner| {
        let name = if odd { odd_name().boxed() } else { Just(b"n".to_vec()).boxed() };
        let inside =
            if odd { fields(inner.clone(), name.clone()).boxed() } else { unique_fields(inner.clone()).boxed() };
        let indexed = vec(inner.clone(), 0..5).prop_map(|elements| {
            let named: Vec<_> =
                elements.into_iter().enumerate().map(|(n, e)| (n.to_string().into_bytes(), e)).collect();
            framed(&named)
        });
        let list = if odd { prop_oneof![6 => indexed, 1 => fields(inner, name)].boxed() } else { indexed.boxed() };
        prop_oneof![
            3 => inside.clone().prop_map(|bytes| (ElementType::EmbeddedDocument as u8, bytes)),
            2 => list.prop_map(|bytes| (ElementType::Array as u8, bytes)),
            1 => (text.clone(), inside).prop_map(|(code, scope)| {
                let body = [string(&code), scope].concat();
                let length = i32::try_from(body.len() + 4).expect("small");
                (ElementType::JavaScriptCodeWithScope as u8, [&length.to_le_bytes()[..], &body].concat())
            }),
        ]
    })
    .boxed()
}
