//! The language of the mapping file: TOML to [`MappingFile`](file::MappingFile), with every fault at its place.

pub(crate) mod content;
pub(crate) mod fault;
pub(crate) mod file;
mod into;
pub(crate) mod parse;
pub(crate) mod path;
