//! Documents from numbers: the same collection, index and revision give the same document on every machine.
//!
//! An id follows from its collection and index alone, so a reference can be made before its target exists. The draws include
//! the leftovers of an application's years: fields that are missing or null, ids as text, repeated entries.

use mongodb::bson::{Bson, DateTime, Document, oid::ObjectId};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

/// 2024-01-01T00:00:00Z in milliseconds.
const START_MS: i64 = 1_704_067_200_000;
const DAY_MS: i64 = 86_400_000;
const WORDS: &[&str] = &[
    "amber",
    "bridge",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbour",
    "island",
    "jasper",
    "kite",
    "lantern",
    "meadow",
    "nectar",
    "orchard",
    "prairie",
    "quartz",
    "river",
    "summit",
    "timber",
    "zażółć",
    "日本",
    "o'clock",
    "\"q\"",
];

/// The random stream of one revision of one document.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(collection: &str, index: u64, revision: u64) -> Self {
        let name = format!("{collection}/{index}/{revision}");
        Self(ChaCha8Rng::seed_from_u64(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_u64_pair().0))
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.random_bool(probability)
    }

    /// Draws a number in `[low, high)`.
    pub(crate) fn int(&mut self, low: i32, high: i32) -> i32 {
        self.0.random_range(low..high)
    }

    /// Draws a number in `[0, high)`.
    pub(crate) fn below(&mut self, high: u64) -> u64 {
        self.0.random_range(0..high)
    }

    /// Draws a number in `[low, high)` with the digits that a division leaves.
    pub(crate) fn ratio(&mut self, low: f64, high: f64) -> f64 {
        self.0.random_range(low..high)
    }

    pub(crate) fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values.choose(&mut self.0).expect("a choice").clone()
    }

    /// Draws a few words, sometimes with a comma or a quote.
    pub(crate) fn text(&mut self, most: usize) -> String {
        let amount = self.0.random_range(1..=most);
        (0..amount).map(|_| self.pick(WORDS)).collect::<Vec<_>>().join(" ")
    }

    /// Draws up to `most` words.
    pub(crate) fn words(&mut self, most: usize) -> Vec<String> {
        (0..self.0.random_range(0..=most)).map(|_| self.pick(WORDS).to_owned()).collect()
    }

    /// Draws a moment with milliseconds.
    pub(crate) fn moment(&mut self) -> DateTime {
        DateTime::from_millis(START_MS + self.0.random_range(0..600 * DAY_MS))
    }

    /// Draws a moment at midnight.
    pub(crate) fn day(&mut self) -> DateTime {
        DateTime::from_millis(START_MS + self.0.random_range(0..600) * DAY_MS)
    }

    /// Draws a day as text.
    pub(crate) fn day_text(&mut self) -> String {
        format!("20{:02}-{:02}-{:02}", self.int(20, 30), self.int(1, 13), self.int(1, 29))
    }

    /// Draws an amount of money as a double that means cents.
    pub(crate) fn cents(&mut self) -> f64 {
        f64::from(self.int(-1_000_000, 10_000_000)) / 100.0
    }

    /// Draws a reference to one of the first `count` documents; some are text, as some code wrote them.
    pub(crate) fn reference(&mut self, collection: &str, count: u64) -> Bson {
        let id = oid(collection, self.below(count));
        if self.chance(0.2) { id.to_hex().into() } else { id.into() }
    }

    /// Draws up to `most` references, some of them more than once.
    pub(crate) fn references(&mut self, collection: &str, count: u64, most: usize) -> Vec<Bson> {
        let mut ids: Vec<Bson> =
            (0..self.0.random_range(0..=most)).map(|_| self.reference(collection, count)).collect();
        if self.chance(0.3)
            && let Some(first) = ids.first().cloned()
        {
            ids.push(first);
        }
        ids
    }

    /// Sets a field that is missing in some documents and null in others.
    pub(crate) fn odd(&mut self, document: &mut Document, field: &str, value: impl Into<Bson>) {
        match self.0.random_range(0..10) {
            0 => {}
            1 => drop(document.insert(field, Bson::Null)),
            _ => drop(document.insert(field, value)),
        }
    }

    /// Sets a field under one of its names.
    pub(crate) fn named(&mut self, document: &mut Document, names: &[&str], value: impl Into<Bson>) {
        let name = self.pick(names);
        document.insert(name, value);
    }
}

/// Returns the id of a document.
pub(crate) fn oid(collection: &str, index: u64) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&Uuid::new_v5(&Uuid::NAMESPACE_OID, collection.as_bytes()).as_bytes()[..4]);
    bytes[4..].copy_from_slice(&index.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// Returns a pair of `(0..left) × (0..right)` that no other document and none of its three neighbouring revisions has.
pub(crate) fn pair(index: u64, revision: u64, right: u64) -> (u64, u64) {
    let number = index * 4 + revision % 4;
    (number / right, number % right)
}
