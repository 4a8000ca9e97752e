//! Decides by the key alone whether its reads have moved, so that every process gives the same answer and a growing share only adds keys.

use sha2::{Digest, Sha256};

use crate::control::reads::Share;

/// Returns the bucket of a key in a unit, in `[0, 10_000)`: the first eight bytes of the SHA-256 of `unit`, a zero byte and `key`, as a
/// number, modulo 10,000. A key's reads go to PostgreSQL when its bucket is below the share in hundredths of a percent.
///
/// The unit is hashed, too: otherwise the same keys would be the first to move in every unit.
pub(crate) fn bucket(unit: &str, key: &str) -> u16 {
    let digest = Sha256::new().chain_update(unit).chain_update([0]).chain_update(key).finalize();
    let head = digest.iter().take(8).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
    u16::try_from(head % u64::from(Share::ALL.hundredths())).unwrap_or_else(|_| unreachable!("it is below 10,000"))
}
