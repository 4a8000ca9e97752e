//! The names of topics. Pure.
//!
//! Names are `<prefix>.<db>.<collection>`. Letters, digits and `_` are kept. `-` becomes `--`, and any other byte becomes `-` and
//! two hexadecimal digits, so two collections never share a topic. Dots are escaped too: Kafka refuses two topics that differ only
//! in `.` and `_`, and `b.c` and `b_c` are two collections. A name that exceeds Kafka's limit ends in a hash.

use crate::model::Namespace;

/// Kafka's limit for the name of a topic.
const MAX_NAME: usize = 249;
/// Length of `-h` and 32 digits; no escape starts with `-h`.
const HASH_BYTES: usize = 34;

/// Returns the name of the state topic.
pub(super) fn state_name(prefix: &str) -> String {
    format!("{prefix}.state")
}

/// Returns the name of a collection's topic.
pub fn topic_name(prefix: &str, namespace: &Namespace) -> String {
    let mut name = format!("{prefix}.");
    escape(&mut name, &namespace.db);
    name.push('.');
    escape(&mut name, &namespace.collection);
    if name.len() > MAX_NAME {
        let whole = format!("{}\0{}", namespace.db, namespace.collection);
        let hash = xxhash_rust::xxh3::xxh3_128(whole.as_bytes());
        name.truncate(MAX_NAME - HASH_BYTES);
        name.push_str(&format!("-h{hash:032x}"));
    }
    name
}

/// Returns the database in the name of a collection's topic; `None` if the name has another prefix, or may end in a hash.
pub(crate) fn database_of(prefix: &str, topic: &str) -> Option<String> {
    if topic.len() >= MAX_NAME {
        return None;
    }
    let (database, collection) = topic.strip_prefix(prefix)?.strip_prefix('.')?.split_once('.')?;
    // More dots mean that the prefix of the name is longer than this one.
    if collection.contains('.') {
        return None;
    }
    let mut bytes = Vec::with_capacity(database.len());
    let mut rest = database.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, rest) {
            (b'-', [b'-', after @ ..]) => {
                bytes.push(b'-');
                rest = after;
            }
            (b'-', [high, low, after @ ..]) => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&[*high, *low]).ok()?, 16).ok()?);
                rest = after;
            }
            (b'-', _) => return None,
            (byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn escape(name: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'-' => name.push_str("--"),
            b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => name.push(char::from(byte)),
            other => name.push_str(&format!("-{other:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("shop", "order_items", "p.shop.order_items")]
    #[case("shop", "order-items", "p.shop.order--items")]
    #[case("a", "b.c", "p.a.b-2ec")]
    #[case("a", "é x", "p.a.-c3-a9-20x")]
    fn names(#[case] db: &str, #[case] collection: &str, #[case] expected: &str) {
        assert_eq!(topic_name("p", &Namespace::new(db, collection)), expected);
        assert_eq!(database_of("p", expected).as_deref(), Some(db));
    }

    #[test]
    fn long_names_differ() {
        let name = |end: &str| topic_name("p", &Namespace::new("db", format!("{}{end}", "x".repeat(300))));
        assert_eq!(name("a").len(), MAX_NAME);
        assert_ne!(name("a"), name("b"));
    }

    proptest! {
        #[test]
        fn names_are_legal_and_their_own(a in "[ab._-é]{1,130}", b in "[ab._-é]{1,130}") {
            let names: Vec<_> = [&a, &b].map(|c| topic_name("p", &Namespace::new("d", c.as_str()))).into();
            for name in &names {
                prop_assert!(name.len() <= MAX_NAME);
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
            }
            // Names must also differ if `.` and `_` are equal, as for Kafka.
            prop_assert_eq!(a == b, names[0].replace('.', "_") == names[1].replace('.', "_"));
        }
    }
}
