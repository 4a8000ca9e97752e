//! Reads of the target, for those who compare, check or preview. Rows are compared by their bytes, and by PostgreSQL where these differ;
//! the values of single documents are shown to a person who asks for them, and kept as evidence.

mod checks;
mod comparison;
mod counts;
mod document_rows;
mod extra_rows;
mod printer;
mod reader;
mod references;
mod row_documents;
mod row_search;

pub(crate) use self::{
    checks::{Checks, Violation},
    counts::{estimated_rows, live_entries, rows},
    document_rows::ShownRow,
    extra_rows::hashes_of_rows,
    printer::print_rows,
    reader::{Entry, WaitingLetter},
    references::{Reference, RowKey, references},
    row_documents::{NamedRow, Owner, keys_of_existing, owners},
};
pub use self::{
    comparison::Difference,
    reader::{DocumentId, LivePage, TargetReader},
    row_search::{ExtraRow, RowSearch, RowsPage},
};
