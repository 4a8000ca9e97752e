//! `driftless health`: asks a running daemon how it is, for images that have no other program to ask with.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Exit, print, setup::Setup};

/// Longest wait for the answer, which the daemon has in memory. Health checks of containers give up later than this.
const ANSWER: Duration = Duration::from_secs(5);
/// The most bytes of an answer that are read: more than the reasons of all roles take.
const MAX_ANSWER: u64 = 64 << 10;

/// Ask the daemon at `http.listen` whether it is ready, or only whether it lives.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Ask only whether the process answers, whatever its roles wait for.
    #[arg(long)]
    live: bool,
}

impl Health {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let config = match Setup::config(path) {
            Ok(config) => config,
            Err(faults) => {
                print::faults(&faults);
                return Ok(Exit::Faults);
            }
        };
        let address = reachable(config.http.listen);
        let page = if self.live { "/livez" } else { "/readyz" };
        let (ready, told) = timeout(ANSWER, ask(address, page))
            .await
            .with_context(|| format!("ask http://{address}{page}: no answer within {ANSWER:?}"))?
            .with_context(|| format!("ask http://{address}{page}"))?;
        print::line(told.trim_end());
        Ok(if ready { Exit::Success } else { Exit::Failure })
    }
}

/// Returns an address at which the daemon answers on this host.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Returns whether the answer is 200, and its text.
async fn ask(address: SocketAddr, page: &str) -> std::io::Result<(bool, String)> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the answer is whole and ends with the connection.
    stream.write_all(format!("GET {page} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1);
    Ok((status == Some("200"), text.to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::any("0.0.0.0:9464", "127.0.0.1:9464")]
    #[case::any_of_six("[::]:9464", "[::1]:9464")]
    #[case::loopback("127.0.0.1:1", "127.0.0.1:1")]
    #[case::one("10.0.0.7:9464", "10.0.0.7:9464")]
    fn the_address_is_one_of_this_host(#[case] listen: SocketAddr, #[case] asked: SocketAddr) {
        assert_eq!(reachable(listen), asked);
    }

    #[rstest]
    #[case::ready("HTTP/1.0 200 OK\r\n\r\nok\n", true, "ok\n")]
    #[case::waiting("HTTP/1.0 503 Service Unavailable\r\na: 200\r\n\r\nsink: away\n", false, "sink: away\n")]
    #[case::something_else("hello", false, "")]
    #[tokio::test]
    async fn an_answer_is_ready_if_its_status_is_200(#[case] answer: &str, #[case] ready: bool, #[case] text: &str) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
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
        let (asked, told) = tokio::join!(serve, ask(address, "/readyz"));
        assert!(asked.starts_with("GET /readyz "), "{asked}");
        assert_eq!(told.expect("an answer"), (ready, text.to_owned()));
    }
}
