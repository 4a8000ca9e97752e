//! Conditions on a document or element, and the values that the mapping compares with.

use bson::raw::RawBsonRef;

use super::{
    scope::{Place, Scope},
    tree::Slot,
};
use crate::mapping::{
    BsonTypes,
    value::{number::numeric, raw::Value},
};
use crate::model::Decimal;

/// A condition on the value at a path.
#[derive(Clone, Debug)]
pub(crate) struct Condition<P = Place> {
    pub(crate) at: P,
    pub(crate) test: Test,
}

/// A test of a value. Null and absent are the same, except for their type, and so is a value that another value blocks.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// It is one of these.
    Is(Vec<Literal>),
    /// It is none of these.
    Not(Vec<Literal>),
    /// Whether it is there and not null.
    Exists(bool),
    /// It is of one of these types; an absent value has none.
    Type(BsonTypes),
}

/// A value of the mapping file that values of documents are compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Text(Box<[u8]>),
    /// In lowest terms.
    Number(Decimal),
    Bool(bool),
    Date(i64),
}

/// Whether all conditions hold.
pub(crate) fn all_hold(conditions: &[Condition], scope: &Scope<'_, '_>) -> bool {
    conditions.iter().all(|condition| condition.test.holds(scope.slot(&condition.at)))
}

impl<P> Condition<P> {
    /// The same condition on another sort of path.
    pub(crate) fn resolve<Q>(self, resolve: &impl Fn(P) -> Q) -> Condition<Q> {
        Condition { at: resolve(self.at), test: self.test }
    }
}

impl Test {
    fn holds(&self, slot: Slot<'_>) -> bool {
        let value = match slot {
            Slot::Present(value) if !matches!(value, Value::Null | Value::Undefined) => Some(value),
            Slot::Present(_) | Slot::Absent | Slot::Blocked => None,
        };
        let among = |literals: &[Literal]| value.is_some_and(|value| literals.iter().any(|one| one.equals(value)));
        match self {
            Self::Is(literals) => among(literals),
            Self::Not(literals) => !among(literals),
            Self::Exists(wanted) => value.is_some() == *wanted,
            Self::Type(types) => matches!(slot, Slot::Present(value) if types.has(value)),
        }
    }
}

impl Literal {
    /// Takes a value of the mapping file; `None` for a value of a type that cannot be compared.
    pub(crate) fn new(value: RawBsonRef<'_>) -> Option<Self> {
        match Value::from(value) {
            Value::String(text) => Some(Self::Text(text.into())),
            Value::Bool(value) => Some(Self::Bool(value)),
            Value::DateTime(ms) => Some(Self::Date(ms)),
            value => numeric::decimal(value).map(lowest_terms).map(Self::Number),
        }
    }

    /// Whether a value of a document is this one: numbers by value, texts exactly.
    pub(crate) fn equals(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Text(own), Value::String(text) | Value::Symbol(text)) => **own == *text,
            (Self::Bool(own), Value::Bool(value)) => *own == value,
            (Self::Date(own), Value::DateTime(ms)) => *own == ms,
            (Self::Number(own), value) => numeric::decimal(value).is_some_and(|value| lowest_terms(value) == *own),
            _ => false,
        }
    }
}

/// The same number with the shortest coefficient, and one zero.
fn lowest_terms(value: Decimal) -> Decimal {
    match value {
        Decimal::Finite { coefficient: 0, .. } => Decimal::Finite { negative: false, coefficient: 0, exponent: 0 },
        Decimal::Finite { negative, mut coefficient, mut exponent } => {
            while coefficient.is_multiple_of(10) {
                coefficient /= 10;
                exponent += 1;
            }
            Decimal::Finite { negative, coefficient, exponent }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use bson::raw::RawBson;
    use rstest::rstest;

    use super::*;

    fn literal(value: impl Into<RawBson>) -> Literal {
        Literal::new(RawBsonRef::from(&value.into())).expect("a literal")
    }

    #[rstest]
    #[case::int(literal(100_i64), Value::Int32(100), true)]
    #[case::double(literal(100_i64), Value::Double(100.0), true)]
    #[case::decimal(literal(100_i64), Value::Decimal("1.00E+2".parse().expect("a decimal")), true)]
    #[case::fraction(literal(0.1), Value::Decimal("0.10".parse().expect("a decimal")), true)]
    #[case::negative_zero(literal(0_i64), Value::Double(-0.0), true)]
    #[case::other_number(literal(100_i64), Value::Int64(10), false)]
    #[case::negative(literal(-1_i64), Value::Int32(1), false)]
    #[case::text(literal("a"), Value::String(b"a"), true)]
    #[case::symbol(literal("a"), Value::Symbol(b"a"), true)]
    #[case::upper_case(literal("a"), Value::String(b"A"), false)]
    #[case::text_of_a_number(literal("1"), Value::Int32(1), false)]
    #[case::number_of_a_text(literal(1_i64), Value::String(b"1"), false)]
    #[case::boolean(literal(true), Value::Bool(true), true)]
    #[case::date(literal(bson::DateTime::from_millis(5)), Value::DateTime(5), true)]
    #[case::date_as_number(literal(5_i64), Value::DateTime(5), false)]
    fn equality(#[case] literal: Literal, #[case] value: Value<'_>, #[case] expected: bool) {
        assert_eq!(literal.equals(value), expected);
    }

    #[rstest]
    #[case(Slot::Absent)]
    #[case(Slot::Blocked)]
    #[case(Slot::Present(Value::Null))]
    #[case(Slot::Present(Value::Undefined))]
    fn what_is_not_there(#[case] slot: Slot<'_>) {
        assert!(!Test::Is(vec![literal("null")]).holds(slot));
        assert!(Test::Not(vec![literal("null")]).holds(slot));
        assert!(Test::Exists(false).holds(slot) && !Test::Exists(true).holds(slot));
    }

    #[test]
    fn what_is_there() {
        let slot = Slot::Present(Value::String(b"null"));
        assert!(Test::Is(vec![literal("a"), literal("null")]).holds(slot));
        assert!(!Test::Not(vec![literal("a"), literal("null")]).holds(slot));
        assert!(Test::Exists(true).holds(slot) && !Test::Exists(false).holds(slot));
    }
}
