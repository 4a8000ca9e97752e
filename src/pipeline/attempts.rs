//! A role runs in attempts: a transient error or a panic ends an attempt and is shown as a stall until the next one works; an error
//! that only a person can fix halts the role. While an operator has paused the role, there is no attempt.

use std::{future::Future, pin::pin, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{error::Error, overview::Overview};
use crate::{
    config::Config,
    control::pauses::Pauses,
    retry::{self, Backoff},
    status::{Phase, Role, RoleStatus, Status},
    tasks,
};

/// Repeats a role's attempts until it is cancelled, and rests while it is paused. An attempt gets a token that asks it to finish what
/// is open and to end: when the role is cancelled, when it is paused, and when it has halted and is resumed.
pub(crate) async fn attempts<F>(
    role: Role,
    status: &Status,
    overview: &Overview,
    config: &Config,
    cancel: CancellationToken,
    mut attempt: impl FnMut(CancellationToken) -> F,
) where
    F: Future<Output = Result<(), Error>>,
{
    let mut pauses = overview.pauses(&cancel).await;
    while !cancel.is_cancelled() {
        let known = pauses.borrow_and_update().clone();
        if let Some(pause) = known.of(role) {
            rest(role, status, &pause.text());
            if cancel.run_until_cancelled(pauses.changed()).await.is_none_or(|changed| changed.is_err()) {
                return;
            }
            continue;
        }
        if status.is_paused(role) {
            tracing::info!(role = role.as_str(), "resumed");
            status.phase(role, Phase::Starting);
        }
        let stop = cancel.child_token();
        let again = |now: &Pauses| {
            now.of(role).is_some() || (now.resumed(role) != known.resumed(role) && status.is_halted(role))
        };
        let mut work = pin!(until_stopped(role, status, config, &stop, || attempt(stop.clone())));
        tokio::select! {
            biased;
            () = &mut work => return,
            () = interrupted(&mut pauses, again) => {
                stop.cancel();
                work.await;
            }
        }
    }
}

/// Waits until the pauses ask for an interruption.
pub(super) async fn interrupted(pauses: &mut watch::Receiver<Pauses>, asks: impl FnMut(&Pauses) -> bool) {
    if pauses.wait_for(asks).await.is_err() {
        // Nobody reads the pauses any more: the process ends.
        std::future::pending().await
    }
}

/// Shows the role as paused; the same pause is logged once.
fn rest(role: Role, status: &Status, reason: &str) {
    if !status.is_paused(role) {
        tracing::warn!(role = role.as_str(), reason, "paused");
    }
    let hint = format!("`driftless resume --role {}` lets it go on", role.as_str());
    status.paused(role, reason.to_owned(), hint);
}

/// Repeats attempts until the token is cancelled. A halted role waits for the cancellation, so that its status can be read. A
/// role that can heal tries again every `config.sink.catalog_interval`, because somebody may have repaired the cause.
async fn until_stopped<F>(
    role: Role,
    status: &Status,
    config: &Config,
    cancel: &CancellationToken,
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
            if status.is_halted(role) {
                status.phase(role, Phase::Starting);
            }
        } else {
            tracing::warn!(role = role.as_str(), reason, retry_in = ?delay, "stalled");
        }
        status.stalled(role, reason, error.hint());
    };
    let mut attempt = || {
        // On the heap: an attempt is a large future, and an unoptimised build copies it on the stack with each wrapper.
        let running = Box::pin(attempt());
        async move { tasks::named(role.as_str(), running).await? }
    };
    while let Err(error) = retry::retry_transient(backoff, cancel, stalled, &mut attempt).await {
        halt(role, status, &error);
        if !error.heals() {
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
    status.halted(role, reason, hint, error.heals());
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use jiff::Timestamp;

    use super::*;
    use crate::{control::pauses::Pause, log};

    /// A role whose attempts work until they are asked to end, or halt.
    struct Running {
        status: Status,
        overview: Overview,
        begun: Arc<AtomicU32>,
        cancel: CancellationToken,
        role: tokio::task::JoinHandle<()>,
    }

    fn paused() -> Pauses {
        let pause = Pause { since: Timestamp::now(), until: None, who: "ann".to_owned(), why: "a test".to_owned() };
        Pauses { roles: [("sink".to_owned(), pause)].into(), ..Pauses::default() }
    }

    fn resumed(times: i64) -> Pauses {
        Pauses { resumed: [("sink".to_owned(), times)].into(), ..Pauses::default() }
    }

    fn start(known: Pauses, halts: bool) -> Running {
        let (status, overview) = (Status::new(&[Role::Sink]), Overview::default());
        overview.take_pauses(Some(known));
        let (begun, cancel) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let (own, view, count, end) = (status.clone(), overview.clone(), begun.clone(), cancel.clone());
        let role = tokio::spawn(async move {
            let config: Config = toml::from_str("").expect("the defaults");
            let attempt = |stop: CancellationToken| {
                count.fetch_add(1, Ordering::Relaxed);
                let own = &own;
                async move {
                    if halts {
                        return Err(Error::Log(log::Error::OffsetLost { topic: "t".to_owned() }));
                    }
                    own.phase(Role::Sink, Phase::Running);
                    stop.cancelled().await;
                    Ok(())
                }
            };
            attempts(Role::Sink, &own, &view, &config, end, attempt).await;
        });
        Running { status, overview, begun, cancel, role }
    }

    impl Running {
        async fn is(&self, phase: Phase, begun: u32) {
            let line = || self.status.read().roles["sink"].clone();
            while line().phase != phase || self.begun.load(Ordering::Relaxed) != begun {
                tokio::task::yield_now().await;
            }
        }

        async fn end(self) {
            self.cancel.cancel();
            self.role.await.expect("no panic");
        }
    }

    #[tokio::test]
    async fn a_paused_role_rests_until_it_is_resumed() {
        let running = start(paused(), false);
        running.is(Phase::Paused, 0).await;
        let line = running.status.read().roles["sink"].clone();
        assert!(line.reason.is_some_and(|reason| reason.contains("ann") && reason.contains("a test")));
        assert!(line.hint.is_some_and(|hint| hint.contains("driftless resume --role sink")));
        running.overview.take_pauses(Some(Pauses::default()));
        running.is(Phase::Running, 1).await;
        // The last pauses hold while PostgreSQL is away, and another resumption does not disturb a role that works.
        running.overview.take_pauses(None);
        running.overview.take_pauses(Some(resumed(1)));
        running.overview.take_pauses(Some(paused()));
        running.is(Phase::Paused, 1).await;
        running.overview.take_pauses(Some(resumed(2)));
        running.is(Phase::Running, 2).await;
        running.end().await;
    }

    #[tokio::test]
    async fn a_halted_role_tries_again_when_it_is_resumed() {
        let running = start(resumed(3), true);
        running.is(Phase::Halted, 1).await;
        running.overview.take_pauses(Some(resumed(4)));
        running.is(Phase::Halted, 2).await;
        running.end().await;
    }
}
