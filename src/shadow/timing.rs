//! Latencies. Pure.

use std::time::Duration;

use serde::Serialize;

/// Latencies of one side.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Timing {
    /// Half of the answers took at most this long, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 95 of 100 answers.
    pub(crate) p95_ms: f64,
    /// 99 of 100 answers.
    pub(crate) p99_ms: f64,
    /// Every answer, in the order of the runs.
    pub(crate) all_ms: Vec<f64>,
}

impl Timing {
    /// Sums up latencies.
    pub(crate) fn of(taken: &[Duration]) -> Self {
        let all_ms: Vec<f64> = taken.iter().map(|took| took.as_secs_f64() * 1_000.0).collect();
        let mut sorted = all_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let percentile = |hundredths| nearest_rank(&sorted, hundredths).unwrap_or_default();
        Self { p50_ms: percentile(50), p95_ms: percentile(95), p99_ms: percentile(99), all_ms }
    }
}

/// The smallest value that at least so many of a hundred do not exceed.
fn nearest_rank(sorted: &[f64], hundredths: usize) -> Option<f64> {
    let rank = (sorted.len() * hundredths).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1..=100, [50.0, 95.0, 99.0])]
    #[case(1..=20, [10.0, 19.0, 20.0])]
    #[case(7..=7, [7.0, 7.0, 7.0])]
    fn percentiles_are_answers(#[case] ms: std::ops::RangeInclusive<u64>, #[case] expected: [f64; 3]) {
        let taken: Vec<Duration> = ms.rev().map(Duration::from_millis).collect();
        let Timing { p50_ms, p95_ms, p99_ms, all_ms } = Timing::of(&taken);
        assert_eq!([p50_ms, p95_ms, p99_ms], expected);
        assert_eq!(all_ms.len(), taken.len());
    }

    #[test]
    fn nothing_takes_no_time() {
        assert_eq!(Timing::of(&[]), Timing::default());
    }
}
