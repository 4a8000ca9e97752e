//! Values appended to a raw document that is being read.

use bson::spec::ElementType;
use serde::de::Error;

/// A value; its type goes to `kind_at`.
pub(super) struct Value<'o> {
    pub(super) out: &'o mut Vec<u8>,
    pub(super) kind_at: usize,
}

impl Value<'_> {
    pub(super) fn put(self, kind: ElementType, bytes: &[u8]) {
        self.out[self.kind_at] = kind as u8;
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn put_string<E: Error>(self, kind: ElementType, text: &str) -> Result<(), E> {
        self.out[self.kind_at] = kind as u8;
        string(self.out, text)
    }
}

pub(super) fn string<E: Error>(out: &mut Vec<u8>, text: &str) -> Result<(), E> {
    out.extend_from_slice(&length::<E>(text.len() + 1)?);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    Ok(())
}

/// Leaves room for a length.
pub(super) fn open(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

pub(super) fn close<E: Error>(out: &mut Vec<u8>, start: usize) -> Result<(), E> {
    out.push(0);
    patch(out, start)
}

pub(super) fn patch<E: Error>(out: &mut [u8], start: usize) -> Result<(), E> {
    let length = length::<E>(out.len() - start)?;
    out[start..start + 4].copy_from_slice(&length);
    Ok(())
}

pub(super) fn length<E: Error>(bytes: usize) -> Result<[u8; 4], E> {
    i32::try_from(bytes).map(i32::to_le_bytes).map_err(|_| E::custom("more than BSON can hold"))
}
