//! What the target holds, for those who compare, check or preview. Values are compared inside PostgreSQL and never read out.

pub(crate) mod checks;
pub(crate) mod printer;
pub mod reader;

pub use checks::{Checks, Violation};
pub use printer::{Printed, print_rows};
pub use reader::{Difference, Entry, TargetReader, WaitingLetter};
