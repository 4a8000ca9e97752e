//! How much of a source is surveyed, how fast, and with how much memory.

use std::time::Instant;

use bytesize::ByteSize;
use clap::Args;

use crate::{config::SourceConfig, source::Rate};

/// Which documents are read.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Extent {
    /// This many random documents of each collection.
    Sample(usize),
    /// Every document of these collections; of all if none is named.
    Whole(Vec<String>),
}

impl Extent {
    pub(super) fn leaves_out(&self, collection: &str) -> bool {
        matches!(self, Self::Whole(names) if !names.is_empty() && !names.iter().any(|name| name == collection))
    }
}

/// Bounds of a survey.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Bounds {
    /// Documents per second; `None` for the rate of the snapshot.
    pub(in crate::cli) rate: Option<u64>,
    /// The most bytes of hashes of unique values and references.
    pub(in crate::cli) memory: ByteSize,
}

/// Memory that finds every duplicate among 16 million unique values, and that a small container has.
pub(in crate::cli) const MEMORY: &str = "512MiB";

/// Options of a command that reads whole collections.
#[derive(Debug, Args)]
pub(in crate::cli) struct Whole {
    /// Read at most this many documents per second; 0 means no limit [default: `source.snapshot_rate`].
    #[arg(long, value_name = "DOCUMENTS")]
    rate: Option<u64>,
    /// The most memory for the values of unique constraints and foreign keys; beyond it, some duplicates are not found.
    #[arg(long, value_name = "BYTES", default_value = MEMORY)]
    memory: ByteSize,
}

impl Whole {
    /// Returns the bounds.
    pub(in crate::cli) fn bounds(&self) -> Bounds {
        Bounds { rate: self.rate, memory: self.memory }
    }
}

impl Bounds {
    /// Returns the limit of the reads. The bytes of the snapshot's rate bound them too.
    pub(super) fn rate(&self, config: &SourceConfig, now: Instant) -> Rate {
        Rate::new(self.documents(config), config.snapshot_bytes_rate.as_u64(), now)
    }

    /// Returns the most documents of a chunk: those of a second, so that a slow rate is an even one.
    pub(super) fn chunk(&self, config: &SourceConfig) -> usize {
        match usize::try_from(self.documents(config)) {
            Ok(rate @ 1..) => config.chunk_documents.min(rate),
            _ => config.chunk_documents,
        }
    }

    fn documents(&self, config: &SourceConfig) -> u64 {
        self.rate.unwrap_or(config.snapshot_rate)
    }
}
