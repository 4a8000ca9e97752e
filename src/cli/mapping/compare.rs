//! The mapping file beside the recorded one, with everything that a change rests on. Changes nothing.

use super::route::{Held, Route};
use crate::{
    cli::{
        finding::Finding,
        schema::{SAMPLE, Wanted, statements},
        setup::Setup,
    },
    control::{
        mapping::{self, Recorded},
        replay, reset,
    },
    log::{Offsets, Topics},
    mapping::{CollectionPlan, Effect, MappingFile, Plan, Remapped},
    model::Namespace,
    postgres::{Session, faults_of_target},
};

/// The mapping file beside the recorded one.
pub(super) struct Compared {
    pub(super) recorded: Recorded,
    /// Whether the file has the content of the recorded one.
    pub(super) is_recorded: bool,
    /// The plan of the file, as far as it fits the target.
    pub(super) plan: Plan,
    /// Statements that add the tables and columns that the target lacks.
    pub(super) statements: Vec<String>,
    /// Tables and columns that the target lacks and whose types nobody knows.
    pub(super) unknown: Vec<String>,
    /// The collections whose mapping is other than before.
    pub(super) collections: Vec<Changed>,
    /// Everything that stands against the change.
    pub(super) faults: Vec<Finding>,
}

/// A collection whose mapping is other than before.
pub(super) struct Changed {
    pub(super) remapped: Remapped,
    /// Its documents that have rows.
    pub(super) documents: i64,
    /// The way on which they are written again; `None` where that is not needed, or not possible.
    pub(super) route: Option<Route>,
}

impl Compared {
    /// Reads the recorded mapping, the catalog, the positions and the ends of the log.
    pub(super) async fn read(setup: &Setup, session: &Session) -> anyhow::Result<Self> {
        let Some(recorded) = mapping::recorded(session).await? else {
            anyhow::bail!("compare the mapping: none is recorded yet, the first sink that starts records its own");
        };
        let mut wanted = Wanted::read(setup, 0).await?;
        if !wanted.difference().is_complete() {
            // Only documents say which types the missing columns need.
            wanted = Wanted::read(setup, SAMPLE).await?;
        }
        let (statements, unknown) = statements(&wanted, &wanted.difference());
        let (before, _) = MappingFile::parse_partly(&recorded.file, "the recorded mapping");
        let (old, _) = Plan::compile_partly(&before, &wanted.catalog);
        let mut compared = Self {
            is_recorded: recorded.is(&setup.mapping),
            recorded,
            statements,
            unknown,
            collections: Vec::new(),
            faults: wanted.faults.iter().cloned().map(Finding::from).collect(),
            plan: wanted.plan,
        };
        let suited = faults_of_target(session, &compared.plan).await?.into_iter().filter(|fault| fault.stops);
        compared.faults.extend(suited.map(|fault| Finding {
            place: "sink".to_owned(),
            what: fault.what,
            hint: fault.hint,
        }));
        let remapped = Remapped::all((&before, &old), (&setup.mapping, &compared.plan));
        compared.take(setup, session, &old, remapped).await?;
        Ok(compared)
    }

    /// Finds the way for each collection, and the faults of those that have none.
    async fn take(&mut self, setup: &Setup, session: &Session, old: &Plan, all: Vec<Remapped>) -> anyhow::Result<()> {
        for mut remapped in all {
            let documents = match remapped.effect {
                Effect::New => 0,
                _ => reset::documents(session, &remapped.collection).await?,
            };
            if let Effect::OtherRows(reasons) = &remapped.effect {
                if reset::is_unknown(session, &remapped.collection).await? {
                    remapped.effect = Effect::Rewritten;
                } else {
                    let number = reset::number(session, &remapped.collection).await?;
                    self.faults.push(Finding {
                        place: remapped.collection.clone(),
                        what: format!("the mapping cannot be changed in place: {}", reasons.join("; ")),
                        hint: start_over(old.collection(&remapped.collection), number),
                    });
                }
            }
            let route = match remapped.effect {
                Effect::Rewritten => Some(route(setup, session, &remapped.collection).await?),
                _ => None,
            };
            self.collections.push(Changed { remapped, documents, route });
        }
        Ok(())
    }

    /// Returns the names of the collections for which this holds.
    pub(super) fn names(&self, of: impl Fn(&Changed) -> bool) -> Vec<String> {
        let chosen = self.collections.iter().filter(|changed| of(changed));
        chosen.map(|changed| changed.remapped.collection.clone()).collect()
    }
}

/// The remedy for a collection whose rows would be other rows; `number` is that of the collection in the schema `driftless`.
fn start_over(old: Option<&CollectionPlan>, number: Option<i32>) -> String {
    let tables = old.iter().flat_map(|plan| &plan.tables).map(|table| table.table.label()).collect::<Vec<_>>();
    let tables = if tables.is_empty() { "its tables".to_owned() } else { tables.join(", ") };
    let which = number.map_or_else(String::new, |number| format!(" (where `collection` is {number})"));
    format!(
        "start this collection over while no sink runs: empty {tables}, and delete its entries in driftless.ledger and \
         driftless.owner{which}; then `driftless mapping apply`. `driftless reset` is not enough: it reads the documents again under the \
         old mapping"
    )
}

async fn route(setup: &Setup, session: &Session, collection: &str) -> anyhow::Result<Route> {
    let config = &setup.config;
    let namespace = Namespace::new(&config.source.database, collection);
    let topics = Topics::find(&config.log, std::slice::from_ref(&namespace)).await?;
    let applied = replay::applied(session).await?;
    let Some(topic) = topics.of(&namespace) else { return Ok(Route::of(&[])) };
    let partitions = topics.partitions();
    let ends = Offsets::new(&config.log)?.ends(&partitions).await?;
    let held = partitions.into_iter().zip(ends).map(|(partition, (beginning, _))| {
        let position = applied.iter().find(|applied| applied.partition == partition);
        Held {
            topic_id: topic.id.clone(),
            applied_topic_id: position.and_then(|position| position.topic_id.clone()),
            next_offset: position.and_then(|position| position.next_offset),
            beginning,
            partition,
        }
    });
    Ok(Route::of(&held.collect::<Vec<_>>()))
}
