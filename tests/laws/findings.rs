//! Law 9, for findings: each ends by itself, and says by what. One that ends without a cause is counted as a fault.

use mongodb::bson::{doc, oid::ObjectId};

use crate::support::{
    DEADLINE,
    load::{fill, organisation},
    migration::Migration,
    oracle::root_id,
};

/// The cause that ends the finding of a document whose name was changed by hand.
#[derive(Clone, Copy)]
enum End {
    /// The source changes it.
    Change,
    /// The log is applied again.
    Replay,
    /// Its row is changed back by hand, and the guard has seen that.
    SeenHand,
    /// Its row is changed back by hand, and nobody has seen that.
    UnseenHand,
    /// It is repaired.
    Repair,
}

const ENDS: [(End, &str); 5] = [
    (End::UnseenHand, "no cause"),
    (End::Change, "new version"),
    (End::Replay, "applied again"),
    (End::Repair, "repair"),
    (End::SeenHand, "foreign write"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_ends_with_its_cause() {
    let migration = Migration::demo("findings").await;
    fill(&migration, 7, 50).await;
    let organisations = migration.collection("organisations");
    let ids = ENDS.map(|_| ObjectId::new());
    organisations.insert_many(ids.map(organisation)).await.expect("insert organisations");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    for (id, (end, cause)) in ids.iter().zip(ENDS) {
        let row = format!("id = '{}'", root_id(&id.to_hex()));
        let rename = |name: &str| format!("UPDATE app.organisations SET name = '{name}' WHERE {row}");
        let unseen =
            |sql: String| format!("SET session_replication_role = replica; {sql}; RESET session_replication_role");
        let run = async |sql: String| {
            migration.target.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        };
        run(unseen(rename("rogue"))).await;
        // A finding is recorded, whatever is done about it.
        migration.succeed(&["repair", "--dry-run", "--collection", "organisations", "--id", &id.to_hex()]).await;
        let of_it = format!("position('\\x{}'::bytea IN key) > 0", id.to_hex());
        let open = format!("SELECT count(*) FROM driftless.finding WHERE {of_it} AND ended_at IS NULL");
        assert_eq!(migration.number(&open).await, 1, "{cause}");
        match end {
            End::Change => {
                let raise = doc! { "$inc": { "employees": 1 } };
                organisations.update_one(doc! { "_id": id }, raise).await.expect("change it");
            }
            End::Replay => {
                migration.replay("organisations").await;
            }
            End::Repair => drop(migration.succeed(&["repair"]).await),
            End::SeenHand => {
                migration.succeed(&["guard", "install"]).await;
                run(format!("ALTER TABLE app.organisations DISABLE TRIGGER touch; {}", rename("Marker"))).await;
            }
            End::UnseenHand => run(unseen(rename("Marker"))).await,
        }
        migration.wait_for_number(&open, DEADLINE, 0).await;
        let ended = format!("SELECT ended_by FROM driftless.finding WHERE {of_it}");
        assert_eq!(migration.texts(&ended).await, [Some(cause.to_owned())]);
    }
    let healed = daemon.metric("driftless_drift_healed_total").await;
    assert_eq!(healed, Some(1.0), "the one without a cause is counted");
    daemon.stop(0).await;
    migration.finish().await;
}
