//! Medians and percentiles. Pure.

/// Returns the middle value, or the mean of the two middle values when their number is even; `None` when there are no values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Returns the smallest value that `percent` of all values do not exceed (nearest rank); `None` when there are no values.
pub(crate) fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let sorted = sorted(values);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// Returns the smallest and the largest value.
pub(crate) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    Some((*sorted.first()?, *sorted.last()?))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing(&[], None)]
    #[case::one(&[7.0], Some(7.0))]
    #[case::odd(&[9.0, 1.0, 5.0], Some(5.0))]
    #[case::even(&[4.0, 1.0, 9.0, 2.0], Some(3.0))]
    #[case::an_outlier_has_no_say(&[10.0, 11.0, 9000.0], Some(11.0))]
    fn medians(#[case] values: &[f64], #[case] expected: Option<f64>) {
        assert_eq!(median(values), expected);
    }

    #[rstest]
    #[case(50.0, 50.0)]
    #[case(95.0, 95.0)]
    #[case(99.0, 99.0)]
    #[case(99.9, 100.0)]
    #[case(100.0, 100.0)]
    #[case(0.0, 1.0)]
    fn percentiles_of_one_to_a_hundred(#[case] percent: f64, #[case] expected: f64) {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, percent), Some(expected));
    }

    #[test]
    fn nothing_has_no_percentile_and_no_range() {
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(range(&[]), None);
        assert_eq!(range(&[2.0, 1.0, 3.0]), Some((1.0, 3.0)));
    }
}
