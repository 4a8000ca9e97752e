//! Texts.

use bson::rawdoc;

use crate::{
    bytes::{text, with_id},
    world::{World, run},
};

/// Just below MongoDB's limit for one document.
const SIXTEEN_MB: usize = 16_777_216 - 100;

/// Checks arbitrary bytes as a text: a text column refuses them for `reason`, JSON wraps them.
async fn refused_and_wrapped(world: &World, number: &str, value: &[u8], reason: &str, base64: &str) {
    let column = with_id(&format!("{number} s"), 0x02, b"s", text(value));
    let json = with_id(&format!("{number} j"), 0x02, b"j", text(value));
    let wrapped = format!(r#"{{"$driftless": "text", "base64": "{base64}"}}"#);
    world.outcomes(vec![(column, ("s", Err(reason))), (json, ("j", Ok(&wrapped)))]).await;
}

#[test]
fn input_031_nul_inside() {
    run(async |world| {
        refused_and_wrapped(world, "031", b"a\0b", "NUL_IN_TEXT", "YQBi").await;
        world.typed("031", &[("s_replace", "a\0b".into(), Ok("a\u{fffd}b"))]).await;
    });
}

#[test]
fn input_032_nul_only() {
    run(async |world| refused_and_wrapped(world, "032", b"\0", "NUL_IN_TEXT", "AA==").await);
}

#[test]
fn input_033_six_characters() {
    let value = r"\u0000";
    run(async |world| {
        let json = r#""\\u0000""#;
        world.typed("033", &[("s", value.into(), Ok(value)), ("j", value.into(), Ok(json))]).await;
    });
}

#[test]
fn input_034_nul_in_a_field_name() {
    run(async |world| {
        // The field name is `a`; the length of its text begins with `b`.
        let document = with_id("034", 0x02, b"a\0b", text(b"value"));
        let mut doc = world.doc("docs", "034", document);
        doc.append(34).await;
        doc.is_dead("MALFORMED").await;
    });
}

#[test]
fn input_035_lone_high_surrogate() {
    run(async |world| refused_and_wrapped(world, "035", &[0xed, 0xa0, 0x80], "BAD_UTF8", "7aCA").await);
}

#[test]
fn input_036_lone_low_surrogate() {
    run(async |world| refused_and_wrapped(world, "036", &[0xed, 0xb0, 0x80], "BAD_UTF8", "7bCA").await);
}

#[test]
fn input_037_overlong_nul() {
    run(async |world| refused_and_wrapped(world, "037", &[0xc0, 0x80], "BAD_UTF8", "wIA=").await);
}

#[test]
fn input_038_no_utf8() {
    run(async |world| {
        refused_and_wrapped(world, "038", &[0xff], "BAD_UTF8", "/w==").await;
        let replaced = with_id("038 replaced", 0x02, b"s_replace", text(b"a\xffb"));
        world.outcomes(vec![(replaced, ("s_replace", Ok("a\u{fffd}b")))]).await;
    });
}

#[test]
fn input_039_cut_character() {
    run(async |world| refused_and_wrapped(world, "039", b"ab\xf0\x9f\xa6", "BAD_UTF8", "YWLwn6Y=").await);
}

/// Checks that a text column and JSON both hold the text as it is.
async fn kept(world: &World, number: &str, value: &str) {
    let json = serde_json::to_string(value).expect("a text");
    let mut column = world.insert("typed", rawdoc! { "_id": format!("{number} s"), "s": value }).await;
    let mut document = world.insert("typed", rawdoc! { "_id": format!("{number} j"), "j": value }).await;
    column.is("s", value).await;
    document.is_json("j", &json).await;
    document.is("j #>> '{}'", value).await;
}

#[test]
fn input_040_noncharacters() {
    run(async |world| kept(world, "040", "a\u{fffe}\u{ffff}").await);
}

#[test]
fn input_041_emoji() {
    run(async |world| {
        kept(world, "041", "🦀").await;
        world.typed("041", &[("v5", "🦀🦀🦀🦀🦀".into(), Ok("🦀🦀🦀🦀🦀"))]).await;
    });
}

/// Checks that a text is kept and never logged, neither as a value nor as part of a dead letter.
async fn kept_out_of_logs(world: &World, number: &str, value: &str) {
    kept(world, number, value).await;
    world.typed(number, &[("i4", value.into(), Err("TYPE_MISMATCH"))]).await;
    let listed = world.migration.succeed(&["dlq", "list", "--limit", "100000"]).await;
    for told in [world.daemon.log(), listed] {
        assert!(!told.contains(value), "the text is told");
        assert!(!told.contains('\u{1b}'), "a terminal would obey");
    }
}

#[test]
fn input_042_bidi_and_zero_width() {
    run(async |world| kept_out_of_logs(world, "042", "\u{202e}evil\u{200b}\u{feff}").await);
}

#[test]
fn input_043_escapes_and_line_breaks() {
    run(async |world| kept_out_of_logs(world, "043", "\u{1b}[31mERROR\u{1b}[0m\r\n2026-01-01 INFO forged").await);
}

#[test]
fn input_044_sixteen_megabytes() {
    run(async |world| {
        let value = "äb".repeat(SIXTEEN_MB / 3);
        let digest = "octet_length(s) || ' ' || (s = repeat('äb', length(s) / 2))";
        let mut doc = world.insert("large", rawdoc! { "_id": "044", "s": value.as_str() }).await;
        doc.is(digest, &format!("{} true", value.len())).await;
        doc.delete().await;
        doc.is_gone().await;
    });
}

#[test]
fn input_045_sixteen_megabytes_of_control_characters() {
    run(async |world| {
        let value = "\u{1}".repeat(SIXTEEN_MB);
        let mut column = world.insert("large", rawdoc! { "_id": "045 s", "s": value.as_str() }).await;
        let mut json = world.insert("large", rawdoc! { "_id": "045 j", "j": value.as_str() }).await;
        let whole = format!("{SIXTEEN_MB} true");
        column.is("length(s) || ' ' || (s = repeat(chr(1), length(s)))", &whole).await;
        let text = "j #>> '{}'";
        json.is(&format!("length({text}) || ' ' || ({text} = repeat(chr(1), length({text})))"), &whole).await;
        for doc in [&mut column, &mut json] {
            doc.delete().await;
            doc.is_gone().await;
        }
    });
}

#[test]
fn input_046_too_long() {
    run(async |world| {
        let refused = Err("TOO_LONG");
        let cases = [
            ("v5", "abcdef".into(), refused),
            ("v5", "abcde ".into(), refused),
            ("c5", "abcdef".into(), refused),
            ("v5", "äöüßé".into(), Ok("äöüßé")),
            ("v5_cut", "äöüßéx".into(), Ok("äöüßé")),
        ];
        world.typed("046", &cases).await;
    });
}

#[test]
fn input_047_padded() {
    run(async |world| {
        let mut doc = world.insert("typed", rawdoc! { "_id": "047", "c5": "ab" }).await;
        doc.is("octet_length(c5) || ' ' || (c5 = 'ab')", "5 true").await;
        // Written again with its padding, the text is equal.
        doc.update(rawdoc! { "$set": { "c5": "ab   " } }).await;
        doc.is("octet_length(c5) || ' ' || (c5 = 'ab')", "5 true").await;
    });
}

#[test]
fn input_048_words_that_look_like_values() {
    run(async |world| {
        for (at, word) in ["NaN", "null", "NULL", "true", "Infinity"].into_iter().enumerate() {
            kept(world, &format!("048 {at}"), word).await;
        }
    });
}

/// Checks that a text is never read as a value of another type.
async fn mismatch(world: &World, number: &str, cases: &[(&str, &str)]) {
    let cases: Vec<_> = cases.iter().map(|(column, text)| (*column, (*text).into(), Err("TYPE_MISMATCH"))).collect();
    world.typed(number, &cases).await;
}

#[test]
fn input_049_impossible_date() {
    run(async |world| {
        mismatch(world, "049", &[("d", "2020-02-30"), ("tz", "2020-02-28"), ("d_read", "2020-02-30")]).await;
        world.typed("049 read", &[("d_read", "2020-02-29".into(), Ok("2020-02-29"))]).await;
    });
}

#[test]
fn input_050_padded_number() {
    run(async |world| {
        mismatch(world, "050", &[("i4", " 12 "), ("n", "12"), ("f8", "1e3"), ("i4_read", "12 x")]).await;
        world.typed("050 read", &[("i4_read", " 12 ".into(), Ok("12"))]).await;
    });
}

#[test]
fn input_051_maybe() {
    run(async |world| {
        mismatch(world, "051", &[("b", "maybe"), ("b", "true"), ("b_read", "maybe")]).await;
        world.typed("051 read", &[("b_read", "yes".into(), Ok("true")), ("b_read", 0.into(), Ok("false"))]).await;
    });
}

#[test]
fn input_052_no_uuid() {
    run(async |world| mismatch(world, "052", &[("u", "zz"), ("u", "")]).await);
}

#[test]
fn input_053_empty_number() {
    run(async |world| {
        mismatch(world, "053", &[("i4", ""), ("n", ""), ("d", ""), ("b", ""), ("i4_read", "")]).await;
        let mut doc = world.insert("typed", rawdoc! { "_id": "053 empty", "i4_empty": "" }).await;
        doc.is_null("i4_empty").await;
    });
}

#[test]
fn input_054_quotes_and_drop() {
    run(async |world| {
        kept(world, "054 '\"; DROP TABLE typed; --", "'; DROP TABLE typed; --\" $1 \\ {}").await;
        assert_eq!(world.migration.number("SELECT count(*) FROM pg_class WHERE relname = 'typed'").await, 1);
    });
}

#[test]
fn input_055_no_label() {
    run(async |world| {
        let refused = Err("TYPE_MISMATCH");
        let cases = [
            ("e", "ACTIVE".into(), refused),
            ("e", "".into(), refused),
            ("e", "active".into(), Ok("active")),
            ("e_other", "ACTIVE".into(), Ok("closed")),
        ];
        world.typed("055", &cases).await;
    });
}

#[test]
fn input_056_other_case_into_unique_citext() {
    run(async |world| {
        let first = rawdoc! { "_id": "056 a", "folded": "Ann@example.org" };
        let mut first = world.insert("uniques", first).await;
        first.is("folded", "Ann@example.org").await;
        let second = rawdoc! { "_id": "056 b", "folded": "ann@EXAMPLE.org" };
        let mut second = world.insert("uniques", second).await;
        let detail = second.is_dead("UNIQUE_CONFLICT").await;
        assert!(detail.contains("uniques_folded_key") && !detail.contains("EXAMPLE"), "names, no values: {detail}");
    });
}

#[test]
fn input_057_xml() {
    run(async |world| {
        let mut broken = world.insert("typed", rawdoc! { "_id": "057 broken", "x": "<a>" }).await;
        world.typed("057", &[("x", "<a>1</a>".into(), Ok("<a>1</a>"))]).await;
        let detail = broken.is_dead("REFUSED").await;
        assert!(detail.starts_with("SQLSTATE 2200N") && !detail.contains("<a>"), "{detail}");
    });
}

#[test]
fn input_058_inet_and_broken_json() {
    run(async |world| {
        let broken = r#"{"a":"#;
        let text = serde_json::to_string(broken).expect("a text");
        let cases = [
            ("net", "10.0.0.256".into(), Err("TYPE_MISMATCH")),
            ("net", "10.0.0.1/8".into(), Ok("10.0.0.1/8")),
            // A text is a JSON string, whatever it looks like.
            ("js", broken.into(), Ok(text.as_str())),
            ("j", broken.into(), Ok(&text)),
        ];
        world.typed("058", &cases).await;
    });
}
