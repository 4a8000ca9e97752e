//! `driftless schema`: the tables of the target, beside what the mapping wants.

mod apply;
mod diff;
mod missing;
mod print;
mod script;
mod wanted;

use std::path::Path;

use clap::Subcommand;

pub(super) use self::{
    missing::{SAMPLE, add, create, statements},
    wanted::Wanted,
};
use super::Exit;

/// A command on the schema of the target.
#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    /// Show the tables and columns that the mapping names: the type, the source of the values, keys and references.
    ///
    /// The types are those of the target. Where it lacks a table or column, the type is what the mapping says, or what takes every value
    /// of a sample of documents.
    Print(print::Print),
    /// Compare the tables that the mapping names with those of the target.
    ///
    /// Missing tables and columns are printed as statements that `schema apply --missing` runs. Below them are the columns of the target
    /// that no document fills, references without a foreign key, and tables that nothing writes. The exit code is 2 if the target lacks
    /// something.
    Diff(diff::Diff),
    /// Migrate the schema `driftless`; with an option, run a file of statements, add what is missing, or prepare or finish a large first
    /// load.
    ///
    /// Secondary indexes and foreign keys cost more than the rows. They can be dropped before the load and built after it; their
    /// definitions are kept in the schema `driftless`. Unique constraints, and all indexes of tables that already have rows,
    /// are kept. The role of the sink need not own the tables: give another one for `--file` and `--missing` in DRIFTLESS__SINK__URL.
    Apply(apply::Apply),
}

impl Schema {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        match self {
            Self::Print(print) => print.execute(path).await,
            Self::Diff(diff) => diff.execute(path).await,
            Self::Apply(apply) => apply.execute(path).await,
        }
    }
}
