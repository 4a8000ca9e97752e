//! Asks a daemon for its status over HTTP.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A daemon answers out of its memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// No status is larger; more is the answer of something else.
const MAX_BYTES: u64 = 64 << 20;

/// Returns the status of the daemon at the address.
///
/// # Errors
/// Fails without an answer in time, and with one that is no status.
pub(super) async fn ask(address: &str) -> anyhow::Result<serde_json::Value> {
    let asked = tokio::time::timeout(PATIENCE, exchange(address)).await;
    let answer = asked.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))??;
    body(&answer)
}

/// Version 1.0 of HTTP: the answer comes in one piece and ends with the connection.
async fn exchange(address: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /api/v1/status HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_BYTES).read_to_string(&mut answer).await?;
    Ok(answer)
}

fn body(answer: &str) -> anyhow::Result<serde_json::Value> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("it answers `{status}`: {}", body.trim());
    }
    serde_json::from_str(body).context("the answer is no status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_answer_is_a_status() {
        let status =
            body("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"verdict\":\"drift\"}").expect("a status");
        assert_eq!(status["verdict"], "drift");
        for (answer, reason) in [
            ("HTTP/1.0 421 Misdirected Request\r\n\r\n{\"error\":\"no\"}", "421"),
            ("HTTP/1.0 200 OK\r\n\r\n<html>", "no status"),
            ("SSH-2.0", "not HTTP"),
        ] {
            let refused = body(answer).expect_err(answer).to_string();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
