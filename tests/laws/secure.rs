//! TLS, passwords and certificates on all three servers: they work, and each way in which they do not is told with its cause and a
//! remedy. No secret shows anywhere.

use std::time::{Duration, SystemTime};

use mongodb::bson::doc;
use toml::Value;

use crate::support::{
    DEADLINE,
    authority::{Authority, secret},
    closed_broker::{self, ClosedBroker, Listener},
    closed_postgres::{self, admit, show},
    load::fill,
    migration::Migration,
    oracle,
    small_server::{self, ADMINISTRATOR, SmallServer},
    stack::Stack,
    wait,
};

/// A password that no server accepts.
const WRONG: &str = "planted-and-wrong";

/// The ends of the names of the roles of PostgreSQL, which say how they are known.
const PASSWORD: &str = "_password";
const CERTIFICATE: &str = "_certificate";

/// The servers, and what leads to them.
struct Servers {
    migration: Migration,
    mongodb: SmallServer,
    broker: ClosedBroker,
    ours: Authority,
    theirs: Authority,
    /// Everything that was printed.
    told: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_servers_replicate_and_every_refusal_names_its_cause() {
    let mut servers = Servers::start().await;
    servers.replicate().await;
    servers.mongodb_refuses().await;
    servers.kafka_refuses().await;
    servers.postgresql_refuses().await;
    servers.a_daemon_says_so_too().await;
    for secret in [small_server::PASSWORD, closed_broker::PASSWORD, closed_postgres::PASSWORD, WRONG, "PRIVATE KEY"] {
        assert!(!servers.told.contains(secret), "{secret}");
    }
    servers.end().await;
}

impl Servers {
    async fn start() -> Self {
        let stack: &Stack = Box::leak(Box::new(Stack::running("secure", &[]).await));
        let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
        let (mongodb, broker) =
            tokio::join!(SmallServer::start_closed(stack, &ours), ClosedBroker::start(stack, &ours));
        let migration = Migration::demo_from(stack, &mongodb.uri_of(ADMINISTRATOR), "secure").await;
        broker.grant(&migration.name).await;
        show(&migration.target, &ours.server(), &ours).await;
        for (role, method) in [(PASSWORD, "scram-sha-256"), (CERTIFICATE, "cert")] {
            admit(&migration.target, &(migration.name.clone() + role), method).await;
        }
        Self { migration, mongodb, broker, ours, theirs, told: String::new() }
    }

    /// Writes a file beside the configuration; returns its path.
    fn file(&self, name: &str, text: &str) -> String {
        secret(self.migration.mapping().with_file_name(name), text).display().to_string()
    }

    fn set_broker(&mut self, listener: Listener, authority: &str) {
        let secrets = self.migration.mapping().with_file_name("kafka.properties");
        for (key, value) in self.broker.settings(listener, authority.as_ref(), &secrets) {
            self.migration.set("log", key, value);
        }
    }

    /// Returns the name of a role of PostgreSQL by its end.
    fn role(&self, end: &str) -> String {
        format!("{}{end}", self.migration.name)
    }

    /// Returns the address of the target for a role, with an `sslmode`.
    fn url(&self, role: &str, mode: &str) -> String {
        let url = self.migration.stack.postgres_url(&self.migration.name);
        let (_, server) = url.rsplit_once('@').expect("a role in the address");
        format!("postgresql://{}@{server}?sslmode={mode}", self.role(role))
    }

    /// Returns the address of the source for a user who is known by this certificate.
    fn x509(&self, certificate: &str) -> String {
        format!(
            "{}&tlsCertificateKeyFile={certificate}&authMechanism=MONGODB-X509&authSource=%24external",
            self.mongodb.uri
        )
    }

    /// Returns the address of the source for a client that trusts other authorities.
    fn distrusts(&self, strangers: &str) -> String {
        let uri = self.mongodb.uri_of(ADMINISTRATOR);
        let (_, parameters) = uri.split_once("tlsCAFile=").expect("authorities in the address");
        let (authorities, _) = parameters.split_once('&').expect("a parameter behind it");
        uri.replace(authorities, strangers)
    }

    fn with_password(&self, password: &str) -> String {
        self.url(&format!("{PASSWORD}:{password}"), "verify-full")
    }

    /// Replicates with passwords, and then with certificates.
    async fn replicate(&mut self) {
        let authorities = self.file("ours.pem", &self.ours.pem);
        self.set_broker(Listener::Users, &authorities);
        self.migration.set("sink", "ca_file", authorities);
        self.migration.set("sink", "url", self.with_password(closed_postgres::PASSWORD));
        fill(&self.migration, 91, 200).await;
        self.equal().await;

        let role = self.role(CERTIFICATE);
        let [mongodb, postgresql] = ["driftless", &role].map(|name| {
            let certified = self.ours.user(name);
            self.file(&format!("{name}.pem"), &certified.pem())
        });
        let external = self.migration.mongo.database("$external");
        let roles = [doc! { "role": "read", "db": &self.migration.name }];
        let user = doc! { "createUser": "O=users,CN=driftless", "roles": roles.to_vec() };
        external.run_command(user).await.expect("make a user who has a certificate");
        self.migration.set("source", "uri", self.x509(&mongodb));
        self.migration.set("sink", "url", self.url(CERTIFICATE, "verify-full"));
        self.migration.set("sink", "certificate_file", postgresql);
        fill(&self.migration, 92, 100).await;
        self.equal().await;
    }

    async fn equal(&mut self) {
        self.told += &self.migration.succeed(&["check"]).await;
        let daemon = self.migration.daemon();
        self.migration.quiesce(&daemon, DEADLINE).await;
        oracle::assert_equal(&self.migration).await;
        self.told += &daemon.log();
        daemon.stop(0).await;
    }

    /// Sets this for one check, which must say these words.
    async fn refused(&mut self, [section, key]: [&str; 2], value: impl Into<Value>, words: &[&str]) {
        let before = self.migration.get(section, key).cloned().expect("it was set");
        self.migration.set(section, key, value);
        self.says(words).await;
        self.migration.set(section, key, before);
    }

    async fn check(&self) -> (Option<i32>, String) {
        let output = self.migration.command(&["check", "--sample", "0"]).await;
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), told)
    }

    async fn says(&mut self, words: &[&str]) {
        let (code, told) = self.check().await;
        assert_eq!(code, Some(2), "{words:?}: {told}");
        for word in words {
            assert!(told.contains(word), "no {word}: {told}");
        }
        self.told += &told;
    }

    async fn mongodb_refuses(&mut self) {
        const HINT: &str = "the certificate of the server must be valid";
        let key = ["source", "uri"];
        let strangers = self.file("theirs.pem", &self.theirs.pem);
        let by_password = self.mongodb.uri_of(ADMINISTRATOR);
        self.refused(key, self.distrusts(&strangers), &["UnknownIssuer", HINT]).await;
        let wrong = by_password.replace(small_server::PASSWORD, WRONG);
        self.refused(key, wrong, &["check user, password and authSource"]).await;
        let unknown = self.ours.user("nobody");
        let unknown = self.file("nobody.pem", &unknown.pem());
        self.refused(key, self.x509(&unknown), &["check user, password and authSource"]).await;
        let stranger = self.theirs.user("driftless");
        let stranger = self.file("stranger.pem", &stranger.pem());
        self.refused(key, self.x509(&stranger), &["close_notify", HINT]).await;
        let plain = self.mongodb.uri.split_once("&tls=").expect("TLS in the address").0.to_owned();
        self.refused(key, plain, &["tls=true"]).await;

        let admin = self.migration.mongo.database("admin");
        self.mongodb.show(&admin, &self.ours.other_server()).await;
        self.says(&["not valid for name", HINT]).await;
        // It takes none that has expired, so one expires while it runs.
        let soon = self.ours.server_until(SystemTime::now() + Duration::from_secs(10));
        self.mongodb.show(&admin, &soon).await;
        wait::until("the certificate of MongoDB has expired", DEADLINE, async || {
            let told = self.check().await.1;
            wait::holds(told.contains("certificate expired") && told.contains(HINT), told)
        })
        .await;
        self.mongodb.show(&admin, &self.ours.server()).await;
    }

    async fn kafka_refuses(&mut self) {
        const HINT: &str = "fit that listener";
        let authorities = self.file("ours.pem", &self.ours.pem);
        let strangers = self.file("theirs.pem", &self.theirs.pem);
        for (listener, authority) in
            [(Listener::Expired, &authorities), (Listener::Other, &authorities), (Listener::Users, &strangers)]
        {
            self.set_broker(listener, authority);
            self.says(&["certificate verify failed", "the certificate of the broker must not have expired"]).await;
        }
        self.set_broker(Listener::Users, &authorities);
        let secrets = self.file("wrong.properties", &format!("sasl.password={WRONG}\n"));
        self.refused(["log", "client_secrets_file"], secrets, &["uthentication failed", HINT]).await;
        let plain = toml::Table::new();
        self.refused(["log", "client"], plain, &[HINT]).await;
        self.refused(["log", "prefix"], "another", &["uthorization"]).await;
    }

    async fn postgresql_refuses(&mut self) {
        const HINT: &str = "the certificate of the server must be valid";
        let key = ["sink", "url"];
        let strangers = self.file("theirs.pem", &self.theirs.pem);
        self.refused(["sink", "ca_file"], strangers, &["UnknownIssuer", HINT]).await;
        self.refused(key, self.with_password(WRONG), &["28P01"]).await;
        let none = self.url(&format!("{PASSWORD}:{}", closed_postgres::PASSWORD), "disable");
        self.refused(key, none, &["pg_hba.conf"]).await;
        // A certificate that names somebody else, and one of an authority that the server does not know.
        let other = self.ours.user("nobody");
        let other = self.file("nobody.pem", &other.pem());
        self.refused(["sink", "certificate_file"], other, &["certificate authentication failed"]).await;
        let stranger = self.theirs.user(&self.role(CERTIFICATE));
        let stranger = self.file("stranger.pem", &stranger.pem());
        self.refused(["sink", "certificate_file"], stranger, &["UnknownCA", HINT]).await;
        let no_key = self.file("no_key.pem", &self.ours.pem);
        self.refused(["sink", "certificate_file"], no_key, &["no_key.pem", "no private key"]).await;

        show(&self.migration.target, &self.ours.other_server(), &self.ours).await;
        self.says(&["not valid for name", HINT]).await;
        show(&self.migration.target, &self.ours.expired_server(), &self.ours).await;
        self.says(&["certificate expired", HINT]).await;
        show(&self.migration.target, &self.ours.server(), &self.ours).await;
    }

    /// A daemon that starts with authorities that know none of the servers.
    async fn a_daemon_says_so_too(&mut self) {
        let strangers = self.file("theirs.pem", &self.theirs.pem);
        self.set_broker(Listener::Users, &strangers);
        self.migration.set("sink", "ca_file", strangers.clone());
        self.migration.set("source", "uri", self.distrusts(&strangers));
        let daemon = self.migration.daemon();
        daemon
            .wait_for("each role says that it does not trust its server", DEADLINE, |status| {
                ["source", "sink", "reconciler"].into_iter().all(|name| {
                    status.process.roles.get(name).is_some_and(|role| {
                        role.reason.as_ref().is_some_and(|reason| reason.contains("certificate")) && role.hint.is_some()
                    })
                })
            })
            .await;
        for page in ["/", "/metrics", "/api/v1/status"] {
            self.told += &daemon.page(page).await.expect("the page is served").1;
        }
        self.told += &daemon.log();
        daemon.stop(0).await;
    }

    async fn end(self) {
        let stack = self.migration.stack;
        for role in [PASSWORD, CERTIFICATE].map(|role| self.role(role)) {
            let drop = format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}");
            self.migration.target.batch_execute(&drop).await.expect("drop the role");
        }
        self.migration.finish().await;
        self.mongodb.end().await;
        self.broker.end().await;
        stack.down().await;
    }
}
