//! Sets of hashes that stay small: when there are too many, every second hash is given up, chosen by its bits.
//!
//! Two sets that are thinned in this way still meet: a hash that is kept at a level is kept at that level by every set. So the share
//! of references that lead nowhere can be estimated from a part, and is exact as long as nothing was given up.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use xxhash_rust::xxh3::xxh3_64;

/// The hash of a value's text.
pub(super) fn hash(text: &[u8]) -> u64 {
    xxh3_64(text)
}

/// Whether a hash is kept at a level: one of `2^level` is.
fn is_kept(hash: u64, level: u32) -> bool {
    hash.trailing_zeros() >= level
}

/// Distinct values of a path, and how often each came.
#[derive(Clone, Debug, Default)]
pub(super) struct Sketch {
    level: u32,
    counts: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
}

/// Takes a hash for its own hash. Its halves change places, because those that are kept end with the same bits.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash.rotate_left(u64::BITS / 2);
    }
}

impl Sketch {
    /// Takes a value in; at most `limit` are kept.
    pub(super) fn add(&mut self, hash: u64, limit: usize) {
        if !is_kept(hash, self.level) {
            return;
        }
        let count = self.counts.entry(hash).or_default();
        *count = count.saturating_add(1);
        while self.counts.len() > limit {
            self.thin();
        }
    }

    /// Gives up every second hash.
    pub(super) fn thin(&mut self) {
        self.level += 1;
        let level = self.level;
        self.counts.retain(|hash, _| is_kept(*hash, level));
        self.counts.shrink_to_fit();
    }

    /// Hashes that are kept.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether every value is kept.
    pub(super) fn is_exact(&self) -> bool {
        self.level == 0
    }

    /// Distinct values, estimated where not all are kept.
    pub(super) fn distinct(&self) -> u64 {
        (self.counts.len() as u64) << self.level
    }

    /// Values that came more than once, estimated in the same way.
    pub(super) fn repeated(&self) -> u64 {
        (self.counts.values().filter(|count| **count > 1).count() as u64) << self.level
    }

    /// How many of the values were looked for among the others, and how many are there.
    pub(super) fn found(&self, others: &impl Hashes) -> Found {
        let level = self.level.max(others.level());
        let mut found = Found { looked: 0, found: 0, exact: level == 0 };
        for hash in self.counts.keys().filter(|hash| is_kept(**hash, level)) {
            found.looked += 1;
            found.found += u64::from(others.has(*hash));
        }
        found
    }

    /// Whether a few of the values are among the others, which is cheap to ask of every collection.
    pub(super) fn meets(&self, others: &impl Hashes) -> bool {
        const TRIED: usize = 64;
        let level = self.level.max(others.level());
        self.counts.keys().filter(|hash| is_kept(**hash, level)).take(TRIED).any(|hash| others.has(*hash))
    }
}

/// A set of hashes in which those of another are looked for.
pub(super) trait Hashes {
    /// One of `2^level` hashes is kept.
    fn level(&self) -> u32;
    /// Whether the hash is kept.
    fn has(&self, hash: u64) -> bool;
}

impl Hashes for Sketch {
    fn level(&self) -> u32 {
        self.level
    }

    fn has(&self, hash: u64) -> bool {
        self.counts.contains_key(&hash)
    }
}

impl Hashes for Ids {
    fn level(&self) -> u32 {
        self.level
    }

    fn has(&self, hash: u64) -> bool {
        self.hashes.binary_search(&hash).is_ok()
    }
}

/// Distinct values that were looked for among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) looked: u64,
    pub(super) found: u64,
    /// Whether these are all values of both.
    pub(super) exact: bool,
}

/// The `_id`s of a collection, each of which comes once.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    level: u32,
    hashes: Vec<u64>,
}

impl Ids {
    /// Takes an `_id` in.
    pub(super) fn add(&mut self, hash: u64) {
        if is_kept(hash, self.level) {
            self.hashes.push(hash);
        }
    }

    /// Gives up every second hash.
    pub(super) fn thin(&mut self) {
        self.level += 1;
        let level = self.level;
        self.hashes.retain(|hash| is_kept(*hash, level));
        self.hashes.shrink_to_fit();
    }

    /// Hashes that are kept.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Makes the ids searchable, once all are in.
    pub(super) fn sort(&mut self) {
        self.hashes.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u32) -> u64 {
        hash(&number.to_le_bytes())
    }

    #[test]
    fn a_set_that_fits_is_exact() {
        let mut sketch = Sketch::default();
        (0..100).chain(0..10).for_each(|number| sketch.add(of(number), 100));
        assert_eq!((sketch.distinct(), sketch.repeated(), sketch.is_exact()), (100, 10, true));
    }

    #[test]
    fn a_larger_set_is_estimated() {
        let mut sketch = Sketch::default();
        (0..100_000).chain(0..50_000).for_each(|number| sketch.add(of(number), 1_000));
        assert!(sketch.len() <= 1_000 && !sketch.is_exact());
        assert!((80_000..120_000).contains(&sketch.distinct()), "{}", sketch.distinct());
        assert!((35_000..65_000).contains(&sketch.repeated()), "{}", sketch.repeated());
    }

    #[test]
    fn sets_of_different_levels_meet() {
        let (mut ids, mut sketch) = (Ids::default(), Sketch::default());
        (0..10_000).for_each(|number| ids.add(of(number)));
        // A tenth of them is among no ids.
        (9_000..10_000).for_each(|number| sketch.add(of(number - 9_000 + 9_100), 200));
        ids.thin();
        ids.sort();
        let Found { looked, found, exact } = sketch.found(&ids);
        assert!(!exact && sketch.meets(&ids) && looked > 50, "{looked}");
        assert!((0.8..0.99).contains(&(found as f64 / looked as f64)), "{found} of {looked}");
    }
}
