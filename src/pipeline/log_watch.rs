//! Reports within seconds that the log is away, for the roles that need it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    log::Watch,
    retry::{self, Stalls},
    status::{Role, Status},
};

/// Pause between two checks.
const PAUSE: Duration = Duration::from_secs(1);

/// The task that checks whether the log answers.
pub(crate) struct LogWatchRole {
    watch: Watch,
    roles: Vec<Stalls>,
}

impl LogWatchRole {
    /// Creates the task, which reports for these roles.
    pub(crate) fn new(watch: Watch, status: &Status, roles: &[Role]) -> Self {
        Self { watch, roles: roles.iter().map(|role| status.outages(*role, "log")).collect() }
    }

    /// Checks the log until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let mut away = false;
        while let Some(answer) = cancel.run_until_cancelled(self.watch.ask()).await {
            match answer {
                Ok(()) => {
                    if std::mem::take(&mut away) {
                        tracing::info!("the log is back");
                    }
                    self.roles.iter().for_each(Stalls::goes_on);
                }
                Err(error) => {
                    let reason = retry::chain(&error);
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(reason, "the log is away");
                    }
                    self.roles.iter().for_each(|role| role.waits(reason.clone(), error.hint()));
                }
            }
            if cancel.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }
}
