//! The bearer token that the answers for applications demand.

use std::{io, path::Path};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use super::fault::Fault;

/// The token of the configured file.
#[derive(Clone, Debug)]
pub(crate) struct Token(SecretString);

/// The token cannot be read.
#[derive(Debug, Error)]
pub(crate) enum NoToken {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
}

impl Token {
    /// Reads the token; blanks around it do not count.
    ///
    /// # Errors
    /// Fails with [`NoToken`]: a missing token must not leave the answers open.
    pub(crate) fn read(file: &Path) -> Result<Self, NoToken> {
        let text = std::fs::read_to_string(file)?;
        match text.trim() {
            "" => Err(NoToken::Empty),
            token => Ok(Self(token.into())),
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, given)) = given.and_then(|value| value.split_once(' ')) else { return false };
        scheme.eq_ignore_ascii_case("bearer") && same(given.trim().as_bytes(), self.0.expose_secret().as_bytes())
    }
}

/// Compares in a time that does not depend on where the first difference is.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len() && given.iter().zip(wanted).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

/// Lets a request pass that carries the token.
pub(super) async fn check(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    match token {
        Some(token) if !token.admits(request.headers()) => {
            let fault = Fault::new(StatusCode::UNAUTHORIZED, "this needs the token: Authorization: Bearer …");
            ([(header::WWW_AUTHENTICATE, "Bearer")], fault).into_response()
        }
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_admitted() {
        let token = Token("s3cret".into());
        for (value, admitted) in [
            ("Bearer s3cret", true),
            ("bearer  s3cret ", true),
            ("Bearer s3cre", false),
            ("Bearer s3cret2", false),
            ("Basic s3cret", false),
            ("s3cret", false),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a value"))]);
            assert_eq!(token.admits(&headers), admitted, "{value}");
        }
        assert!(!token.admits(&HeaderMap::new()));
    }
}
