//! The evidence of a cutover: a file that says what was proven, by which reads, and under which settings; and its verification
//! against itself. Pure.
//!
//! The digest finds a file that was changed. Somebody who means to deceive computes another one, so keep the digest of a decision
//! elsewhere, beside its ticket: `cutover check` prints it, and `cutover verify --digest` compares it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    blockers::Bounds,
    facts::{CollectionFacts, Findings},
    gate::Gate,
};
use crate::{control::proven::ChunkRow, model::ClusterTime};

/// The version of the format.
const FORMAT: u32 = 1;
/// The key of the digest.
const DIGEST: &str = "digest";

/// The content of a file of evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evidence {
    /// The version of the format.
    pub(crate) format: u32,
    /// The version of the program.
    pub(crate) driftless: String,
    /// When it was made, by PostgreSQL's clock.
    pub(crate) made_at: Timestamp,
    /// Both servers.
    pub(crate) servers: Servers,
    /// The settings as given; others have the defaults of the version. Secrets are `***`.
    pub(crate) settings: Value,
    /// The bounds of the judgement.
    pub(crate) bounds: BoundsRecord,
    /// The unit.
    pub(crate) unit: String,
    /// Whether its reads may be cut over.
    pub(crate) ready: bool,
    /// Everything that stood in the way.
    pub(crate) blockers: Vec<String>,
    /// The lowest V of its collections.
    pub(crate) verified: Option<ClusterTime>,
    /// Its collections.
    pub(crate) collections: Vec<CollectionEvidence>,
}

/// Both servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Servers {
    /// Name and version of the source, as its leader reported it.
    pub(crate) source: Option<String>,
    /// Name and version of the target.
    pub(crate) target: String,
    /// The database of the source.
    pub(crate) source_database: String,
    /// The database of the target.
    pub(crate) target_database: String,
}

/// The bounds of a judgement, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BoundsRecord {
    /// How old V may be.
    pub(crate) fresh_ms: u64,
    /// How old the baseline may be.
    pub(crate) baseline_max_age_ms: u64,
    /// How stale the target may be.
    pub(crate) max_staleness_ms: u64,
    /// How far the leader must be from the end of the oplog.
    pub(crate) oplog_margin_ms: u64,
}

/// The facts about a collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectionEvidence {
    /// Its name.
    pub(crate) name: String,
    /// Digest of its compiled mapping.
    pub(crate) plan: Option<String>,
    /// Whether its snapshot was applied.
    pub(crate) snapshot_complete: bool,
    /// V: every change before this was judged.
    pub(crate) verified: Option<ClusterTime>,
    /// The wall-clock time of which that was true.
    pub(crate) verified_at: Option<Timestamp>,
    /// Keys that waited to be judged.
    pub(crate) undecided: u64,
    /// Open findings by kind.
    pub(crate) findings: BTreeMap<String, u64>,
    /// Open dead letters.
    pub(crate) dead_letters: u64,
    /// Parked documents.
    pub(crate) parked: u64,
    /// Tables that others had written since they were compared.
    pub(crate) foreign_writes: Vec<String>,
    /// Tables that were not guarded, or whose guard did not hold.
    pub(crate) unguarded: Vec<String>,
    /// Rows without their parents, by foreign key.
    pub(crate) orphans: BTreeMap<String, u64>,
    /// The last complete baseline.
    pub(crate) baseline: Option<BaselineEvidence>,
}

/// A complete baseline with its chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BaselineEvidence {
    /// Its number.
    pub(crate) pass: i64,
    /// When it began, before its oldest read.
    pub(crate) began_at: Timestamp,
    /// When it ended.
    pub(crate) ended_at: Timestamp,
    /// Cluster time of its oldest read.
    pub(crate) oldest: Option<ClusterTime>,
    /// Documents compared.
    pub(crate) documents: u64,
    /// Its chunks.
    pub(crate) chunks: Vec<Chunk>,
}

/// A chunk of a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chunk {
    /// Its place in the pass.
    pub(crate) place: i64,
    /// `documents`, `ledger` or `rows`.
    pub(crate) phase: String,
    /// The end of the chunk before it in the same phase, in hex; `None` for the first.
    pub(crate) after: Option<String>,
    /// Its own end; `None` for the last of the phase.
    pub(crate) until: Option<String>,
    /// Cluster time of the read.
    pub(crate) as_of: ClusterTime,
    /// Documents, entries or rows.
    pub(crate) documents: u64,
    /// Differences.
    pub(crate) findings: u64,
    /// When it was judged.
    pub(crate) at: Timestamp,
}

impl From<ChunkRow> for Chunk {
    fn from(row: ChunkRow) -> Self {
        let ChunkRow { place, phase, after, until, as_of, documents, findings, at_ms } = row;
        let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
        Self { place, phase, after, until, as_of, documents, findings, at }
    }
}

/// The phases of a baseline, in their order.
const PHASES: [&str; 3] = ["documents", "ledger", "rows"];

impl From<&Bounds> for BoundsRecord {
    fn from(bounds: &Bounds) -> Self {
        let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            fresh_ms: ms(bounds.fresh),
            baseline_max_age_ms: ms(bounds.baseline_max_age),
            max_staleness_ms: ms(bounds.max_staleness),
            oplog_margin_ms: bounds.gate.map_or(0, |gate| ms(gate.oplog_margin)),
        }
    }
}

impl CollectionEvidence {
    /// Puts the facts together with the chunks of the last complete baseline.
    pub(crate) fn new(facts: &CollectionFacts, chunks: Vec<Chunk>) -> Self {
        let proven = &facts.proven;
        let findings = facts.findings.by_kind().into_iter().map(|(kind, count)| (kind.to_owned(), count));
        let orphans = facts
            .references
            .iter()
            .map(|reference| (format!("{} ({})", reference.relation, reference.constraint), reference.orphans));
        Self {
            name: facts.name.clone(),
            plan: proven.plan.clone(),
            snapshot_complete: facts.snapshot_complete,
            verified: proven.verified.as_ref().map(|verified| verified.frontier),
            verified_at: proven.verified.as_ref().map(|verified| verified.at),
            undecided: proven.undecided,
            findings: findings.collect(),
            dead_letters: facts.dead_letters,
            parked: facts.parked,
            foreign_writes: facts.foreign_writes.iter().map(|write| write.relation.clone()).collect(),
            unguarded: [&facts.guard.unguarded[..], &facts.guard.broken[..]].concat(),
            orphans: orphans.collect(),
            baseline: proven.baseline.as_ref().map(|baseline| BaselineEvidence {
                pass: baseline.pass,
                began_at: baseline.began_at,
                ended_at: baseline.ended_at,
                oldest: baseline.oldest,
                documents: baseline.documents,
                chunks,
            }),
        }
    }
}

impl Evidence {
    /// The evidence of a judgement.
    pub(crate) fn new(
        gate: &Gate,
        bounds: &Bounds,
        made_at: Timestamp,
        servers: Servers,
        settings: Value,
        collections: Vec<CollectionEvidence>,
    ) -> Self {
        Self {
            format: FORMAT,
            driftless: env!("CARGO_PKG_VERSION").to_owned(),
            made_at,
            servers,
            settings,
            bounds: bounds.into(),
            unit: gate.unit.clone(),
            ready: gate.ready,
            blockers: gate.blockers.iter().map(ToString::to_string).collect(),
            verified: gate.verified.as_ref().map(|verified| verified.frontier),
            collections,
        }
    }

    /// Returns the text of the file, and its digest.
    ///
    /// # Errors
    /// Those of `serde_json`, which has no reason to fail here.
    pub(crate) fn to_file(&self) -> Result<(String, String), serde_json::Error> {
        let mut file = serde_json::to_value(self)?;
        let digest = digest(&file);
        if let Value::Object(fields) = &mut file {
            fields.insert(DIGEST.to_owned(), digest.clone().into());
        }
        Ok((format!("{}\n", serde_json::to_string_pretty(&file)?), digest))
    }
}

/// Verifies the text of a file against itself, and against the digest that was noted. Returns the evidence and every fault.
///
/// # Errors
/// The fault that keeps the file from being read at all.
pub(crate) fn verify(text: &str, noted: Option<&str>) -> Result<(Evidence, Vec<String>), String> {
    let mut file: Value = serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))?;
    let fields = file.as_object_mut().ok_or("this is no file of evidence: it is not an object")?;
    let stated = fields.remove(DIGEST).ok_or("there is no digest")?;
    let mut faults = Vec::new();
    let found = digest(&file);
    if stated.as_str() != Some(&found) {
        faults.push(format!("the content was changed: its digest is {found}, the file says {stated}"));
    }
    if noted.is_some_and(|noted| noted != found) {
        faults.push(format!("this is not the file whose digest was noted: its own is {found}"));
    }
    let read: Result<Evidence, _> = serde_json::from_value(file);
    let evidence =
        read.map_err(|error| faults.iter().cloned().chain([error.to_string()]).collect::<Vec<_>>().join("; "))?;
    if evidence.format != FORMAT {
        faults.push(format!("the format is {}, this version reads {FORMAT}", evidence.format));
    }
    faults.extend(evidence.faults());
    Ok((evidence, faults))
}

/// The digest of a value: of its text with the keys in order, so that neither layout nor order matters.
fn digest(value: &Value) -> String {
    hex::encode(Sha256::digest(ordered(value).to_string()))
}

fn ordered(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.iter().map(|(key, value)| (key.clone(), ordered(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(values) => values.iter().map(ordered).collect(),
        other => other.clone(),
    }
}

impl Evidence {
    /// Returns everything in which the file contradicts itself.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.ready != self.blockers.is_empty() {
            faults.push("it says ready although something stands in the way, or the other way round".to_owned());
        }
        if self.verified != self.collections.iter().map(|collection| collection.verified).min().flatten() {
            faults.push("V of the unit is not the lowest of its collections".to_owned());
        }
        if self.collections.is_empty() {
            faults.push("the unit has no collection".to_owned());
        }
        for collection in &self.collections {
            let mut found = collection.faults(self.made_at);
            if self.ready {
                found.extend(collection.not_ready());
            }
            faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", collection.name)));
        }
        faults
    }
}

impl CollectionEvidence {
    fn faults(&self, made_at: Timestamp) -> Vec<String> {
        let mut faults = Vec::new();
        if self.verified.is_some() != self.verified_at.is_some() {
            faults.push("V and its time are not both there".to_owned());
        }
        if self.verified_at.is_some_and(|at| at > made_at) {
            faults.push("V is later than the file".to_owned());
        }
        let kinds: Vec<&str> = Findings::default().by_kind().into_iter().map(|(kind, _)| kind).collect();
        if self.findings.len() != kinds.len() || !kinds.iter().all(|kind| self.findings.contains_key(*kind)) {
            faults.push(format!("the findings are not those of the kinds {}", kinds.join(", ")));
        }
        match &self.baseline {
            Some(baseline) => faults.extend(baseline.faults(made_at)),
            None if self.verified.is_some() && self.plan.is_none() => faults.push("V without a plan".to_owned()),
            None => {}
        }
        faults
    }

    /// Lists what keeps a collection of a unit that is said to be ready.
    fn not_ready(&self) -> Vec<String> {
        let open: u64 = self.findings.values().sum();
        let against = [
            (self.snapshot_complete, "the snapshot is not finished"),
            (self.plan.is_some(), "the mapping is not known"),
            (self.baseline.is_some(), "there is no baseline"),
            (self.verified.is_some(), "nothing is verified"),
            (open == 0, "findings are open"),
            (self.dead_letters == 0, "dead letters are open"),
            (self.parked == 0, "documents are parked"),
            (self.foreign_writes.is_empty(), "somebody else wrote its tables"),
            (self.orphans.values().all(|orphans| *orphans == 0), "rows lack their parents"),
            (
                self.baseline.as_ref().is_none_or(|baseline| baseline.oldest <= self.verified),
                "V is before the oldest read of the baseline",
            ),
        ];
        let against = against.into_iter().filter(|(holds, _)| !holds);
        against.map(|(_, fault)| format!("it is said to be ready, but {fault}")).collect()
    }
}

impl BaselineEvidence {
    fn faults(&self, made_at: Timestamp) -> Vec<String> {
        let mut faults = Vec::new();
        let Self { began_at, ended_at, oldest, documents, chunks, .. } = self;
        if !(began_at <= ended_at && *ended_at <= made_at) {
            faults.push("the times of the baseline are not in order".to_owned());
        }
        let compared: u64 = chunks.iter().filter(|chunk| chunk.phase == PHASES[0]).map(|chunk| chunk.documents).sum();
        if compared != *documents {
            faults.push(format!("the chunks have {compared} documents, the baseline says {documents}"));
        }
        let first = chunks.iter().map(|chunk| chunk.as_of).min();
        if first != *oldest {
            faults.push("the oldest read of the baseline is not that of a chunk".to_owned());
        }
        for phase in PHASES {
            faults.extend(covers(phase, chunks));
        }
        let mut before = None;
        for chunk in chunks {
            faults.extend(chunk.faults(before.replace(chunk), (*began_at, *ended_at)));
        }
        faults
    }
}

/// Whether the chunks of a phase cover everything: the first begins at the beginning, the last ends at the end, and each begins
/// where the one before it ended.
fn covers(phase: &str, chunks: &[Chunk]) -> Option<String> {
    let of: Vec<&Chunk> = chunks.iter().filter(|chunk| chunk.phase == phase).collect();
    let (Some(first), Some(last)) = (of.first(), of.last()) else {
        return Some(format!("there is no chunk of the {phase}"));
    };
    if let Some(after) = &first.after {
        return Some(format!("nothing of the {phase} up to {after} was looked at"));
    }
    if let Some(pair) = of.windows(2).find(|pair| pair[0].until.is_none() || pair[1].after != pair[0].until) {
        return Some(format!("chunk {} does not begin where chunk {} ended", pair[1].place, pair[0].place));
    }
    last.until.as_ref().map(|until| format!("nothing of the {phase} behind {until} was looked at"))
}

impl Chunk {
    fn faults(&self, before: Option<&Self>, (began_at, ended_at): (Timestamp, Timestamp)) -> Vec<String> {
        let mut faults = Vec::new();
        let place = self.place;
        let rank = |chunk: &Self| PHASES.iter().position(|phase| *phase == chunk.phase);
        if rank(self).is_none() {
            faults.push(format!("chunk {place}: there is no phase {}", self.phase));
        }
        if self.at < began_at || self.at > ended_at {
            faults.push(format!("chunk {place} was not judged during the baseline"));
        }
        if let Some(before) = before {
            if place != before.place + 1 {
                faults.push(format!("chunk {place} follows chunk {}", before.place));
            }
            if rank(self) < rank(before) {
                faults.push(format!("chunk {place}: the {} come before the {}", self.phase, before.phase));
            }
            if self.at < before.at {
                faults.push(format!("chunk {place} was judged before chunk {}", before.place));
            }
        }
        faults
    }
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
