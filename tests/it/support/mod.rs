//! Where the servers are, and names that no other test uses.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

/// A setting of the local stack: from the environment, else from `.local/main/env` of the project.
pub(crate) fn setting(name: &str) -> String {
    let file = || {
        let root =
            std::env::var("DRIFTLESS_STACK").unwrap_or_else(|_| format!("{}/.local/main", env!("CARGO_MANIFEST_DIR")));
        let text = std::fs::read_to_string(Path::new(&root).join("env")).ok()?;
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    };
    std::env::var(name).ok().or_else(file).unwrap_or_else(|| panic!("`{name}` is set by `deploy/local/stack env`"))
}

/// A name that no other test and no other run uses.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    format!("{what}-{started:x}-{:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
