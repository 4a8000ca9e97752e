//! What every test of a law needs: servers, a daemon, writes, patience, and a second opinion.

pub(crate) mod daemon;
pub(crate) mod load;
pub(crate) mod migration;
pub(crate) mod oracle;
pub(crate) mod stack;
pub(crate) mod status;
pub(crate) mod topic;
pub(crate) mod wait;

use std::time::Duration;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Longest wait for anything that only takes as long as the machine is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Tests run side by side, except those that measure time.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Shares the machine with other tests.
pub(crate) async fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// Has the machine alone.
pub(crate) async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

/// Whether the long versions are wanted.
pub(crate) fn drill() -> bool {
    std::env::var("DRIFTLESS_DRILL").is_ok_and(|value| value == "1")
}

/// Random numbers of this run. The seed is printed with a failed test; `DRIFTLESS_SEED` repeats it.
pub(crate) fn random(test: &str) -> (u64, ChaCha8Rng) {
    let seed = match std::env::var("DRIFTLESS_SEED") {
        Ok(text) => text.parse().expect("DRIFTLESS_SEED is a number"),
        Err(_) => u64::from(rand::rng().next_u32()),
    };
    eprintln!("{test}: DRIFTLESS_SEED={seed}");
    (seed, ChaCha8Rng::seed_from_u64(seed))
}
