//! A Kafka broker of a test's own that speaks TLS, demands a password and has ACLs.

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
    authority::{Authority, Certified, secret},
    port::Port,
    stack::{self, Stack, root},
    wait,
};

/// The user of the daemon, and the password.
const USER: &str = "driftless";
pub(crate) const PASSWORD: &str = "open-to-kafka";
/// Any 16 bytes, as Kafka writes them.
const CLUSTER: &str = "AkRyaWZ0bGVzc0Nsb3NlZA";

/// A listener of the broker.
#[derive(Clone, Copy)]
pub(crate) enum Listener {
    /// Without encryption or password, for administrators.
    Open,
    /// For users.
    Users,
    /// For users; its certificate has expired.
    Expired,
    /// For users; its certificate names another server.
    Other,
}

/// A broker with listeners for users, and one for whoever administers it.
pub(crate) struct ClosedBroker {
    process: Child,
    folder: PathBuf,
    /// The program and class path that run Kafka.
    java: PathBuf,
    lib: String,
    /// In the order of [`Listener`].
    ports: [Port; 4],
    _controller: Port,
}

impl ClosedBroker {
    /// Starts one without any ACL.
    pub(crate) async fn start(stack: &Stack, authority: &Authority) -> Self {
        let (ports, controller) = ([(); 4].map(|()| Port::take()), Port::take());
        let pid = std::fs::read_to_string(stack.value("KAFKA_PID_FILE")).expect("read the pid of Kafka");
        let java = std::fs::read_link(format!("/proc/{}/exe", pid.trim())).expect("find the Java of Kafka");
        let lib = format!("{}/*", stack.value("KAFKA_LIB"));
        let name = format!("kafka-{}", ports[0].number);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("laws").join(name);
        std::fs::create_dir_all(&folder).expect("make the folder of the broker");
        let file = folder.join("server.properties");
        secret(folder.join("ca.pem"), &authority.pem);
        let mut settings = properties(&ports, &controller, &folder.join("data"));
        settings += &of_users("users", &authority.server(), &folder);
        settings += &of_users("expired", &authority.expired_server(), &folder);
        settings += &of_users("other", &authority.other_server(), &folder);
        std::fs::write(&file, settings).expect("write the settings");
        let log = std::fs::File::create(folder.join("log")).expect("make the log");
        let kafka = |class: &str| {
            let logging = root().join("deploy/local/kafka-log4j2.properties");
            let mut command = Command::new(&java);
            command.arg("-Xmx384m").arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
            command.args(["-cp", &lib, class]).stdin(Stdio::null()).kill_on_drop(true);
            command.stdout(log.try_clone().expect("share the log")).stderr(log.try_clone().expect("share the log"));
            command
        };
        let user = format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]");
        let formatted = kafka("kafka.tools.StorageTool")
            .args(["format", "-t", CLUSTER, "-c"])
            .arg(&file)
            .args(["--add-scram", &user])
            .status()
            .await;
        assert!(formatted.expect("start Java").success(), "format: {}", folder.join("log").display());
        let process = kafka("kafka.Kafka").arg(&file).spawn().expect("start the broker");
        let broker = Self { process, folder, java, lib, ports, _controller: controller };
        broker.answers().await;
        broker
    }

    fn address(&self, listener: Listener) -> String {
        format!("127.0.0.1:{}", self.ports[listener as usize].number)
    }

    async fn answers(&self) {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.address(Listener::Open)).create().expect("a client");
        let consumer = std::sync::Arc::new(consumer);
        wait::until("the closed broker answers", DEADLINE, async || {
            let consumer = consumer.clone();
            let ask = move || consumer.fetch_metadata(None, Duration::from_secs(1)).map(|_| ());
            tokio::task::spawn_blocking(ask).await.expect("ask").map_err(|error| error.to_string())
        })
        .await;
    }

    /// Returns the settings of the section `log` with which the daemon connects as its user; writes the password into a file.
    pub(crate) fn settings(
        &self,
        listener: Listener,
        authorities: &Path,
        secrets: &Path,
    ) -> [(&'static str, toml::Value); 3] {
        std::fs::write(secrets, format!("sasl.password={PASSWORD}\n")).expect("write the password");
        let mut client = toml::Table::new();
        for (key, value) in client_settings(authorities) {
            client.insert(key.to_owned(), value.into());
        }
        let file = secrets.to_str().expect("a plain path");
        [("brokers", self.address(listener).into()), ("client", client.into()), ("client_secrets_file", file.into())]
    }

    /// Returns the code with which the broker refuses the user a new topic; none if it makes the topic.
    pub(crate) async fn refuses(&self, topic: &str) -> Option<RDKafkaErrorCode> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.address(Listener::Users)).set("sasl.password", PASSWORD);
        for (key, value) in client_settings(&self.folder.join("ca.pem")) {
            client.set(key, value);
        }
        let admin: AdminClient<DefaultClientContext> = client.create().expect("a client");
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
            .arg(self.address(Listener::Open))
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

/// The settings of a client of the user, but for the password.
fn client_settings(authorities: &Path) -> [(&'static str, String); 4] {
    [
        ("security.protocol", "SASL_SSL".to_owned()),
        ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
        ("sasl.username", USER.to_owned()),
        ("ssl.ca.location", authorities.display().to_string()),
    ]
}

/// The settings of a listener for users.
fn of_users(listener: &str, certificate: &Certified, folder: &Path) -> String {
    let store = secret(folder.join(format!("{listener}.pem")), &certificate.pem());
    let name = format!("listener.name.{listener}");
    format!(
        "{name}.ssl.keystore.type=PEM
{name}.ssl.keystore.location={}
{name}.sasl.enabled.mechanisms=SCRAM-SHA-512
{name}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
",
        store.display()
    )
}

fn properties(ports: &[Port; 4], controller: &Port, data: &Path) -> String {
    let ([open, users, expired, other], controller) = (ports.each_ref().map(|port| port.number), controller.number);
    let listeners = format!(
        "OPEN://127.0.0.1:{open},USERS://127.0.0.1:{users},EXPIRED://127.0.0.1:{expired},OTHER://127.0.0.1:{other}"
    );
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
controller.listener.names=CONTROLLER
inter.broker.listener.name=OPEN
listener.security.protocol.map=CONTROLLER:PLAINTEXT,OPEN:PLAINTEXT,USERS:SASL_SSL,EXPIRED:SASL_SSL,OTHER:SASL_SSL
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
