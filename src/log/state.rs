//! State.

use std::collections::BTreeMap;

use bson::raw::RawDocumentBuf;

use super::Error;
use crate::{
    config::LogConfig,
    model::{Frontier, ResumeToken},
};

/// Where the stream goes on after a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamState {
    /// Epoch of the versions that were published.
    pub epoch: u32,
    /// Everything before this token is in the log.
    pub token: ResumeToken,
    /// The last frontier published.
    pub frontier: Frontier,
}

/// How far the snapshot of one collection has come.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotState {
    /// The collection, without its database.
    pub collection: String,
    /// Epoch of the snapshot.
    pub epoch: u32,
    /// Whether every document has been published.
    pub done: bool,
    /// `{_id: …}` of the last document published; `None` before the first.
    pub after: Option<RawDocumentBuf>,
    /// Documents published so far.
    pub documents: u64,
}

/// What the state topic holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredState {
    /// Generation of the last publisher that published; 0 when none has.
    pub publisher: u64,
    /// The stream; `None` when nothing has been published yet.
    pub stream: Option<StreamState>,
    /// The snapshots, by collection.
    pub snapshots: BTreeMap<String, SnapshotState>,
}

/// Reads the state topic to its end, committed transactions only.
///
/// A publisher reads it after fencing its predecessor (see [`Publisher::connect`](super::Publisher::connect)); anybody else
/// may read it at any time, for display.
///
/// # Errors
/// [`Error::State`] and [`Error::Token`] for what this version cannot read; [`Error::Kafka`] and [`Error::Timeout`].
pub async fn read_state(_cfg: &LogConfig) -> Result<StoredState, Error> {
    todo!()
}
