//! Every await on the server has a time limit, because the driver itself has none for an operation.

use std::{future::Future, time::Duration};

use super::Error;

/// Waits for the driver, at most for `timeout`.
///
/// # Errors
/// [`Error::Timeout`] (transient) and [`Error::Server`] by its class.
pub(crate) async fn within<T>(
    timeout: Duration,
    act: &'static str,
    reply: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T, Error> {
    bounded(timeout, act, reply.into_future()).await?.map_err(|source| Error::Server { act, source: source.into() })
}

/// Waits for anything, at most for `timeout`.
///
/// # Errors
/// [`Error::Timeout`] (transient).
pub(crate) async fn bounded<T>(
    timeout: Duration,
    act: &'static str,
    reply: impl Future<Output = T>,
) -> Result<T, Error> {
    tokio::time::timeout(timeout, reply).await.map_err(|_| Error::Timeout { act, after: timeout })
}
