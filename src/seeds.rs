//! Seeds of the simulations: a failure names its seed, and `DRIFTLESS_SEED` runs that one alone.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Simulates each seed below `count` on a runtime of its own with paused time; returns whether all of them ran.
pub(crate) fn each(count: u64, mut simulate: impl AsyncFnMut(u64)) -> bool {
    let one = std::env::var("DRIFTLESS_SEED").ok().map(|seed| seed.parse().expect("DRIFTLESS_SEED is a number"));
    for seed in one.map_or(0..count, |seed: u64| seed..seed + 1) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(simulate(seed))));
        assert!(outcome.is_ok(), "seed {seed} failed: repeat it with DRIFTLESS_SEED={seed}");
    }
    one.is_none()
}
