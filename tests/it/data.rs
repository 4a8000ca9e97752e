//! `driftless check` and `driftless preview` on documents: the rows that a mapping makes of real data, before anything runs.

use bson::{DateTime, Document, doc, oid::ObjectId};
use driftless_testing::{mongo, postgres::Database, stack::setting, unique};

use crate::cli::{Said, driftless};

const TABLES: &str = "
CREATE SCHEMA app;
CREATE DOMAIN app.grade AS integer CHECK (VALUE < 10);
CREATE TABLE app.users (
    id uuid PRIMARY KEY,
    email varchar(20) NOT NULL UNIQUE,
    created_by text,
    nick text,
    born date,
    grade app.grade,
    fax text
);
CREATE TABLE app.plans (
    id uuid PRIMARY KEY,
    owner_id uuid CONSTRAINT plans_owner REFERENCES app.users (id),
    title text NOT NULL CONSTRAINT plans_title CHECK (length(title) < 10)
);
CREATE TABLE app.steps (
    id uuid PRIMARY KEY,
    plan_id uuid NOT NULL REFERENCES app.plans (id),
    place integer NOT NULL,
    name text,
    UNIQUE (plan_id, place)
);
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER quiet BEFORE UPDATE ON app.users FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER audit AFTER INSERT OR DELETE ON app.plans FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.plans ENABLE ALWAYS TRIGGER audit;
";

const MAPPING: &str = r#"
namespace = "dns"

[collections.users]
table = "app.users"
id = "uuid5"

[collections.users.columns]
email = "contact.email"

[collections.plans]
table = "app.plans"
id = "uuid5"

[collections.plans.columns]
owner_id = { path = "owner", reference = "users" }

[collections.plans.children.steps]
table = "app.steps"
parent = "plan_id"
order = "place"
id = { column = "id", from = "_id" }
"#;

/// Both sides of one test.
pub(crate) struct Site {
    pub(crate) source: mongodb::Database,
    pub(crate) target: Database,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let target = Database::create().await;
        target.client().await.batch_execute(TABLES).await.expect("makes the tables");
        Self { source: mongo().await.database(&unique("it")), target }
    }

    pub(crate) async fn insert(&self, collection: &str, documents: impl IntoIterator<Item = Document>) {
        let collection = self.source.collection::<Document>(collection);
        collection.insert_many(documents).await.expect("inserts");
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.run_with("auto", arguments)
    }

    fn run_with(&self, constraints: &str, arguments: &[&str]) -> Said {
        self.run_mapped(MAPPING, constraints, arguments)
    }

    pub(crate) fn run_mapped(&self, mapping: &str, constraints: &str, arguments: &[&str]) -> Said {
        self.run_with_files(&[("m.toml", mapping)], constraints, arguments)
    }

    pub(crate) fn run_with_files(&self, files: &[(&str, &str)], constraints: &str, arguments: &[&str]) -> Said {
        let config = format!(
            "mapping = \"m.toml\"\n[source]\nuri = \"{}\"\ndatabase = \"{}\"\n[log]\nbrokers = \"{}\"\nprefix = \"t\"\n\
             replication = 1\n[sink]\nurl = \"{}\"\nconstraints = \"{constraints}\"\n",
            setting("MONGO_URI"),
            self.source.name(),
            setting("KAFKA_BROKERS"),
            self.target.url()
        );
        driftless(&[&[("driftless.toml", config.as_str())], files].concat(), arguments)
    }

    fn check(&self, arguments: &[&str]) -> (i32, serde_json::Value) {
        let said = self.run(&[&["check", "--json"], arguments].concat());
        let report = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}{}", said.stdout, said.stderr));
        (said.code, report)
    }

    pub(crate) async fn end(self) {
        self.source.drop().await.expect("drops the source");
        self.target.drop().await;
    }
}

fn user(id: i32, email: impl Into<bson::Bson>) -> Document {
    doc! { "_id": id, "contact": { "email": email.into() }, "created_by": "import", "nick": "x" }
}

/// Creates documents that show everything that can be wrong.
pub(crate) async fn messy() -> Site {
    let site = Site::new().await;
    let mut late = user(5, "5@x");
    late.insert("born", DateTime::from_millis(1));
    late.insert("createdBy", "app");
    late.remove("nick");
    site.insert(
        "users",
        [
            user(1, "1@x"),
            user(2, "an-address-of-more-than-twenty@x"),
            user(3, 3),
            user(4, "1@x"),
            late,
            doc! { "_id": 6, "contact": { "phone": 1 }, "tags": ["a", { "b": 1 }] },
            doc! { "_id": 7, "contact": { "email": "7@x" }, "grade": 12 },
        ],
    )
    .await;
    let step = |name: &str| doc! { "_id": name, "name": name, "done": true };
    site.insert(
        "plans",
        [
            doc! { "_id": 1, "owner": 1, "title": "p", "steps": [step("a"), step("b")] },
            doc! { "_id": 2, "owner": 99, "title": "q", "steps": [] },
            doc! { "_id": 3, "title": "much too long", "steps": [] },
            doc! { "_id": 4, "title": "too long as well" },
        ],
    )
    .await;
    site
}

/// Returns faults and warnings as they are printed, without those about the server.
fn told(report: &serde_json::Value) -> String {
    let mut text = String::new();
    for kind in ["faults", "warnings"] {
        text += &format!("{kind}\n");
        for finding in report[kind].as_array().expect("findings").iter().filter(|finding| finding["place"] != "source")
        {
            let part = |name: &str| finding[name].as_str().expect("text").to_owned();
            text += &format!("{}: {}\n    hint: {}\n", part("place"), part("what"), part("hint"));
        }
    }
    let notes = report["notes"].as_array().expect("notes").iter().filter_map(|note| note.as_str());
    notes
        .filter(|note| note.starts_with("data") || note.starts_with("sink"))
        .for_each(|note| text += &format!("{note}\n"));
    text
}

#[tokio::test]
async fn check_names_everything_that_the_data_shows() {
    let site = messy().await;
    let (code, report) = site.check(&["--all"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(told(&report));
    site.end().await;
}

#[tokio::test]
async fn a_sample_tells_of_duplicates_and_not_of_parents_it_may_not_have_seen() {
    let site = messy().await;
    let (code, report) = site.check(&["--sample", "100"]);
    let told = told(&report);
    assert_eq!(code, 2);
    assert!(told.contains("UNIQUE_CONFLICT") && !told.contains("plans_owner"), "{told}");
    assert!(told.contains("data: users: 7 documents at random"), "{told}");
    // Only the data is wrong.
    assert_eq!(site.check(&["--sample", "0"]).0, 0);
    site.end().await;
}

#[tokio::test]
async fn where_constraints_are_enforced_a_missing_parent_is_a_fault_and_triggers_fire() {
    let site = Site::new().await;
    site.insert("plans", [doc! { "_id": 1, "owner": 99, "title": "p" }]).await;
    let said = site.run_with("enforce", &["check", "--all"]);
    assert_eq!(said.code, 2);
    let fault = "m.toml:16:1: 1 row of app.plans would refer by (owner_id) to a row of app.users that no document becomes \
                 (constraint plans_owner): FK_MISSING\n";
    assert!(said.stdout.contains(fault), "{}", said.stdout);
    let trigger =
        "sink: warning: trigger quiet of app.users fires for replicated rows: BEFORE UPDATE FOR EACH ROW, app.touch\n";
    assert!(said.stdout.contains(trigger), "{}", said.stdout);
    site.end().await;
}

#[tokio::test]
async fn warnings_alone_are_no_fault() {
    let site = Site::new().await;
    site.insert("users", [doc! { "_id": 1, "contact": { "email": "1@x", "fax": 1 } }]).await;
    let said = site.run(&["check"]);
    assert_eq!(said.code, 0, "{}", said.stdout);
    let warning = "m.toml:4:14: warning: path \"contact.fax\" of users is not read: int 1\n";
    assert!(said.stdout.contains(warning), "{}", said.stdout);
    assert!(said.stdout.contains("0 faults and ") && said.stdout.ends_with(" warnings found\n"), "{}", said.stdout);
    site.end().await;
}

#[tokio::test]
async fn a_preview_shows_documents_with_the_rows_that_postgresql_prints() {
    let site = messy().await;
    let id = ObjectId::from_bytes([7; 12]);
    let born = DateTime::parse_rfc3339_str("1990-02-03T00:00:00Z").expect("a date");
    site.insert("users", [doc! { "_id": id, "contact": { "email": "" }, "born": born, "grade": 7i64 }]).await;
    site.insert("users", [doc! { "_id": 8, "contact": { "email": "8@x" }, "grade": 12 }]).await;
    let preview = |code: i32, arguments: &[&str]| {
        let said = site.run(&[&["preview", "--collection"], arguments].concat());
        assert_eq!(said.code, code, "{}{}", said.stdout, said.stderr);
        said.stdout
    };
    let plan = preview(0, &["plans", "--id", "1"]);
    // Some of these users are refused.
    let users = preview(2, &["users", "--id", &id.to_hex(), "--id", "2", "--id", "5", "--id", "8"]);
    insta::assert_snapshot!(plan + &users);
    let json = preview(0, &["users", "--json", "--id", r#"{"$oid":"070707070707070707070707"}"#]);
    let shown: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let columns = &shown[0]["rows"][0]["columns"];
    assert_eq!((&columns[4]["column"], &columns[4]["value"]), (&"born".into(), &"1990-02-03".into()));
    let two = site.run(&["preview", "--collection", "users", "--limit", "2", "--json"]);
    assert_eq!(two.stdout.matches("\"document\"").count(), 2);

    let absent = site.run(&["preview", "--collection", "users", "--id", "77"]);
    assert!(absent.code == 1 && absent.stderr.contains("find document 77"), "{}", absent.stderr);
    let rows = site.target.client().await.query_one("SELECT count(*) FROM app.users", &[]).await.expect("counts");
    assert_eq!(rows.get::<_, i64>(0), 0, "nothing is written");
    site.end().await;
}

/// Creates a document with several faults, beside one that only looks faulty.
async fn several_faults() -> Site {
    let site = Site::new().await;
    let step = |id: i32, name: bson::Bson| doc! { "_id": id, "name": name };
    site.insert(
        "plans",
        [
            doc! { "_id": 1, "title": "a", "steps": [step(1, "x".into())] },
            doc! {
                "_id": 2, "owner": true,
                "steps": [step(1, "x".into()), step(2, true.into()), step(3, false.into()), { "name": "no _id" }],
            },
            doc! { "_id": 3, "owner": 7, "title": "much too long", "steps": [step(1, "x".into()), step(2, "too long".into())] },
        ],
    )
    .await;
    let constraint = "ALTER TABLE app.steps ADD CONSTRAINT short_name CHECK (length(name) < 4)";
    site.target.client().await.batch_execute(constraint).await.expect("adds a constraint");
    site
}

#[tokio::test]
async fn a_preview_names_every_fault_of_a_document_with_its_element() {
    let site = several_faults().await;
    let said = site.run(&["preview", "--collection", "plans", "--id", "2", "--id", "3"]);
    assert_eq!(said.code, 2, "{}", said.stdout);
    for line in [
        r#"refused: TYPE_MISMATCH in column "owner_id" of app.plans at path "owner""#,
        r#"refused: NOT_NULL in column "title" of app.plans at path "title""#,
        r#"refused: TYPE_MISMATCH in column "name" of app.steps at path "steps[1].name", and in 1 more element"#,
        r#"refused: NOT_NULL in column "id" of app.steps at path "steps[3]""#,
        // Only the target refuses these.
        "app.plans: refused by PostgreSQL: CHECK by plans_title in (title)",
        r#"app.steps at path "steps[1]": refused by PostgreSQL: CHECK by short_name in (name)"#,
    ] {
        assert!(said.stdout.lines().any(|told| told == line), "{line}\n{}", said.stdout);
    }
    let json = site.run(&["preview", "--collection", "plans", "--json", "--id", "2"]).stdout;
    let shown: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let refused = shown[0]["refused"].as_array().expect("refusals");
    let elements: Vec<_> = refused.iter().map(|one| (one["element"].as_str(), one["times"].as_u64())).collect();
    assert_eq!(elements[2..], [(Some("steps[1].name"), Some(2)), (Some("steps[3]"), Some(1))]);
    site.end().await;
}

#[tokio::test]
async fn check_names_every_fault_of_a_document_and_no_column_that_only_refused_ones_fill() {
    let site = several_faults().await;
    let (code, report) = site.check(&["--all"]);
    let told = told(&report);
    assert_eq!(code, 2);
    for fault in ["column \"owner_id\" of app.plans", "column \"title\" of app.plans", "column \"name\" of app.steps"] {
        assert!(told.contains("1 of 3 documents of plans would become dead letters: "), "{told}");
        assert!(told.contains(fault), "{fault}\n{told}");
    }
    assert!(told.contains("data: plans: 3 documents, 2 of them refused"), "{told}");
    site.end().await;
}

#[tokio::test]
async fn check_names_collections_that_lead_to_nothing_and_those_that_may_be_meant() {
    let site = Site::new().await;
    let mapping = "namespace = \"dns\"\n[collections.user]\ntable = \"app.users\"\nid = \"uuid5\"\n\
                   columns.email = { constant = \"x\" }\n";
    let check = |mapping: &str| site.run_mapped(mapping, "auto", &["check"]).stdout;
    let nowhere = check(mapping);
    let database = format!("source: warning: database {} has no collections\n", site.source.name());
    assert!(nowhere.contains(&database), "{nowhere}");

    site.insert("users", [doc! { "_id": 1 }]).await;
    site.insert("orders", [doc! { "_id": 1 }]).await;
    let mistyped = check(mapping);
    let warning = format!(
        "m.toml:2:14: warning: collection user does not exist in database {}\n    hint: did you mean `users`? if this is intended, \
         set `may_be_empty = true` for it\n",
        site.source.name()
    );
    assert!(mistyped.contains(&warning), "{mistyped}");
    let far = check(&mapping.replace("collections.user", "collections.people"));
    assert!(far.contains("hint: unmapped collections: `orders`, `users`; if this is intended"), "{far}");

    site.source.create_collection("user").await.expect("creates a collection");
    let empty = check(mapping);
    assert!(
        empty.contains("m.toml:2:14: warning: collection user has no documents\n    hint: did you mean `users`?"),
        "{empty}"
    );
    let meant = check(&format!("{mapping}may_be_empty = true\n"));
    assert!(!meant.contains("collection user"), "{meant}");
    site.end().await;
}

#[tokio::test]
async fn check_doubts_a_filter_that_leaves_everything_out() {
    let site = Site::new().await;
    site.insert("users", [doc! { "_id": 1, "kind": "active" }]).await;
    let mapping = "namespace = \"dns\"\n[collections.users]\ntable = \"app.users\"\nid = \"uuid5\"\n\
                   filter = { path = \"kind\", is = \"actve\" }\n";
    let said = site.run_mapped(mapping, "auto", &["check"]);
    assert!(said.stdout.contains("m.toml:2:14: warning: no document of users has rows"), "{}", said.stdout);
    site.end().await;
}

#[tokio::test]
async fn check_reports_faults_of_the_file_of_the_catalog_and_of_the_data_in_one_round() {
    let site = messy().await;
    let mapping = MAPPING
        .replace("path = \"owner\", reference = \"users\"", "pth = \"owner\"")
        .replace("order = \"place\"", "order = \"plaec\"");
    let said = site.run_mapped(&mapping, "auto", &["check"]);
    assert_eq!(said.code, 2);
    for fault in [
        // The file, the catalog of the same collection, and the data of the other one.
        "`pth` is not known here",
        "table \"app\".\"steps\" has no column \"plaec\"",
        "1 of 7 documents of users would become dead letters: TOO_LONG",
    ] {
        assert!(said.stdout.contains(fault), "{fault}\n{}", said.stdout);
    }
    site.end().await;
}
