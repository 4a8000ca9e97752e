//! A fault or a warning as commands report it.

use crate::mapping;

/// A fault or a warning, wherever it was found.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Finding {
    /// File and line, or the server.
    pub(super) place: String,
    /// The fault.
    pub(super) what: String,
    /// The remedy.
    pub(super) hint: String,
}

impl From<mapping::Fault> for Finding {
    fn from(fault: mapping::Fault) -> Self {
        Self {
            place: fault.location.map_or_else(|| "mapping".to_owned(), |location| location.to_string()),
            what: fault.what,
            hint: fault.hint,
        }
    }
}
