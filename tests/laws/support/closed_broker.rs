//! A Kafka broker of a test's own that demands a password and has ACLs.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    types::RDKafkaErrorCode,
};
use tokio::process::{Child, Command};

use super::{
    DEADLINE,
    port::Port,
    stack::{self, Stack, root},
    wait,
};

/// The user of the daemon, and the password.
const USER: &str = "driftless";
const PASSWORD: &str = "open";
/// Any 16 bytes, as Kafka writes them.
const CLUSTER: &str = "AkRyaWZ0bGVzc0Nsb3NlZA";

/// A broker with a listener for users, and one without for whoever administers it.
pub(crate) struct ClosedBroker {
    process: Child,
    folder: PathBuf,
    /// The program and class path that run Kafka.
    java: PathBuf,
    lib: String,
    /// The listeners for administrators and for users.
    ports: [Port; 2],
    _controller: Port,
}

impl ClosedBroker {
    /// Starts one without any ACL.
    pub(crate) async fn start(stack: &Stack) -> Self {
        let (ports, controller) = ([Port::take(), Port::take()], Port::take());
        let pid = std::fs::read_to_string(stack.value("KAFKA_PID_FILE")).expect("read the pid of Kafka");
        let java = std::fs::read_link(format!("/proc/{}/exe", pid.trim())).expect("find the Java of Kafka");
        let lib = format!("{}/*", stack.value("KAFKA_LIB"));
        let name = format!("kafka-{}", ports[0].number);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("laws").join(name);
        std::fs::create_dir_all(&folder).expect("make the folder of the broker");
        let file = folder.join("server.properties");
        std::fs::write(&file, properties(&ports, &controller, &folder.join("data"))).expect("write the settings");
        let log = std::fs::File::create(folder.join("log")).expect("make the log");
        let kafka = |class: &str| {
            let logging = root().join("deploy/local/kafka-log4j2.properties");
            let mut command = Command::new(&java);
            command.arg("-Xmx384m").arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
            command.args(["-cp", &lib, class]).stdin(Stdio::null()).kill_on_drop(true);
            command.stdout(log.try_clone().expect("share the log")).stderr(log.try_clone().expect("share the log"));
            command
        };
        let formatted =
            kafka("kafka.tools.StorageTool").args(["format", "-t", CLUSTER, "-c"]).arg(&file).status().await;
        assert!(formatted.expect("start Java").success(), "format: {}", folder.join("log").display());
        let process = kafka("kafka.Kafka").arg(&file).spawn().expect("start the broker");
        let broker = Self { process, folder, java, lib, ports, _controller: controller };
        broker.answers().await;
        broker
    }

    fn address(&self, listener: usize) -> String {
        format!("127.0.0.1:{}", self.ports[listener].number)
    }

    async fn answers(&self) {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.address(0)).create().expect("a client");
        let consumer = std::sync::Arc::new(consumer);
        wait::until("the closed broker answers", DEADLINE, async || {
            let consumer = consumer.clone();
            let ask = move || consumer.fetch_metadata(None, Duration::from_secs(1)).map(|_| ());
            tokio::task::spawn_blocking(ask).await.expect("ask").map_err(|error| error.to_string())
        })
        .await;
    }

    /// Returns the settings of the section `log` with which the daemon connects as its user; writes the password into a file.
    pub(crate) fn settings(&self, secrets: &Path) -> [(&'static str, toml::Value); 3] {
        std::fs::write(secrets, format!("sasl.password={PASSWORD}\n")).expect("write the password");
        let client = toml::toml! {
            "security.protocol" = "SASL_PLAINTEXT"
            "sasl.mechanism" = "PLAIN"
            "sasl.username" = USER
        };
        let file = secrets.to_str().expect("a plain path");
        [("brokers", self.address(1).into()), ("client", client.into()), ("client_secrets_file", file.into())]
    }

    /// Returns the code with which the broker refuses the user a new topic; none if it makes the topic.
    pub(crate) async fn refuses(&self, topic: &str) -> Option<RDKafkaErrorCode> {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.address(1))
            .set("security.protocol", "SASL_PLAINTEXT")
            .set("sasl.mechanism", "PLAIN")
            .set("sasl.username", USER)
            .set("sasl.password", PASSWORD)
            .create()
            .expect("a client");
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        let made = admin.create_topics([&new], &AdminOptions::new()).await.expect("the broker answers");
        made.into_iter().find_map(|topic| topic.err().map(|(_, code)| code))
    }

    /// Runs `deploy/roles/kafka.sh` for the user.
    pub(crate) async fn grant(&self, prefix: &str) {
        let tools = stack::fetch(Path::new("kafka-tools")).await;
        let program = self.folder.join("kafka-acls.sh");
        let class = "org.apache.kafka.tools.AclCommand";
        let script = format!(
            "#!/bin/sh\nexec '{}' -cp '{}:{}/*' {class} \"$@\"\n",
            self.java.display(),
            self.lib,
            tools.display()
        );
        std::fs::write(&program, script).expect("write the program");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("let it run");
        let granted = Command::new(root().join("deploy/roles/kafka.sh"))
            .args(["--principal", &format!("User:{USER}"), "--prefix", prefix, "--", "--bootstrap-server"])
            .arg(self.address(0))
            .env("KAFKA_ACLS", program)
            .output()
            .await
            .expect("start the script");
        let told = String::from_utf8_lossy(&granted.stdout).into_owned() + &String::from_utf8_lossy(&granted.stderr);
        assert!(granted.status.success(), "{told}");
    }

    /// Ends it and removes its data.
    pub(crate) async fn end(mut self) {
        self.process.kill().await.expect("kill the broker");
        std::fs::remove_dir_all(&self.folder).expect("remove its folder");
    }
}

fn properties(ports: &[Port; 2], controller: &Port, data: &Path) -> String {
    let ([open, users], controller) = (ports.each_ref().map(|port| port.number), controller.number);
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=OPEN://127.0.0.1:{open},USERS://127.0.0.1:{users},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=OPEN://127.0.0.1:{open},USERS://127.0.0.1:{users}
controller.listener.names=CONTROLLER
inter.broker.listener.name=OPEN
listener.security.protocol.map=CONTROLLER:PLAINTEXT,OPEN:PLAINTEXT,USERS:SASL_PLAINTEXT
listener.name.users.sasl.enabled.mechanisms=PLAIN
listener.name.users.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{USER}=\"{PASSWORD}\";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs={}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.index.size.max.bytes=1048576
",
        data.display()
    )
}
