//! Asks a running daemon over HTTP.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;

/// Longest wait for the answer, which the daemon has in memory. Health checks of containers give up later than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// No status is larger; more is the answer of something else.
const MAX_BYTES: u64 = 64 << 20;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// The body.
    pub(super) text: String,
}

/// Asks the daemon at `HOST:PORT` for a page.
///
/// # Errors
/// Fails without an answer in time, and with one that is not HTTP.
pub(super) async fn ask(address: &str, page: &str) -> anyhow::Result<Answer> {
    let url = format!("http://{address}{page}");
    let context = format!("ask {url}");
    let asked = tokio::task::spawn_blocking(move || {
        // No proxy: a daemon is asked directly, whatever the environment says of other servers.
        let agent =
            ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).proxy(None);
        let mut answer = ureq::Agent::from(agent.build()).get(&url).call()?;
        let text = answer.body_mut().with_config().limit(MAX_BYTES).read_to_string()?;
        Ok::<_, ureq::Error>(Answer { status: answer.status().as_u16(), text })
    });
    asked.await?.context(context)
}

/// Returns an address at which a daemon that listens there answers on this machine.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[rstest]
    #[case::any("0.0.0.0:9464", "127.0.0.1:9464")]
    #[case::any_of_six("[::]:9464", "[::1]:9464")]
    #[case::loopback("127.0.0.1:1", "127.0.0.1:1")]
    #[case::one("10.0.0.7:9464", "10.0.0.7:9464")]
    fn the_address_is_one_of_this_machine(#[case] listen: SocketAddr, #[case] asked: SocketAddr) {
        assert_eq!(reachable(listen), asked);
    }

    /// Asks a server that answers so.
    async fn told(answer: &str) -> (String, anyhow::Result<Answer>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = String::new();
            // As a whole: a connection that is closed before is reset, and the answer lost.
            while !asked.ends_with("\r\n\r\n") {
                asked.push(char::from(stream.read_u8().await.expect("a question")));
            }
            stream.write_all(answer.as_bytes()).await.expect("answered");
            asked
        };
        tokio::join!(serve, ask(&address, "/readyz"))
    }

    #[rstest]
    #[case::good("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok\n", 200, "ok\n")]
    #[case::bad("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 11\r\n\r\nsink: away\n", 503, "sink: away\n")]
    #[tokio::test]
    async fn every_status_is_an_answer(#[case] answer: &str, #[case] status: u16, #[case] text: &str) {
        let (asked, told) = told(answer).await;
        assert!(asked.starts_with("GET /readyz "), "{asked}");
        assert_eq!(told.expect("an answer"), Answer { status, text: text.to_owned() });
    }

    #[tokio::test]
    async fn something_else_is_no_answer() {
        let (_, told) = told("SSH-2.0\r\n\r\n").await;
        assert!(told.expect_err("no HTTP").to_string().starts_with("ask http://127.0.0.1:"));
    }
}
