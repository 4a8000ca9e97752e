//! Looks at the start of the oplog from time to time: the distance to it is how long the leader may be away.

use std::time::Duration;

use crate::{
    pipeline::Error,
    source::Source,
    status::{Led, Status},
};

/// How often the start is read: the server removes the oldest operations in steps that are longer.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Reports the source until its owner ends it.
pub(super) async fn watch(source: Source, status: Status) -> Result<(), Error> {
    let [major, minor, patch] = source.server().version;
    let server = format!("MongoDB {major}.{minor}.{patch}");
    loop {
        let (oldest, whole) = source.oldest_operation().await.unzip();
        let whole = whole.unwrap_or(false);
        status.led(Some(Led { server: server.clone(), oldest, whole, position: None }));
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
