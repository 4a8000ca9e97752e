//! Decimal128 taken apart: sign, coefficient, exponent.
//!
//! Source: the IEEE 754-2008 binary integer decimal layout as the BSON specification uses it.

/// A Decimal128 value. Finite values are `± coefficient × 10^exponent`, not normalised, so that `1.10` keeps its scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decimal {
    /// A number.
    Finite {
        /// Whether the sign bit is set (also for zero).
        negative: bool,
        /// At most 34 digits; a non-canonical coefficient reads as zero.
        coefficient: u128,
        /// Power of ten, in `[-6176, 6111]`.
        exponent: i32,
    },
    /// Infinity of either sign.
    Infinite {
        /// Whether it is the negative one.
        negative: bool,
    },
    /// Not a number; payload and signalling bit are dropped.
    NaN,
}

const BIAS: i32 = 6176;
/// 34 digits, as IEEE 754-2008 has it.
const MAX_COEFFICIENT: u128 = 10u128.pow(34) - 1;

impl Decimal {
    /// Takes a BSON Decimal128 apart.
    pub(crate) fn from_bson(value: bson::Decimal128) -> Self {
        let bits = u128::from_le_bytes(value.bytes());
        let negative = bits >> 127 == 1;
        let combination = (bits >> 122) as u32 & 0x1f;
        if combination == 0x1f {
            return Self::NaN;
        }
        if combination == 0x1e {
            return Self::Infinite { negative };
        }
        // With both leading bits of the combination set, the coefficient would exceed 34 digits: by definition it is zero.
        let (exponent, coefficient) = if combination >> 3 == 0b11 {
            ((bits >> 111) as i32 & 0x3fff, 0)
        } else {
            ((bits >> 113) as i32 & 0x3fff, bits & ((1 << 113) - 1))
        };
        let coefficient = if coefficient > MAX_COEFFICIENT { 0 } else { coefficient };
        Self::Finite { negative, coefficient, exponent: exponent - BIAS }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", false, 0, 0)]
    #[case("-0E-6176", true, 0, -6176)]
    #[case("1.10", false, 110, -2)]
    #[case("-12345", true, 12345, 0)]
    #[case("9.999999999999999999999999999999999E+6144", false, MAX_COEFFICIENT, 6111)]
    fn finite(#[case] text: &str, #[case] negative: bool, #[case] coefficient: u128, #[case] exponent: i32) {
        let value: bson::Decimal128 = text.parse().expect("a decimal");
        assert_eq!(Decimal::from_bson(value), Decimal::Finite { negative, coefficient, exponent });
    }

    #[rstest]
    #[case("NaN", Decimal::NaN)]
    #[case("Infinity", Decimal::Infinite { negative: false })]
    #[case("-Infinity", Decimal::Infinite { negative: true })]
    fn special(#[case] text: &str, #[case] expected: Decimal) {
        let value: bson::Decimal128 = text.parse().expect("a decimal");
        assert_eq!(Decimal::from_bson(value), expected);
    }

    #[test]
    fn a_coefficient_beyond_34_digits_is_zero() {
        let mut bytes = [0xff; 16];
        bytes[15] = 0x30;
        assert!(matches!(
            Decimal::from_bson(bson::Decimal128::from_bytes(bytes)),
            Decimal::Finite { coefficient: 0, negative: false, .. }
        ));
    }
}
