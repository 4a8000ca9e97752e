//! Read your writes: answers whether the target holds a change, and waits for it.
//!
//! All who wait share one session and one statement: a round asks for everybody at once. The next round begins when somebody new
//! comes, when a sink of this process commits, or after [`POLL_INTERVAL`], because another process may run the sink.

use std::{mem, time::Duration};

use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, SinkConfig},
    control::applied::{Question, Standing, standings},
    metrics as names,
    postgres::{Postgres, Session},
    retry,
    status::Status,
};

/// Interval between two rounds while somebody waits and nothing else begins one.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long a round may take, the connection included: who waits has something better to do than to wait for a dead server.
const ROUND_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions that may wait at once. A statement for so many takes some tens of milliseconds.
const MAX_WAITING: usize = 2_000;

/// Why there is no answer.
#[derive(Clone, Debug, Error)]
pub(crate) enum Unanswered {
    /// Too many questions wait.
    #[error("{MAX_WAITING} questions wait already")]
    Full,
    /// PostgreSQL does not answer.
    #[error("the target cannot be asked: {0}")]
    Away(String),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

type Answer = Result<Standing, Unanswered>;

/// Somebody who waits.
struct Waiting {
    question: Question,
    until: Instant,
    answer: oneshot::Sender<Answer>,
}

/// Asks the task. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Applied(mpsc::Sender<Waiting>);

impl Applied {
    /// Returns the answer once it is yes; after `wait`, the answer as it is then.
    ///
    /// # Errors
    /// [`Unanswered`] if nobody can say.
    pub(crate) async fn ask(&self, question: Question, wait: Duration) -> Answer {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { question, until: Instant::now() + wait, answer };
        self.0.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unanswered::Full,
            mpsc::error::TrySendError::Closed(_) => Unanswered::Stopping,
        })?;
        answered.await.unwrap_or(Err(Unanswered::Stopping))
    }
}

/// The task that answers.
pub(crate) struct AppliedRole {
    sink: SinkConfig,
    prefix: String,
    commits: watch::Receiver<()>,
    asked: mpsc::Receiver<Waiting>,
}

impl AppliedRole {
    /// Creates the task, and what asks it.
    pub(crate) fn new(config: &Config, status: &Status) -> (Self, Applied) {
        let (ask, asked) = mpsc::channel(MAX_WAITING);
        let (sink, prefix) = (config.sink.clone(), config.log.prefix.clone());
        for answer in ["yes", "no", "unknown"] {
            // Exported as 0, so that a rate sees the first increment.
            metrics::counter!(names::APPLIED_ANSWERS, "answer" => answer).increment(0);
        }
        (Self { sink, prefix, commits: status.commits(), asked }, Applied(ask))
    }

    /// Answers until cancelled.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let (mut session, mut waiting) = (None, Vec::new());
        while cancel.run_until_cancelled(self.next_round(&mut waiting)).await == Some(true) {
            // A commit from here on is not in this round.
            self.commits.mark_unchanged();
            waiting.retain(|one: &Waiting| !one.answer.is_closed());
            let round = timeout(ROUND_TIMEOUT, self.look(&mut session, &waiting)).await;
            match round.unwrap_or_else(|_| Err(format!("no answer within {ROUND_TIMEOUT:?}"))) {
                Ok(standings) => answer(&mut waiting, standings),
                Err(reason) => {
                    session = None;
                    for one in mem::take(&mut waiting) {
                        // Somebody who has gone needs no answer.
                        let _ = one.answer.send(Err(Unanswered::Away(reason.clone())));
                    }
                }
            }
        }
    }

    /// Waits until there is a reason for a round; `false` when nobody can ask any more. Cancel-safe: what was taken is kept.
    async fn next_round(&mut self, waiting: &mut Vec<Waiting>) -> bool {
        let first = waiting.iter().map(|one| one.until).min();
        let poll = first.map(|first| first.min(Instant::now() + POLL_INTERVAL));
        tokio::select! {
            Some(one) = self.asked.recv(), if waiting.len() < MAX_WAITING => {
                waiting.push(one);
                while waiting.len() < MAX_WAITING && let Ok(one) = self.asked.try_recv() {
                    waiting.push(one);
                }
            }
            Ok(()) = self.commits.changed(), if !waiting.is_empty() => {}
            () = sleep_until(poll.unwrap_or_else(Instant::now)), if poll.is_some() => {}
            else => return false,
        }
        true
    }

    async fn look(&self, session: &mut Option<Session>, waiting: &[Waiting]) -> Result<Vec<Standing>, String> {
        let open = Postgres::kept(session, &self.sink, &self.prefix).await.map_err(|error| retry::chain(&error))?;
        let questions = waiting.iter().map(|one| &one.question);
        standings(open, questions).await.map_err(|error| retry::chain(&error))
    }
}

/// Answers those whose answer is yes and those who wait no longer.
fn answer(waiting: &mut Vec<Waiting>, standings: Vec<Standing>) {
    let now = Instant::now();
    for (one, standing) in mem::take(waiting).into_iter().zip(standings) {
        if standing.applied || one.until <= now {
            // Somebody who has gone needs no answer.
            let _ = one.answer.send(Ok(standing));
        } else {
            waiting.push(one);
        }
    }
}
