//! The state of the daemon: readiness, metrics, status, and whether reads may be cut over.

use axum::{Json, extract::State, http::StatusCode};

use super::{
    Page,
    report::{Report, Shared},
};
use crate::{
    metrics as names,
    reconcile::{
        gate::Gate,
        verdict::{Judged, Verdict},
    },
    status::Phase,
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

pub(super) async fn status(State(page): State<Page>) -> Json<Report> {
    let judged = page.overview.judge(&page.status).unwrap_or_else(|| Judged {
        verdict: Verdict::Unknown,
        verified: None,
        blockers: vec![NEITHER.to_owned()],
    });
    let gates = page.overview.gates(&page.status).unwrap_or_default();
    let seen = page.overview.read();
    let reads = page.reads.status(seen.shadow_runs().as_deref());
    let process = page.status.read();
    let seen_ms = seen.at.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
    let shared = Shared {
        processes: seen.processes(process.clone()),
        collections: seen.collections,
        partitions: seen.partitions,
        dead_letters: seen.dead_letters_by_reason,
        snapshots: seen.snapshots,
        siblings: seen.siblings,
        journal: seen.journal,
    };
    Json(Report::new(page.migration, seen_ms, (judged, &gates), Some(process), shared, reads))
}

/// Answers whether the reads of each unit may be cut over, as `driftless cutover check --json` does.
pub(super) async fn cutover(State(page): State<Page>) -> Result<Json<Vec<Gate>>, (StatusCode, String)> {
    let gates = page.overview.gates(&page.status).map(Json);
    gates.ok_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, format!("{NEITHER}\n")))
}

/// Why a process cannot judge.
const NEITHER: &str = "this process runs neither the sink nor the reconciler: query a process that does";
