//! Any batch plans the highest version of each document, wherever that was in the batch.

use std::sync::Arc;

use bson::rawdoc;
use proptest::prelude::*;

use super::*;
use crate::{
    log::FrontierRecord,
    mapping::{
        MappingFile,
        target::{Catalog, Column, ColumnType, Table, TableName},
    },
    model::{Frontier, Namespace},
};

/// The plan of one collection, for every unit test that needs no more.
pub(crate) fn users() -> Plan {
    let columns = vec![Column::new("id", ColumnType::Uuid), Column::new("n", ColumnType::Int4)];
    let table = Table::new(TableName::new("public", "users"), &["id"], columns);
    let text = "namespace = \"dns\"\n[collections.users]\ntable = \"public.users\"\nid = \"uuid5\"\n";
    let file = MappingFile::parse(text, "test").expect("a file");
    Plan::compile(&file, &Catalog { tables: vec![table] }).expect("a plan")
}

/// A change of document `id` at `t`: a delete, a document, or one that the mapping rejects.
fn change(collection: &str, id: i32, t: u32, kind: u8) -> Change {
    let time = ClusterTime { t, i: 0 };
    let document = match kind {
        0 => None,
        1 => Some(rawdoc! { "_id": id, "n": t as i32 }),
        _ => Some(rawdoc! { "_id": id, "n": "no number" }),
    };
    let id = rawdoc! { "_id": id };
    Change {
        namespace: Namespace::new("shop", collection),
        key: Key::from_id(&id).expect("a key"),
        version: Version { epoch: 1, time, op: 0 },
        op: if document.is_some() { Op::Replace } else { Op::Delete },
        document,
        upper: time,
        wall_ms: 0,
        update_description: None,
        collection_uuid: None,
        replaces: None,
        id,
    }
}

fn fetched(encoded: envelope::Encoded, offset: i64) -> Fetched {
    let mut headers = encoded.headers;
    if headers.get(envelope::header::PUBLISHER).is_none() {
        headers.push(envelope::header::PUBLISHER, b"4");
    }
    Fetched {
        topic: Arc::from("t"),
        partition: 0,
        offset,
        timestamp_ms: 0,
        key: Some(encoded.key),
        value: encoded.value,
        headers,
    }
}

/// The record of a document of its own, which is the first change of it.
pub(in crate::sink) fn record_of(id: i32, offset: i64) -> Fetched {
    fetched(envelope::encode(&change("users", id, 1, 1), "p"), offset)
}

fn log(changes: &[Change]) -> Vec<Fetched> {
    changes.iter().zip(0..).map(|(change, offset)| fetched(envelope::encode(change, "p"), offset)).collect()
}

/// All that a document asks for, in comparable form.
fn meaning(document: &Document) -> (Key, Version, String, Vec<Vec<u8>>) {
    let (kind, rows) = match &document.content {
        Content::Gone(key) => ("gone".to_owned(), key.iter().map(|row| row.as_bytes().to_vec()).collect()),
        Content::Rejected { rejects, .. } => (rejects.to_string(), Vec::new()),
        Content::Rows { rows, .. } => {
            ("rows".to_owned(), rows.tables.iter().flatten().map(|row| row.as_bytes().to_vec()).collect())
        }
    };
    (document.key.clone(), document.version, kind, rows)
}

proptest! {
    #[test]
    fn the_highest_version_speaks_for_its_document(
        history in prop::collection::vec((0..4i32, 0..3u8), 1..30),
        order in any::<prop::sample::Index>(),
        parked in any::<prop::sample::Index>(),
    ) {
        let plan_of_users = users();
        let changes = history.iter().zip(1..).map(|(&(id, kind), t)| change("users", id, t, kind)).collect::<Vec<_>>();
        let in_order = plan(log(&changes), Vec::new(), &plan_of_users).expect("a batch");
        let mut rotated = changes.clone();
        rotated.rotate_left(order.index(changes.len()));
        let again = log(&changes).swap_remove(parked.index(changes.len()));
        let other = plan(log(&rotated), vec![again], &plan_of_users).expect("a batch");
        let meanings = |batch: &Batch| batch.documents.iter().map(meaning).collect::<Vec<_>>();
        prop_assert_eq!(meanings(&in_order), meanings(&other));
        prop_assert_eq!(in_order.documents.len() as u64 + in_order.beaten.values().sum::<u64>(), changes.len() as u64);
        prop_assert_eq!(other.changes, changes.len(), "what was parked was counted when it came");
        for document in &in_order.documents {
            let newest = changes.iter().filter(|change| change.key == document.key).map(|change| change.version).max();
            prop_assert_eq!(Some(document.version), newest);
        }
    }
}

/// Applies the versions of a batch as the sink does: the ledger's part of applying it, in memory.
fn apply(ledger: &mut BTreeMap<Key, Version>, batch: &Batch) {
    for reset in &batch.resets {
        let entry = ledger.get_mut(&reset.key).filter(|version| **version == reset.replaced);
        entry.into_iter().for_each(|version| *version = reset.version);
    }
    for document in &batch.documents {
        let entry = ledger.entry(document.key.clone()).or_insert(document.version);
        *entry = document.version.max(*entry);
    }
}

proptest! {
    // A log in which a version that was wrong came in a record, or stood in the ledger, and a repair behind it that replaces it.
    #[test]
    fn a_version_that_is_replaced_never_wins_however_the_log_is_cut_and_repeated(
        changes in prop::collection::vec(0..2i32, 1..8),
        wrong_at in any::<prop::sample::Index>(),
        repair_at in any::<prop::sample::Index>(),
        in_the_log in any::<bool>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..8),
    ) {
        let plan_of_users = users();
        let mut history = changes.iter().zip(1..).map(|(&id, t)| change("users", id, t, 1)).collect::<Vec<_>>();
        let wrong = Version { epoch: 1, time: ClusterTime { t: 1_000, i: 0 }, op: 0 };
        let repair_at = repair_at.index(history.len());
        history[repair_at].op = Op::Repair;
        history[repair_at].replaces = Some(wrong);
        let (key, last) = (history[repair_at].key.clone(), history.clone());
        let mut ledger = BTreeMap::new();
        if in_the_log {
            let id = changes[repair_at];
            let at = wrong_at.index(repair_at + 1);
            history.insert(at, Change { version: wrong, ..change("users", id, 1, 1) });
        } else {
            ledger.insert(key, wrong);
        }
        let records = log(&history);
        let mut from = 0;
        for (to, again) in &cuts {
            let to = from + to.index(records.len() - from + 1);
            apply(&mut ledger, &plan(records[from..to].to_vec(), Vec::new(), &plan_of_users).expect("a batch"));
            from = if *again { 0 } else { to };
        }
        apply(&mut ledger, &plan(records[from..].to_vec(), Vec::new(), &plan_of_users).expect("a batch"));
        for change in &last {
            let newest = last.iter().filter(|other| other.key == change.key).map(|other| other.version).max();
            prop_assert_eq!(ledger.get(&change.key).copied(), newest);
        }
    }
}

/// The record of a frontier as versions before format 2 wrote it.
fn old(frontier: &FrontierRecord, offset: i64) -> Fetched {
    let FrontierRecord { before: Frontier(ClusterTime { t, i }), as_of_ms, seq, changes, complete, publisher } =
        frontier;
    let value = serde_json::json!({
        "before": { "t": t, "i": i }, "asOfMs": as_of_ms, "seq": seq, "changes": changes, "complete": complete,
    });
    let publisher = publisher.to_string();
    let headers =
        [("driftless.format", "1"), ("driftless.op", "frontier"), (envelope::header::PUBLISHER, publisher.as_str())];
    let (key, value) = (br#"{"frontier":true}"#.to_vec(), Some(value.to_string().into_bytes()));
    fetched(envelope::Encoded { key, value, headers: headers.into_iter().collect() }, offset)
}

#[test]
fn a_passage_counts_changes_between_frontiers_of_both_forms() {
    let frontier = |seq| FrontierRecord {
        before: Frontier(ClusterTime { t: 9, i: 0 }),
        as_of_ms: 0,
        seq,
        publisher: 4,
        changes: 2,
        complete: false,
    };
    let mut records = log(&[change("users", 1, 1, 1), change("users", 1, 2, 0)]);
    records.push(old(&frontier(1), 2));
    let mut retried = fetched(envelope::encode(&change("users", 2, 3, 1), "p"), 3);
    retried.headers.push(envelope::header::RETRY, b"");
    records.push(retried);
    records.push(Fetched { value: Some(b"{".to_vec()), ..records[0].clone() });
    records.push(fetched(envelope::encode_frontier(&frontier(2)), 9));
    let batch = plan(records, Vec::new(), &users()).expect("a batch");
    let range = batch.ranges.values().next().expect("one partition");
    let expected = [
        Mark { progress: Progress::Changes { publisher: 4, count: 2 }, whole: true },
        Mark { progress: Progress::Frontier(frontier(1)), whole: true },
        // The record that cannot be read lies at an offset of before, and what followed it is gone.
        Mark { progress: Progress::Frontier(frontier(2)), whole: false },
    ];
    assert_eq!((range.next_offset, range.marks.as_slice()), (10, &expected[..]));
    assert_eq!((batch.unreadable.len(), batch.documents.len()), (1, 2));
}

#[test]
fn a_tombstone_repeats_its_delete_and_stands_for_it_where_compaction_removed_it() {
    let delete = change("users", 1, 2, 0);
    let mut records = log(&[change("users", 1, 1, 1), delete.clone()]);
    records.push(fetched(envelope::encode_tombstone(&delete, "p"), 2));
    let whole = plan(records.clone(), Vec::new(), &users()).expect("a batch");
    assert_eq!((whole.changes, whole.beaten.values().sum::<u64>()), (2, 1), "the tombstone is no change of its own");
    let compacted = plan(records.split_off(2), Vec::new(), &users()).expect("a batch");
    for batch in [whole, compacted] {
        let [document] = &batch.documents[..] else { panic!("{:?}", batch.documents) };
        assert_eq!((&document.key, document.version), (&delete.key, delete.version));
        assert!(matches!(document.content, Content::Gone(Some(_))), "{document:?}");
    }
}

#[test]
fn changes_of_other_collections_are_passed_over_and_counted() {
    let batch =
        plan(log(&[change("other", 1, 1, 1), change("users", 1, 2, 1)]), Vec::new(), &users()).expect("a batch");
    assert_eq!((batch.unmapped, batch.documents.len()), (1, 1));
}

#[test]
fn a_newer_format_stops_the_sink() {
    let mut records = log(&[change("users", 1, 1, 1)]);
    let known = std::mem::take(&mut records[0].headers);
    let newer = |name, value| if name == envelope::header::FORMAT { b"99".as_slice() } else { value };
    records[0].headers = known.iter().map(|(name, value)| (name, newer(name, value))).collect();
    let refused = plan(records, Vec::new(), &users());
    assert!(matches!(refused, Err(Error::NewerRecord { offset: 0, .. })), "{refused:?}");
}
