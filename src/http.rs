//! Health, metrics and status over HTTP. Reads the reports of the roles; decides nothing and changes nothing.

use std::{collections::BTreeMap, io};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    control::status::PartitionStatus,
    metrics as names,
    pipeline::Overview,
    reconcile::{
        facts::CollectionFacts,
        gate::Gate,
        verdict::{Judged, Verdict},
    },
    retry::{Class, Classify},
    status::{Phase, ProcessStatus, Status},
};

/// The sources of the pages.
#[derive(Clone)]
pub(crate) struct Page {
    /// Renders the metrics.
    pub(crate) recorder: PrometheusHandle,
    /// The state of this process.
    pub(crate) status: Status,
    /// The state that all processes share.
    pub(crate) overview: Overview,
}

/// The HTTP server failed.
#[derive(Debug, Error)]
#[error("serve HTTP")]
pub(crate) struct Error(#[from] io::Error);

impl Classify for Error {
    fn class(&self) -> Class {
        Class::Halt
    }
}

/// Serves until cancelled.
///
/// # Errors
/// Fails when the listener fails.
pub(crate) async fn serve(listener: TcpListener, page: Page, cancel: CancellationToken) -> Result<(), Error> {
    let upkeep = page.recorder.clone();
    let tidy = async move {
        let mut beat = tokio::time::interval(std::time::Duration::from_secs(5));
        loop {
            beat.tick().await;
            upkeep.run_upkeep();
        }
    };
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .route("/api/v1/status", get(status))
        .route("/api/v1/cutover", get(cutover))
        .with_state(page);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(cancel.cancelled_owned());
    tokio::select! {
        served = serving.into_future() => Ok(served?),
        () = tidy => Ok(()),
    }
}

/// Answers ready when every role runs or is on standby. Lag does not count: restarting a slow process would make it slower.
async fn ready(State(page): State<Page>) -> (StatusCode, String) {
    let process = page.status.read();
    let waiting: Vec<String> = process
        .roles
        .iter()
        .filter(|(_, line)| !matches!(line.phase, Phase::Running | Phase::Standby))
        .map(|(role, line)| format!("{role}: {}", line.reason.as_deref().unwrap_or("starting")))
        .collect();
    if waiting.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", waiting.join("\n")))
    }
}

async fn render(State(page): State<Page>) -> String {
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
struct StatusPage {
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
}

async fn status(State(page): State<Page>) -> Json<StatusPage> {
    let judged = page.overview.judge(&page.status).unwrap_or_else(|| Judged {
        verdict: Verdict::Unknown,
        verified: None,
        blockers: vec![NEITHER.to_owned()],
    });
    let seen = page.overview.read();
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
    })
}

/// Answers whether the reads of each unit may be cut over, as `driftless cutover check --json` does.
async fn cutover(State(page): State<Page>) -> Result<Json<Vec<Gate>>, (StatusCode, String)> {
    let gates = page.overview.gates(&page.status).map(Json);
    gates.ok_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, format!("{NEITHER}\n")))
}

/// Why a process cannot judge.
const NEITHER: &str = "this process runs neither the sink nor the reconciler: query a process that does";
