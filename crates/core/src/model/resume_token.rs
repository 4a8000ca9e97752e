//! The resume token: opaque for resuming, its head decoded for the order inside one cluster time.
//!
//! Source: the server's KeyString layout. `82` opens a timestamp (4 bytes t, 4 bytes i, big-endian); then come integers:
//! token version, token type, position inside the transaction. An integer is `29` for zero, else `2A + n` and n
//! big-endian bytes that hold the value shifted left by one. The head is the same in token versions 1 and 2; any other
//! version is refused, never guessed at.

use bson::raw::{RawDocument, RawDocumentBuf};
use thiserror::Error;

use super::{ClusterTime, Frontier};

/// The kind of place that a token points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The instant itself, before or after its events (see the stream's reader for when it is which).
    HighWaterMark,
    /// One event of the instant.
    Event,
}

/// A resume token: the server's own document, and what its head says.
#[derive(Clone, Debug, PartialEq)]
pub struct ResumeToken {
    raw: RawDocumentBuf,
    time: ClusterTime,
    kind: TokenKind,
    txn_op: u32,
}

/// Why a token cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TokenError {
    /// The document has no `_data` text.
    #[error("find `_data` in the resume token")]
    NoData,
    /// The text is no token as this version knows them.
    #[error("decode the resume token at byte {at}")]
    Layout {
        /// Offset of the first byte that does not fit.
        at: usize,
    },
    /// A server newer than this version knows.
    #[error("decode a resume token of version {0}: only 1 and 2 are known")]
    UnknownVersion(u64),
}

impl ResumeToken {
    /// Reads the server's token document.
    ///
    /// # Errors
    /// [`TokenError`]; each means halt, because the order of changes would be a guess.
    pub fn from_raw(raw: &RawDocument) -> Result<Self, TokenError> {
        let data = raw.get_str("_data").map_err(|_| TokenError::NoData)?;
        let mut head = Head { digits: data.as_bytes(), at: 0 };
        if head.byte()? != 0x82 {
            return Err(TokenError::Layout { at: 0 });
        }
        let time = ClusterTime { t: head.u32()?, i: head.u32()? };
        let version = head.integer()?;
        if !(1..=2).contains(&version) {
            return Err(TokenError::UnknownVersion(version));
        }
        let at = head.at;
        let kind = match head.integer()? {
            0 => TokenKind::HighWaterMark,
            128 => TokenKind::Event,
            _ => return Err(TokenError::Layout { at }),
        };
        let at = head.at;
        let txn_op = u32::try_from(head.integer()?).map_err(|_| TokenError::Layout { at })?;
        Ok(Self { raw: raw.to_owned(), time, kind, txn_op })
    }

    /// The document to hand back to the server.
    pub fn raw(&self) -> &RawDocument {
        &self.raw
    }

    /// Cluster time of the instant.
    pub fn time(&self) -> ClusterTime {
        self.time
    }

    /// The kind of place that the token points at.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Position inside the transaction; 0 outside of one.
    pub fn txn_op(&self) -> u32 {
        self.txn_op
    }

    /// Whether a stream at this token has come to `other`, or past it: the server gives the tokens of one stream in the order
    /// of their texts.
    pub fn reaches(&self, other: &Self) -> bool {
        self.data() >= other.data()
    }

    /// Whether a stream at this token has delivered the event with this `_data`.
    pub fn has_given(&self, data: &str) -> bool {
        self.data() >= data
    }

    fn data(&self) -> &str {
        // It was there when the token was read.
        self.raw.get_str("_data").unwrap_or_default()
    }

    /// The bound of what a stream at this token has certainly delivered: everything before the token's instant.
    pub fn frontier(&self) -> Frontier {
        Frontier(self.time)
    }
}

/// Reads byte by byte: behind the head is more than there is in it, and none of our business.
struct Head<'a> {
    /// Two for each byte.
    digits: &'a [u8],
    /// In bytes.
    at: usize,
}

impl Head<'_> {
    fn byte(&mut self) -> Result<u8, TokenError> {
        let mut byte = [0];
        let digits = self.digits.get(self.at * 2..self.at * 2 + 2);
        let read = digits.is_some_and(|digits| hex::decode_to_slice(digits, &mut byte).is_ok());
        if !read {
            return Err(TokenError::Layout { at: self.at });
        }
        self.at += 1;
        Ok(byte[0])
    }

    fn u32(&mut self) -> Result<u32, TokenError> {
        (0..4).try_fold(0, |value, _| Ok(value << 8 | u32::from(self.byte()?)))
    }

    fn integer(&mut self) -> Result<u64, TokenError> {
        let at = self.at;
        match self.byte()? {
            0x29 => Ok(0),
            head @ 0x2b..=0x32 => {
                let shifted = (0..head - 0x2a).try_fold(0u64, |value, _| Ok(value << 8 | u64::from(self.byte()?)))?;
                Ok(shifted >> 1)
            }
            _ => Err(TokenError::Layout { at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use proptest::prelude::*;

    use super::*;

    fn token(data: &str) -> Result<ResumeToken, TokenError> {
        ResumeToken::from_raw(&rawdoc! { "_data": data })
    }

    // t = 0x65000001, i = 2, version 1 (0x2B 02), event (0x2C 0100), then the position inside the transaction.
    #[test]
    fn reads_time_kind_and_position() {
        for (position, op) in [("29", 0), ("2B02", 1), ("2BFE", 127), ("2C025C", 302)] {
            let token = token(&format!("8265000001000000022B022C0100{position}296E5A")).expect("a token");
            assert_eq!(
                (token.time(), token.kind(), token.txn_op()),
                (ClusterTime { t: 0x6500_0001, i: 2 }, TokenKind::Event, op)
            );
        }
    }

    #[test]
    fn reads_a_high_water_mark() {
        let token = token("8265000001000000022B0229296E1404").expect("a token");
        assert_eq!(token.kind(), TokenKind::HighWaterMark);
        assert_eq!(token.frontier(), Frontier(ClusterTime { t: 0x6500_0001, i: 2 }));
    }

    #[test]
    fn tokens_are_ordered_as_their_stream_is() {
        // The instant, two operations of its transaction, and the next instant.
        let texts = [
            "8265000001000000022B0229296E1404",
            "8265000001000000022B022C010029296E5A",
            "8265000001000000022B022C01002B02296E5A",
            "8265000001000000032B0229296E1404",
        ];
        let tokens = texts.map(|text| token(text).expect("a token"));
        for (at, token) in tokens.iter().enumerate() {
            let reached = tokens.iter().filter(|other| token.reaches(other)).count();
            assert_eq!((reached, texts.iter().filter(|text| token.has_given(text)).count()), (at + 1, at + 1));
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert_eq!(token("8265000001000000022B062C010029"), Err(TokenError::UnknownVersion(3)));
        assert_eq!(token("8265000001000000022B022B0829"), Err(TokenError::Layout { at: 11 }));
        assert_eq!(token("8265"), Err(TokenError::Layout { at: 2 }));
        assert_eq!(token("zz"), Err(TokenError::Layout { at: 0 }));
        assert_eq!(ResumeToken::from_raw(&rawdoc! {}), Err(TokenError::NoData));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = token(&hex::encode(bytes));
        }
    }
}
