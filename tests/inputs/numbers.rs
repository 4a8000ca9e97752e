//! Numbers.

use bson::{
    Decimal128, Timestamp,
    raw::{RawArrayBuf, RawBson},
    rawdoc,
};

use crate::{
    bytes::with_id,
    world::{World, run},
};

fn decimal(text: &str) -> RawBson {
    text.parse::<Decimal128>().expect("a decimal").into()
}

fn bits(value: f64) -> String {
    hex::encode(value.to_be_bytes())
}

#[test]
fn input_059_beyond_smallint() {
    run(async |world| {
        let cases = [
            ("i2", 70_000.into(), Err("RANGE_INT")),
            ("i2", 32_767.into(), Ok("32767")),
            ("i2_clamp", 70_000.into(), Ok("32767")),
        ];
        world.typed("059", &cases).await;
    });
}

#[test]
fn input_060_beyond_integer() {
    run(async |world| {
        let refused = Err("RANGE_INT");
        let cases = [
            ("i4", 3e9.into(), refused),
            ("i4", 3_000_000_000_i64.into(), refused),
            ("i4", (-2_147_483_648_i64).into(), Ok("-2147483648")),
        ];
        world.typed("060", &cases).await;
    });
}

#[test]
fn input_061_smallest_long() {
    run(async |world| {
        let text = "-9223372036854775808";
        let cases =
            [("i8", i64::MIN.into(), Ok(text)), ("n", i64::MIN.into(), Ok(text)), ("j", i64::MIN.into(), Ok(text))];
        world.typed("061", &cases).await;
    });
}

#[test]
fn input_062_beyond_the_mantissa() {
    run(async |world| {
        let value = (1_i64 << 53) + 1;
        let text = "9007199254740993";
        let cases = [("j", value.into(), Ok(text)), ("i8", value.into(), Ok(text)), ("f8", value.into(), Err("LOSSY"))];
        world.typed("062", &cases).await;
    });
}

#[test]
fn input_063_fractions_into_integers() {
    run(async |world| {
        let refused = Err("LOSSY");
        let cases = [
            ("i4", 1.5.into(), refused),
            ("i4", 2.5.into(), refused),
            ("i8", decimal("2.5"), refused),
            ("i4_round", 2.5.into(), Ok("3")),
        ];
        world.typed("063", &cases).await;
    });
}

#[test]
fn input_064_whole_double() {
    run(async |world| {
        let cases =
            [("i4", 3.0.into(), Ok("3")), ("i2", decimal("3.000"), Ok("3")), ("i8", decimal("3E+2"), Ok("300"))];
        world.typed("064", &cases).await;
    });
}

/// One number in columns of every type: PostgreSQL itself compares them.
#[test]
fn input_064_large_whole_double() {
    run(async |world| {
        let cases = [
            ("4611686018427387904", 4_611_686_018_427_387_904.0, true),
            ("-9223372036854775808", i64::MIN as f64, true),
            ("9007199254740992", 9_007_199_254_740_992.0, true),
            ("1000000000000000000000", 1e21, false),
            ("99999999999999991611392", 1e23, false),
        ];
        for (text, value, is_bigint) in cases {
            let mut fields = rawdoc! { "_id": format!("064 {text}"), "n": value, "s": value, "j": value, "f8": value };
            fields.append(bson::raw::cstr!("nums"), RawArrayBuf::from_iter([value]));
            if is_bigint {
                fields.append(bson::raw::cstr!("i8"), value);
            }
            let mut doc = world.insert("typed", fields).await;
            doc.is("n", text).await;
            doc.is("s", text).await;
            doc.is("j", text).await;
            doc.is("nums", &format!("{{{text}}}")).await;
            doc.is("f8 = n", "true").await;
            if is_bigint {
                doc.is("i8 = n AND i8::text = s", "true").await;
            }
        }
    });
}

#[test]
fn input_065_negative_zero() {
    run(async |world| {
        let sign = bits(-0.0);
        let cases = [
            ("f8", (-0.0).into(), Ok(sign.as_str())),
            ("f4", (-0.0).into(), Ok("80000000")),
            ("n", (-0.0).into(), Ok("0")),
            ("i4", (-0.0).into(), Ok("0")),
            ("j", (-0.0).into(), Ok("0")),
        ];
        world.typed("065", &cases).await;
    });
}

#[test]
fn input_066_nan() {
    run(async |world| {
        let wrapped = r#"{"$driftless": "double", "value": "NaN"}"#;
        let cases = [
            ("f8", f64::NAN.into(), Ok("7ff8000000000000")),
            ("n", f64::NAN.into(), Ok("NaN")),
            ("n10", f64::NAN.into(), Ok("NaN")),
            ("i4", f64::NAN.into(), Err("NONFINITE")),
            ("j", f64::NAN.into(), Ok(wrapped)),
        ];
        world.typed("066", &cases).await;
    });
}

/// Checks infinities of both signs in every type of column.
async fn infinities(world: &World, number: &str, kind: &str, values: [RawBson; 2]) {
    for (value, sign) in values.into_iter().zip(["", "-"]) {
        let (text, bits) = (format!("{sign}Infinity"), bits(format!("{sign}inf").parse().expect("infinite")));
        let wrapped = format!(r#"{{"$driftless": "{kind}", "value": "{text}"}}"#);
        let cases = [
            ("f8", value.clone(), Ok(bits.as_str())),
            ("n", value.clone(), Ok(&text)),
            ("n10", value.clone(), Err("NONFINITE")),
            ("i8", value.clone(), Err("NONFINITE")),
            ("j", value, Ok(&wrapped)),
        ];
        world.typed(&format!("{number} {sign}"), &cases).await;
    }
}

#[test]
fn input_067_infinities() {
    run(async |world| infinities(world, "067", "double", [f64::INFINITY.into(), f64::NEG_INFINITY.into()]).await);
}

#[test]
fn input_068_large_double() {
    run(async |world| {
        let text = format!("{:.0}", 1e308);
        let cases = [
            ("n", 1e308.into(), Ok(text.as_str())),
            ("j", 1e308.into(), Ok(&text)),
            ("s", 1e308.into(), Ok(&text)),
            ("f8", 1e308.into(), Ok(&bits(1e308))),
        ];
        world.typed("068", &cases).await;
    });
}

#[test]
fn input_069_small_double() {
    run(async |world| {
        let text = format!("0.{}5", "0".repeat(323));
        world.typed("069", &[("n", 5e-324.into(), Ok(&text)), ("f8", 5e-324.into(), Ok(&bits(5e-324)))]).await;
    });
}

#[test]
fn input_070_largest_power() {
    run(async |world| {
        let text = format!("1{}", "0".repeat(6144));
        world.typed("070", &[("n", decimal("1E+6144"), Ok(&text)), ("j", decimal("1E+6144"), Ok(&text))]).await;
    });
}

#[test]
fn input_071_smallest_power() {
    run(async |world| {
        let text = format!("0.{}1", "0".repeat(6175));
        world.typed("071", &[("n", decimal("1E-6176"), Ok(&text)), ("j", decimal("1E-6176"), Ok(&text))]).await;
    });
}

#[test]
fn input_072_negative_zero_decimal() {
    run(async |world| {
        let mut doc = world.insert("typed", rawdoc! { "_id": "072", "n": decimal("-0E-6176") }).await;
        doc.is("n = 0", "true").await;
        doc.is("scale(n)", "6176").await;
    });
}

#[test]
fn input_073_decimal_nan() {
    run(async |world| {
        // The signalling NaN has no text form.
        let mut signalling = [0; 16];
        signalling[15] = 0x7e;
        let cases = [("n", decimal("NaN"), Ok("NaN")), ("n10", decimal("NaN"), Ok("NaN"))];
        world.typed("073", &cases).await;
        let signalling = with_id("073 s", 0x13, b"n", signalling.to_vec());
        world.outcomes(vec![(signalling, ("n", Ok("NaN")))]).await;
        let wrapped = r#"{"$driftless": "decimal", "value": "NaN"}"#;
        world.typed("073 j", &[("j", decimal("NaN"), Ok(wrapped))]).await;
    });
}

#[test]
fn input_074_decimal_infinities() {
    run(async |world| infinities(world, "074", "decimal", [decimal("Infinity"), decimal("-Infinity")]).await);
}

#[test]
fn input_075_beyond_the_precision() {
    run(async |world| {
        let cases = [
            ("n38", decimal("9.99E+6144"), Err("RANGE_NUM")),
            ("n10", 100_000_000.into(), Err("RANGE_NUM")),
            ("n10", decimal("99999999.99"), Ok("99999999.99")),
        ];
        world.typed("075", &cases).await;
    });
}

#[test]
fn input_076_beyond_the_scale() {
    run(async |world| {
        let cases = [
            ("n10", 1.005.into(), Err("LOSSY")),
            ("n10", decimal("1.005"), Err("LOSSY")),
            ("n10", decimal("1.500"), Ok("1.50")),
            ("n10_round", 1.005.into(), Ok("1.01")),
            ("n10_round", decimal("-1.005"), Ok("-1.01")),
        ];
        world.typed("076", &cases).await;
    });
}

#[test]
fn input_077_would_be_zero() {
    run(async |world| {
        let mut doc = world.insert("typed", rawdoc! { "_id": "077 null", "n10_null": 1e-9 }).await;
        doc.is_null("n10_null").await;
        world.typed("077", &[("n10", 1e-9.into(), Err("LOSSY")), ("n38", 1e-9.into(), Ok("0.000000001"))]).await;
    });
}

#[test]
fn input_078_non_canonical_decimal() {
    run(async |world| {
        // A coefficient of more than 34 digits, in both layouts, is zero by definition.
        let mut long = [0xff; 16];
        long[14..].copy_from_slice(&[0x41, 0x30]);
        let mut large = [0; 16];
        large[15] = 0x6c;
        let large = with_id("078 b", 0x13, b"n", large.to_vec());
        let long = with_id("078 a", 0x13, b"n", long.to_vec());
        world.outcomes(vec![(long, ("n = 0", Ok("true"))), (large, ("n = 0", Ok("true")))]).await;
    });
}

#[test]
fn input_079_many_huge_decimals() {
    run(async |world| {
        let mut array = RawArrayBuf::new();
        for _ in 0..200_000 {
            array.push(decimal("1E+6144"));
        }
        let mut json = world.insert("large", rawdoc! { "_id": "079", "j": array.clone() }).await;
        let mut column = world.insert("typed", rawdoc! { "_id": "079", "nums": array }).await;
        json.is_dead("AMPLIFY").await;
        column.is_dead("AMPLIFY").await;
    });
}

#[test]
fn input_080_beyond_double() {
    run(async |world| {
        let cases = [
            ("f8", decimal("1E+6144"), Err("RANGE_NUM")),
            ("f4", 1e300.into(), Err("RANGE_NUM")),
            ("f8", decimal("0.5"), Ok("3fe0000000000000")),
        ];
        world.typed("080", &cases).await;
    });
}

#[test]
fn input_081_integer_into_text() {
    run(async |world| {
        world.typed("081", &[("s", 1.into(), Ok("1")), ("s", i64::MIN.into(), Ok("-9223372036854775808"))]).await;
    });
}

#[test]
fn input_082_double_into_text() {
    run(async |world| {
        let cases = [
            ("s", 0.1.into(), Ok("0.1")),
            ("s", (0.1 + 0.2).into(), Ok("0.30000000000000004")),
            ("s", 3.0.into(), Ok("3")),
            ("s", 1e-7.into(), Ok("1e-7")),
        ];
        world.typed("082", &cases).await;
    });
}

#[test]
fn input_083_number_into_boolean() {
    run(async |world| {
        let refused = Err("TYPE_MISMATCH");
        let cases = [("b", 1.into(), refused), ("b", 0.into(), refused), ("b", true.into(), Ok("true"))];
        world.typed("083", &cases).await;
    });
}

#[test]
fn input_084_timestamp_beyond_2038() {
    run(async |world| {
        let value = || Timestamp { time: 1 << 31, increment: 1 }.into();
        let cases = [("n", value(), Ok("9223372036854775809")), ("i8", value(), Err("TYPE_MISMATCH"))];
        world.typed("084", &cases).await;
    });
}

#[test]
fn input_085_only_the_scale_changes() {
    run(async |world| {
        let mut doc = world.insert("calm", rawdoc! { "_id": "085", "n": decimal("1.10") }).await;
        doc.is("n", "1.10").await;
        doc.update(rawdoc! { "$set": { "n": decimal("1.1") } }).await;
        doc.is("n", "1.1").await;
        world.migration.succeed(&["reconcile", "--full", "--collection", "calm"]).await;
    });
}
