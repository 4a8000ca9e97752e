//! The elements of raw BSON, walked so strictly that their text reads back as the same bytes.

/// Extended JSON cannot carry the document faithfully; the reason, without names or values of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfaithful(pub &'static str);

/// Deepest nesting that is written as text; `serde_json` reads 127 levels, and a typed value takes up to two of its own.
pub(super) const MAX_DEPTH: usize = 100;

const CUT: Unfaithful = Unfaithful("an element ends early or late");

/// Takes a document apart from the front.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Unfaithful> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(CUT)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Unfaithful> {
        let (head, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        self.0 = rest;
        Ok(*head)
    }

    /// A length, which counts `counted` bytes more than are left to take.
    pub(super) fn length(&mut self, counted: usize) -> Result<usize, Unfaithful> {
        usize::try_from(i32::from_le_bytes(self.array()?))
            .ok()
            .and_then(|length| length.checked_sub(counted))
            .ok_or(CUT)
    }

    fn terminator(&mut self) -> Result<(), Unfaithful> {
        if self.array()? == [0] { Ok(()) } else { Err(CUT) }
    }

    pub(super) fn cstring(&mut self) -> Result<&'a str, Unfaithful> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(CUT)?;
        let text = utf8(self.take(end)?)?;
        self.terminator()?;
        Ok(text)
    }

    pub(super) fn string(&mut self) -> Result<&'a str, Unfaithful> {
        let length = self.length(1)?;
        let text = utf8(self.take(length)?)?;
        self.terminator()?;
        Ok(text)
    }

    /// The bytes of an embedded document, its own length included.
    pub(super) fn document(&mut self) -> Result<&'a [u8], Unfaithful> {
        let length = Cursor(self.0).length(0)?;
        self.take(length)
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Unfaithful> {
    std::str::from_utf8(bytes).map_err(|_| Unfaithful("a text is not UTF-8"))
}

/// The elements of a document whose frame is sound.
pub(super) fn elements(bytes: &[u8], depth: usize) -> Result<Cursor<'_>, Unfaithful> {
    if depth > MAX_DEPTH {
        return Err(Unfaithful("it nests too deeply"));
    }
    let mut cursor = Cursor(bytes);
    if cursor.length(0)? != bytes.len() {
        return Err(CUT);
    }
    Ok(cursor)
}

/// Type and name of the next element; `None` at the end of the document.
pub(super) fn next<'a>(elements: &mut Cursor<'a>) -> Result<Option<(u8, &'a str)>, Unfaithful> {
    let [kind] = elements.array()?;
    match kind {
        0 if elements.0.is_empty() => Ok(None),
        0 => Err(CUT),
        _ => Ok(Some((kind, elements.cstring()?))),
    }
}

pub(super) fn is_index(name: &str, index: usize) -> bool {
    name.parse() == Ok(index) && (name.len() == 1 || !name.starts_with(['0', '+']))
}

/// The names of one document: compared one by one while they are few, by sorting at the end when they are many.
pub(super) struct Names<'a>(pub(super) Vec<&'a str>);

impl<'a> Names<'a> {
    pub(super) const FEW: usize = 16;
    pub(super) const TWICE: Unfaithful = Unfaithful("a name occurs twice");

    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn add(&mut self, name: &'a str) -> Result<(), Unfaithful> {
        if self.0.len() < Self::FEW && self.0.contains(&name) {
            return Err(Self::TWICE);
        }
        self.0.push(name);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), Unfaithful> {
        if self.0.len() <= Self::FEW {
            return Ok(());
        }
        self.0.sort_unstable();
        if self.0.windows(2).any(|pair| pair[0] == pair[1]) { Err(Self::TWICE) } else { Ok(()) }
    }
}
