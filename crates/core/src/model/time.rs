//! Cluster time, version and frontier: the three orders that every decision rests on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A MongoDB cluster time: seconds since 1970 and the ordinal inside that second. Both are unsigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterTime {
    /// Seconds since 1970-01-01 UTC.
    pub t: u32,
    /// Ordinal of the operation inside the second, from 1.
    pub i: u32,
}

impl ClusterTime {
    /// The smallest cluster time after this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.i.checked_add(1) {
            Some(i) => Self { t: self.t, i },
            None => Self { t: self.t.saturating_add(1), i: 0 },
        }
    }

    /// Milliseconds since 1970 of the second this cluster time lies in.
    pub fn unix_ms(self) -> i64 {
        i64::from(self.t) * 1000
    }
}

impl From<bson::Timestamp> for ClusterTime {
    fn from(timestamp: bson::Timestamp) -> Self {
        Self { t: timestamp.time, i: timestamp.increment }
    }
}

impl From<ClusterTime> for bson::Timestamp {
    fn from(time: ClusterTime) -> Self {
        Self { time: time.t, increment: time.i }
    }
}

impl fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.t, self.i)
    }
}

/// The place of a change among all changes of its document: the last writer by version wins.
///
/// Ordered as `(epoch, time, op)`, and its 16 bytes are ordered alike, so PostgreSQL compares it as `bytea`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Grows by an operator's decision when the source is restored or replaced.
    pub epoch: u32,
    /// Cluster time of the operation, or of the read for a snapshot.
    pub time: ClusterTime,
    /// Position inside the transaction, from 1; 0 for an operation outside of transactions, the only one on its document at its time;
    /// [`Version::SNAPSHOT_OP`] for a read, which contains every operation of its instant.
    pub op: u32,
}

impl Version {
    /// Above every position inside a transaction.
    pub(crate) const SNAPSHOT_OP: u32 = u32::MAX;

    /// The version of a document read at `time`: every later change beats it, every earlier one loses.
    pub fn snapshot(epoch: u32, time: ClusterTime) -> Self {
        Self { epoch, time, op: Self::SNAPSHOT_OP }
    }

    /// Returns whether this is the version of a read.
    pub fn is_snapshot(self) -> bool {
        self.op == Self::SNAPSHOT_OP
    }

    /// The 16 bytes whose unsigned order is the order of versions.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (slot, part) in bytes.chunks_exact_mut(4).zip([self.epoch, self.time.t, self.time.i, self.op]) {
            slot.copy_from_slice(&part.to_be_bytes());
        }
        bytes
    }

    /// Reads what [`Version::to_bytes`] wrote; `None` unless there are exactly 16 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 16] = bytes.try_into().ok()?;
        let part = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Self { epoch: part(0), time: ClusterTime { t: part(4), i: part(8) }, op: part(12) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.epoch, self.time, self.op)
    }
}

/// A promise about a stream: every change whose cluster time is below the bound lies before this point.
///
/// The bound is exclusive because several changes may share one cluster time and a batch may end between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Frontier(pub ClusterTime);

impl Frontier {
    /// Whether every change at or before `time` lies before this point.
    pub fn covers(self, time: ClusterTime) -> bool {
        time < self.0
    }

    /// The last cluster time that the bound covers: reads as of it contain nothing that lies beyond the bound. `None` for zero,
    /// which covers nothing.
    pub fn last_covered(self) -> Option<ClusterTime> {
        let ClusterTime { t, i } = self.0;
        match i.checked_sub(1) {
            Some(i) => Some(ClusterTime { t, i }),
            None => Some(ClusterTime { t: t.checked_sub(1)?, i: u32::MAX }),
        }
    }
}

impl fmt::Display for Frontier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version() -> impl Strategy<Value = Version> {
        (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(epoch, t, i, op)| Version {
            epoch,
            time: ClusterTime { t, i },
            op,
        })
    }

    proptest! {
        #[test]
        fn bytes_order_as_versions_do(a in version(), b in version()) {
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(Version::from_bytes(&a.to_bytes()), Some(a));
        }
    }

    #[test]
    fn a_snapshot_beats_its_instant_and_loses_to_the_next() {
        let time = ClusterTime { t: 7, i: 3 };
        let snapshot = Version::snapshot(1, time);
        assert!(snapshot > Version { epoch: 1, time, op: 302 });
        assert!(snapshot < Version { epoch: 1, time: time.next(), op: 0 });
    }

    #[test]
    fn a_frontier_excludes_its_own_bound() {
        let time = ClusterTime { t: 7, i: 3 };
        assert!(!Frontier(time).covers(time));
        assert!(Frontier(time.next()).covers(time));
        assert_eq!(ClusterTime { t: 7, i: u32::MAX }.next(), ClusterTime { t: 8, i: 0 });
        for bound in [time, ClusterTime { t: 8, i: 0 }] {
            let last = Frontier(bound).last_covered().expect("it covers something");
            assert!(Frontier(bound).covers(last) && !Frontier(bound).covers(last.next()));
        }
        assert_eq!(Frontier::default().last_covered(), None);
    }
}
