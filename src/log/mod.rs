//! Kafka: the only user of its client, and the only place where bytes become a change.
//!
//! ```text
//!  source ─▶ Publisher ──one transaction──▶ <prefix>.<db>.<collection>   changes · controls · frontiers ─▶ Consumer ─▶ sink
//!               │        (envelope::encode)                                                      (envelope::decode)
//!               └─────────same transaction─▶ <prefix>.state              resume token · snapshots ─▶ read_state
//!  Leadership: membership of a group on <prefix>.state. Who leads may connect a Publisher, and connecting fences the last.
//! ```
//!
//! What holds here:
//! - A transaction carries the changes, how far they reach, and the resume token to go on from: all of it or nothing.
//! - Every outcome that is not a plain success ends the [`Publisher`]. Nobody guesses what the brokers did: the next one
//!   fences it, reads the state, and goes on from what is written there.
//! - Leadership saves work, it protects nothing; fencing does (a leader that sleeps may wake up beside its successor).
//! - The [`Consumer`] never commits offsets: where a partition starts is asked of the sink, who keeps it beside the rows.
//! - No bytes in a topic make this folder panic: what is no record of ours is [`Malformed`], with a reason and no values.
//!
//! Reading order: `topics`, `ejson`, `envelope`, `producer`, `state`, `leader`, `consumer`.

mod client;
mod consumer;
pub use driftless_core::ejson;
pub mod envelope;
mod error;
mod headers;
mod leader;
mod murmur2;
mod producer;
mod record_key;
mod state;
mod topic_ids;
mod topics;
mod transaction;
mod watch;

pub use consumer::{Consumer, ConsumerEvent, Fetched, StartOffsets, TopicPartition};
pub use envelope::{Encoded, FrontierRecord, Malformed, Record};
pub use error::{Error, Fault};
pub use headers::Headers;
pub use leader::Leadership;
pub use murmur2::partition_of;
pub use producer::Publisher;
pub use state::{StoredState, StreamState, read_state, stored_identity};
pub use topics::{Topic, Topics, database_of, topic_name};
pub use transaction::Transaction;
pub use watch::Watch;
