//! The facts that travel from source to sink, and their order.
//!
//! Plain values: no I/O, no async, no clock. Everything above this folder agrees on these types, and on nothing else.

mod change;
mod decimal;
mod held;
mod identity;
mod key;
mod reason;
mod resume_token;
mod snapshot;
mod time;

pub use change::{Change, Control, ControlKind, Namespace, Op, Removal};
pub(crate) use decimal::Decimal;
pub use held::Held;
pub use identity::{Identity, Mismatch, SourceIdentity, TargetIdentity};
pub use key::Key;
pub use reason::Reason;
pub use resume_token::{ResumeToken, TokenError, TokenKind};
pub use snapshot::{Part, SnapshotState, SnapshotStep};
pub use time::{ClusterTime, Frontier, Version};
