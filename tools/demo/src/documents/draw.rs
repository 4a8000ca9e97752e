//! Draws the values of a document from a random stream: words, dates, money.

use bson::{Bson, DateTime, Decimal128, Document, oid::ObjectId};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::words;

/// The application's opening, 2021-01-01T00:00:00Z, in milliseconds.
const OPENED_MS: i64 = 1_609_459_200_000;
const DAY_MS: i64 = 86_400_000;
/// Days from the opening to the last date in a generated document.
const DAYS: i64 = 1_500;

/// A random stream with the vocabulary of the application.
#[derive(Clone, Debug)]
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// Creates stream number `stream` of a seed; streams of one seed are independent of each other.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.random_bool(probability)
    }

    /// Draws a number in `[low, high)`.
    pub(crate) fn below(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..high)
    }

    /// Draws a number in `[low, high)`.
    pub(crate) fn int(&mut self, low: i32, high: i32) -> i32 {
        self.0.random_range(low..high)
    }

    /// Draws a position in `[0, length)`; `length` must not be zero.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.0.random_range(0..length)
    }

    /// Draws a number in `[low, high)` with the many digits that a division leaves.
    pub(crate) fn ratio(&mut self, low: f64, high: f64) -> f64 {
        self.0.random_range(low..high)
    }

    pub(crate) fn pick<T: Copy>(&mut self, values: &[T]) -> Option<T> {
        values.choose(&mut self.0).copied()
    }

    pub(crate) fn word(&mut self, words: &[&'static str]) -> &'static str {
        self.pick(words).unwrap_or_default()
    }

    /// Draws between `least` and `most` different words as an array.
    pub(crate) fn words(&mut self, words: &[&'static str], least: usize, most: usize) -> Vec<&'static str> {
        let amount = self.0.random_range(least..=most);
        words.choose_multiple(&mut self.0, amount).copied().collect()
    }

    pub(crate) fn tags(&mut self) -> Vec<&'static str> {
        self.words(words::TAGS, 0, 5)
    }

    /// Draws between `least` and `most` sentences of seven to thirteen words.
    pub(crate) fn text(&mut self, least: usize, most: usize) -> String {
        let mut text = String::new();
        for sentence in 0..self.0.random_range(least..=most) {
            if sentence > 0 {
                text.push_str(if self.chance(0.1) { "\n\n" } else { " " });
            }
            for position in 0..self.0.random_range(7..=13) {
                let word = self.word(words::WORDS);
                if position == 0 {
                    text.extend(word.chars().take(1).flat_map(char::to_uppercase));
                    text.extend(word.chars().skip(1));
                } else {
                    text.push(' ');
                    text.push_str(word);
                }
            }
            text.push('.');
        }
        text
    }

    /// Draws an amount of money in `[low, high)` whole units, with cents more often than not.
    pub(crate) fn money(&mut self, low: i64, high: i64) -> Decimal128 {
        let units = self.0.random_range(low..high);
        if self.chance(0.3) { whole(units) } else { cents(units * 100 + self.0.random_range(0..100)) }
    }

    /// Draws an instant with milliseconds.
    pub(crate) fn moment(&mut self) -> DateTime {
        DateTime::from_millis(OPENED_MS + self.0.random_range(0..DAYS * DAY_MS))
    }

    /// Draws a day as the application stores it: midnight UTC, no earlier than `before` days before the opening.
    pub(crate) fn day(&mut self, before: i64) -> DateTime {
        DateTime::from_millis(OPENED_MS + self.0.random_range(-before..DAYS) * DAY_MS)
    }

    /// Draws an id with the driver's layout: seconds first, then the unique part.
    pub(crate) fn id(&mut self) -> ObjectId {
        let seconds = OPENED_MS / 1000 + self.0.random_range(0..DAYS * DAY_MS / 1000);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        ObjectId::from_parts(seconds, self.0.random(), self.0.random())
    }

    /// Draws a text that no other draw repeats.
    pub(crate) fn tag(&mut self) -> String {
        format!("{:016x}", self.0.random::<u64>())
    }

    /// Returns a member of `values` in three of four draws, otherwise null.
    pub(crate) fn maybe(&mut self, values: &[ObjectId]) -> Bson {
        if self.chance(0.25) { Bson::Null } else { self.pick(values).map_or(Bson::Null, Bson::ObjectId) }
    }

    /// Sets a field in a share of the draws; otherwise the field is absent, not null.
    pub(crate) fn sometimes(
        &mut self,
        document: &mut Document,
        probability: f64,
        field: &str,
        value: impl FnOnce(&mut Self) -> Bson,
    ) {
        if self.chance(probability) {
            let value = value(self);
            document.insert(field, value);
        }
    }
}

/// Returns an exact amount of hundredths, scale 2.
pub(crate) fn cents(amount: i64) -> Decimal128 {
    decimal(amount, -2)
}

/// Returns an exact whole amount, scale 0.
fn whole(amount: i64) -> Decimal128 {
    decimal(amount, 0)
}

/// Encodes an IEEE 754-2008 decimal128 with a binary integer significand: sign, 14 bits of exponent biased by 6176, 113 bits of
/// digits.
fn decimal(digits: i64, exponent: i16) -> Decimal128 {
    let sign = u128::from(digits < 0) << 127;
    let exponent = u128::from((exponent + 6176).unsigned_abs()) << 113;
    Decimal128::from_bytes((sign | exponent | u128::from(digits.unsigned_abs())).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_read_as_written() {
        for (digits, exponent, text) in [(0, -2, "0.00"), (1, -2, "0.01"), (-12345, -2, "-123.45"), (700, 0, "700")] {
            assert_eq!(decimal(digits, exponent).to_string(), text);
        }
    }

    #[test]
    fn streams_of_one_seed_differ() {
        assert_eq!(Draw::new(7, 1).tag(), Draw::new(7, 1).tag());
        assert_ne!(Draw::new(7, 1).tag(), Draw::new(7, 2).tag());
        assert_ne!(Draw::new(7, 1).tag(), Draw::new(8, 1).tag());
    }
}
