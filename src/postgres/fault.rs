//! What is wrong with the target, found before anything is written.

/// Why the target does not suit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, and where.
    pub what: String,
    /// What to do about it.
    pub hint: String,
    /// Whether nothing may be written before it is repaired.
    pub stops: bool,
}
