//! The meaning of each reason of a refusal, and a hint for fixing it.

use crate::model::Reason;

/// The hint for a value of another type in a column whose values are coerced already.
pub(super) const COERCED: &str = "fix the document in MongoDB, or give the column `empty = \"null\"` for empty texts, `translate` or `misfit = \"null\"`; then retry";

/// The reason in words, and a hint.
pub fn of(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::Malformed => (
            "the bytes are no record of ours, or no document",
            "find out who else writes to the topic; when it is known to be worthless: driftless dlq discard",
        ),
        Reason::UnknownOp => {
            ("the record's op is not known to this version", "run the version that wrote it, then driftless dlq retry")
        }
        Reason::Depth => ("the document nests deeper than MongoDB allows", "fix the document in MongoDB"),
        Reason::KeyUnsupported => (
            "the `_id` cannot become the target's key",
            "choose another id rule or `type` in the mapping, driftless mapping apply, driftless dlq retry",
        ),
        Reason::KeyTooLong => (
            "the `_id` is longer than the target's key may be",
            "use the id rule `uuid5` or `md5`, or a wider key column",
        ),
        Reason::NulInText => (
            "a text holds a NUL character, which PostgreSQL cannot store",
            "fix the document in MongoDB, or give the column `misfit = \"replace\"` and retry",
        ),
        Reason::BadUtf8 => (
            "a text is not valid UTF-8",
            "fix the document in MongoDB, or give the column `misfit = \"replace\"` and retry",
        ),
        Reason::Encoding => (
            "a text holds a character that the encoding of the target's database lacks",
            "migrate into a database that was created with ENCODING 'UTF8', or change the text in MongoDB; then retry",
        ),
        Reason::TooLong => (
            "a text is longer than its column",
            "make the column wider, shorten the text in MongoDB, or give the column `misfit = \"truncate\"`; then retry",
        ),
        Reason::TypeMismatch => (
            "a value has a type that its column does not take",
            "fix the document in MongoDB, or give the column `coerce`, `translate` or `misfit = \"null\"`; then retry",
        ),
        Reason::RangeInt | Reason::RangeNum => (
            "a number is outside its column's range",
            "make the column's type wider, or give it `misfit = \"clamp\"` or `\"null\"`; then retry",
        ),
        Reason::RangeTs => (
            "a date is outside its column's range",
            "fix the document in MongoDB, or give the column `misfit = \"clamp\"` or `\"null\"`; then retry",
        ),
        Reason::NonFinite => (
            "a number is NaN or infinite, and its column cannot hold that",
            "use a column of double precision, or give it `misfit = \"null\"`; then retry",
        ),
        Reason::Lossy => (
            "storing the value would change it",
            "use a column that holds it exactly, or give it `misfit = \"round\"`; then retry",
        ),
        Reason::TooBig => ("the value or row is larger than PostgreSQL stores", "make the document smaller in MongoDB"),
        Reason::Amplify => ("a small value would become a huge one", "fix the document in MongoDB"),
        Reason::NotNull => (
            "a column that takes no NULL has no value",
            "fix the document in MongoDB, give the column a `default` in the mapping, or drop NOT NULL; then retry",
        ),
        Reason::Check => {
            ("a CHECK constraint refuses the row", "fix the document in MongoDB or the constraint; then retry")
        }
        Reason::FkMissing => (
            "the row that a reference names never came",
            "is the parent a dead letter itself? does its document exist? fix that; then retry",
        ),
        Reason::UniqueConflict => (
            "another row holds the unique value",
            "fix the duplicate in MongoDB, or drop the constraint in the target; then retry",
        ),
        Reason::Refused => (
            "PostgreSQL refused the row; the SQLSTATE says why",
            "look up the SQLSTATE; fix the target or the document; then retry",
        ),
    }
}

/// The reason of that code.
pub fn named(code: &str) -> Option<Reason> {
    serde_json::from_value(serde_json::Value::from(code)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_by_its_code() {
        assert_eq!(named("TOO_LONG"), Some(Reason::TooLong));
        assert_eq!(named("NONFINITE"), Some(Reason::NonFinite));
        assert_eq!(named("too_long"), None);
    }
}
