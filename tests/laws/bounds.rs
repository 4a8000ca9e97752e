//! Law 8: every queue, batch, delay and drain has a bound. A bound that depends on the site is configuration; any other is a
//! named constant with its reason. Tests of the parts show that the bounds hold; this one reads the sources.

use std::path::{Path, PathBuf};

use crate::support::stack::root;

/// Returns every source file of the product, with its lines outside of tests.
fn sources() -> Vec<(PathBuf, Vec<String>)> {
    let mut sources = Vec::new();
    for folder in ["src", "crates/core/src"] {
        collect(&root().join(folder), &mut sources);
    }
    sources
}

fn collect(folder: &Path, sources: &mut Vec<(PathBuf, Vec<String>)>) {
    for entry in std::fs::read_dir(folder).expect("list a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.to_str().is_some_and(|path| path.ends_with(".rs") && !path.ends_with("_tests.rs")) {
            let text = std::fs::read_to_string(&path).expect("read a source");
            let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
            let lines = lines.map(|line| line.trim().to_owned()).collect();
            sources.push((path, lines));
        }
    }
}

/// Returns whether the line names a bound: a duration or a maximum.
fn is_bound(line: &str) -> bool {
    let item = ["pub(crate) ", "pub(super) ", "pub "].iter().find_map(|scope| line.strip_prefix(scope)).unwrap_or(line);
    let Some((name, value)) = item.strip_prefix("const ").and_then(|item| item.split_once(": ")) else { return false };
    let counts = ["usize", "u64", "i64"].iter().any(|kind| value.starts_with(kind));
    name.starts_with("MAX_") && counts || value.trim_start_matches("std::time::").starts_with("Duration")
}

#[test]
fn a_bound_that_is_a_constant_has_its_reason() {
    let (mut bounds, mut without) = (0, Vec::new());
    for (path, lines) in sources() {
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_bound(line)) {
            bounds += 1;
            let before = lines[..at].iter().rev().find(|line| !line.starts_with("#["));
            if !before.is_some_and(|line| line.starts_with("///")) {
                without.push(format!("{}:{}: {line}", path.display(), at + 1));
            }
        }
    }
    assert!(bounds > 20, "{bounds} bounds were found");
    assert!(without.is_empty(), "no comment gives the reason of\n{}", without.join("\n"));
}

/// A queue for one needs no name; clippy refuses queues without a bound.
#[test]
fn a_queue_for_more_than_one_has_a_named_bound() {
    let mut bare = Vec::new();
    for (path, lines) in sources() {
        for (at, line) in lines.iter().enumerate() {
            let length = line.split_once("channel(").map_or("", |(_, rest)| rest.split(')').next().unwrap_or_default());
            if length.parse::<usize>().is_ok_and(|length| length > 1) {
                bare.push(format!("{}:{}: {line}", path.display(), at + 1));
            }
        }
    }
    assert!(bare.is_empty(), "a bare number bounds\n{}", bare.join("\n"));
}
