//! Cuts the events of a reply into segments, and turns a segment with its images into changes. Pure.
//!
//! Inside a segment only the last change of a document is looked up, because its image holds what the updates before it
//! did; those give nothing of their own. Inserts, replaces and deletes already carry all they need, and stay.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
};

use bson::raw::{RawDocument, RawDocumentBuf};

use super::event::{Event, Placed};
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

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It carries all it needs.
    Stays,
    /// Its image is to be read; `merged` tells that it also stands for updates before it.
    LookedUp { merged: bool },
    /// A later event of the segment stands for it.
    Superseded,
}

/// The fate of each event of a segment.
pub(crate) fn fates(events: &[Placed]) -> Vec<Fate> {
    let mut fates = vec![Fate::Stays; events.len()];
    let mut last: HashMap<(&str, &Key), usize> = HashMap::new();
    for (position, placed) in events.iter().enumerate().rev() {
        let Event::Change { change, lookup } = &placed.event else { continue };
        let last = *last.entry((change.namespace.collection.as_str(), &change.key)).or_insert(position);
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

/// What a segment comes to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<Change>,
    pub(crate) controls: Vec<Control>,
    /// Documents that were gone when they were looked up, by collection.
    pub(crate) missing: BTreeMap<String, u64>,
}

/// Turns events and their images into changes.
///
/// A document that was not found gives nothing: it was deleted later, and its delete follows.
pub(crate) fn settle(events: Vec<Placed>, fates: &[Fate], mut found: BTreeMap<String, Found>) -> Outcome {
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
            Fate::Stays => {}
            Fate::Superseded => continue,
            Fate::LookedUp { merged } => {
                let collection = &change.namespace.collection;
                let image = found
                    .get_mut(collection)
                    .and_then(|found| found.documents.remove(&change.key).map(|document| (document, found.upper)));
                let Some((document, upper)) = image else {
                    *outcome.missing.entry(collection.clone()).or_default() += 1;
                    continue;
                };
                change.document = Some(document);
                change.upper = change.upper.max(upper);
                if *merged {
                    // It would tell only the last of several updates.
                    change.update_description = None;
                }
            }
        }
        outcome.changes.push(change);
    }
    outcome
}
