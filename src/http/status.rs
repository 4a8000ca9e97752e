//! The state of the daemon: readiness, metrics, status, and whether reads may be cut over.

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use super::Page;
use crate::{
    control::status::PartitionStatus,
    metrics as names,
    reads::UnitStatus,
    reconcile::{
        facts::CollectionFacts,
        gate::Gate,
        verdict::{Judged, Verdict},
    },
    status::{Phase, ProcessStatus},
};

/// Answers ready when every role runs, is on standby or rests as an operator wants it. Lag does not count: restarting a slow process would make it slower.
pub(super) async fn ready(State(page): State<Page>) -> (StatusCode, String) {
    let process = page.status.read();
    let waiting: Vec<String> = process
        .roles
        .iter()
        .filter(|(_, line)| !matches!(line.phase, Phase::Running | Phase::Standby | Phase::Paused))
        .map(|(role, line)| format!("{role}: {}", line.reason.as_deref().unwrap_or("starting")))
        .collect();
    if waiting.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", waiting.join("\n")))
    }
}

pub(super) async fn render(State(page): State<Page>) -> String {
    // The verdict is judged at each request, because a proof expires by itself.
    if let Some(judged) = page.overview.judge(&page.status) {
        for verdict in Verdict::ALL {
            metrics::gauge!(names::VERDICT, "verdict" => verdict.as_str()).set(f64::from(verdict == judged.verdict));
        }
    }
    for gate in page.overview.gates(&page.status).into_iter().flatten() {
        metrics::gauge!(names::CUTOVER_READY, "unit" => gate.unit).set(f64::from(gate.ready));
    }
    metrics_process::Collector::default().collect();
    page.recorder.render()
}

#[derive(Serialize)]
pub(super) struct StatusPage {
    version: &'static str,
    now: Timestamp,
    #[serde(flatten)]
    judged: Judged,
    process: ProcessStatus,
    collections: Vec<CollectionFacts>,
    partitions: Vec<PartitionStatus>,
    dead_letters: BTreeMap<String, u64>,
    /// Whether the reads of each unit may be cut over; the reasons are on their own page.
    cutover: BTreeMap<String, bool>,
    /// Where the reads of each unit go, and what its shadow reads have shown.
    reads: Vec<UnitStatus>,
}

pub(super) async fn status(State(page): State<Page>) -> Json<StatusPage> {
    let judged = page.overview.judge(&page.status).unwrap_or_else(|| Judged {
        verdict: Verdict::Unknown,
        verified: None,
        blockers: vec![NEITHER.to_owned()],
    });
    let seen = page.overview.read();
    let shadow = seen.shadow_runs();
    let gates = page.overview.gates(&page.status).into_iter().flatten();
    Json(StatusPage {
        version: env!("CARGO_PKG_VERSION"),
        now: Timestamp::now(),
        judged,
        process: page.status.read(),
        collections: seen.collections,
        partitions: seen.partitions,
        dead_letters: seen.dead_letters_by_reason,
        cutover: gates.map(|gate| (gate.unit, gate.ready)).collect(),
        reads: page.reads.status(shadow.as_deref()),
    })
}

/// Answers whether the reads of each unit may be cut over, as `driftless cutover check --json` does.
pub(super) async fn cutover(State(page): State<Page>) -> Result<Json<Vec<Gate>>, (StatusCode, String)> {
    let gates = page.overview.gates(&page.status).map(Json);
    gates.ok_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, format!("{NEITHER}\n")))
}

/// Why a process cannot judge.
const NEITHER: &str = "this process runs neither the sink nor the reconciler: query a process that does";
