//! A MongoDB server of a test's own: one that forgets quickly, or one that demands a password.

use std::{path::PathBuf, process::Stdio};

use mongodb::bson::doc;
use tokio::process::{Child, Command};

use super::{
    DEADLINE,
    authority::{Authority, Certified, secret},
    port::Port,
    stack::Stack,
    wait,
};

/// The user of a closed server who may do everything.
pub(crate) const ADMINISTRATOR: &str = "administrator";
/// The password of every user.
pub(crate) const PASSWORD: &str = "open-to-mongodb";

/// A MongoDB server with little history, or with users.
pub(crate) struct SmallServer {
    process: Child,
    folder: PathBuf,
    /// Its address.
    pub(crate) uri: String,
    port: Port,
}

impl SmallServer {
    /// Starts one whose oplog has this size and that can be read as of this many seconds ago.
    pub(crate) async fn start(stack: &Stack, oplog_mib: u32, window_s: u32) -> Self {
        let window = format!("minSnapshotHistoryWindowInSeconds={window_s}");
        // History is dropped only behind a checkpoint, so there is one each second.
        let options = ["--oplogSize", &oplog_mib.to_string(), "--syncdelay", "1", "--setParameter", &window];
        let (port, folder) = place();
        Self::launch(stack, port, folder, &options, "").await
    }

    /// Starts one that speaks TLS alone and demands a password or a certificate; [`Self::uri_of`] is the address of [`ADMINISTRATOR`],
    /// who may do everything.
    pub(crate) async fn start_closed(stack: &Stack, authority: &Authority) -> Self {
        // The client of the tests does not choose a library for TLS by itself; another test may have chosen it.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let (port, folder) = place();
        let file = |name: &str, text: &str| secret(folder.join(name), text).display().to_string();
        let (key, ca) = (file("key", "thekeyofasetwithonemember"), file("ca.pem", &authority.pem));
        let certificate = file("server.pem", &authority.server().pem());
        let options = ["--keyFile", &key, "--tlsMode", "requireTLS", "--tlsCAFile", &ca];
        let more = ["--tlsCertificateKeyFile", &certificate, "--tlsAllowConnectionsWithoutCertificates"];
        let of_users = ["--setParameter", "authenticationMechanisms=SCRAM-SHA-256,MONGODB-X509"];
        let tls = format!("&tls=true&tlsCAFile={ca}");
        let server = Self::launch(stack, port, folder, &[&options[..], &more, &of_users].concat(), &tls).await;
        let direct = server.uri.replace("replicaSet=rs0", "directConnection=true");
        let admin = mongodb::Client::with_uri_str(direct).await.expect("a well-formed address").database("admin");
        // The server lets somebody without a password make the first user.
        let user = doc! { "createUser": ADMINISTRATOR, "pwd": PASSWORD, "roles": ["root"] };
        admin.run_command(user).await.expect("make the administrator");
        server
    }

    /// Returns the address of a user, whose password is [`PASSWORD`].
    pub(crate) fn uri_of(&self, user: &str) -> String {
        let server = self.uri.strip_prefix("mongodb://").expect("an address");
        format!("mongodb://{user}:{PASSWORD}@{server}&authSource=admin")
    }

    /// Makes a closed server show this certificate to clients that connect from now on.
    pub(crate) async fn show(&self, admin: &mongodb::Database, certificate: &Certified) {
        secret(self.folder.join("server.pem"), &certificate.pem());
        admin.run_command(doc! { "rotateCertificates": 1 }).await.expect("show another certificate");
    }

    /// Starts `mongod` with these options; `parameters` are those that a connection string needs.
    async fn launch(stack: &Stack, port: Port, folder: PathBuf, options: &[&str], parameters: &str) -> Self {
        let number = port.number;
        let log = std::fs::File::create(folder.join("log")).expect("make the log");
        let process = Command::new(stack.mongod())
            .arg("--dbpath")
            .arg(folder.join("data"))
            .args(["--port", &number.to_string(), "--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "rs0"])
            .args(["--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("start mongod");
        let uri = format!("mongodb://127.0.0.1:{number}/?replicaSet=rs0{parameters}");
        let server = Self { process, folder, uri, port };
        server.initiate().await;
        server
    }

    async fn initiate(&self) {
        let direct = self.uri.replace("replicaSet=rs0", "directConnection=true&serverSelectionTimeoutMS=1000");
        let admin = mongodb::Client::with_uri_str(direct).await.expect("a well-formed address").database("admin");
        let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", self.port.number) };
        let set = doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } };
        wait::until("the small server takes its configuration", DEADLINE, async || {
            admin.run_command(set.clone()).await
        })
        .await;
        wait::until("the small server is primary", DEADLINE, async || {
            let hello = admin.run_command(doc! { "hello": 1 }).await.map_err(|error| error.to_string())?;
            wait::holds(hello.get_bool("isWritablePrimary").unwrap_or(false), hello)
        })
        .await;
    }

    /// Ends it and removes its data.
    pub(crate) async fn end(mut self) {
        self.process.kill().await.expect("kill the small server");
        std::fs::remove_dir_all(&self.folder).expect("remove its folder");
    }
}

/// Takes a port, and makes a folder with room for data.
fn place() -> (Port, PathBuf) {
    let port = Port::take();
    let name = format!("mongod-{}", port.number);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("laws").join(name);
    std::fs::create_dir_all(folder.join("data")).expect("make the data folder");
    (port, folder)
}
