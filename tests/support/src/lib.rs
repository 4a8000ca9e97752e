//! The support of all test suites: the servers, a database and topics per test, a daemon, and waiting with a deadline.
//!
//! The crate knows the product from the outside only: it starts the built program and reads its pages. It does not depend on
//! the product's crates, so a change of the product does not compile it again, and every suite links the same build. Support
//! for a single suite stays with that suite.

#![allow(clippy::print_stderr, reason = "seeds and the logs of daemons belong on the terminal of a failed test")]

pub mod bytes;
pub mod daemon;
pub mod dashboards;
pub mod migration;
pub mod packages;
pub mod port;
pub mod postgres;
pub mod proxy;
pub mod roles;
pub mod stack;
pub mod status;
pub mod topic;
pub mod wait;

use std::time::Duration;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Longest wait for anything that takes only as long as the machine is busy: a busy machine is slow, a hung one is a failure.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Returns whether the long versions of tests are requested.
pub fn drill() -> bool {
    std::env::var("DRIFTLESS_DRILL").is_ok_and(|value| value == "1")
}

/// Returns random numbers for this run and their seed. A failed test prints the seed; `DRIFTLESS_SEED` repeats it.
pub fn random(test: &str) -> (u64, ChaCha8Rng) {
    let seed = match std::env::var("DRIFTLESS_SEED") {
        Ok(text) => text.parse().expect("DRIFTLESS_SEED is a number"),
        Err(_) => u64::from(rand::rng().next_u32()),
    };
    eprintln!("{test}: DRIFTLESS_SEED={seed}");
    (seed, ChaCha8Rng::seed_from_u64(seed))
}

/// Returns a name that no other test and no other run uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

/// Connects to the source.
pub async fn mongo() -> mongodb::Client {
    mongodb::Client::with_uri_str(stack::setting("MONGO_URI")).await.expect("the address of MongoDB is well-formed")
}
