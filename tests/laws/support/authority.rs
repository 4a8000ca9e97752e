//! A certificate authority of a test's own.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub(crate) pem: String,
}

/// A certificate with its private key, both in PEM.
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Certified {
    /// Returns both, as one file holds them.
    pub(crate) fn pem(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = called(name, "authorities");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certifies a server of this machine.
    pub(crate) fn server(&self) -> Certified {
        self.sign(server(&["127.0.0.1", "localhost"]))
    }

    /// Certifies a server of another name.
    pub(crate) fn other_server(&self) -> Certified {
        self.sign(server(&["elsewhere.example"]))
    }

    /// Certifies a server of this machine until this time.
    pub(crate) fn server_until(&self, end: SystemTime) -> Certified {
        let mut params = server(&["127.0.0.1", "localhost"]);
        params.not_after = date_time_ymd(1970, 1, 1) + end.duration_since(UNIX_EPOCH).expect("after 1970");
        self.sign(params)
    }

    /// Certifies a server of this machine until a time that is over.
    pub(crate) fn expired_server(&self) -> Certified {
        self.server_until(SystemTime::now() - Duration::from_hours(1))
    }

    /// Certifies a user.
    pub(crate) fn user(&self, name: &str) -> Certified {
        let mut params = CertificateParams::default();
        params.distinguished_name = called(name, "users");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Certified {
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certified { certificate: signed.pem(), key: key.serialize_pem() }
    }
}

fn server(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of servers");
    params.distinguished_name = called("server", "servers");
    // The server also connects to itself.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn called(name: &str, organisation: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called.push(DnType::OrganizationName, organisation);
    called
}

/// Writes a file that others may not read, and returns its path.
pub(crate) fn secret(path: PathBuf, text: &str) -> PathBuf {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let _earlier = std::fs::remove_file(&path);
    let mut file =
        std::fs::File::options().create_new(true).write(true).mode(0o400).open(&path).expect("make the file");
    file.write_all(text.as_bytes()).expect("write the file");
    path
}
