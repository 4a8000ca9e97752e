//! Health, metrics and status over HTTP. Reads the reports of the roles; decides nothing and changes nothing.

mod status;

use std::io;

use axum::{Router, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    pipeline::Overview,
    retry::{Class, Classify},
    status::Status,
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
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::render))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/cutover", get(status::cutover))
        .with_state(page);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(cancel.cancelled_owned());
    tokio::select! {
        served = serving.into_future() => Ok(served?),
        () = tidy => Ok(()),
    }
}
