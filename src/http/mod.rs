//! Health, metrics, status and the answers for applications over HTTP. Reads what others report; decides nothing and changes nothing.

mod applied;
mod fault;
mod host;
mod ofrep;
mod page;
mod parameters;
mod reads;
mod report;
mod status;
mod token;

use std::{io, sync::Arc};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    report::{Report, Shared, Whose},
    token::Token,
};
use crate::{
    pipeline::{Overview, applied::Applied},
    reads::Reads,
    retry::{Class, Classify},
    status::Status,
};

/// The sources of the pages.
#[derive(Clone)]
pub(crate) struct Page {
    /// Renders the metrics.
    pub(crate) recorder: PrometheusHandle,
    /// The migration of this process.
    pub(crate) migration: Whose,
    /// The state of this process.
    pub(crate) status: Status,
    /// The state that all processes share.
    pub(crate) overview: Overview,
    /// Where the reads of each unit go.
    pub(crate) reads: Reads,
    /// Says what is applied.
    pub(crate) applied: Applied,
    /// The names of the mapped collections.
    pub(crate) collections: Arc<[String]>,
    /// The token that the answers for applications demand.
    pub(crate) token: Option<Token>,
    /// The names under which the status is shown, besides addresses.
    pub(crate) hosts: Arc<[String]>,
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
    let answers = Router::new()
        .route("/api/v1/applied", get(applied::applied))
        .route("/api/v1/reads/{unit}", get(reads::reads))
        .route("/ofrep/v1/evaluate/flags", post(ofrep::flags))
        .route("/ofrep/v1/evaluate/flags/{flag}", post(ofrep::flag))
        .layer(middleware::from_fn_with_state(page.token.clone(), token::check));
    // Applications, probes and Prometheus reach the daemon by names that it does not know; a browser shows people the rest.
    let shown = Router::new()
        .route("/", get(page::page))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/cutover", get(status::cutover))
        .layer(middleware::from_fn_with_state(host::Hosts::new(&page.hosts), host::check));
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::render))
        .merge(shown)
        .merge(answers)
        .with_state(page);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(cancel.cancelled_owned());
    tokio::select! {
        served = serving.into_future() => Ok(served?),
        () = tidy => Ok(()),
    }
}
