//! Which keys move first as the share of a unit grows.
//!
//! Each key has a fixed place among 10,000 buckets, and its reads go to PostgreSQL once the share is above it. A growing share
//! therefore only adds keys, a shrinking one takes the last back first, and every process gives the same answer without any state.
//!
//! The hash is SHA-256 because every language and PostgreSQL itself have it: an application that reads the view or the file finds
//! the same bucket, in SQL by `driftless.bucket(unit, key)`. The unit is part of the text, so that the keys that move first are
//! others in each unit.

use sha2::{Digest, Sha256};

/// Number of buckets: a share has hundredths of a percent.
const BUCKETS: u16 = 10_000;

/// The bucket of a key in a unit, in `[0, BUCKETS)`: the first four bytes of SHA-256 of `unit/key`, big-endian, modulo [`BUCKETS`].
pub(crate) fn bucket(unit: &str, key: &str) -> u16 {
    let digest = Sha256::new().chain_update(unit).chain_update("/").chain_update(key).finalize();
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    (number % u32::from(BUCKETS)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tenth_of_the_buckets_holds_a_tenth_of_the_keys() {
        for unit in ["billing", "all", "users"] {
            let moved = (0..100_000).filter(|key| bucket(unit, &format!("user-{key}")) < BUCKETS / 10).count();
            assert!((9_500..=10_500).contains(&moved), "{unit}: {moved} of 100,000");
        }
    }

    /// The documented computation, which other languages repeat.
    #[test]
    fn the_bucket_of_a_key_never_changes() {
        let buckets = [("billing", "42"), ("billing", ""), ("all", "zoë")].map(|(unit, key)| bucket(unit, key));
        assert_eq!(buckets, [8047, 4923, 7310]);
    }

    proptest! {
        #[test]
        fn a_growing_share_moves_a_key_once(unit in "[a-z]{1,12}", key in ".{0,40}", shares in prop::collection::vec(0..=BUCKETS, 1..20)) {
            let mut shares = shares;
            shares.sort_unstable();
            let moved: Vec<bool> = shares.iter().map(|share| bucket(&unit, &key) < *share).collect();
            prop_assert!(moved.is_sorted(), "{moved:?} at {shares:?}");
            prop_assert!(bucket(&unit, &key) < BUCKETS);
        }
    }
}
