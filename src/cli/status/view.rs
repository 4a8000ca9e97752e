//! The part of the status that a terminal shows, as the daemon's API has it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::{http::Whose, model::ClusterTime, status::Phase};

#[derive(Deserialize)]
pub(super) struct View {
    pub(super) version: String,
    pub(super) migration: Whose,
    pub(super) now: Timestamp,
    pub(super) seen_ms: Option<u64>,
    pub(super) verdict: String,
    pub(super) verified: Option<Verified>,
    pub(super) blockers: Vec<String>,
    pub(super) processes: Vec<Process>,
    pub(super) collections: Vec<Collection>,
    pub(super) partitions: Vec<Partition>,
    pub(super) dead_letters: BTreeMap<String, u64>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) history: Option<History>,
    pub(super) cutover: BTreeMap<String, bool>,
    pub(super) reads: Vec<Unit>,
    #[serde(default)]
    pub(super) siblings: Vec<Sibling>,
    pub(super) journal: Vec<Entry>,
}

#[derive(Deserialize)]
pub(super) struct Sibling {
    pub(super) schema: String,
    pub(super) since_ms: i64,
    pub(super) who: String,
    pub(super) why: String,
    pub(super) runs: bool,
    pub(super) as_of_ms: Option<i64>,
    pub(super) verified_ms: Option<i64>,
    pub(super) findings: i64,
    pub(super) dead_letters: i64,
}

#[derive(Deserialize)]
pub(super) struct Verified {
    pub(super) at: Timestamp,
    pub(super) age_ms: u64,
}

#[derive(Deserialize)]
pub(super) struct Process {
    pub(super) instance: String,
    pub(super) roles: BTreeMap<String, Role>,
}

#[derive(Deserialize)]
pub(super) struct Role {
    pub(super) phase: Phase,
    pub(super) since: Option<Timestamp>,
    pub(super) reason: Option<String>,
    pub(super) hint: Option<String>,
    pub(super) by_itself: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Collection {
    pub(super) name: String,
    pub(super) as_of: Option<Timestamp>,
    pub(super) snapshot_complete: bool,
    pub(super) parked: u64,
    pub(super) verified: Option<Verified>,
    pub(super) baseline: Option<Baseline>,
    pub(super) void_because: Option<String>,
    pub(super) baseline_running: Option<Running>,
    pub(super) baseline_seconds_left: Option<u64>,
    pub(super) baseline_waits_for: Option<Waits>,
    pub(super) findings: BTreeMap<String, u64>,
    pub(super) findings_since: Option<Timestamp>,
}

#[derive(Deserialize)]
pub(super) struct Baseline {
    pub(super) age_ms: u64,
}

#[derive(Deserialize)]
pub(super) struct Running {
    pub(super) phase: Option<String>,
    pub(super) work: u64,
    pub(super) expected: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Waits {
    pub(super) reason: String,
    pub(super) hint: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) next_offset: Option<i64>,
    pub(super) watermark: Option<ClusterTime>,
    pub(super) gaps: u64,
}

#[derive(Deserialize)]
pub(super) struct Snapshot {
    pub(super) collection: String,
    pub(super) phase: String,
    pub(super) reason: Option<String>,
    pub(super) percent: u64,
    pub(super) seconds_left: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct History {
    pub(super) margin_s: u64,
    pub(super) whole: bool,
}

#[derive(Deserialize)]
pub(super) struct Unit {
    pub(super) unit: String,
    pub(super) share: f64,
    pub(super) wish: Option<f64>,
    pub(super) tripped: bool,
    pub(super) reason: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) at_ms: i64,
    pub(super) who: String,
    pub(super) what: String,
    pub(super) detail: serde_json::Value,
}
