//! A role runs in attempts: a transient error or a panic ends an attempt and is shown as a stall until the next one works; an error
//! that only a person can fix halts the role.

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

use super::error::Error;
use crate::{
    config::Config,
    retry::{self, Backoff},
    status::{Phase, Role, RoleStatus, Status},
    tasks,
};

/// Repeats a role's attempts until it is cancelled. A halted role waits for the cancellation, so that its status can be read. A
/// role that the target has halted tries again every `config.sink.catalog_interval`, because the target may have been repaired.
pub(crate) async fn attempts<F>(
    role: Role,
    status: &Status,
    config: &Config,
    cancel: CancellationToken,
    mut attempt: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), Error>>,
{
    let backoff = Backoff { min: config.retry.min, max: config.retry.max };
    let stalled = |error: &Error, delay: Duration| {
        let reason = retry::chain(error);
        if error.awaits_the_sink() {
            tracing::info!(role = role.as_str(), reason, retry_in = ?delay, "waits for the sink");
            // Otherwise the role would be shown as halted by what is set right by now.
            if status.read().roles.get(role.as_str()).is_some_and(|line| line.phase == Phase::Halted) {
                status.phase(role, Phase::Starting);
            }
        } else {
            tracing::warn!(role = role.as_str(), reason, retry_in = ?delay, "stalled");
        }
        status.stalled(role, reason);
    };
    let mut attempt = || {
        // On the heap: an attempt is a large future, and an unoptimised build copies it on the stack with each wrapper.
        let running = Box::pin(attempt());
        async move { tasks::named(role.as_str(), running).await? }
    };
    while let Err(error) = retry::retry_transient(backoff, &cancel, stalled, &mut attempt).await {
        halt(role, status, &error);
        if !error.concerns_the_target() {
            cancel.cancelled().await;
        }
        if cancel.run_until_cancelled(tokio::time::sleep(config.sink.catalog_interval)).await.is_none() {
            return;
        }
    }
}

/// Shows the role as halted; the same reason is logged once, however often it comes again.
pub(crate) fn halt(role: Role, status: &Status, error: &Error) {
    let (reason, hint) = (retry::chain(error), error.hint());
    let known = |line: &RoleStatus| line.phase == Phase::Halted && line.reason.as_ref() == Some(&reason);
    if status.read().roles.get(role.as_str()).is_some_and(known) {
        return;
    }
    tracing::error!(role = role.as_str(), reason, hint, "halted: a person must act, the position is intact");
    status.halted(role, reason, hint);
}
