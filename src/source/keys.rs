//! A change stream of keys only: which documents have changed, for a reader that looks at both sides itself.
//!
//! The server leaves out the documents (`$project`). Cursor, resuming and what a place proves are those of the other stream
//! (`cursor`, `frontier`). It looks nothing up, holds no position back and passes over nothing: a key that is given twice is only
//! judged twice, so the end of a snapshot does not matter either.

use bson::raw::{RawDocument, RawDocumentBuf};
use tokio::sync::mpsc;

use super::{
    Error, Scope, Source,
    cursor::{self, CursorReader, Place, Reply, Width},
    event::Fields,
    frontier::{FrontierTracker, ReplyEnd},
    id::id_of,
    reader,
};
use crate::{
    model::{ClusterTime, Frontier, Key, Namespace, ResumeToken},
    retry::Backoff,
    tasks::Tasks,
};

const READ: &str = "read the change stream of keys";
/// Replies that wait, besides the one that the server prepares. More would only be read too early.
const MAX_REPLIES: usize = 1;

/// A document that has changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChangedKey {
    /// Its collection.
    pub(crate) collection: String,
    /// Its key.
    pub(crate) key: Key,
    /// `{_id: …}`.
    pub(crate) id: RawDocumentBuf,
    /// When it has changed.
    pub(crate) time: ClusterTime,
}

/// A collection that was dropped or renamed: the keys before say nothing of it any more.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Replaced {
    /// Its name.
    pub(crate) collection: String,
    /// When that happened.
    pub(crate) time: ClusterTime,
    /// The event.
    pub(crate) because: String,
}

/// The contents of one reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyBatch {
    /// Documents that have changed, in the order of the changes.
    pub(crate) keys: Vec<ChangedKey>,
    /// Collections that are others than before.
    pub(crate) replaced: Vec<Replaced>,
    /// The place behind the reply.
    pub(crate) token: ResumeToken,
    /// Everything before it was given.
    pub(crate) frontier: Frontier,
}

/// A running change stream of keys. Dropping it stops it.
pub(crate) struct KeyStream {
    scope: Scope,
    replies: mpsc::Receiver<Result<Reply, Error>>,
    frontier: FrontierTracker,
    tasks: Tasks<Error>,
}

impl KeyStream {
    /// Starts to read behind a token, or at a cluster time, whose changes are given too. Transient errors are retried with
    /// back-off, without a limit.
    pub(crate) fn open(
        source: &Source,
        scope: Scope,
        after: Result<ResumeToken, ClusterTime>,
        backoff: Backoff,
    ) -> Self {
        let (sender, replies) = mpsc::channel(MAX_REPLIES);
        let place = after.map_or_else(Place::At, Place::After);
        let frontier = FrontierTracker::new(source.server().completes_instants(), Frontier(place.time()));
        let source = source.of_task("change stream of keys");
        let reader = CursorReader::new(source, scope.clone(), place, Width::Keys, backoff, sender);
        let mut tasks = Tasks::new();
        tasks.spawn("change stream of keys", async move {
            reader.run().await;
            Ok(())
        });
        Self { scope, replies, frontier, tasks }
    }

    /// Waits for the next reply; an idle stream gives an empty one about every `max_await`. Cancel-safe.
    ///
    /// # Errors
    /// The error that ended the stream: [`Error::HistoryLost`] and others that are not transient, or [`Error::Panicked`].
    pub(crate) async fn next(&mut self) -> Result<KeyBatch, Error> {
        match self.replies.recv().await {
            Some(reply) => self.decode(&reply?),
            None => Err(self.tasks.failure().await.unwrap_or(Error::Ended)),
        }
    }

    fn decode(&mut self, reply: &Reply) -> Result<KeyBatch, Error> {
        self.frontier.begin_reply(reply.opened);
        let token = cursor::token(&reply.batch)?;
        let (mut keys, mut replaced, mut empty) = (Vec::new(), Vec::new(), true);
        for raw in reader::in_reply(&reply.batch, READ)? {
            empty = false;
            decode(raw?, &self.scope, &mut keys, &mut replaced)?;
        }
        self.frontier.reply(&ReplyEnd { token: token.clone(), empty, sent_ms: reply.sent_ms });
        let (frontier, _) = self.frontier.reached();
        Ok(KeyBatch { keys, replaced, token, frontier })
    }
}

/// Decodes one event.
///
/// # Errors
/// [`Error::Token`] and [`Error::Event`] if the server's format is unknown; both halt.
fn decode(
    raw: &RawDocument,
    scope: &Scope,
    keys: &mut Vec<ChangedKey>,
    replaced: &mut Vec<Replaced>,
) -> Result<(), Error> {
    let fields = Fields::read(raw);
    let token = fields.id.ok_or(Error::Event { time: ClusterTime::default(), field: "_id" })?;
    let time = ResumeToken::from_raw(token)?.time();
    let missing = |field| Error::Event { time, field };
    let mapped = |namespace: &Namespace| {
        (*namespace.db == *scope.database && scope.collections.contains_key(&*namespace.collection))
            .then(|| namespace.collection.to_string())
    };
    match fields.operation.ok_or(missing("operationType"))? {
        "insert" | "update" | "replace" | "delete" => {
            let Some(collection) = mapped(&fields.namespace().ok_or(missing("ns"))?) else { return Ok(()) };
            let id = fields.document_key.and_then(id_of).ok_or(missing("documentKey._id"))?;
            let key = Key::from_id(&id).ok_or(missing("documentKey._id"))?;
            keys.push(ChangedKey { collection, key, id, time });
        }
        "drop" => {
            let dropped = mapped(&fields.namespace().ok_or(missing("ns"))?);
            let because = || format!("the collection was dropped at {time}");
            replaced.extend(dropped.map(|collection| Replaced { collection, time, because: because() }));
        }
        "rename" => {
            let (from, to) = (fields.namespace().ok_or(missing("ns"))?, fields.renamed_to().ok_or(missing("to"))?);
            let because = format!("{} was renamed to {} at {time}", from.collection, to.collection);
            let ours = [from, to].into_iter().filter_map(|namespace| mapped(&namespace));
            replaced.extend(ours.map(|collection| Replaced { collection, time, because: because.clone() }));
        }
        "dropDatabase" | "invalidate" => {
            let because = format!("the database was dropped at {time}");
            let all = scope.collections.keys().cloned();
            replaced.extend(all.map(|collection| Replaced { collection, time, because: because.clone() }));
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bson::rawdoc;
    use rstest::rstest;

    use super::*;
    use crate::source::OnDrop;

    /// t = 0x65000001, i = 2, version 1, event, first of its transaction.
    const TOKEN: &str = "8265000001000000022B022C010029296E5A";
    const TIME: ClusterTime = ClusterTime { t: 0x6500_0001, i: 2 };

    fn scope() -> Scope {
        let collections = ["orders", "users"].map(|name| (name.to_owned(), OnDrop::Halt));
        Scope { database: "shop".to_owned(), collections: collections.into(), epoch: 1, since: BTreeMap::new() }
    }

    fn decoded(raw: &RawDocument) -> (Vec<ChangedKey>, Vec<String>) {
        let (mut keys, mut replaced) = (Vec::new(), Vec::new());
        decode(raw, &scope(), &mut keys, &mut replaced).expect("an event");
        (keys, replaced.into_iter().map(|replaced| replaced.collection).collect())
    }

    #[rstest]
    #[case("insert")]
    #[case("update")]
    #[case("replace")]
    #[case("delete")]
    fn a_change_gives_the_key_and_its_time(#[case] operation: &str) {
        let event = |collection: &str| {
            rawdoc! {
                "_id": { "_data": TOKEN },
                "operationType": operation,
                "ns": { "db": "shop", "coll": collection },
                "documentKey": { "shard": "a", "_id": 1 },
            }
        };
        let id = rawdoc! { "_id": 1 };
        let key = Key::from_id(&id).expect("a key");
        let changed = ChangedKey { collection: "orders".to_owned(), key, id, time: TIME };
        assert_eq!(decoded(&event("orders")), (vec![changed], Vec::new()));
        assert_eq!(decoded(&event("others")), (Vec::new(), Vec::new()), "it is not mapped");
    }

    #[rstest]
    #[case("drop", "orders", None, &["orders"])]
    #[case("drop", "others", None, &[])]
    #[case("rename", "orders", Some("others"), &["orders"])]
    #[case("rename", "others", Some("users"), &["users"])]
    #[case("rename", "orders", Some("users"), &["orders", "users"])]
    #[case("dropDatabase", "", None, &["orders", "users"])]
    #[case("invalidate", "", None, &["orders", "users"])]
    #[case("create", "orders", None, &[])]
    fn a_collection_that_is_another_one_is_named(
        #[case] operation: &str,
        #[case] collection: &str,
        #[case] to: Option<&str>,
        #[case] replaced: &[&str],
    ) {
        let mut event = rawdoc! {
            "_id": { "_data": TOKEN },
            "operationType": operation,
            "ns": { "db": "shop", "coll": collection },
        };
        if let Some(to) = to {
            event.append(bson::raw::cstr!("to"), rawdoc! { "db": "shop", "coll": to });
        }
        assert_eq!(decoded(&event).1, replaced);
    }

    #[test]
    fn an_event_of_another_form_is_refused() {
        let event =
            rawdoc! { "_id": { "_data": TOKEN }, "operationType": "insert", "ns": { "db": "shop", "coll": "orders" } };
        let refused = decode(&event, &scope(), &mut Vec::new(), &mut Vec::new());
        assert!(matches!(refused, Err(Error::Event { time: TIME, field: "documentKey._id" })));
    }
}
