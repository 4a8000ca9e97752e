//! The source against a real replica set.

mod reads;
mod snapshots;

use std::{collections::BTreeMap, time::Duration};

use bson::{Document, doc, rawdoc};
use driftless::{
    config::SourceConfig,
    model::{Change, ClusterTime, ControlKind, Frontier, Op, ResumeToken, TokenKind},
    retry::{Backoff, Class, Classify},
    source::{ChangeStream, Error, OnDrop, Position, Scope, Source, Start, StreamBatch},
};
use driftless_testing::{
    proxy::{Line, Proxy},
    stack::setting,
    wait::soon,
};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection, Database};

const BACKOFF: Backoff = Backoff { min: Duration::from_millis(10), max: Duration::from_millis(200) };

/// A database of its own, and a source that reads it.
struct Shop {
    client: Client,
    database: Database,
    source: Source,
}

impl Shop {
    async fn open(test: &str) -> Self {
        Self::with(test, |_| {}).await
    }

    async fn with(test: &str, change: impl FnOnce(&mut SourceConfig)) -> Self {
        let uri = setting("MONGO_URI");
        let name = format!("it_{test}_{}", std::process::id());
        let client = soon("a connection", Client::with_uri_str(&uri)).await.expect("the server answers");
        let database = client.database(&name);
        database.drop().await.expect("the server answers");
        let mut config: SourceConfig =
            toml::from_str(&format!("uri = {uri:?}\ndatabase = {name:?}")).expect("the server answers");
        change(&mut config);
        let source = Source::connect(&config).await.expect("the server answers");
        Self { client, database, source }
    }

    /// Opens the same database, read with other settings.
    async fn again(other: &Self, change: impl FnOnce(&mut SourceConfig)) -> Self {
        let (uri, name) = (setting("MONGO_URI"), other.database.name());
        let mut config: SourceConfig =
            toml::from_str(&format!("uri = {uri:?}\ndatabase = {name:?}")).expect("the server answers");
        change(&mut config);
        let source = Source::connect(&config).await.expect("the server answers");
        Self { client: other.client.clone(), database: other.database.clone(), source }
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    fn scope(&self, collections: &[&str], on_drop: OnDrop) -> Scope {
        let collections = collections.iter().map(|name| ((*name).to_owned(), on_drop)).collect::<BTreeMap<_, _>>();
        Scope { database: self.database.name().to_owned(), collections, epoch: 1, since: BTreeMap::new() }
    }

    async fn now(&self) -> ClusterTime {
        self.source.now().await.expect("the server answers")
    }

    /// Returns the instant behind everything so far, which the server's clock has reached.
    async fn beginning(&self) -> Start {
        let now = self.now().await;
        self.collection("elsewhere").insert_one(doc! {}).await.expect("the server answers");
        Start::At(now.next())
    }

    fn stream(&self, collections: &[&str], start: Start) -> Stream {
        self.stream_on_drop(collections, start, OnDrop::Halt)
    }

    fn stream_on_drop(&self, collections: &[&str], start: Start, on_drop: OnDrop) -> Stream {
        Stream { inner: ChangeStream::open(&self.source, self.scope(collections, on_drop), start, BACKOFF) }
    }

    async fn close(self) {
        self.database.drop().await.expect("the server answers");
    }
}

struct Stream {
    inner: ChangeStream,
}

impl Stream {
    async fn batch(&mut self) -> StreamBatch {
        soon("a batch", self.inner.next_batch()).await.expect("the server answers")
    }

    /// Returns the batches until the stream has passed `time`.
    async fn until(&mut self, time: ClusterTime) -> Vec<StreamBatch> {
        let mut batches = Vec::new();
        while batches.last().is_none_or(|batch: &StreamBatch| !batch.position.frontier.covers(time)) {
            batches.push(self.batch().await);
        }
        batches
    }
}

/// Returns `_id` as a number, op, and field `v` of each change.
fn seen(batches: &[StreamBatch]) -> Vec<(i32, Op, Option<i32>)> {
    let value =
        |change: &Change| change.document.as_ref().map(|document| document.get_i32("v").expect("the server answers"));
    let changes = batches.iter().flat_map(|batch| &batch.changes);
    changes.map(|change| (change.id.get_i32("_id").expect("the server answers"), change.op, value(change))).collect()
}

/// An idle stream proves its last change without a further one, also after a restart.
#[tokio::test]
async fn an_idle_stream_covers_its_last_instant() {
    let shop = Shop::open("idle").await;
    let mut stream = shop.stream(&["orders"], Start::At(shop.now().await));
    shop.collection("orders").insert_one(doc! { "_id": 1, "v": 1 }).await.expect("the server answers");
    let inserted = shop.now().await;
    let last = stream.until(inserted).await.pop().expect("the server answers");
    assert!(last.position.as_of_ms > 0);
    drop(stream);
    let frontier = Frontier::default();
    let mut stream = shop.stream(&["orders"], Start::After { token: last.position.token, frontier, held: None });
    assert!(seen(&stream.until(inserted).await).is_empty());
    shop.close().await;
}

#[tokio::test]
async fn a_transaction_keeps_its_order() {
    let shop = Shop::open("transaction").await;
    let orders = shop.collection("orders");
    orders.insert_one(doc! { "_id": 1, "v": 0 }).await.expect("the server answers");
    let mut stream = shop.stream(&["orders"], shop.beginning().await);
    let mut session = shop.client.start_session().await.expect("the server answers");
    session.start_transaction().await.expect("the server answers");
    orders.replace_one(doc! { "_id": 1 }, doc! { "v": 1 }).session(&mut session).await.expect("the server answers");
    orders.delete_one(doc! { "_id": 1 }).session(&mut session).await.expect("the server answers");
    orders.insert_one(doc! { "_id": 1, "v": 2 }).session(&mut session).await.expect("the server answers");
    orders.insert_one(doc! { "_id": 2, "v": 3 }).session(&mut session).await.expect("the server answers");
    session.commit_transaction().await.expect("the server answers");
    let batches = stream.until(shop.now().await).await;
    let expected =
        [(1, Op::Replace, Some(1)), (1, Op::Delete, None), (1, Op::Insert, Some(2)), (2, Op::Insert, Some(3))];
    assert_eq!(seen(&batches), expected);
    let versions: Vec<_> = batches.iter().flat_map(|batch| &batch.changes).map(|change| change.version).collect();
    assert!(versions.iter().all(|version| version.time == versions[0].time), "one instant");
    assert_eq!(
        versions.iter().map(|version| version.op).collect::<Vec<_>>(),
        [1, 2, 3, 4],
        "0 is an operation outside of transactions"
    );
    shop.close().await;
}

/// All writes happen before the stream reads them, so lookups see the end state: no update may have an old image or none.
#[tokio::test]
async fn a_lookup_that_finds_nothing_gives_nothing() {
    let shop = Shop::open("lookup").await;
    let orders = shop.collection("orders");
    let start = shop.now().await;
    for id in [1, 2, 3] {
        orders.insert_one(doc! { "_id": id, "v": 0 }).await.expect("the server answers");
        orders.update_one(doc! { "_id": id }, doc! { "$set": { "v": 1 } }).await.expect("the server answers");
    }
    let updated = shop.now().await;
    orders.update_one(doc! { "_id": 1 }, doc! { "$set": { "v": 2 } }).await.expect("the server answers");
    orders.delete_one(doc! { "_id": 2 }).await.expect("the server answers");
    // One event per reply: each update is looked up alone, whatever follows it.
    let single = Shop::again(&shop, |config| config.stream_batch = 1).await;
    for shop in [&shop, &single] {
        let batches = shop.stream(&["orders"], Start::At(start)).until(shop.now().await).await;
        let changes: Vec<_> = batches.iter().flat_map(|batch| &batch.changes).collect();
        assert!(changes.iter().all(|change| (change.op == Op::Delete) == change.document.is_none()));
        let of = |id| seen(&batches).into_iter().filter(|(of, ..)| *of == id).collect::<Vec<_>>();
        assert_eq!(of(1).last(), Some(&(1, Op::Update, Some(2))));
        assert!(of(1).contains(&(1, Op::Insert, Some(0))) && !of(1).contains(&(1, Op::Update, Some(1))));
        assert_eq!(of(2), [(2, Op::Insert, Some(0)), (2, Op::Delete, None)]);
        assert_eq!(of(3), [(3, Op::Insert, Some(0)), (3, Op::Update, Some(1))]);
        let looked_up = changes.iter().filter(|change| change.op == Op::Update);
        assert!(looked_up.clone().all(|change| change.upper >= change.version.time && change.upper >= updated));
        assert!(changes.iter().all(|change| change.collection_uuid.is_some()));
    }
    shop.close().await;
}

/// A stream that is far behind saves its progress: a hold ends with the delete, not with the time of the lookup.
#[tokio::test]
async fn a_missing_image_holds_a_position_until_its_delete() {
    // One event per batch: an update and its delete never share one.
    let shop = Shop::with("holds", |config| (config.stream_batch, config.lookup_batch) = (1, 1)).await;
    let orders = shop.collection("orders");
    let start = shop.now().await;
    orders.insert_one(doc! { "_id": 1, "v": 0 }).await.expect("the server answers");
    orders.update_one(doc! { "_id": 1 }, doc! { "$set": { "v": 1 } }).await.expect("the server answers");
    let updated = shop.now().await;
    orders.insert_one(doc! { "_id": 2, "v": 0 }).await.expect("the server answers");
    orders.delete_one(doc! { "_id": 1 }).await.expect("the server answers");
    let deleted = shop.now().await;
    for id in 3..20 {
        orders.insert_one(doc! { "_id": id, "v": 0 }).await.expect("the server answers");
    }
    let batches = shop.stream(&["orders"], Start::At(start)).until(shop.now().await).await;
    let at_delete = batches.iter().position(|batch| batch.changes.iter().any(|change| change.op == Op::Delete));
    let (held, free) = batches.split_at(at_delete.expect("the delete was given"));
    assert!(held.iter().all(|batch| !batch.position.frontier.covers(updated)), "the update is not made good yet");
    // A process that ends while the position is held has returned more than it saved: none of that is repeated.
    for (ended, last) in held.iter().enumerate().filter(|(_, batch)| batch.position.held.is_some()) {
        let Position { token, frontier, held, .. } = last.position.clone();
        let rest = shop.stream(&["orders"], Start::After { token, frontier, held }).until(shop.now().await).await;
        let again = [seen(&batches[..=ended]), seen(&rest)].concat();
        assert_eq!(again, seen(&batches), "ended behind batch {ended}");
        // Nor does it forget the delete that it waits for.
        let deleted = rest.iter().position(|batch| batch.changes.iter().any(|change| change.op == Op::Delete));
        let waits = &rest[..deleted.expect("the delete is still to come")];
        assert!(waits.iter().all(|batch| !batch.position.frontier.covers(updated) && batch.position.held.is_some()));
    }
    assert!(
        held.iter().filter(|batch| batch.position.held.is_some()).count() > 1,
        "nothing was held: the test proves nothing"
    );
    let Position { frontier, token, .. } = &free[0].position;
    assert!(frontier.covers(updated) && !frontier.covers(deleted), "{frontier}");
    let after = Start::After { token: token.clone(), frontier: *frontier, held: None };
    let rest = shop.stream(&["orders"], after).until(shop.now().await).await;
    assert_eq!(seen(&rest), (3..20).map(|id| (id, Op::Insert, Some(0))).collect::<Vec<_>>());
    shop.close().await;
}

/// Changes of a collection's indexes and options produce neither changes nor controls.
#[tokio::test]
async fn what_is_no_data_gives_nothing() {
    let shop = Shop::open("no_data").await;
    let orders = shop.collection("orders");
    let start = shop.now().await;
    orders.insert_one(doc! { "_id": 1, "v": 1 }).await.expect("the server answers");
    let index = doc! { "createIndexes": "orders", "indexes": [{ "key": { "v": 1 }, "name": "v" }] };
    let collection = doc! { "collMod": "orders", "validationLevel": "moderate" };
    let no_index = doc! { "dropIndexes": "orders", "index": "v" };
    for command in [index, collection, no_index] {
        shop.database.run_command(command).await.expect("the server answers");
    }
    orders.insert_one(doc! { "_id": 2, "v": 2 }).await.expect("the server answers");
    let batches = shop.stream(&["orders"], Start::At(start)).until(shop.now().await).await;
    assert_eq!(seen(&batches), [(1, Op::Insert, Some(1)), (2, Op::Insert, Some(2))]);
    assert!(batches.iter().all(|batch| batch.controls.is_empty()));
    shop.close().await;
}

/// From each position that a batch returned, a new stream returns exactly the rest.
#[tokio::test]
async fn resuming_anywhere_loses_nothing() {
    let shop = Shop::with("resume", |config| config.stream_batch = 3).await;
    let orders = shop.collection("orders");
    let start = shop.now().await;
    for id in 0..5 {
        orders.insert_one(doc! { "_id": id, "v": 0 }).await.expect("the server answers");
    }
    let mut session = shop.client.start_session().await.expect("the server answers");
    session.start_transaction().await.expect("the server answers");
    for id in 5..12 {
        orders.insert_one(doc! { "_id": id, "v": 0 }).session(&mut session).await.expect("the server answers");
    }
    session.commit_transaction().await.expect("the server answers");
    orders.delete_one(doc! { "_id": 3 }).await.expect("the server answers");
    let end = shop.now().await;
    let all = shop.stream(&["orders"], Start::At(start)).until(end).await;
    let everything = seen(&all);
    assert_eq!(everything.len(), 13);
    let mut given = 0;
    let mut frontier = Frontier::default();
    for batch in all {
        given += batch.changes.len();
        let Position { token, frontier: announced, .. } = batch.position;
        assert!(announced >= frontier, "the frontier goes backwards");
        frontier = announced;
        let rest = shop
            .stream(&["orders"], Start::After { token, frontier: Frontier::default(), held: None })
            .until(end)
            .await;
        assert_eq!(seen(&rest), everything[given..]);
    }
    shop.close().await;
}

#[tokio::test]
async fn drops_and_renames_become_controls() {
    let shop = Shop::open("controls").await;
    let start = shop.now().await;
    let mapped = ["orders", "items", "archive"];
    for name in mapped.iter().chain(&["other"]) {
        shop.collection(name).insert_one(doc! { "_id": 1, "v": 1 }).await.expect("the server answers");
    }
    shop.collection("orders").drop().await.expect("the server answers");
    shop.collection("orders").insert_one(doc! { "_id": 2, "v": 2 }).await.expect("the server answers");
    shop.collection("other").drop().await.expect("the server answers");
    let name = |collection: &str| format!("{}.{collection}", shop.database.name());
    let rename = doc! { "renameCollection": name("items"), "to": name("archive"), "dropTarget": true };
    shop.client.database("admin").run_command(rename).await.expect("the server answers");
    // This drops the rest, and invalidates the stream.
    shop.database.drop().await.expect("the server answers");
    shop.collection("orders").insert_one(doc! { "_id": 3, "v": 3 }).await.expect("the server answers");
    let end = shop.now().await;

    let start = Start::At(start);
    let batches = shop.stream_on_drop(&mapped, start.clone(), OnDrop::Truncate).until(end).await;
    let controls: Vec<_> = batches.iter().flat_map(|batch| &batch.controls).collect();
    assert!(controls.iter().all(|control| control.truncate));
    let expected = [("orders", ControlKind::Drop), ("items", ControlKind::Rename), ("archive", ControlKind::Replace)];
    let kinds: Vec<_> = controls.iter().map(|control| (&*control.namespace.collection, control.kind)).collect();
    assert_eq!(kinds[..3], expected);
    let mut dropped: Vec<_> = kinds[3..].to_vec();
    dropped.sort_by_key(|(name, _)| *name);
    assert_eq!(dropped, [("archive", ControlKind::Drop), ("orders", ControlKind::Drop)]);
    // The stream continued behind the invalidate, and controls are the last in their batch.
    assert_eq!(seen(&batches).last(), Some(&(3, Op::Insert, Some(3))));
    for batch in &batches {
        let last = batch.changes.iter().map(|change| change.version).max();
        assert!(batch.controls.iter().all(|control| Some(control.version) > last));
    }

    let ignored = shop.stream_on_drop(&mapped, start.clone(), OnDrop::Ignore).until(end).await;
    assert!(ignored.iter().flat_map(|batch| &batch.controls).all(|control| !control.truncate));

    // The stream returns everything before the drop, then halts.
    let mut halting = shop.stream_on_drop(&mapped, start, OnDrop::Halt);
    let mut before = Vec::new();
    let error = loop {
        match soon("an end", halting.inner.next_batch()).await {
            Ok(batch) => before.push(batch),
            Err(error) => break error,
        }
    };
    assert_eq!(seen(&before).len(), 3);
    assert!(matches!(&error, Error::Dropped { namespace, .. } if &*namespace.collection == "orders"), "{error}");
    assert_eq!(error.class(), Class::Halt);
    assert!(error.hint().is_some());
    assert!(matches!(soon("an end", halting.inner.next_batch()).await, Err(Error::Ended)));
    shop.close().await;
}

/// A token of an event that the oplog does not hold: something between it and now is gone.
#[tokio::test]
async fn lost_history_halts() {
    let shop = Shop::open("history").await;
    let orders = shop.collection("orders");
    let mut watched = orders.watch().await.expect("the server answers");
    orders.insert_one(doc! { "_id": 1, "v": 1 }).await.expect("the server answers");
    let event = soon("an event", watched.try_next()).await.expect("the server answers").expect("an event");
    let token = bson::serialize_to_raw_document_buf(&event.id).expect("BSON");
    assert_eq!(ResumeToken::from_raw(&token).expect("a token").kind(), TokenKind::Event);
    let data = token.get_str("_data").expect("the server answers");
    // The same event, decades earlier: no oplog reaches back to it, but the events behind it are still there.
    let moved = format!("{}10000000{}", &data[..2], &data[10..]);
    let token = ResumeToken::from_raw(&rawdoc! { "_data": moved }).expect("a token");
    let start = Start::After { token, frontier: Frontier(shop.now().await), held: None };
    let mut stream = shop.stream(&["orders"], start);
    let ending = async {
        loop {
            if let Err(error) = stream.inner.next_batch().await {
                return error;
            }
        }
    };
    let error = soon("an end", ending).await;
    assert!(matches!(error, Error::HistoryLost { .. }), "{}", driftless::retry::chain(&error));
    assert_eq!(error.class(), Class::Halt);
    shop.close().await;
}

/// The last event before a restart may be one that the mapping no longer includes: that does not mean that history is lost.
#[tokio::test]
async fn a_stream_goes_on_where_its_last_event_is_filtered_out() {
    let shop = Shop::with("narrower", |config| config.stream_batch = 3).await;
    let (orders, items) = (shop.collection("orders"), shop.collection("items"));
    items.insert_one(doc! { "_id": 0, "v": 0 }).await.expect("the server answers");
    let start = shop.now().await;
    orders.insert_one(doc! { "_id": 1, "v": 1 }).await.expect("the server answers");
    items.insert_one(doc! { "_id": 1, "v": 1 }).await.expect("the server answers");
    let mut session = shop.client.start_session().await.expect("the server answers");
    session.start_transaction().await.expect("the server answers");
    for (collection, id) in [(&items, 2), (&orders, 2), (&items, 3), (&orders, 3), (&items, 4)] {
        collection.insert_one(doc! { "_id": id, "v": 1 }).session(&mut session).await.expect("the server answers");
    }
    session.commit_transaction().await.expect("the server answers");
    let rename = doc! {
        "renameCollection": format!("{}.items", shop.database.name()), "to": format!("{}.archive", shop.database.name()),
    };
    shop.client.database("admin").run_command(rename).await.expect("the server answers");
    shop.collection("archive").drop().await.expect("the server answers");
    let seen_before = shop.now().await;
    let all = shop.stream_on_drop(&["orders", "items", "archive"], Start::At(start), OnDrop::Ignore);
    let all = { all }.until(seen_before).await;
    orders.insert_one(doc! { "_id": 5, "v": 1 }).await.expect("the server answers");
    items.insert_one(doc! { "_id": 5, "v": 1 }).await.expect("the server answers");
    let end = shop.now().await;

    // From each event in turn, into mappings that include it, no longer include it, or include more.
    let mut given: Vec<(String, i32)> = Vec::new();
    let place =
        |change: &Change| (change.namespace.collection.to_string(), change.id.get_i32("_id").expect("a number"));
    let everything =
        |batches: &[StreamBatch]| batches.iter().flat_map(|batch| &batch.changes).map(place).collect::<Vec<_>>();
    let rest = [("orders".to_owned(), 5), ("items".to_owned(), 5)];
    let whole = [everything(&all), rest.to_vec()].concat();
    let mut events = 0;
    for batch in all {
        given.extend(everything(std::slice::from_ref(&batch)));
        events += usize::from(batch.position.token.kind() == TokenKind::Event);
        let Position { token, frontier, .. } = batch.position;
        for mapped in [&["orders"][..], &["items"], &["elsewhere"], &["orders", "items", "archive", "elsewhere"]] {
            let start = Start::After { token: token.clone(), frontier, held: None };
            let found = shop.stream_on_drop(mapped, start, OnDrop::Ignore);
            let found = everything(&{ found }.until(end).await);
            let expected = whole[given.len()..].iter().filter(|(collection, _)| mapped.contains(&collection.as_str()));
            assert_eq!(found, expected.cloned().collect::<Vec<_>>(), "{mapped:?} behind {given:?}");
        }
    }
    assert!(events > 2, "{events} positions that were an event's");
    shop.close().await;
}

/// Events up to the first instant of a collection are not reported for it, whatever the policy.
#[tokio::test]
async fn a_drop_at_the_first_instant_is_no_news() {
    let shop = Shop::open("first_instant").await;
    let orders = shop.collection("orders");
    orders.insert_one(doc! { "_id": 1, "v": 1 }).await.expect("the server answers");
    let reply = shop.database.run_command(doc! { "drop": "orders" }).await.expect("the server answers");
    let dropped = ClusterTime::from(reply.get_timestamp("operationTime").expect("a replica set tells its time"));
    orders.insert_one(doc! { "_id": 2, "v": 2 }).await.expect("the server answers");
    let end = shop.now().await;
    for since in [None, Some(dropped)] {
        let mut scope = shop.scope(&["orders"], OnDrop::Halt);
        scope.since.extend(since.map(|since| ("orders".to_owned(), since)));
        let mut stream = Stream { inner: ChangeStream::open(&shop.source, scope, Start::At(dropped), BACKOFF) };
        match since {
            None => {
                let error = loop {
                    if let Err(error) = soon("a batch", stream.inner.next_batch()).await {
                        break error;
                    }
                };
                assert!(matches!(error, Error::Dropped { .. }), "the drop is at the instant: {error}");
            }
            Some(_) => assert_eq!(seen(&stream.until(end).await), [(2, Op::Insert, Some(2))]),
        }
    }
    shop.close().await;
}

/// Kills the cursors of a shop; returns their number. At the instant between idle and active, the server lists none.
async fn kill_cursors(shop: &Shop) -> usize {
    let own = doc! { "$match": { "ns": { "$regex": format!("^{}[.]", shop.database.name()) } } };
    let stages = [doc! { "$currentOp": { "idleCursors": true } }, own];
    let mut found = shop.client.database("admin").aggregate(stages).await.expect("the server answers");
    let mut killed = 0;
    while found.advance().await.expect("the server answers") {
        let operation: Document = found.deserialize_current().expect("the server answers");
        if let Ok(id) = operation.get_document("cursor").and_then(|cursor| cursor.get_i64("cursorId")) {
            let kill = doc! { "killCursors": "$cmd.aggregate", "cursors": [id] };
            shop.database.run_command(kill).await.expect("the server answers");
            killed += 1;
        }
    }
    killed
}

/// A cursor that the server forgets is opened again at its position.
#[tokio::test]
async fn a_killed_cursor_is_opened_again() {
    let shop = Shop::open("killed").await;
    let orders = shop.collection("orders");
    let mut stream = shop.stream(&["orders"], shop.beginning().await);
    let mut everything = Vec::new();
    for id in 0..5 {
        orders.insert_one(doc! { "_id": id, "v": 1 }).await.expect("the server answers");
        everything.extend(stream.until(shop.now().await).await);
        soon("a cursor to kill", async { while kill_cursors(&shop).await == 0 {} }).await;
    }
    orders.insert_one(doc! { "_id": 5, "v": 1 }).await.expect("the server answers");
    everything.extend(stream.until(shop.now().await).await);
    assert_eq!(seen(&everything), (0..6).map(|id| (id, Op::Insert, Some(1))).collect::<Vec<_>>());
    shop.close().await;
}

/// The connection breaks or falls silent: in both cases the stream continues at its position once it is back.
#[tokio::test]
async fn a_broken_line_is_waited_for() {
    let shop = Shop::open("line").await;
    let orders = shop.collection("orders");
    let uri = setting("MONGO_URI");
    let server =
        uri.trim_start_matches("mongodb://").split(['/', ',', '?']).next().expect("the server answers").to_owned();
    let proxy = Proxy::to(server).await;
    let behind = Shop::again(&shop, |config| {
        config.uri = Some(format!("mongodb://{}/?directConnection=true", proxy.address).into());
        config.timeout = Duration::from_millis(500);
        config.max_await = Duration::from_millis(20);
    })
    .await;
    let mut stream = behind.stream(&["orders"], shop.beginning().await);
    let mut everything = Vec::new();
    for (id, line) in [Line::Open, Line::Cut, Line::Stalled, Line::Open].into_iter().enumerate() {
        proxy.set(line);
        orders.insert_one(doc! { "_id": id as i32, "v": 0 }).await.expect("the server answers");
        orders.update_one(doc! { "_id": id as i32 }, doc! { "$set": { "v": 1 } }).await.expect("the server answers");
        let written = shop.now().await;
        if line != Line::Open {
            // The watchdog has given up the old connections, and attempts with new ones have failed.
            proxy.connects_again(4).await;
            proxy.set(Line::Open);
        }
        everything.extend(stream.until(written).await);
    }
    let expected = (0..4).flat_map(|id| [(id, Op::Insert, Some(0)), (id, Op::Update, Some(1))]);
    assert_eq!(seen(&everything), expected.collect::<Vec<_>>());
    shop.close().await;
}

/// Nobody takes the batches of one stream, while another reads everything: the first has stopped requesting at its bound.
#[tokio::test]
async fn a_stream_that_nobody_takes_from_stops_reading_at_its_bound() {
    const EVENTS: i32 = 2_000;
    const EVENT_BYTES: usize = 10_000;
    const BOUND: u64 = 1 << 20;
    let shop = Shop::open("bound").await;
    let orders = shop.collection("orders");
    let start = shop.beginning().await;
    let wide = "x".repeat(EVENT_BYTES);
    orders
        .insert_many((0..EVENTS).map(|id| doc! { "_id": id, "v": 0, "wide": &wide }))
        .await
        .expect("the server answers");
    let written = shop.now().await;
    let server = setting("MONGO_URI");
    let server = server.trim_start_matches("mongodb://").split(['/', ',', '?']).next().expect("an address").to_owned();
    let proxy = Proxy::to(server).await;
    let narrow = |config: &mut SourceConfig| {
        config.stream_bytes = bytesize::ByteSize::b(BOUND);
        config.stream_batch = 10;
    };
    let behind = Shop::again(&shop, |config| {
        narrow(config);
        config.uri = Some(format!("mongodb://{}/?directConnection=true", proxy.address).into());
    })
    .await;
    let mut stalled = behind.stream(&["orders"], start.clone());
    let mut other = Shop::again(&shop, narrow).await.stream(&["orders"], start);
    assert_eq!(seen(&other.until(written).await).len(), EVENTS as usize);

    // One batch is formed, one waits for its place, and the reply in flight is read to its end; all others wait in the server.
    let read = proxy.answered_bytes();
    assert!(read < 6 * BOUND, "{read} bytes were read, of {} that are there", EVENTS as usize * EVENT_BYTES);
    assert_eq!(seen(&stalled.until(written).await).len(), EVENTS as usize, "nothing is lost");
    assert!(proxy.answered_bytes() > EVENTS as u64 * EVENT_BYTES as u64);
    shop.close().await;
}

/// Tries to refute the inclusive frontier: writers and transactions run, while two streams (one filtered, one restarted
/// repeatedly) check that nothing arrives at or before an instant they declared complete, and that nothing is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_behind_the_frontier() {
    const WRITERS: i32 = 4;
    const ROUNDS: i32 = 150;
    let shop = Shop::with("frontier", |config| {
        config.stream_batch = 3;
        config.max_await = Duration::from_millis(20);
    })
    .await;
    for name in ["orders", "noise"] {
        shop.database.create_collection(name).await.expect("the server answers");
    }
    let start = shop.now().await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(shop.client.clone(), shop.database.clone(), writer, ROUNDS)))
        .collect();
    let writing = async {
        for writer in writers {
            writer.await.expect("the server answers");
        }
        shop.now().await
    };
    let (ended, end) = tokio::sync::watch::channel(None);
    let follow = |restart: usize| {
        let (shop, mut end) = (&shop, end.clone());
        async move {
            let mut stream = shop.stream(&["orders"], Start::At(start));
            let (mut frontier, mut inclusive, mut changes, mut batches) = (Frontier::default(), 0, 0, 0);
            loop {
                let batch = stream.batch().await;
                for change in &batch.changes {
                    let time = change.version.time;
                    assert!(!frontier.covers(time), "a change at {time} comes behind the frontier {frontier}");
                }
                inclusive += usize::from(batch.position.frontier > Frontier(batch.position.token.time()));
                changes += batch.changes.len();
                frontier = batch.position.frontier;
                if end.borrow_and_update().is_some_and(|end| frontier.covers(end)) {
                    return (changes, inclusive);
                }
                batches += 1;
                if restart > 0 && batches % restart == 0 {
                    stream = shop.stream(
                        &["orders"],
                        Start::After { token: batch.position.token, frontier, held: batch.position.held },
                    );
                }
            }
        }
    };
    let ending = async { ended.send(Some(writing.await)).expect("the server answers") };
    let ((), straight, restarted) = tokio::join!(ending, follow(0), follow(7));
    // Each round inserts one document alone and five in a transaction.
    let all = (WRITERS * ROUNDS * 6) as usize;
    assert_eq!((straight.0, restarted.0), (all, all));
    assert!(straight.1 > 0 && restarted.1 > 0, "no instant was ever complete: the test proves nothing");
    shop.close().await;
}

async fn write(client: Client, database: Database, writer: i32, rounds: i32) {
    let (orders, noise) = (database.collection::<Document>("orders"), database.collection::<Document>("noise"));
    let mut session = client.start_session().await.expect("the server answers");
    for round in 0..rounds {
        orders.insert_one(doc! { "writer": writer, "v": round }).await.expect("the server answers");
        noise.insert_one(doc! { "writer": writer }).await.expect("the server answers");
        session.start_transaction().await.expect("the server answers");
        for v in 0..5 {
            orders
                .insert_one(doc! { "writer": writer, "v": v })
                .session(&mut session)
                .await
                .expect("the server answers");
        }
        session.commit_transaction().await.expect("the server answers");
    }
}

/// An insert whose event exceeds the limit of a reply: it contains the `_id` three times.
#[tokio::test]
async fn an_event_too_large_is_read_without_its_document() {
    let shop = Shop::open("large").await;
    let orders = shop.collection("orders");
    let start = shop.now().await;
    orders.insert_one(doc! { "_id": "before", "v": 1 }).await.expect("the server answers");
    let long = "x".repeat(2 << 20);
    orders.insert_one(doc! { "_id": &long, "v": 2, "rest": "y".repeat(12 << 20) }).await.expect("the server answers");
    orders.insert_one(doc! { "_id": "after", "v": 3 }).await.expect("the server answers");
    let batches = shop.stream(&["orders"], Start::At(start)).until(shop.now().await).await;
    let changes: Vec<_> = batches.iter().flat_map(|batch| &batch.changes).collect();
    let values: Vec<_> = changes
        .iter()
        .map(|change| change.document.as_ref().expect("the server answers").get_i32("v").expect("the server answers"))
        .collect();
    assert_eq!(values, [1, 2, 3]);
    assert!(changes[1].key.is_hashed());
    assert_eq!(changes[1].id.get_str("_id").expect("the server answers"), long);
    shop.close().await;
}
