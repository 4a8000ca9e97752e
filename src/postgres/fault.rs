//! A fault of the target that is found before anything is written.

/// A fault of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The fault, with its place.
    pub what: String,
    /// The remedy.
    pub hint: String,
    /// Whether the fault must be repaired before anything is written.
    pub stops: bool,
}

/// A mapped table that another migration writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableTaken {
    /// The table.
    pub table: String,
    /// Prefix of the log of the migration that writes it.
    pub prefix: String,
}
