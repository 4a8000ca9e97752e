//! Read your writes over HTTP: whether PostgreSQL holds an operation of MongoDB.

use std::time::Duration;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::SignedDuration;
use serde::Serialize;

use super::{Page, fault::Fault, parameters::Parameters};
use crate::{
    control::applied::{Question, Standing},
    log::ejson,
    metrics as names,
    model::{ClusterTime, Frontier, Key},
    pipeline::applied::Unanswered,
};

/// Longest wait: a request of an application that waits for longer has failed for its user anyway.
const MAX_WAIT: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Answer {
    applied: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// All changes of the collection before this cluster time are applied.
    watermark: Option<String>,
    /// The version of the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

/// Answers 200 as soon as the target holds every change up to the time, 409 if it does not within the wait.
pub(super) async fn applied(State(page): State<Page>, RawQuery(query): RawQuery) -> Result<Response, Fault> {
    let (question, wait) = question(query.as_deref(), &page.collections)?;
    let answered = page.applied.ask(question, wait).await;
    let outcome = match &answered {
        Ok(standing) if standing.applied => "yes",
        Ok(_) => "no",
        Err(_) => "unknown",
    };
    metrics::counter!(names::APPLIED_ANSWERS, "answer" => outcome).increment(1);
    let standing = answered.map_err(unknown)?;
    let status = if standing.applied { StatusCode::OK } else { StatusCode::CONFLICT };
    let answer = Answer {
        applied: standing.applied,
        reason: (!standing.applied).then(|| reason(&standing)),
        watermark: standing.watermark.map(|Frontier(bound)| bound.to_string()),
        version: standing.version.map(|version| version.to_string()),
    };
    Ok((status, Json(answer)).into_response())
}

fn unknown(unanswered: Unanswered) -> Fault {
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, unanswered.to_string())
}

fn reason(standing: &Standing) -> &'static str {
    match standing {
        Standing { known: false, .. } => "the sink has not started yet",
        Standing { complete: false, .. } => "the snapshot of the collection is not applied",
        Standing { held: true, .. } => "a change waits as a dead letter or for another document",
        _ => "the target has not come so far",
    }
}

fn question(query: Option<&str>, collections: &[String]) -> Result<(Question, Duration), Fault> {
    let parameters = Parameters::read(query, &["collection", "id", "at", "wait"])?;
    let collection = parameters.required("collection")?.to_owned();
    if !collections.contains(&collection) {
        let text = format!("there is no collection `{collection}`; there are {}", collections.join(", "));
        return Err(Fault::new(StatusCode::NOT_FOUND, text));
    }
    let key = parameters.get("id").map(key).transpose()?;
    let at = cluster_time(parameters.required("at")?)?;
    let wait = parameters.get("wait").map_or(Ok(Duration::ZERO), wait)?;
    Ok((Question { collection, key, at }, wait))
}

fn key(text: &str) -> Result<Key, Fault> {
    let id = ejson::id_of(text).map_err(|why| Fault::bad(format!("`id`: {why}")))?;
    Key::from_id(&id).ok_or_else(|| Fault::bad("`id`: MongoDB takes no such value for an `_id`"))
}

fn cluster_time(text: &str) -> Result<ClusterTime, Fault> {
    let parts = text.split_once('.').and_then(|(t, i)| Some((t.parse().ok()?, i.parse().ok()?)));
    let (t, i) = parts.ok_or_else(|| {
        Fault::bad(
            "`at` is no cluster time: write its seconds and its increment with a dot between them, as 1767225600.3",
        )
    })?;
    Ok(ClusterTime { t, i })
}

fn wait(text: &str) -> Result<Duration, Fault> {
    let wait = text.parse::<SignedDuration>().ok().and_then(|wait| Duration::try_from(wait).ok());
    let wait = wait.ok_or_else(|| Fault::bad("`wait` is no duration: write a number and a unit, as 200ms"))?;
    if wait > MAX_WAIT {
        return Err(Fault::bad(format!("`wait` is longer than {MAX_WAIT:?}")));
    }
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ask(query: &str) -> Result<(Question, Duration), Fault> {
        question(Some(query), &["plans".to_owned(), "users".to_owned()])
    }

    #[test]
    fn a_question_names_collection_document_time_and_wait() {
        let (question, wait) =
            ask("collection=users&id=070707070707070707070707&at=7.3&wait=200ms").expect("a question");
        assert_eq!((&*question.collection, question.at), ("users", ClusterTime { t: 7, i: 3 }));
        assert!(question.key.is_some_and(|key| key.as_bytes().starts_with(&[0x87, 7])));
        assert_eq!(wait, Duration::from_millis(200));
        let (question, wait) = ask("collection=plans&at=4294967295.0").expect("a question");
        assert_eq!((question.key, wait), (None, Duration::ZERO));
    }

    #[rstest]
    #[case("at=7.3", 400, "`collection` is missing")]
    #[case("collection=bills&at=7.3", 404, "there is no collection `bills`; there are plans, users")]
    #[case("collection=users", 400, "`at` is missing")]
    #[case("collection=users&at=7", 400, "`at` is no cluster time")]
    #[case("collection=users&at=4294967296.1", 400, "`at` is no cluster time")]
    #[case("collection=users&at=7.3&id=", 400, "`id`: it is empty")]
    #[case("collection=users&at=7.3&id=%7B%22a", 400, "`id`: it is no Extended JSON")]
    #[case("collection=users&at=7.3&wait=soon", 400, "`wait` is no duration")]
    #[case("collection=users&at=7.3&wait=-1s", 400, "`wait` is no duration")]
    #[case("collection=users&at=7.3&wait=31s", 400, "`wait` is longer than 30s")]
    #[case("collection=users&at=7.3&key=1", 400, "there is no parameter `key`")]
    fn a_bad_question_says_what_is_wrong(#[case] query: &str, #[case] status: u16, #[case] text: &str) {
        let fault = ask(query).expect_err("a fault");
        assert_eq!(fault.status.as_u16(), status);
        assert!(fault.text.starts_with(text), "{}", fault.text);
    }
}
