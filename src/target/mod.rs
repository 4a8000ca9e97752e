//! Reads of the target, for those who compare, check or preview. PostgreSQL compares the values itself, and none is read out.

mod checks;
mod comparison;
mod extra_rows;
mod printer;
mod reader;

pub(crate) use self::{
    checks::{Checks, Violation},
    printer::print_rows,
    reader::{DocumentId, Entry, WaitingLetter},
};
pub use self::{comparison::Difference, reader::TargetReader};
