//! The headers of a record: half a dozen of a few bytes each, in one allocation, because thousands of records wait in the sink.

/// Bytes of an encoded length.
const LENGTH: usize = size_of::<u32>();
/// Capacity for the headers of a change.
const EXPECTED_BYTES: usize = 192;

/// Headers in their order; a name can occur several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// For each header: length of the name, name, length of the value, value.
    bytes: Vec<u8>,
}

impl Headers {
    /// Creates an empty list with room for the headers of a change.
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::with_capacity(EXPECTED_BYTES) }
    }

    /// Appends a header.
    ///
    /// # Panics
    /// Panics if a name or a value has 4 GiB, which no record can hold.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            let length = u32::try_from(part.len()).expect("a header is part of a record, which is smaller");
            self.bytes.extend_from_slice(&length.to_be_bytes());
            self.bytes.extend_from_slice(part);
        }
    }

    /// Iterates over all headers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs().map_while(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
    }

    /// Returns the value of the first header of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.pairs().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || Some((part(&mut rest)?, part(&mut rest)?)))
    }

    /// Returns their size in memory.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<LENGTH>()?;
    let (part, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    Some(part)
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in pairs {
            headers.push(name.as_ref(), value.as_ref());
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_come_back_in_their_order(pairs in proptest::collection::vec((".{0,9}", any::<Vec<u8>>()), 0..9)) {
            let headers: Headers = pairs.iter().map(|(name, value)| (name, value)).collect();
            let back: Vec<_> = headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(back, pairs);
        }
    }

    #[test]
    fn the_first_of_a_name_is_found() {
        let headers: Headers = [("a", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
        assert_eq!((headers.get("a"), headers.get("c")), (Some(b"1".as_slice()), None));
    }
}
