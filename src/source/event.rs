//! One event of the change stream, decoded. Pure.
//!
//! Only the head of an event is decoded; documents stay raw bytes.

use std::{borrow::Cow, collections::BTreeMap};

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use super::{Error, id::id_of};
use crate::model::{Change, ClusterTime, Control, ControlKind, Key, Namespace, Op, ResumeToken, Version};

/// The policy for a mapped collection that is dropped or renamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrop {
    /// Stop and keep the position; a person decides.
    #[default]
    Halt,
    /// Leave the target as it is.
    Ignore,
    /// Empty the collection's tables.
    Truncate,
}

/// The collections that the stream follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Database.
    pub database: String,
    /// The mapped collections, each with its policy for a drop or a rename.
    pub collections: BTreeMap<String, OnDrop>,
    /// Epoch of the versions.
    pub epoch: u32,
    /// By collection: the cluster time up to which the snapshot contains all events; the stream skips them.
    pub since: BTreeMap<String, ClusterTime>,
}

impl Scope {
    fn knows(&self, namespace: &Namespace, time: ClusterTime) -> bool {
        *namespace.db == *self.database && self.since.get(&*namespace.collection).is_some_and(|since| time <= *since)
    }
}

/// The part of an event that the stream needs.
#[derive(Debug)]
pub(crate) enum Event {
    /// A document changed; `lookup` is true if its image must still be read.
    Change { change: Change, lookup: bool },
    /// The controls for whole collections; empty if the event does not concern the target.
    Controls(Vec<Control>),
}

/// An event and its position in the stream.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) event: Event,
    pub(crate) token: ResumeToken,
    pub(crate) wall_ms: i64,
}

/// Decodes one event.
///
/// # Errors
/// [`Error::Token`] and [`Error::Event`] if the server's format is unknown; [`Error::Dropped`] and [`Error::Renamed`] if the
/// policy is to halt. All halt.
pub(crate) fn decode(raw: &RawDocument, scope: &Scope) -> Result<Placed, Error> {
    let fields = Fields::read(raw);
    let token = ResumeToken::from_raw(fields.id.ok_or(Error::Event { time: ClusterTime::default(), field: "_id" })?)?;
    let time = token.time();
    let missing = |field| Error::Event { time, field };
    // The operations of a transaction count from 1, so that 0 says: no other operation on this document has its time.
    let op = token.txn_op().saturating_add(u32::from(fields.in_transaction));
    let version = Version { epoch: scope.epoch, time, op };
    let wall_ms = fields.wall_ms.unwrap_or(time.unix_ms());
    let op = match fields.operation.ok_or(missing("operationType"))? {
        "insert" => Op::Insert,
        "update" => Op::Update,
        "replace" => Op::Replace,
        "delete" => Op::Delete,
        "drop" => {
            let namespace = fields.namespace().ok_or(missing("ns"))?;
            let controls = dropped(namespace, version, scope)?;
            return Ok(Placed { event: Event::Controls(controls), token, wall_ms });
        }
        "rename" => {
            let from = fields.namespace().ok_or(missing("ns"))?;
            let to = fields.renamed_to().ok_or(missing("to"))?;
            let controls = renamed(&from, &to, version, scope)?;
            return Ok(Placed { event: Event::Controls(controls), token, wall_ms });
        }
        // dropDatabase follows the drop of each collection. invalidate only ends the cursor. Other events carry no data.
        _ => return Ok(Placed { event: Event::Controls(Vec::new()), token, wall_ms }),
    };
    let namespace = fields.namespace().ok_or(missing("ns"))?;
    if scope.knows(&namespace, time) {
        return Ok(Placed { event: Event::Controls(Vec::new()), token, wall_ms });
    }
    let id = fields.document_key.and_then(id_of).ok_or(missing("documentKey._id"))?;
    let key = Key::from_id(&id).ok_or(missing("documentKey._id"))?;
    let document = if op == Op::Delete { None } else { fields.full_document.map(RawDocument::to_owned) };
    let lookup = op != Op::Delete && document.is_none();
    let change = Change {
        namespace,
        id,
        key,
        version,
        op,
        document,
        upper: time,
        wall_ms,
        update_description: fields.update_description.map(RawDocument::to_owned),
        collection_uuid: fields.uuid,
        replaces: None,
    };
    Ok(Placed { event: Event::Change { change, lookup }, token, wall_ms })
}

fn dropped(namespace: Namespace, version: Version, scope: &Scope) -> Result<Vec<Control>, Error> {
    match policy(&namespace, version, scope) {
        None => Ok(Vec::new()),
        Some(OnDrop::Halt) => Err(Error::Dropped { namespace, time: version.time }),
        Some(policy) => Ok(vec![control(namespace, ControlKind::Drop, version, policy)]),
    }
}

/// Returns the controls of a rename. Both names may be mapped: the old one has lost its documents, and the new one has others.
fn renamed(from: &Namespace, to: &Namespace, version: Version, scope: &Scope) -> Result<Vec<Control>, Error> {
    let mut controls = Vec::new();
    for (namespace, kind) in [(from, ControlKind::Rename), (to, ControlKind::Replace)] {
        match policy(namespace, version, scope) {
            None => {}
            Some(OnDrop::Halt) => {
                return Err(Error::Renamed { from: from.clone(), to: to.clone(), time: version.time });
            }
            Some(policy) => controls.push(control(namespace.clone(), kind, version, policy)),
        }
    }
    Ok(controls)
}

fn policy(namespace: &Namespace, version: Version, scope: &Scope) -> Option<OnDrop> {
    if *namespace.db != *scope.database || scope.knows(namespace, version.time) {
        return None;
    }
    scope.collections.get(&*namespace.collection).copied()
}

fn control(namespace: Namespace, kind: ControlKind, version: Version, policy: OnDrop) -> Control {
    Control { namespace, kind, version, truncate: policy == OnDrop::Truncate }
}

fn namespace(raw: &RawDocument) -> Option<Namespace> {
    Some(Namespace::new(raw.get_str("db").ok()?, raw.get_str("coll").ok()?))
}

/// The fields of an event, read in one pass. A field of the wrong type counts as missing.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) id: Option<&'a RawDocument>,
    pub(super) operation: Option<&'a str>,
    ns: Option<&'a RawDocument>,
    to: Option<&'a RawDocument>,
    pub(super) document_key: Option<&'a RawDocument>,
    full_document: Option<&'a RawDocument>,
    update_description: Option<&'a RawDocument>,
    wall_ms: Option<i64>,
    uuid: Option<[u8; 16]>,
    /// The server numbers the transactions of a session.
    in_transaction: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn read(raw: &'a RawDocument) -> Self {
        let mut fields = Self::default();
        for element in raw.iter_elements().map_while(Result::ok) {
            let Ok(value) = element.value() else { continue };
            match (element.key().as_str(), value) {
                ("_id", RawBsonRef::Document(value)) => fields.id = Some(value),
                ("operationType", RawBsonRef::String(value)) => fields.operation = Some(value),
                ("ns", RawBsonRef::Document(value)) => fields.ns = Some(value),
                ("to", RawBsonRef::Document(value)) => fields.to = Some(value),
                ("documentKey", RawBsonRef::Document(value)) => fields.document_key = Some(value),
                ("fullDocument", RawBsonRef::Document(value)) => fields.full_document = Some(value),
                ("updateDescription", RawBsonRef::Document(value)) => fields.update_description = Some(value),
                ("wallTime", RawBsonRef::DateTime(value)) => fields.wall_ms = Some(value.timestamp_millis()),
                ("txnNumber", _) => fields.in_transaction = true,
                ("collectionUUID", RawBsonRef::Binary(value)) => fields.uuid = value.bytes.try_into().ok(),
                _ => {}
            }
        }
        fields
    }

    pub(super) fn namespace(&self) -> Option<Namespace> {
        self.ns.and_then(namespace)
    }

    /// The other name of a rename.
    pub(super) fn renamed_to(&self) -> Option<Namespace> {
        self.to.and_then(namespace)
    }
}

/// The fragments of a large event (`$changeStreamSplitLargeEvent`), collected until all have arrived.
///
/// Each fragment holds some of the event's top-level fields, its own resume token and `splitEvent: {fragment, of}`.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    fields: Option<RawDocumentBuf>,
}

impl Fragments {
    /// Returns whether an event is incomplete. A position saved now would lose the fragments that have arrived.
    pub(crate) fn pending(&self) -> bool {
        self.fields.is_some()
    }

    /// Takes an event or a fragment; returns the whole event once it is complete, with the token of its last fragment.
    ///
    /// # Errors
    /// [`Error::Event`] if a fragment does not have the form that the manual describes (halt).
    pub(crate) fn take<'a>(&mut self, raw: &'a RawDocument) -> Result<Option<Cow<'a, RawDocument>>, Error> {
        let malformed = || Error::Event { time: ClusterTime::default(), field: "splitEvent" };
        let split = match raw.get("splitEvent") {
            Ok(Some(RawBsonRef::Document(split))) => split,
            _ => return Ok(Some(Cow::Borrowed(raw))),
        };
        let fragment = split.get_i32("fragment").map_err(|_| malformed())?;
        let of = split.get_i32("of").map_err(|_| malformed())?;
        let last = fragment == of;
        if fragment == 1 {
            self.fields = None;
        } else if self.fields.is_none() {
            return Err(malformed());
        }
        let fields = self.fields.get_or_insert_default();
        for element in raw.iter_elements() {
            let element = element.map_err(|_| malformed())?;
            let name = element.key();
            if name.as_str() == "splitEvent" || (name.as_str() == "_id" && !last) {
                continue;
            }
            fields.append(name, element.value().map_err(|_| malformed())?);
        }
        Ok(if last { self.fields.take().map(Cow::Owned) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};
    use rstest::rstest;

    use super::*;

    /// t = 0x65000001, i = 2, version 1, event, first of its transaction.
    const TOKEN: &str = "8265000001000000022B022C010029296E5A";
    const TIME: ClusterTime = ClusterTime { t: 0x6500_0001, i: 2 };

    fn scope(policy: OnDrop) -> Scope {
        let collections = BTreeMap::from([("orders".to_owned(), policy)]);
        Scope { database: "shop".to_owned(), collections, epoch: 3, since: BTreeMap::new() }
    }

    fn event(operation: &str) -> RawDocumentBuf {
        rawdoc! {
            "_id": { "_data": TOKEN },
            "operationType": operation,
            "wallTime": bson::DateTime::from_millis(1_700_000_000_123),
            "collectionUUID": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![7; 16] },
            "ns": { "db": "shop", "coll": "orders" },
            "documentKey": { "shard": "a", "_id": 1 },
        }
    }

    fn with(mut event: RawDocumentBuf, name: &str, value: RawDocumentBuf) -> RawDocumentBuf {
        event.append(bson::raw::CString::try_from(name).expect("no NUL"), value);
        event
    }

    fn change(event: &RawDocument) -> (Change, bool) {
        match decode(event, &scope(OnDrop::Halt)).expect("an event").event {
            Event::Change { change, lookup } => (change, lookup),
            Event::Controls(_) => panic!("a control"),
        }
    }

    #[rstest]
    #[case("insert", Op::Insert, true, false)]
    #[case("replace", Op::Replace, true, false)]
    #[case("update", Op::Update, false, true)]
    #[case("delete", Op::Delete, false, false)]
    // Without its document, as in a slim read.
    #[case("insert", Op::Insert, false, true)]
    fn changes(#[case] operation: &str, #[case] op: Op, #[case] full: bool, #[case] looked_up: bool) {
        let document = rawdoc! { "_id": 1, "v": 1 };
        let event = event(operation);
        let event = if full { with(event, "fullDocument", document.clone()) } else { event };
        let (change, lookup) = change(&event);
        assert_eq!((change.op, change.document, lookup), (op, full.then_some(document), looked_up));
        assert_eq!(change.version, Version { epoch: 3, time: TIME, op: 0 });
        assert_eq!(change.id, rawdoc! { "_id": 1 });
        assert_eq!((change.upper, change.wall_ms), (TIME, 1_700_000_000_123));
        assert_eq!(change.collection_uuid, Some([7; 16]));
    }

    /// Only an operation outside of transactions is the last of its document at its time.
    #[test]
    fn the_operations_of_a_transaction_count_from_1() {
        let mut event = event("delete");
        event.append(bson::raw::cstr!("txnNumber"), 1_i64);
        assert_eq!(change(&event).0.version, Version { epoch: 3, time: TIME, op: 1 });
    }

    #[rstest]
    #[case("ns")]
    #[case("documentKey")]
    #[case("operationType")]
    fn an_event_of_another_form_is_refused(#[case] left_out: &str) {
        let mut event = RawDocumentBuf::new();
        for element in self::event("insert").iter_elements().map(|element| element.expect("an element")) {
            if element.key().as_str() != left_out {
                event.append(element.key(), element.value().expect("a value"));
            }
        }
        assert!(matches!(decode(&event, &scope(OnDrop::Halt)), Err(Error::Event { time: TIME, .. })));
    }

    #[rstest]
    #[case("orders", "other", Some("orders"))]
    #[case("other", "orders", Some("orders"))]
    #[case("other", "another", None)]
    fn renames(#[case] from: &str, #[case] to: &str, #[case] concerned: Option<&str>) {
        let event = rawdoc! {
            "_id": { "_data": TOKEN },
            "operationType": "rename",
            "ns": { "db": "shop", "coll": from },
            "to": { "db": "shop", "coll": to },
        };
        let controls = |policy| match decode(&event, &scope(policy)).map(|placed| placed.event) {
            Ok(Event::Controls(controls)) => Ok(controls),
            Ok(Event::Change { .. }) => panic!("a change"),
            Err(error) => Err(error),
        };
        for (policy, truncate) in [(OnDrop::Ignore, false), (OnDrop::Truncate, true)] {
            let controls = controls(policy).expect("controls");
            assert_eq!(controls.first().map(|control| &*control.namespace.collection), concerned);
            let kind = if to == "orders" { ControlKind::Replace } else { ControlKind::Rename };
            assert!(controls.iter().all(|control| control.truncate == truncate && control.kind == kind));
        }
        assert_eq!(controls(OnDrop::Halt).is_err(), concerned.is_some());
    }

    /// Events that the snapshot already contains are skipped, whatever the policy of the collection.
    #[test]
    fn what_happened_before_a_collection_is_read_is_no_news() {
        let rename = with(event("rename"), "to", rawdoc! { "db": "shop", "coll": "orders" });
        let read = with(event("insert"), "fullDocument", rawdoc! { "_id": 1 });
        for event in [event("drop"), rename, event("delete"), read] {
            for (since, news) in [(TIME, false), (ClusterTime { t: TIME.t, i: TIME.i - 1 }, true)] {
                let mut scope = scope(OnDrop::Halt);
                scope.since.insert("orders".to_owned(), since);
                let decoded = decode(&event, &scope).map(|placed| placed.event);
                let quiet = matches!(&decoded, Ok(Event::Controls(controls)) if controls.is_empty());
                assert_eq!(quiet, !news, "{decoded:?}");
            }
        }
    }

    #[rstest]
    #[case("dropDatabase")]
    #[case("invalidate")]
    #[case("createIndexes")]
    #[case("somethingNew")]
    fn what_is_no_data_is_passed_over(#[case] operation: &str) {
        let placed = decode(&event(operation), &scope(OnDrop::Halt)).expect("an event");
        assert!(matches!(placed.event, Event::Controls(controls) if controls.is_empty()));
    }

    /// Builds a fragment as the manual shows it: with some of the event's fields and a token of its own.
    fn fragment(token: &str, n: i32, of: i32, fields: RawDocumentBuf) -> RawDocumentBuf {
        let mut raw = rawdoc! { "_id": { "_data": token }, "splitEvent": { "fragment": n, "of": of } };
        for element in fields.iter_elements().map(|element| element.expect("an element")) {
            raw.append(element.key(), element.value().expect("a value"));
        }
        raw
    }

    #[test]
    fn fragments_become_one_event_under_the_last_token() {
        let middle = "8265000001000000022B022C010029296E5B";
        let parts = [
            fragment(middle, 1, 3, rawdoc! { "operationType": "replace", "ns": { "db": "shop", "coll": "orders" } }),
            fragment(middle, 2, 3, rawdoc! { "documentKey": { "_id": 1 } }),
            fragment(TOKEN, 3, 3, rawdoc! { "fullDocument": { "_id": 1, "v": 2 } }),
        ];
        let mut fragments = Fragments::default();
        assert_eq!(fragments.take(&parts[0]).expect("a fragment"), None);
        assert!(fragments.pending());
        assert_eq!(fragments.take(&parts[1]).expect("a fragment"), None);
        let whole = fragments.take(&parts[2]).expect("a fragment").expect("the event").into_owned();
        assert!(!fragments.pending());
        assert!(whole.get("splitEvent").expect("a document").is_none());
        assert_eq!(whole.get_document("_id").expect("a token").get_str("_data").ok(), Some(TOKEN));
        assert_eq!(change(&whole).0.document, Some(rawdoc! { "_id": 1, "v": 2 }));

        // A reopened cursor may send the event again from its first fragment.
        assert_eq!(fragments.take(&parts[0]).expect("a fragment"), None);
        assert_eq!(fragments.take(&parts[0]).expect("a fragment"), None);
        assert_eq!(fragments.take(&parts[1]).expect("a fragment"), None);
        assert!(fragments.take(&parts[2]).expect("a fragment").is_some());
        // It never starts in the middle of the event.
        assert!(fragments.take(&parts[1]).is_err());
    }

    #[test]
    fn a_whole_event_is_not_copied() {
        let event = event("delete");
        let mut fragments = Fragments::default();
        assert!(matches!(fragments.take(&event), Ok(Some(Cow::Borrowed(_)))));
    }
}
