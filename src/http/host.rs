//! Which names this daemon answers to: a page of a stranger, whose name he lets point to this address, must not read the status
//! through the browser of an operator.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::fault::Fault;

/// The names of `http.hosts`.
#[derive(Clone)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    /// Besides these names, `localhost` and every address are admitted: nobody can let an address point elsewhere.
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    fn admits(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            // The colons inside of brackets belong to the address.
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        name == "localhost" || address.parse::<IpAddr>().is_ok() || self.0.contains(&name)
    }
}

/// Lets a request pass that was sent to one of the names.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    match host {
        Some(host) if hosts.admits(host) => next.run(request).await,
        _ => {
            let text = "this daemon does not answer to that name: use its address, or list the name in http.hosts";
            Fault::new(StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_known_names_are_admitted() {
        let hosts = Hosts::new(&["Driftless.example".to_owned()]);
        for (host, admitted) in [
            ("localhost", true),
            ("LOCALHOST:9464", true),
            ("127.0.0.1:9464", true),
            ("10.1.2.3", true),
            ("[::1]:9464", true),
            ("[::1]", true),
            ("driftless.example:80", true),
            ("driftless.example.evil.example", false),
            ("evil.example:9464", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(hosts.admits(host), admitted, "{host}");
        }
    }
}
