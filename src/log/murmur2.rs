//! Computes the partition of a key as JVM clients do.
//!
//! The client library does not compute it, because the publisher counts the changes of each partition.
//! Source: Kafka's `DefaultPartitioner` (murmur2 of the key, made positive, modulo the number of partitions), which
//! librdkafka calls `murmur2_random`.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// Returns the partition of a record with this key, in `[0, partitions)`.
///
/// # Panics
/// Panics if `partitions` is not positive, because every topic has a partition.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) as i32 % partitions
}

fn murmur2(bytes: &[u8]) -> u32 {
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // The values that the Java client's own tests expect.
    #[rstest]
    #[case("21", -973_932_308)]
    #[case("foobar", -790_332_482)]
    #[case("a-little-bit-long-string", -985_981_536)]
    #[case("a-little-bit-longer-string", -1_486_304_829)]
    #[case("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971)]
    #[case("abc", 479_470_107)]
    fn hashes_as_the_java_client(#[case] text: &str, #[case] expected: i32) {
        assert_eq!(murmur2(text.as_bytes()) as i32, expected);
    }

    #[test]
    fn a_partition_is_in_range() {
        for key in ["", "a", "ab", "21", "foobar"] {
            assert!((0..7).contains(&partition_of(key.as_bytes(), 7)));
        }
    }
}
