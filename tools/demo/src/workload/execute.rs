//! Writes one step and retries until it is written, as an application with a good driver does during a failover.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use mongodb::{
    ClientSession, Database,
    bson::{Document, doc},
    error::{Result as Written, UNKNOWN_TRANSACTION_COMMIT_RESULT},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::step::{Operation, Step, Update, Write};
use crate::{Collection, Error};

/// The first and longest delay between two attempts. The number of attempts is unbounded: a failover ends.
const MIN_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(2);
/// How often a commit of unknown outcome is sent before the whole transaction is retried.
const COMMITS: usize = 5;

/// The outcome of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) operation: Operation,
    pub(super) retries: u64,
    /// False when the step was cancelled before it was known to be written.
    pub(super) written: bool,
}

/// Writes a step; the statements of a transaction are written all or none.
///
/// # Errors
/// [`Error::Write`] of a class other than transient.
pub(super) async fn execute(database: &Database, step: Step, cancel: &CancellationToken) -> Result<Outcome, Error> {
    let (step, mut attempts) = (&step, 0_u64);
    let attempt = || {
        let again = attempts > 0;
        attempts += 1;
        async move {
            let written = match step.writes.as_slice() {
                [(collection, write)] => apply(database, None, *collection, write, again).await,
                writes => transact(database, writes, again).await,
            };
            written.map_err(|source| Error::Write { operation: step.operation, source })
        }
    };
    let written = retrying(cancel, attempt).await?.is_some();
    Ok(Outcome { operation: step.operation, retries: attempts.saturating_sub(1), written })
}

/// Retries until an attempt succeeds, fails with an error that is not transient, or the run is cancelled (then returns
/// none). The cancellation does not drop an attempt in flight: its outcome would be unknown.
pub(super) async fn retrying<T, F>(
    cancel: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Result<Option<T>, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let delays = ExponentialBuilder::default()
        .with_min_delay(MIN_DELAY)
        .with_max_delay(MAX_DELAY)
        .with_jitter()
        .without_max_times()
        .build();
    for delay in delays {
        match attempt().await {
            Ok(value) => return Ok(Some(value)),
            Err(error) if !error.is_transient() => return Err(error),
            Err(_) => cancel.run_until_cancelled(sleep(delay)).await,
        };
        if cancel.is_cancelled() {
            break;
        }
    }
    Ok(None)
}

async fn transact(database: &Database, writes: &[(Collection, Write)], again: bool) -> Written<()> {
    let mut session = database.client().start_session().await?;
    session.start_transaction().await?;
    for (collection, write) in writes {
        // An error drops the session, which aborts the transaction.
        apply(database, Some(&mut session), *collection, write, again).await?;
    }
    let mut result = session.commit_transaction().await;
    for _ in 1..COMMITS {
        match &result {
            Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                result = session.commit_transaction().await;
            }
            _ => break,
        }
    }
    result
}

/// Runs one statement, in the session's transaction if there is one. `again`: an earlier attempt had an unknown outcome.
async fn apply(
    database: &Database,
    session: Option<&mut ClientSession>,
    collection: Collection,
    write: &Write,
    again: bool,
) -> Written<()> {
    let documents = database.collection::<Document>(collection.name());
    macro_rules! run {
        ($action:expr) => {
            match session {
                Some(session) => $action.session(session).await.map(drop),
                None => $action.await.map(drop),
            }
        };
    }
    match write {
        // The first attempt may have succeeded, so the insert must not collide with its own document.
        Write::Insert(document) if again => {
            let filter = doc! { "_id": document.get("_id").cloned() };
            run!(documents.replace_one(filter, document).upsert(true))
        }
        Write::Insert(document) => run!(documents.insert_one(document)),
        Write::Replace(id, document) => run!(documents.replace_one(doc! { "_id": id }, document)),
        Write::DeleteOne(id) => run!(documents.delete_one(doc! { "_id": id })),
        Write::DeleteMany(filter) => run!(documents.delete_many(filter.clone())),
        Write::Update(update) => {
            let Update { filter, change, array_filters, upsert, many } = update.as_ref();
            macro_rules! update {
                ($method:ident) => {{
                    let action = documents.$method(filter.clone(), change.clone()).upsert(*upsert);
                    match array_filters {
                        Some(filters) => run!(action.array_filters(filters.clone())),
                        None => run!(action),
                    }
                }};
            }
            if *many { update!(update_many) } else { update!(update_one) }
        }
    }
}
