//! Instants: what a column of dates or timestamps takes, and where its policy says so, reads as one.

use crate::mapping::{
    Loss, Losses,
    target::ColumnType,
    value::{
        number,
        policy::{Epoch, Policy},
        raw::Value,
        scalar::Scalar,
        text,
        time::{self, ATTOS_PER_SECOND, iso},
    },
};
use crate::model::Reason;

/// An instant in a column of dates or timestamps: a date, and where the policy says so, a number or a text.
pub(super) fn instant(
    value: Value<'_>,
    kind: &ColumnType,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Scalar<'static>, Reason> {
    let wrap = |micros| {
        if matches!(kind, ColumnType::Timestamp { .. }) {
            Scalar::Timestamp(micros)
        } else {
            Scalar::Timestamptz(micros)
        }
    };
    let attos = match (value, kind) {
        (Value::DateTime(ms), ColumnType::Date) => match time::date(ms) {
            Err(_) if policy.declared => i128::from(ms) * (ATTOS_PER_SECOND / 1000),
            plain => {
                let (days, time_of_day) = plain?;
                losses.add_if(time_of_day, Loss::TimeOfDay);
                return Ok(Scalar::Date(days));
            }
        },
        (Value::DateTime(ms), ColumnType::Timestamp { precision } | ColumnType::Timestamptz { precision }) => {
            match time::timestamp(ms, *precision) {
                Err(_) if policy.declared => i128::from(ms) * (ATTOS_PER_SECOND / 1000),
                plain => return plain.map(wrap),
            }
        }
        (Value::String(bytes) | Value::Symbol(bytes), _) if policy.coerce.date => {
            match (iso::instant(text::utf8(bytes)?.trim()), policy.epoch) {
                (Some(attos), _) => {
                    losses.add(Loss::Coerced);
                    attos
                }
                (None, Some(unit)) => since_epoch(value, unit, policy, losses)?,
                (None, None) => return Err(Reason::TypeMismatch),
            }
        }
        (value, _) => since_epoch(value, policy.epoch.ok_or(Reason::TypeMismatch)?, policy, losses)?,
    };
    match kind {
        ColumnType::Timestamp { precision } | ColumnType::Timestamptz { precision } => {
            time::fit_timestamp(attos, *precision, policy, losses).map(wrap)
        }
        _ => time::fit_date(attos, policy, losses).map(Scalar::Date),
    }
}

/// Attoseconds since 1970 of a number of seconds or milliseconds.
fn since_epoch(value: Value<'_>, unit: Epoch, policy: &Policy, losses: &mut Losses) -> Result<i128, Reason> {
    const PLACES: i32 = 18;
    let places = match unit {
        Epoch::Seconds => PLACES,
        Epoch::Milliseconds => PLACES - 3,
    };
    let digits = number::digits(value, policy, losses)?.shifted(-places);
    losses.add_if(!matches!(value, Value::String(_) | Value::Symbol(_)), Loss::Coerced);
    let negative = digits.is_negative();
    let rounds = policy.misfit.round && digits.is_finer_than(0);
    losses.add_if(rounds, Loss::Rounded);
    match if rounds { digits.rounded(0) } else { digits }.whole() {
        // Beyond every range there is, and small enough to be counted with.
        Err(Reason::RangeInt) => Ok(if negative { i128::MIN / 4 } else { i128::MAX / 4 }),
        whole => whole,
    }
}
