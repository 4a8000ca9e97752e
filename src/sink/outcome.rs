//! The outcome of a batch: how many changes were applied, superseded, dead-lettered or parked, and what the rows lost. Pure.

use std::collections::{BTreeMap, HashSet};

use super::{
    Prepared,
    bisect::Failed,
    dead_letter::{Letter, State},
    plan::{Batch, Content},
    progress::Position,
    winner::Winner,
    write::Touched,
};
use crate::{log::TopicPartition, mapping::Loss, model::Reason};

/// The outcome of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The positions of its partitions after it.
    pub positions: Vec<(TopicPartition, Position)>,
    /// Partitions whose counts were not met, once per frontier.
    pub unmet: Vec<TopicPartition>,
    /// By collection.
    pub counts: BTreeMap<String, Counts>,
    /// Rows written and removed, by table.
    pub touched: Touched,
    /// Losses of the mapping in the documents that were written, by collection, column (`table.column`) and kind.
    pub losses: BTreeMap<(String, String, Loss), u64>,
    /// New dead letters, by collection (or topic, where that carries none of ours) and reason.
    pub(crate) dead_letters: BTreeMap<(String, Reason), usize>,
    /// Whether any dead letter waited already, of which the rows that were touched may free one.
    pub(crate) letters_waited: bool,
}

/// The outcomes of the changes of one collection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Written.
    pub applied: u64,
    /// Beaten by a newer version.
    pub superseded: u64,
    /// Dead-lettered.
    pub dead_lettered: u64,
    /// Parked.
    pub parked: u64,
}

impl Outcome {
    /// Counts the winners as applied and all others as superseded; dead letters are counted later.
    pub(super) fn count_changes(&mut self, prepared: &Prepared, batch: &Batch, winners: &[Winner<'_>]) {
        let mut counts = BTreeMap::<usize, Counts>::new();
        for (&collection, beaten) in &batch.beaten {
            counts.entry(collection).or_default().superseded += beaten;
        }
        for document in &batch.documents {
            counts.entry(document.collection).or_default().superseded += 1;
        }
        for winner in winners {
            let counts = counts.entry(winner.document.collection).or_default();
            counts.superseded -= 1;
            counts.applied += 1;
        }
        self.counts = counts.into_iter().map(|(collection, counts)| (prepared.name(collection), counts)).collect();
    }

    /// Counts the losses of the mapping in the documents that were written.
    pub(super) fn count_losses(&mut self, prepared: &Prepared, winners: &[Winner<'_>], failed: &[Failed<'_>]) {
        let failed = failed.iter().map(|failed| (failed.winner.document.collection, &failed.winner.document.key));
        let failed = failed.collect::<HashSet<_>>();
        for Winner { document, .. } in winners {
            let Content::Rows { rows, .. } = &document.content else { continue };
            if rows.losses.is_empty() || failed.contains(&(document.collection, &document.key)) {
                continue;
            }
            let plan = prepared.plan(document.collection);
            for entry in rows.losses.iter() {
                let table = plan.tables.get(entry.table);
                let column = table.and_then(|table| Some((&table.table, table.columns.get(entry.column)?)));
                let column = column.map(|(table, column)| table.column_label(&column.name));
                let place = (plan.collection.clone(), column.unwrap_or_default(), entry.loss);
                *self.losses.entry(place).or_default() += entry.count;
            }
        }
    }

    /// Counts each letter under the state that it has now; its change is not applied.
    pub(super) fn count_letters(&mut self, prepared: &Prepared, letters: &[Letter<'_>], states: &[State]) {
        debug_assert_eq!(letters.len(), states.len());
        for (letter, state) in letters.iter().zip(states) {
            let owner = match letter.collection {
                Some(collection) => {
                    let name = prepared.name(collection);
                    let counts = self.counts.entry(name.clone()).or_default();
                    // A record that could not be read was not counted as a change.
                    counts.applied -= u64::from(letter.document.is_some());
                    match state {
                        State::Parked => counts.parked += 1,
                        _ => counts.dead_lettered += 1,
                    }
                    name
                }
                None => letter.record.topic.to_string(),
            };
            if *state == State::Open {
                *self.dead_letters.entry((owner, letter.reason)).or_default() += 1;
            }
        }
    }

    /// Dead letters that this batch has added.
    pub(super) fn new_dead_letters(&self) -> usize {
        self.dead_letters.values().sum()
    }
}
