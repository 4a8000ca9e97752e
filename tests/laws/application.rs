//! The example applications of `config/examples/business_plans/app`, as they run in production: each request reads where the flag says,
//! every session reads its own writes, and nothing fails because the daemon is away.

use std::process::Stdio;

use mongodb::bson::{DateTime, doc, oid::ObjectId};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    task::spawn_blocking,
};
use uuid::Uuid;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    migration::Migration,
    packages,
    port::Port,
    stack::{Stack, root},
    wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn application_reads_where_the_flag_says_and_never_behind_its_own_writes() {
    let migration = business_plans("application").await;
    let user = add_user(&migration).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    let application = Application::python(&migration, &daemon).await;
    let mut session = Session::new(&application, &user);
    let plan = session.add("Bakery").await;
    assert_eq!(session.read(&plan).await.reads, "mongodb", "nothing is cut over");

    cut_over(&migration, &daemon, "plans", "100%").await;
    // Each round writes something new, which the next read must show, wherever it goes.
    let mut round = 0;
    wait::until("PostgreSQL answers for a write of its session", DEADLINE, async || {
        round += 1;
        let summary = format!("round {round}");
        session.summarize(&plan, &summary).await;
        let found = session.read(&plan).await;
        assert_eq!(found.body["summary"], summary, "from {}", found.reads);
        wait::holds(found.reads == "postgresql", found.reads)
    })
    .await;
    // Another session has written nothing and waits for nothing; lists wait for the whole collection.
    let other = Session::new(&application, &user);
    assert_eq!(other.read(&plan).await.reads, "postgresql");
    session.add("Another").await;
    // A collection is applied later than a document: its first answers may come from MongoDB.
    wait::until("PostgreSQL lists a plan that was just added", DEADLINE, async || {
        let found = session.get("/plans").await;
        assert_eq!(found.body.as_array().map(Vec::len), Some(2), "from {}", found.reads);
        wait::holds(found.reads == "postgresql", found.reads)
    })
    .await;
    assert_eq!(session.get(&format!("/plans/{}", ObjectId::new())).await.code, 404);

    migration.succeed(&["cutover", "back", "--unit", "plans"]).await;
    wait::until("all reads are back", DEADLINE, async || {
        let found = other.read(&plan).await;
        wait::holds(found.reads == "mongodb", found.reads)
    })
    .await;
    cut_over(&migration, &daemon, "plans", "100%").await;
    daemon.stop(0).await;
    let found = session.read(&plan).await;
    assert_eq!((found.code, &*found.reads), (200, "mongodb"), "without the daemon");
    drop(application);
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn application_in_javascript_asks_postgresql_for_its_own_writes() {
    let migration = business_plans("javascript").await;
    let user = add_user(&migration).await;
    let id = ObjectId::new();
    let now = DateTime::now();
    let plan =
        doc! { "_id": id, "userId": &user, "title": "Bakery", "status": "draft", "createdAt": now, "updatedAt": now };
    migration.collection("plans").insert_one(plan).await.expect("insert a plan");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    let application = Application::javascript(&migration, &daemon).await;
    let mut session = Session::new(&application, &user);
    let page = format!("/plans/{id}/title");
    let found = session.get(&page).await;
    assert_eq!((&*found.reads, &*found.text), ("mongodb", "Bakery"));
    cut_over(&migration, &daemon, "plans", "100%").await;
    let mut round = 0;
    wait::until("PostgreSQL answers for a write of its session", DEADLINE, async || {
        round += 1;
        let title = format!("Bakery {round}");
        assert_eq!(session.send("PUT", &page, &title).await.code, 204);
        // The statement does not wait, so the first answers may come from MongoDB.
        wait::until("its own write comes from PostgreSQL", DEADLINE, async || {
            let found = session.get(&page).await;
            assert_eq!(found.text, title, "from {}", found.reads);
            wait::holds(found.reads == "postgresql", found.reads)
        })
        .await;
        wait::holds(round == 3, round)
    })
    .await;
    daemon.stop(0).await;
    assert_eq!(session.get(&page).await.reads, "mongodb", "without the daemon");
    drop(application);
    migration.finish().await;
}

/// Prepares the example on the shared servers.
async fn business_plans(test: &str) -> Migration {
    business_plans_on(Stack::shared().await, test).await
}

/// Prepares the example on other servers.
pub(crate) async fn business_plans_on(stack: &'static Stack, test: &str) -> Migration {
    let example = root().join("config/examples/business_plans");
    let read = |file: &str| std::fs::read_to_string(example.join(file)).expect("read the example");
    let mut migration =
        Migration::new(stack, stack.mongo_uri(), test, &read("schema.sql"), &read("mapping.toml")).await;
    migration.set("cutover", "oplog_margin", "0s");
    migration
}

pub(crate) async fn add_user(migration: &Migration) -> String {
    let (id, now) = (Uuid::new_v4().to_string(), DateTime::now());
    let user =
        doc! { "_id": &id, "email": format!("{id}@example.org"), "name": "A", "createdAt": now, "updatedAt": now };
    migration.collection("users").insert_one(user).await.expect("insert a user");
    id
}

/// Gives a unit this share, whatever the gate says, and waits until it counts.
async fn cut_over(migration: &Migration, daemon: &Daemon, unit: &str, share: &str) {
    migration.succeed(&["cutover", "reads", "--unit", unit, "--share", share, "--force", "--why", "a test"]).await;
    wait::until(format!("{share} of {unit} is cut over"), DEADLINE, async || {
        let (_, text) = daemon.page(&format!("/api/v1/reads/{unit}?key=1")).await?;
        wait::holds(text.contains(r#""why":"share""#), text)
    })
    .await;
}

/// A running application. It is killed when it goes out of scope.
pub(crate) struct Application {
    /// Kills it when dropped.
    _process: Child,
    _port: Port,
    address: String,
}

impl Application {
    pub(crate) async fn python(migration: &Migration, daemon: &Daemon) -> Self {
        let folder = root().join("config/examples/business_plans/app/python");
        let command = packages::python(&folder.join("requirements.txt"), &folder.join("app.py")).await;
        Self::start(command, migration, daemon).await
    }

    async fn javascript(migration: &Migration, daemon: &Daemon) -> Self {
        let folder = root().join("config/examples/business_plans/app/javascript");
        let own = migration.mapping().with_file_name("node");
        let command = packages::node(&folder.join("package-lock.json"), &folder.join("app.js"), own).await;
        Self::start(command, migration, daemon).await
    }

    async fn start(mut command: Command, migration: &Migration, daemon: &Daemon) -> Self {
        let port = Port::take();
        let address = format!("127.0.0.1:{}", port.number);
        let log = std::fs::File::create(migration.mapping().with_file_name("application.log")).expect("make its log");
        let process = command
            .env("DRIFTLESS", format!("http://{}", daemon.address()))
            .env("MONGODB", migration.stack.mongo_uri())
            .env("MONGODB_DATABASE", &migration.name)
            .env("POSTGRESQL", migration.stack.postgres_url(&migration.name))
            .env("LISTEN", &address)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("start the application");
        let application = Self { _process: process, _port: port, address };
        let anybody = Session::new(&application, "nobody");
        wait::until("the application answers", DEADLINE, async || {
            anybody.try_send("GET", "/plans/x", "").await.map(drop)
        })
        .await;
        application
    }
}

/// A user of an application, with the cookie of the session.
pub(crate) struct Session {
    address: String,
    user: String,
    /// The cookie of its last write.
    pub(crate) cookie: Option<String>,
    agent: ureq::Agent,
}

/// An answer of an application.
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// The database that it comes from.
    pub(crate) reads: String,
    pub(crate) cookie: Option<String>,
    pub(crate) text: String,
    /// The text as JSON.
    pub(crate) body: Value,
}

impl Session {
    pub(crate) fn new(application: &Application, user: &str) -> Self {
        let settings = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE)).build();
        Self { address: application.address.clone(), user: user.to_owned(), cookie: None, agent: settings.into() }
    }

    async fn get(&self, page: &str) -> Answer {
        self.try_send("GET", page, "").await.expect("an answer")
    }

    async fn read(&self, plan: &str) -> Answer {
        let answer = self.get(&format!("/plans/{plan}")).await;
        assert_eq!(answer.code, 200, "{}", answer.text);
        answer
    }

    pub(crate) async fn add(&mut self, title: &str) -> String {
        let answer = self.send("POST", "/plans", &json!({ "title": title }).to_string()).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
        answer.body["id"].as_str().expect("the id of the plan").to_owned()
    }

    async fn summarize(&mut self, plan: &str, summary: &str) {
        let answer = self.send("PATCH", &format!("/plans/{plan}"), &json!({ "summary": summary }).to_string()).await;
        assert_eq!(answer.code, 200, "{}", answer.text);
    }

    /// Sends a request that writes; the session keeps its cookie.
    async fn send(&mut self, method: &'static str, page: &str, body: &str) -> Answer {
        let answer = self.try_send(method, page, body).await.expect("an answer");
        self.cookie = answer.cookie.clone().or(self.cookie.take());
        answer
    }

    pub(crate) async fn try_send(&self, method: &'static str, page: &str, body: &str) -> Result<Answer, String> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{page}", self.address))
            .header("x-user", &self.user)
            .header("content-type", "application/json");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let (agent, body) = (self.agent.clone(), body.to_owned());
        let call = move || -> Result<Answer, ureq::Error> {
            let mut response = match method {
                "GET" => agent.run(request.body(())?)?,
                _ => agent.run(request.body(body)?)?,
            };
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let cookie = header("set-cookie").map(|cookie| cookie.split(';').next().unwrap_or_default().to_owned());
            let (code, reads) = (response.status().as_u16(), header("x-reads").unwrap_or_default());
            let text = response.body_mut().read_to_string()?;
            let body = serde_json::from_str(&text).unwrap_or_default();
            Ok(Answer { code, reads, cookie, text, body })
        };
        spawn_blocking(call).await.expect("the call does not panic").map_err(|error| error.to_string())
    }
}
