//! A MongoDB server of a test's own: one that forgets quickly, or one that demands a password.

use std::{io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf, process::Stdio};

use mongodb::bson::doc;
use tokio::process::{Child, Command};

use super::{DEADLINE, port::Port, stack::Stack, wait};

/// The user of a closed server who may do everything.
pub(crate) const ADMINISTRATOR: &str = "administrator";
/// The password of every user.
pub(crate) const PASSWORD: &str = "open";

/// A MongoDB server with little history, or with users.
pub(crate) struct SmallServer {
    process: Child,
    _port: Port,
    folder: PathBuf,
    /// Its address.
    pub(crate) uri: String,
}

impl SmallServer {
    /// Starts one whose oplog has this size and that can be read as of this many seconds ago.
    pub(crate) async fn start(stack: &Stack, oplog_mib: u32, window_s: u32) -> Self {
        let window = format!("minSnapshotHistoryWindowInSeconds={window_s}");
        // History is dropped only behind a checkpoint, so there is one each second.
        let options = ["--oplogSize", &oplog_mib.to_string(), "--syncdelay", "1", "--setParameter", &window];
        Self::launch(stack, &options, None).await
    }

    /// Starts one that demands a password; [`Self::uri_of`] is the address of [`ADMINISTRATOR`], who may do everything.
    pub(crate) async fn start_closed(stack: &Stack) -> Self {
        let server = Self::launch(stack, &[], Some("thekeyofasetwithonemember")).await;
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

    /// Starts `mongod` with these options; with a key, it demands authentication.
    async fn launch(stack: &Stack, options: &[&str], key: Option<&str>) -> Self {
        let taken = Port::take();
        let port = taken.number;
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("laws").join(format!("mongod-{port}"));
        std::fs::create_dir_all(folder.join("data")).expect("make the data folder");
        let log = std::fs::File::create(folder.join("log")).expect("make the log");
        let mut command = Command::new(stack.mongod());
        if let Some(key) = key {
            let file = folder.join("key");
            let _another = std::fs::remove_file(&file);
            let mut options = std::fs::File::options();
            let mut written = options.create_new(true).write(true).mode(0o400).open(&file).expect("make the key");
            written.write_all(key.as_bytes()).expect("write the key");
            command.arg("--keyFile").arg(file);
        }
        let process = command
            .arg("--dbpath")
            .arg(folder.join("data"))
            .args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "rs0"])
            .args(["--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("start mongod");
        let server = Self { process, _port: taken, folder, uri: format!("mongodb://127.0.0.1:{port}/?replicaSet=rs0") };
        server.initiate(port).await;
        server
    }

    async fn initiate(&self, port: u16) {
        let direct = format!("mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=1000");
        let admin = mongodb::Client::with_uri_str(direct).await.expect("a well-formed address").database("admin");
        let member = doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
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
