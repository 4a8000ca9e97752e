//! A MongoDB server of a test's own that forgets quickly.

use std::{path::PathBuf, process::Stdio};

use mongodb::bson::doc;
use tokio::process::{Child, Command};

use super::{DEADLINE, port::Port, stack::Stack, wait};

/// A MongoDB server with little history.
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
        let taken = Port::take();
        let port = taken.number;
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("laws").join(format!("mongod-{port}"));
        std::fs::create_dir_all(folder.join("data")).expect("make the data folder");
        let log = std::fs::File::create(folder.join("log")).expect("make the log");
        let process = Command::new(stack.mongod())
            .arg("--dbpath")
            .arg(folder.join("data"))
            .args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "rs0"])
            // History is dropped only behind a checkpoint, so there is one each second.
            .args(["--oplogSize", &oplog_mib.to_string(), "--syncdelay", "1", "--wiredTigerCacheSizeGB", "0.25"])
            .args(["--setParameter", "diagnosticDataCollectionEnabled=false"])
            .args(["--setParameter", &format!("minSnapshotHistoryWindowInSeconds={window_s}")])
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
