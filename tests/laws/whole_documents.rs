//! Law 4: a document is the unit of truth. The last of several changes in one transaction wins, although all of them share one
//! cluster time, and although the daemon is killed between them.

use std::{collections::HashMap, time::Duration};

use mongodb::{
    ClientSession, Collection,
    bson::{Document, doc, oid::ObjectId},
    error::Result,
};
use rand::Rng;
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE, drill, load,
    migration::Migration,
    oracle::{self, root_id},
    random,
};

/// The expected final state of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Its row, with this number of employees.
    Employees(i32),
    Nothing,
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_changes_in_a_transaction_the_last_wins() {
    let (_, mut random) = random("whole_documents");
    let mut migration = Migration::demo("transactions").await;
    // One transaction of MongoDB becomes several in the log, and several batches in the sink.
    migration.set("log", "transaction_changes", 4);
    migration.set("sink", "batch_changes", 3);
    migration.source.create_collection("organisations").await.expect("make the collection");

    let end = CancellationToken::new();
    let writer = tokio::spawn(write(migration.mongo.clone(), migration.collection("organisations"), end.clone()));
    for _ in 0..if drill() { 12 } else { 3 } {
        let mut daemon = migration.daemon();
        daemon.wait_for("the source runs", DEADLINE, |status| status.phase("source") == "running").await;
        daemon.lives_for(Duration::from_millis(random.random_range(300..1_500))).await;
        daemon.kill9().await;
    }
    end.cancel();
    let left = writer.await.expect("the writer does not panic");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;

    let rows =
        migration.target.query("SELECT id::text, employees FROM app.organisations", &[]).await.expect("read rows");
    let rows: HashMap<String, i32> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let survivors = left.values().filter(|left| **left != Left::Nothing).count();
    assert!(survivors > 50 && survivors < left.len(), "{survivors} of {} documents are left", left.len());
    for (id, left) in &left {
        let found = rows.get(&root_id(&id.to_hex())).map_or(Left::Nothing, |employees| Left::Employees(*employees));
        assert_eq!(found, *left, "{id}");
    }
    assert_eq!(rows.len(), survivors);
    oracle::assert_equal(&migration).await;
    let dead = "SELECT count(*) FROM driftless.dead_letter";
    assert_eq!(migration.number(dead).await, 0, "what a later change of the same transaction mends was never refused");
    daemon.stop(0).await;
    migration.finish().await;
}

/// Writes transactions until `end` is cancelled; returns the expected final state of each document.
async fn write(
    client: mongodb::Client,
    organisations: Collection<Document>,
    end: CancellationToken,
) -> HashMap<ObjectId, Left> {
    let mut left = HashMap::new();
    let mut round = 0;
    while !end.is_cancelled() {
        let ids: [ObjectId; 5] = std::array::from_fn(|_| ObjectId::new());
        let mut session = client.start_session().await.expect("start a session");
        session.start_transaction().await.expect("start a transaction");
        changes(&mut session, &organisations, ids, round).await.expect("nobody else changes these documents");
        session.commit_transaction().await.expect("commit the transaction");
        let [counted, replaced, reinserted, passing, last] = ids;
        left.insert(counted, Left::Employees(round + 3));
        left.insert(replaced, Left::Employees(round + 7));
        left.insert(reinserted, Left::Employees(round + 9));
        left.insert(passing, Left::Nothing);
        left.insert(last, Left::Employees(round));
        round += 10;
    }
    left
}

/// Makes several changes to each of five documents, interleaved.
async fn changes(
    session: &mut ClientSession,
    organisations: &Collection<Document>,
    ids: [ObjectId; 5],
    round: i32,
) -> Result<()> {
    let [counted, replaced, reinserted, passing, last] = ids;
    let one = |id: ObjectId| doc! { "_id": id };
    for id in [counted, replaced, reinserted, passing] {
        organisations.insert_one(organisation(id, round)).session(&mut *session).await?;
    }
    for _ in 0..3 {
        organisations.update_one(one(counted), doc! { "$inc": { "employees": 1 } }).session(&mut *session).await?;
        organisations.update_one(one(replaced), doc! { "$inc": { "employees": 1 } }).session(&mut *session).await?;
    }
    organisations.replace_one(one(replaced), organisation(replaced, round + 7)).session(&mut *session).await?;
    for employees in [round + 8, round + 9] {
        organisations.delete_one(one(reinserted)).session(&mut *session).await?;
        organisations.insert_one(organisation(reinserted, employees)).session(&mut *session).await?;
    }
    organisations.update_one(one(passing), doc! { "$set": { "employees": 1 } }).session(&mut *session).await?;
    organisations.delete_one(one(passing)).session(&mut *session).await?;
    organisations.insert_one(organisation(last, round)).session(&mut *session).await?;
    Ok(())
}

fn organisation(id: ObjectId, employees: i32) -> Document {
    let mut document = load::organisation(id);
    document.insert("employees", employees);
    document
}
