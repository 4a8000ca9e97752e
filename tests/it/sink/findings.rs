//! Findings as they are recorded: what a judgement that comes late may open, and how those are counted that are not kept.

use driftless::{
    control::findings::{self, Found, FoundBy, Kind, Recorded, Scope, Subject},
    model::{Change, ClusterTime},
    postgres::{Purpose, Session},
    target::DocumentId,
};
use tokio_postgres::types::FromSqlOwned;

use super::world::{World, user};

/// A target with two users, as of which findings are recorded.
struct Recording {
    world: World,
    session: Session,
    collection: i32,
    changes: [Change; 2],
}

impl Recording {
    async fn new() -> Self {
        let mut world = World::new().await;
        let changes = [user(1, 1, "a@example.org"), user(2, 1, "b@example.org")];
        world.apply(&changes).await;
        let session = world.target.open(Purpose::Control).await.expect("connects");
        let collection = one(&world, "SELECT id FROM driftless.collection WHERE name = 'users'").await;
        world.execute(&format!("INSERT INTO driftless.proof (collection, plan) VALUES ({collection}, '')")).await;
        Self { world, session, collection, changes }
    }

    fn scope(&self, kept: u32) -> Scope<'static> {
        Scope { collection: self.collection, name: "users", plan: [0; 16], tables: &[], kept }
    }

    /// Judges a user different, as its ledger entry is now.
    async fn judged(&self, change: &Change) -> Found {
        let key = hex::encode(change.key.as_bytes());
        let applied = format!("SELECT xmin::text::int8 FROM driftless.ledger WHERE key = decode('{key}', 'hex')");
        Found {
            subject: Subject::Document(DocumentId::new(change.key.as_bytes().to_vec(), None)),
            kind: Kind::Different,
            columns: vec!["app.users.name".to_owned()],
            as_of: ClusterTime { t: 1, i: 0 },
            entry: Some((change.version, one(&self.world, &applied).await)),
            letter: None,
            refused: None,
        }
    }

    async fn record(&self, kept: u32, by: FoundBy, found: &[Found]) -> Recorded {
        findings::record(&self.session, &self.scope(kept), by, found).await.expect("records")
    }
}

async fn one<T: FromSqlOwned>(world: &World, sql: &str) -> T {
    world.database.client().await.query_one(sql, &[]).await.expect("reads").get(0)
}

/// A judgement waits up to a second until it is recorded. Meanwhile the document may have been repaired.
#[tokio::test]
async fn a_finding_that_has_ended_is_not_opened_by_an_older_judgement() {
    let mut recording = Recording::new().await;
    let [first, second] = recording.changes.clone();
    let older = [recording.judged(&first).await, recording.judged(&second).await];
    assert_eq!(recording.record(10, FoundBy::Delta, &older[..1]).await.new.len(), 1);

    let changed = [user(1, 2, "c@example.org"), user(2, 2, "d@example.org")];
    recording.world.apply(&changed).await;
    let newer = recording.judged(&changed[0]).await;
    let equal = [(changed[0].key.clone(), newer.entry)];
    let ended = findings::end_documents(&recording.session, &recording.scope(10), &equal).await.expect("ends");
    assert_eq!(ended.len(), 1);

    // The second user has no finding that has ended: however often it changes, the difference is reported.
    let recorded = recording.record(10, FoundBy::Delta, &older).await;
    assert_eq!(recorded, Recorded { new: vec![older[1].subject.clone()], left_out: 0 });
    let recorded = recording.record(10, FoundBy::Baseline, std::slice::from_ref(&newer)).await;
    assert_eq!(recorded.new, [newer.subject], "it differs as it is now");
    recording.world.end().await;
}

/// The delta judges a document again with every change, so what it cannot keep is no more than it was.
#[tokio::test]
async fn differences_that_are_not_kept_are_counted_once() {
    let recording = Recording::new().await;
    let mut found = Vec::new();
    for change in &recording.changes {
        found.push(recording.judged(change).await);
    }
    let left_out = "SELECT concat_ws(' ', left_out, complete_left_out) FROM driftless.proof JOIN driftless.collection AS c \
         ON c.id = collection AND c.name = 'users'";
    for _ in 0..3 {
        assert_eq!(recording.record(1, FoundBy::Delta, &found).await.left_out, 1);
        assert_eq!(one::<String>(&recording.world, left_out).await, "1 1");
    }
    recording.record(1, FoundBy::Baseline, &found).await;
    assert_eq!(one::<String>(&recording.world, left_out).await, "2 1", "a pass adds up its chunks");
    recording.world.end().await;
}
