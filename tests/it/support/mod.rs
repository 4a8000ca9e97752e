//! What every integration test needs: where the servers are, and a deadline.

pub(crate) mod proxy;

use std::{collections::HashMap, future::Future, path::Path, sync::LazyLock, time::Duration};

/// No wait of a test may take longer; a busy machine is slow, a hung one is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

static STACK: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/main/env");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
});

/// A setting of the local stack: from the environment, else from the file that the stack writes.
pub(crate) fn setting(name: &str) -> String {
    std::env::var(name)
        .ok()
        .or_else(|| STACK.get(name).cloned())
        .unwrap_or_else(|| panic!("{name} is not set and the local stack is not up"))
}

/// Waits for a state, but not for ever.
pub(crate) async fn soon<T>(what: &str, state: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, state).await.unwrap_or_else(|_| panic!("{what} did not happen within {DEADLINE:?}"))
}
