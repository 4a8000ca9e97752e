//! The source role: a candidate for the leadership that publishes while it leads.
//!
//! ```text
//!  candidate ── standby ────▶ leads: open ──▶ term ──▶ log            requests, repairs: what operators ask for
//!                                             ▲  snapshots, removal   (tasks beside the term, for as long as it lasts)
//! ```
//! Reading order: `candidate` (leadership), `open` (where a term begins), `term` (what it publishes), `draft`, `snapshots` with
//! `snapshot_lines`, `removal`, `repairs`, `requests`.

mod candidate;
mod draft;
mod open;
mod oplog;
mod removal;
#[cfg(test)]
mod removal_twin;
mod repairs;
mod requests;
mod resets;
mod role;
#[cfg(test)]
mod simulation;
mod snapshot_lines;
mod snapshots;
mod term;

pub(crate) use self::role::SourceRole;
