//! TLS to PostgreSQL, as strict as `sslmode` asks. The modes mean the same as in every other PostgreSQL client.
//!
//! ```text
//! disable            plain text
//! prefer, require    encrypted, the server is not verified (with `ca_file`: as verify-ca)
//! verify-ca          the certificate comes from a trusted authority
//! verify-full        … and names the requested host
//! ```
//! Source: PostgreSQL manual, 34.19.1, Client Verification of Server Certificates.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Error;

/// The checked part of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing.
    Anyone,
    /// Its chain.
    Authority,
    /// Its chain and its name.
    Name,
}

impl Trust {
    /// Removes `sslmode` from a connection string, because the client library knows only the first three modes.
    pub(crate) fn take_from(url: &str) -> (String, Self) {
        for (mode, trust) in [("verify-full", Self::Name), ("verify-ca", Self::Authority)] {
            let text = format!("sslmode={mode}");
            if url.contains(&text) {
                return (url.replace(&text, "sslmode=require"), trust);
            }
        }
        (url.to_owned(), Self::Anyone)
    }
}

/// Builds the connector. `client` is the file with the daemon's own certificate and key, if the server asks for one.
pub(crate) fn connector(
    trust: Trust,
    ca_file: Option<&Path>,
    client: Option<&Path>,
) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(ring::default_provider());
    let trust = if trust == Trust::Anyone && ca_file.is_some() { Trust::Authority } else { trust };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls { what: error.to_string() })?;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anyone => Arc::new(Lenient { chain: None, provider }),
        Trust::Authority => Arc::new(Lenient { chain: Some(chain(ca_file, provider.clone())?), provider }),
        Trust::Name => chain(ca_file, provider)?,
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let unusable = |why: String| Error::Tls { what: format!("{}: {why}", path.display()) };
            let text = read(path)?;
            let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
            let chain = chain.map_err(|error| unusable(format!("{error:?}")))?;
            let key = PrivateKeyDer::from_pem_slice(&text);
            let key = key.map_err(|_| unusable("it holds no private key without a password, in PEM".to_owned()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(error.to_string()))?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn chain(ca_file: Option<&Path>, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    let (_, _unusable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let text = read(path)?;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate =
                certificate.map_err(|error| Error::Tls { what: format!("{}: {error:?}", path.display()) })?;
            roots.add(certificate).map_err(|error| Error::Tls { what: format!("{}: {error}", path.display()) })?;
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| Error::Tls { what: error.to_string() })
}

/// Checks the chain, if any, and never the name. Signatures of the handshake are checked in every mode.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is checked last, so the chain is valid.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("postgres://h/d?sslmode=verify-full", "postgres://h/d?sslmode=require", Trust::Name)]
    #[case("host=h sslmode=verify-ca dbname=d", "host=h sslmode=require dbname=d", Trust::Authority)]
    #[case("postgres://h/d?sslmode=prefer", "postgres://h/d?sslmode=prefer", Trust::Anyone)]
    fn sslmode_is_taken_from_either_form(#[case] url: &str, #[case] rest: &str, #[case] trust: Trust) {
        assert_eq!(Trust::take_from(url), (rest.to_owned(), trust));
    }

    #[test]
    fn every_mode_builds() {
        assert!(connector(Trust::Anyone, None, None).is_ok());
    }
}
