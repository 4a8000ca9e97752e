//! The OpenFeature Remote Evaluation Protocol: every OpenFeature SDK asks where the reads of a unit go, by its OFREP provider.
//!
//! The flag of a unit is `reads.<unit>`, its value `mongodb` or `postgresql`; the targeting key makes the answer sticky.
//!
//! Source: open-feature/protocol, service/openapi.yaml, version 0.2.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;

use super::{Page, reads::Reason};
use crate::reads::{Answer, Reads, Side, Why};

/// First part of the names of the flags.
const PREFIX: &str = "reads.";

/// An answer, `evaluationSuccess` of the protocol.
#[derive(Debug, PartialEq, Serialize)]
struct Evaluated {
    key: String,
    value: Side,
    variant: Side,
    reason: &'static str,
    metadata: Metadata,
}

/// Facts about an answer, for the application's log.
#[derive(Debug, PartialEq, Serialize)]
struct Metadata {
    unit: String,
    #[serde(flatten)]
    reason: Reason,
    epoch: i64,
}

/// A failure, `evaluationFailure` and, without a key, `bulkEvaluationFailure` of the protocol.
#[derive(Debug, PartialEq, Serialize)]
struct Failure {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(rename = "errorCode")]
    code: Code,
    #[serde(rename = "errorDetails")]
    details: String,
}

/// The error codes of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Code {
    ParseError,
    InvalidContext,
    TargetingKeyMissing,
    FlagNotFound,
}

/// One flag in the answer to a bulk evaluation.
#[derive(Serialize)]
#[serde(untagged)]
enum Flag {
    Evaluated(Evaluated),
    Failed(Failure),
}

#[derive(Serialize)]
struct Flags {
    flags: Vec<Flag>,
}

/// Evaluates one flag.
pub(super) async fn flag(State(page): State<Page>, Path(flag): Path<String>, body: Bytes) -> Response {
    let evaluated = match targeting_key(&body) {
        Ok(key) => evaluate(&page.reads, &flag, key.as_deref()),
        Err((code, details)) => Err(Failure { key: Some(flag), code, details }),
    };
    match evaluated {
        Ok(evaluated) => Json(evaluated).into_response(),
        Err(failure) if failure.code == Code::FlagNotFound => (StatusCode::NOT_FOUND, Json(failure)).into_response(),
        Err(failure) => (StatusCode::BAD_REQUEST, Json(failure)).into_response(),
    }
}

/// Evaluates the flags of all units, for a client that asks again and again: 304 while nothing has changed.
pub(super) async fn flags(State(page): State<Page>, headers: HeaderMap, body: Bytes) -> Response {
    let key = match targeting_key(&body) {
        Ok(key) => key,
        Err((code, details)) => {
            return (StatusCode::BAD_REQUEST, Json(Failure { key: None, code, details })).into_response();
        }
    };
    let flags = page.reads.names().map(|unit| {
        let evaluated = evaluate(&page.reads, &format!("{PREFIX}{unit}"), key.as_deref());
        evaluated.map_or_else(Flag::Failed, Flag::Evaluated)
    });
    let answer = serde_json::to_vec(&Flags { flags: flags.collect() }).unwrap_or_default();
    let tag = format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(&answer));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| matches(tags, &tag)) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::ETAG, tag), (header::CONTENT_TYPE, "application/json".to_owned())], answer).into_response()
}

/// Whether one of the tags of `If-None-Match` is this one. They are compared weakly, as RFC 9110 demands.
fn matches(tags: &str, tag: &str) -> bool {
    tags.split(',').map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// The targeting key of the context in a request. A context may be absent, and so may its key.
fn targeting_key(body: &[u8]) -> Result<Option<String>, (Code, String)> {
    let invalid = |details: &str| (Code::InvalidContext, details.to_owned());
    // The parser's own message would quote the body.
    let parse = |_| (Code::ParseError, "the body is no JSON".to_owned());
    let request: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).map_err(parse)? };
    let context = match &request {
        Value::Null => return Ok(None),
        Value::Object(request) => request.get("context"),
        _ => return Err((Code::ParseError, "the body is no JSON object".to_owned())),
    };
    let key = match context {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(context)) => context.get("targetingKey"),
        Some(_) => return Err(invalid("`context` is no object")),
    };
    match key {
        None | Some(Value::Null) => Ok(None),
        // SDKs send an empty text where the application gives no key.
        Some(Value::String(key)) => Ok(Some(key.clone()).filter(|key| !key.is_empty())),
        Some(_) => Err(invalid("`context.targetingKey` is no text")),
    }
}

fn evaluate(reads: &Reads, flag: &str, key: Option<&str>) -> Result<Evaluated, Failure> {
    let failure = |code, details: String| Failure { key: Some(flag.to_owned()), code, details };
    let unit = flag.strip_prefix(PREFIX);
    let Some((unit, answer)) = unit.and_then(|unit| Some((unit, reads.answer(unit, key)?))) else {
        return Err(failure(
            Code::FlagNotFound,
            format!("there is no flag {flag}; a unit has the flag {PREFIX}<unit>"),
        ));
    };
    evaluated(flag, unit, key, answer).ok_or_else(|| {
        failure(
            Code::TargetingKeyMissing,
            "a part of the keys is cut over: the context needs a targetingKey".to_owned(),
        )
    })
}

/// The answer of a flag; `None` where it depends on a key that is missing.
fn evaluated(flag: &str, unit: &str, key: Option<&str>, answer: Answer) -> Option<Evaluated> {
    let Answer { side, why, epoch } = answer;
    let reason = match (&why, key) {
        (Why::KeyMissing, _) => return None,
        (Why::Share, Some(_)) => "SPLIT",
        (Why::Share, None) => "STATIC",
        (Why::NotCutOver, _) => "DEFAULT",
        (Why::Tripped(_), _) => "DISABLED",
        (Why::Unknown(_), _) => "UNKNOWN",
    };
    let metadata = Metadata { unit: unit.to_owned(), reason: why.into(), epoch };
    Some(Evaluated { key: flag.to_owned(), value: side, variant: side, reason, metadata })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn answer(side: Side, why: Why) -> Answer {
        Answer { side, why, epoch: 7 }
    }

    #[rstest]
    #[case("", None)]
    #[case("{}", None)]
    #[case(r#"{"context":null}"#, None)]
    #[case(r#"{"context":{"country":"NO"}}"#, None)]
    #[case(r#"{"context":{"targetingKey":""}}"#, None)]
    #[case(r#"{"context":{"targetingKey":"user-1","country":"NO"}}"#, Some("user-1"))]
    fn a_context_has_a_targeting_key_or_none(#[case] body: &str, #[case] key: Option<&str>) {
        assert_eq!(targeting_key(body.as_bytes()), Ok(key.map(str::to_owned)));
    }

    #[rstest]
    #[case("{", Code::ParseError)]
    #[case("[]", Code::ParseError)]
    #[case("\u{fffd}", Code::ParseError)]
    #[case(r#"{"context":[]}"#, Code::InvalidContext)]
    #[case(r#"{"context":"user-1"}"#, Code::InvalidContext)]
    #[case(r#"{"context":{"targetingKey":7}}"#, Code::InvalidContext)]
    fn a_bad_request_has_its_code(#[case] body: &str, #[case] code: Code) {
        assert_eq!(targeting_key(body.as_bytes()).expect_err("a fault").0, code);
    }

    #[rstest]
    #[case(Side::Postgresql, Why::Share, Some("k"), Some("SPLIT"))]
    #[case(Side::Mongodb, Why::Share, Some("k"), Some("SPLIT"))]
    #[case(Side::Postgresql, Why::Share, None, Some("STATIC"))]
    #[case(Side::Mongodb, Why::KeyMissing, None, None)]
    #[case(Side::Mongodb, Why::NotCutOver, None, Some("DEFAULT"))]
    #[case(Side::Mongodb, Why::Tripped("drift".to_owned()), None, Some("DISABLED"))]
    #[case(Side::Mongodb, Why::Unknown("away".to_owned()), Some("k"), Some("UNKNOWN"))]
    fn a_reason_is_one_of_openfeature(
        #[case] side: Side,
        #[case] why: Why,
        #[case] key: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let found = evaluated("reads.billing", "billing", key, answer(side, why));
        assert_eq!(found.as_ref().map(|found| found.reason), expected);
        assert!(found.is_none_or(|found| (found.value, found.variant, found.metadata.epoch) == (side, side, 7)));
    }

    #[test]
    fn an_answer_has_the_form_of_the_protocol() {
        let found = evaluated("reads.all", "all", Some("k"), answer(Side::Postgresql, Why::Share)).expect("an answer");
        let text = serde_json::to_value(&found).expect("JSON");
        assert_eq!(text["key"], "reads.all");
        assert_eq!((&text["value"], &text["variant"]), (&"postgresql".into(), &"postgresql".into()));
        assert_eq!(text["metadata"], serde_json::json!({ "unit": "all", "why": "share", "epoch": 7 }));
        let failure = Failure { key: None, code: Code::TargetingKeyMissing, details: "…".to_owned() };
        let text = serde_json::to_string(&failure).expect("JSON");
        assert_eq!(text, r#"{"errorCode":"TARGETING_KEY_MISSING","errorDetails":"…"}"#);
    }

    #[rstest]
    #[case("\"a\"", true)]
    #[case("W/\"a\"", true)]
    #[case("\"b\", \"a\"", true)]
    #[case("*", true)]
    #[case("\"b\"", false)]
    #[case("a", false)]
    fn a_tag_is_found_among_those_the_client_knows(#[case] tags: &str, #[case] found: bool) {
        assert_eq!(matches(tags, "\"a\""), found);
    }
}
