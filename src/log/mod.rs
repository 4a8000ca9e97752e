//! Kafka: the only user of its client, and the only place where bytes become a change.
//!
//! ```text
//!  source ─▶ Publisher ──one transaction──▶ <prefix>.<db>.<collection>   changes · controls · frontiers ─▶ Consumer ─▶ sink
//!               │        (envelope::encode)                                                      (envelope::decode)
//!               └─────────same transaction─▶ <prefix>.state              resume token · snapshots ─▶ read_state
//!  Leadership: membership of a group on <prefix>.state. The leader connects a Publisher, which fences the one before.
//! ```
//!
//! Invariants:
//! - A transaction carries the changes, their frontier, and the resume token to continue from: all of it or nothing.
//! - Every outcome but a plain success ends the [`Publisher`]. Nobody guesses what the brokers did: the next publisher fences
//!   it, reads the state, and continues from there.
//! - Leadership saves work and protects nothing. Fencing protects, because a leader that slept may wake up beside its successor.
//! - The [`Consumer`] never commits offsets. The sink says where a partition starts, because it keeps the offset beside the rows.
//! - No bytes in a topic make this folder panic. A foreign record is [`Malformed`], with a reason and no values.
//!
//! Reading order: `topics`, `ejson`, `envelope`, `producer`, `state`, `leader`, `consumer`.

mod client;
mod consumer;
pub(crate) use driftless_core::ejson;
pub mod envelope;
mod error;
mod headers;
mod leader;
mod lines;
mod murmur2;
mod offsets;
mod producer;
mod record_key;
pub(crate) mod removal;
mod state;
mod topic_ids;
mod topic_names;
mod topic_partition;
mod topic_survey;
mod topics;
mod transaction;
mod watch;

pub use consumer::{Consumer, ConsumerEvent, Fetched, StartOffsets};
pub(crate) use envelope::Malformed;
pub use envelope::{FrontierRecord, Record};
pub use error::Error;
pub(crate) use error::Fault;
pub use headers::Headers;
pub use leader::Leadership;
pub use murmur2::partition_of;
pub use offsets::Offsets;
pub use producer::Publisher;
pub(crate) use record_key::partition_of_key;
pub(crate) use state::stored_identity;
pub use state::{StoredState, StreamState, read_state};
pub(crate) use topic_names::database_of;
pub use topic_names::topic_name;
pub use topic_partition::TopicPartition;
pub use topics::{Topic, Topics};
pub use transaction::Transaction;
pub(crate) use watch::Watch;
