//! Makes facts about each collection out of what PostgreSQL holds: for the overview, and for commands.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    config::Config,
    control::{
        findings::Kind,
        proven::Reference,
        status::{self, Letters, Status},
    },
    log::topic_name,
    mapping::{Plan, target::TableName},
    model::{Frontier, Namespace},
    postgres::{self, Session},
    reconcile::facts::{CollectionFacts, Facts, Findings, Guard, Proven},
};

/// The part of a collection's plan that decides which facts concern it.
#[derive(Clone, Debug)]
pub(crate) struct PlanFacts {
    /// A proof under another digest does not count.
    digest: [u8; 16],
    tables: Vec<TableName>,
}

/// The plans by collection.
pub(crate) type Plans = BTreeMap<String, PlanFacts>;

/// Returns what the facts of each collection depend on.
pub(crate) fn plans(plan: &Plan) -> Plans {
    let of = plan.collections().iter().map(|plan| {
        let tables = plan.tables.iter().map(|table| table.table.clone()).collect();
        (plan.collection.clone(), PlanFacts { digest: plan.digest(), tables })
    });
    of.collect()
}

/// States of a dead letter that still waits.
pub(crate) const OPEN: &str = "open";
const PARKED: &str = "parked";

/// Gives letters of records that could not be decoded to the collections of their topics.
pub(crate) fn assign_letters(config: &Config, names: &[String], letters: &mut [Letters]) {
    for name in names {
        let topic = topic(config, name);
        letters
            .iter_mut()
            .filter(|letter| letter.collection == topic)
            .for_each(|letter| name.clone_into(&mut letter.collection));
    }
}

/// Makes the facts of one collection. Its letters are [assigned](assign_letters).
pub(crate) fn collection(config: &Config, name: &str, shared: &Status, plans: &Plans) -> CollectionFacts {
    let topic = topic(config, name);
    let plan = plans.get(name);
    let positions: Vec<_> = shared.positions.iter().filter(|position| position.topic == topic).collect();
    let letters = |state: &str| {
        let of = shared.dead_letters.iter().filter(|letters| letters.collection == name && letters.state == state);
        of.map(count).sum()
    };
    let findings = |kind: Kind| {
        let of = shared.findings.iter().filter(|count| count.collection == name && count.kind == kind);
        of.map(|count| count.open).sum()
    };
    let ours = |table: &TableName| plan.is_some_and(|plan| plan.tables.contains(table));
    // A table that is not mapped may refer to one of ours.
    let mapped = |table: &TableName| plans.values().any(|plan| plan.tables.contains(table));
    let refers =
        |reference: &Reference| ours(&reference.table) || (!mapped(&reference.table) && ours(&reference.parent_table));
    let as_of = positions.iter().map(|position| position.as_of_ms).min().flatten();
    let proof = shared.proofs.iter().find(|proof| proof.collection == name);
    CollectionFacts {
        name: name.to_owned(),
        watermark: positions.iter().map(|position| position.watermark).min().flatten().map(Frontier),
        as_of: as_of.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        staleness: as_of.map(|ms| SignedDuration::from_millis(shared.now_ms.saturating_sub(ms))),
        snapshot_complete: !positions.is_empty() && positions.iter().all(|position| position.complete),
        snapshot_paused: shared.paused.contains(name),
        paused: shared.pauses.collections.get(name).cloned(),
        dead_letters: letters(OPEN),
        parked: letters(PARKED),
        proven: Proven::of(proof, plan.map(|plan| &plan.digest)),
        findings: Findings {
            missing: findings(Kind::Missing),
            extra: findings(Kind::Extra),
            different: findings(Kind::Different),
            version: findings(Kind::Version),
            left_out: proof.map_or(0, |proof| proof.left_out),
        },
        findings_since: shared
            .findings
            .iter()
            .filter(|count| count.collection == name)
            .filter_map(|count| Timestamp::from_millisecond(count.since_ms).ok())
            .min(),
        foreign_writes: shared.foreign_writes.iter().filter(|write| ours(&write.table)).cloned().collect(),
        guard: plan.map(|plan| Guard::of(&plan.tables, &shared.guarded)).unwrap_or_default(),
        references: shared.references.iter().filter(|reference| refers(reference)).cloned().collect(),
        topic,
    }
}

fn topic(config: &Config, name: &str) -> String {
    topic_name(&config.log.prefix, &Namespace::new(&config.source.database, name))
}

/// Counts the open letters by reason.
pub(crate) fn open_by_reason(letters: &[Letters]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for letters in letters.iter().filter(|letters| letters.state == OPEN) {
        *found.entry(letters.reason.clone()).or_default() += count(letters);
    }
    found
}

/// Returns the number of these letters.
pub(crate) fn count(letters: &Letters) -> u64 {
    u64::try_from(letters.count).unwrap_or(0)
}

/// Reads all facts.
///
/// # Errors
/// [`postgres::Error::Statement`] by its cause.
pub(crate) async fn read(
    config: &Config,
    names: &[String],
    plans: &Plans,
    session: &Session,
) -> Result<Facts, postgres::Error> {
    let mut shared = status::read(session, 0).await?;
    assign_letters(config, names, &mut shared.dead_letters);
    let collections = names.iter().map(|name| collection(config, name, &shared, plans)).collect();
    Ok(Facts { answered: true, collections, processes: shared.processes, shadow: shared.shadow })
}
