//! Cuts the events of a reply into segments, and turns a segment with its images into changes. Pure.
//!
//! Inside a segment only the last update of a document is looked up, because its image holds what the updates before it did;
//! those give nothing of their own. Inserts, replaces and deletes already carry all they need, and are kept.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
};

use bson::raw::{RawDocument, RawDocumentBuf};

use super::{
    event::{Event, Placed},
    frontier_holds::MissingImages,
};
use crate::model::{Change, ClusterTime, Control, Key};

/// How many of the events the next segment takes: it ends once `lookups` documents need an image, and behind a control, so
/// that controls come after the changes before them.
pub(crate) fn cut(events: &[Placed], lookups: usize) -> usize {
    let mut needed: HashSet<(&str, &Key)> = HashSet::new();
    for (position, placed) in events.iter().enumerate() {
        let full = match &placed.event {
            Event::Change { lookup: false, .. } => false,
            Event::Change { change, lookup: true } => {
                needed.insert((&change.namespace.collection, &change.key));
                needed.len() >= lookups
            }
            Event::Controls(controls) => !controls.is_empty(),
        };
        if full {
            return position + 1;
        }
    }
    events.len()
}

/// The fate of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It carries all it needs.
    Kept,
    /// Its image is to be read; `merged` says that it also replaces updates before it.
    LookedUp { merged: bool },
    /// A later event of the segment replaces it.
    Superseded,
}

/// The fate of each event of a segment.
pub(crate) fn fates(events: &[Placed]) -> Vec<Fate> {
    let mut fates = vec![Fate::Kept; events.len()];
    let mut last: HashMap<(&str, &Key), usize> = HashMap::new();
    for (position, placed) in events.iter().enumerate().rev() {
        let Event::Change { change, lookup } = &placed.event else { continue };
        let last = *last.entry((&*change.namespace.collection, &change.key)).or_insert(position);
        match (lookup, position.cmp(&last)) {
            (false, _) => {}
            (true, Ordering::Less) => {
                fates[position] = Fate::Superseded;
                if let Fate::LookedUp { merged } = &mut fates[last] {
                    *merged = true;
                }
            }
            (true, _) => fates[position] = Fate::LookedUp { merged: false },
        }
    }
    fates
}

/// The documents to look up, by collection, each once.
pub(crate) fn wanted<'a>(events: &'a [Placed], fates: &[Fate]) -> BTreeMap<&'a str, Vec<&'a RawDocument>> {
    let mut wanted: BTreeMap<&str, Vec<&RawDocument>> = BTreeMap::new();
    for (placed, fate) in events.iter().zip(fates) {
        if let (Event::Change { change, .. }, Fate::LookedUp { .. }) = (&placed.event, fate) {
            wanted.entry(&change.namespace.collection).or_default().push(&change.id);
        }
    }
    wanted
}

/// The documents found in one collection, and the cluster time after which they hold nothing.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) documents: HashMap<Key, RawDocumentBuf>,
    pub(crate) upper: ClusterTime,
}

impl Found {
    /// Bytes of the documents.
    pub(crate) fn bytes(&self) -> usize {
        self.documents.values().map(|document| document.as_bytes().len()).sum()
    }
}

/// The result of a segment.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<Change>,
    pub(crate) controls: Vec<Control>,
    /// Documents that were gone when they were looked up.
    pub(crate) missing: Option<MissingImages>,
}

/// Turns events and their images into changes.
///
/// A document that was not found gives nothing: it was deleted later, and its delete follows.
pub(crate) fn resolve(events: Vec<Placed>, fates: &[Fate], mut found: BTreeMap<String, Found>) -> Outcome {
    let mut outcome = Outcome::default();
    for (placed, fate) in events.into_iter().zip(fates) {
        let mut change = match placed.event {
            Event::Change { change, .. } => change,
            Event::Controls(controls) => {
                outcome.controls.extend(controls);
                continue;
            }
        };
        match fate {
            Fate::Kept => {}
            Fate::Superseded => continue,
            Fate::LookedUp { merged } => {
                let collection = &*change.namespace.collection;
                let image = found
                    .get_mut(collection)
                    .and_then(|found| found.documents.remove(&change.key).map(|document| (document, found.upper)));
                let Some((document, upper)) = image else {
                    let by = found.get(collection).map_or_else(ClusterTime::default, |found| found.upper);
                    let missing = outcome.missing.get_or_insert_default();
                    missing.by = missing.by.max(by);
                    missing.documents.insert((change.namespace, change.key));
                    continue;
                };
                change.document = Some(document);
                change.upper = change.upper.max(upper);
                if *merged {
                    // It would describe only the last of several updates.
                    change.update_description = None;
                }
            }
        }
        outcome.changes.push(change);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use rstest::rstest;

    use super::*;
    use crate::model::{ControlKind, Namespace, Op, ResumeToken, Version};

    /// `u1`: an update of document 1. `i`nsert, `d`elete, `c`ontrol, `x`: an event of no interest.
    fn events(text: &str) -> Vec<Placed> {
        let placed = |(i, word): (usize, &str)| {
            let version = Version { epoch: 1, time: ClusterTime { t: 1, i: i as u32 }, op: 0 };
            let namespace = Namespace::new("shop", "orders");
            let (kind, id) = word.split_at(1);
            let event = match kind {
                "c" => Event::Controls(vec![Control { namespace, kind: ControlKind::Drop, version, truncate: true }]),
                "x" => Event::Controls(Vec::new()),
                _ => {
                    let id = rawdoc! { "_id": id };
                    let op = match kind {
                        "u" => Op::Update,
                        "i" => Op::Insert,
                        _ => Op::Delete,
                    };
                    let change = Change {
                        namespace,
                        key: Key::from_id(&id).expect("a key"),
                        document: (op == Op::Insert).then(|| id.clone()),
                        id,
                        version,
                        op,
                        upper: version.time,
                        wall_ms: 0,
                        update_description: Some(rawdoc! {}),
                        collection_uuid: None,
                        replaces: None,
                    };
                    Event::Change { change, lookup: op == Op::Update }
                }
            };
            let token = rawdoc! { "_data": "8265000001000000022B0229296E1404" };
            Placed { event, token: ResumeToken::from_raw(&token).expect("a token"), wall_ms: 0 }
        };
        text.split_whitespace().enumerate().map(placed).collect()
    }

    #[rstest]
    #[case("", 2, 0)]
    #[case("i1 i2 d1", 2, 3)]
    #[case("u1 i2 u3 u4", 2, 3)]
    #[case("u1 u1 u1 u2 u3", 2, 4)]
    #[case("u1 c i2", 2, 2)]
    #[case("u1 x i2", 2, 3)]
    #[case("u1 u2", 1, 1)]
    fn cuts(#[case] text: &str, #[case] lookups: usize, #[case] taken: usize) {
        assert_eq!(cut(&events(text), lookups), taken);
    }

    #[rstest]
    #[case("u1 u1", "u1", "1u")]
    #[case("i1 u1", "u1", "0i 1u")]
    #[case("u1 d1", "", "1d")]
    #[case("u1 d1 i1", "", "1d 2i")]
    #[case("u1 d1 i1 u1", "u1", "1d 2i 3u")]
    #[case("u1 u2 u3", "u1 u2 u3", "0u 1u 2u")]
    // Document 9 is gone when it is looked up.
    #[case("u9 i2", "u9", "1i")]
    fn resolves(#[case] text: &str, #[case] looked_up: &str, #[case] changes: &str) {
        let events = events(text);
        let fates = fates(&events);
        let ids: Vec<_> = wanted(&events, &fates).into_values().flatten().map(RawDocument::to_owned).collect();
        let expected: Vec<_> = looked_up.split_whitespace().map(|word| rawdoc! { "_id": &word[1..] }).collect();
        assert_eq!(ids, expected);
        let there = ids.into_iter().filter(|id| *id != rawdoc! { "_id": "9" });
        let documents = there.map(|id| (Key::from_id(&id).expect("a key"), id)).collect();
        let upper = ClusterTime { t: 2, i: 0 };
        let found = BTreeMap::from([("orders".to_owned(), Found { documents, upper })]);
        let outcome = resolve(events, &fates, found);
        let shown = |change: &Change| format!("{}{}", change.version.time.i, &change.op.as_str()[..1]);
        assert_eq!(outcome.changes.iter().map(shown).collect::<Vec<_>>().join(" "), changes);
        assert!(outcome.changes.iter().all(|change| (change.op == Op::Delete) == change.document.is_none()));
        let updates = outcome.changes.iter().filter(|change| change.op == Op::Update);
        assert!(updates.clone().all(|change| change.upper == upper));
        let nine = || (Namespace::new("shop", "orders"), Key::from_id(&rawdoc! { "_id": "9" }).expect("a key"));
        assert_eq!(
            outcome.missing,
            text.contains('9').then(|| MissingImages { documents: HashSet::from([nine()]), by: upper })
        );
    }

    #[test]
    fn several_updates_have_no_description_of_their_own() {
        for (text, described) in [("u1", true), ("u1 u1", false), ("i1 u1", true)] {
            let events = events(text);
            let fates = fates(&events);
            let documents = HashMap::from([(Key::from_id(&rawdoc! { "_id": "1" }).expect("a key"), rawdoc! {})]);
            let found = Found { documents, upper: ClusterTime::default() };
            let outcome = resolve(events, &fates, BTreeMap::from([("orders".to_owned(), found)]));
            let last = outcome.changes.last().expect("a change");
            assert_eq!(last.update_description.is_some(), described, "{text}");
        }
    }
}
