//! `driftless repair`: repairs differences through the log.
//!
//! ```text
//!  findings ──▶ plan ──▶ stop rule ──▶ evidence ──▶ requests ──▶ leader ──▶ log ──▶ sink ──▶ compared again ──▶ ended
//! ```

mod report;
mod stop;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;

use self::report::{Left, Planned, Report};
use super::{
    Exit, requests,
    setup::{Setup, operator},
};
use crate::{
    control::{
        evidence::{self, Evidence},
        findings::{self, Choice, Finding, Found, FoundBy, Kind, Subject},
        journal::record_action,
        repairs,
    },
    log::ejson,
    model::Key,
    pipeline::{Comparison, Sides},
    postgres::{Error, Session},
    reconcile::again::{Judged, Outcome},
    target::DocumentId,
};

/// Repair differences that a comparison found, through the log, while the daemon runs.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Repair only this collection; may be repeated.
    #[arg(long = "collection", value_name = "NAME")]
    collections: Vec<String>,
    /// Repair only this document: its `_id` as Extended JSON, as digits of an ObjectId or UUID, or as plain text; may be repeated. It is
    /// compared first.
    #[arg(long = "id", value_name = "ID", requires = "collections")]
    ids: Vec<String>,
    /// Repair only findings of this kind (missing, extra, different, version); may be repeated.
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<Kind>,
    /// Print the plan, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Repair even so many findings that they must have a common cause.
    #[arg(long, requires = "why")]
    force: bool,
    /// The reason; it is recorded.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Wait this long for the outcome; `0s` does not wait.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = requests::wait)]
    wait: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const COMMAND: &str = "repair";
/// Documents whose evidence is read at a time; each may have 16 MiB.
const PAGE_DOCUMENTS: usize = 20;
/// Documents that are compared again at a time.
const PAGE_JUDGED: usize = 500;

fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_name(text)
        .ok_or_else(|| format!("`{text}` is no kind: write {}", Kind::ALL.map(Kind::as_str).join(", ")))
}

impl Repair {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        setup.only_running("repair")?;
        let session = setup.session().await?;
        let comparison = Comparison::connect(&setup.config, &setup.mapping).await?;
        let known = comparison.collections();
        if let Some(unknown) = self.collections.iter().find(|name| !known.contains(name)) {
            anyhow::bail!("find collection {unknown} in the mapping: it has only {}", known.join(", "));
        }
        let work = Work { session: &session, comparison: &comparison };
        let findings = work.chosen(&self).await?;
        let documents = work.sizes(&findings).await?;
        let mut report = Report {
            dry_run: self.dry_run,
            planned: Planned::of(&findings, |finding| work.tables(finding)),
            systematic: stop::systematic(&setup.config.repair, &findings, &documents, |finding| {
                work.partition(finding)
            }),
            ..Report::default()
        };
        let stopped = !report.systematic.is_empty() && !self.force;
        report.stopped = stopped;
        if !stopped && !self.dry_run && !findings.is_empty() {
            work.repair(&self, &findings, setup.config.repair.evidence_kept, &mut report).await?;
        }
        report.show(self.json, self.wait)?;
        Ok(match () {
            () if stopped => Exit::Drift,
            () if self.dry_run || self.wait.is_zero() || report.left.is_empty() => Exit::Success,
            () => Exit::Failure,
        })
    }
}

/// Both connections of the command.
struct Work<'a> {
    session: &'a Session,
    comparison: &'a Comparison,
}

impl Work<'_> {
    /// The findings to repair: the open ones, and of documents that are named those that are found now.
    async fn chosen(&self, repair: &Repair) -> anyhow::Result<Vec<Finding>> {
        let mut choice =
            Choice { collections: repair.collections.clone(), kinds: repair.kinds.clone(), keys: Vec::new() };
        if !repair.ids.is_empty() {
            for collection in &repair.collections {
                choice.keys.extend(self.found_now(collection, &repair.ids, repair.wait).await?);
            }
            if choice.keys.is_empty() {
                return Ok(Vec::new());
            }
        }
        let mut findings = findings::chosen(self.session, &choice).await?;
        if self.lead_back(&findings, repair.wait).await? {
            findings = findings::chosen(self.session, &choice).await?;
        }
        // A collection that left the mapping has nobody who would repair it.
        Ok(findings.into_iter().filter(|finding| self.comparison.named(&finding.collection).is_some()).collect())
    }

    /// Ends the findings of rows that the source has documents behind, and has these documents compared instead: the ledger alone does
    /// not say that a row is nobody's. Returns whether there were any.
    async fn lead_back(&self, findings: &[Finding], wait: Duration) -> anyhow::Result<bool> {
        let mut rows = BTreeMap::<(&str, &str), Vec<(i64, Value)>>::new();
        for finding in findings {
            if let Subject::Row { table, row_key } = &finding.found.subject {
                rows.entry((&finding.collection, table)).or_default().push((finding.id, row_key.clone()));
            }
        }
        let (mut owned, mut documents) = (Vec::new(), BTreeMap::<usize, Vec<DocumentId>>::new());
        for ((collection, table), rows) in rows {
            let Some(place) = self.comparison.named(collection) else { continue };
            let (ids, keys): (Vec<i64>, Vec<Value>) = rows.into_iter().unzip();
            let found = self.comparison.documents_of_rows(place, table, &keys).await?;
            for (id, (collection, document)) in ids.into_iter().zip(found).filter_map(|(id, found)| Some((id, found?)))
            {
                owned.push(id);
                documents.entry(collection).or_default().push(document);
            }
        }
        for (collection, documents) in documents {
            self.judge(&self.comparison.plan(collection).collection, documents, wait).await?;
        }
        findings::end_owned(self.session, &owned).await?;
        Ok(!owned.is_empty())
    }

    /// Compares documents that an operator names, and records what is found; returns the keys of all that the text may mean.
    async fn found_now(&self, collection: &str, ids: &[String], wait: Duration) -> anyhow::Result<Vec<Key>> {
        let meant = ids.iter().flat_map(|text| ejson::ids_of(text));
        let meant: BTreeMap<_, _> = meant.filter_map(|id| Some((Key::from_id(&id)?, id))).collect();
        let keys = meant.keys().cloned().collect();
        let documents = meant.into_iter().map(|(key, id)| DocumentId { key, id: Some(id) }).collect();
        self.judge(collection, documents, wait).await?;
        Ok(keys)
    }

    /// Compares documents, ends findings and records others; returns those that could not be judged.
    async fn judge(
        &self,
        collection: &str,
        documents: Vec<DocumentId>,
        wait: Duration,
    ) -> anyhow::Result<BTreeSet<Key>> {
        let Some(place) = self.comparison.named(collection) else { return Ok(BTreeSet::new()) };
        let tables = self.comparison.tables(place);
        let scope = self.comparison.scope(place, &tables);
        let (mut equal, mut found, mut undecided) = (Vec::new(), Vec::<Found>::new(), BTreeSet::new());
        for Judged { document, entry, outcome, .. } in self.comparison.judge(place, documents, wait).await? {
            match outcome {
                Outcome::Equal | Outcome::Absent => {
                    equal.push((document.key, entry.map(|entry| (entry.version, entry.applied))));
                }
                Outcome::Differs(one) => found.push(one),
                Outcome::Undecided => drop(undecided.insert(document.key)),
            }
        }
        let recorded = async {
            findings::end_documents(self.session, &scope, &equal).await?;
            findings::record(self.session, &scope, FoundBy::Command, &found).await
        };
        self.session.transaction("record findings", true, recorded).await?;
        Ok(undecided)
    }

    /// About how many documents the collections of these findings have.
    async fn sizes(&self, findings: &[Finding]) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut sizes = BTreeMap::new();
        let collections: BTreeSet<_> = findings.iter().map(|finding| &finding.collection).collect();
        for collection in collections {
            if let Some(place) = self.comparison.named(collection) {
                sizes.insert(collection.clone(), self.comparison.estimate(place).await?);
            }
        }
        Ok(sizes)
    }

    fn tables(&self, finding: &Finding) -> Vec<String> {
        match &finding.found.subject {
            Subject::Row { table, .. } => vec![table.clone()],
            Subject::Document(_) => self
                .comparison
                .named(&finding.collection)
                .map(|place| self.comparison.tables(place))
                .unwrap_or_default(),
        }
    }

    fn partition(&self, finding: &Finding) -> Option<i32> {
        let Subject::Document(document) = &finding.found.subject else { return None };
        Some(self.comparison.partition(self.comparison.named(&finding.collection)?, &document.key))
    }

    async fn repair(
        &self,
        repair: &Repair,
        findings: &[Finding],
        evidence_kept: Duration,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        evidence::expire(self.session, evidence_kept).await?;
        let by_collection = documents(findings);
        for (collection, documents) in &by_collection {
            self.keep_evidence(collection, documents).await?;
        }
        let asked = self.ask(repair, findings).await?;
        report.progress = requests::follow(self.session, &asked, repair.wait).await?;
        report.refusals = repairs::refusals(self.session, &asked).await?;
        findings::end_removed(self.session).await?;
        let mut undecided = BTreeSet::new();
        if !repair.wait.is_zero() {
            for (collection, documents) in &by_collection {
                for page in documents.chunks(PAGE_JUDGED) {
                    let page = page.iter().map(|(_, document)| document.clone()).collect();
                    undecided.extend(self.judge(collection, page, repair.wait.saturating_sub(began.elapsed())).await?);
                }
            }
        }
        let ours: BTreeSet<_> = findings.iter().map(|finding| finding.id).collect();
        let open = findings::chosen(self.session, &Choice::default()).await?.into_iter();
        let open = open.filter(|finding| ours.contains(&finding.id));
        report.left = open.map(|finding| Left::of(&finding, &undecided)).collect();
        report.repaired = ours.len() - report.left.len();
        Ok(())
    }

    /// Asks the leader, and records who did, in one transaction.
    async fn ask(&self, repair: &Repair, findings: &[Finding]) -> Result<Vec<i64>, Error> {
        let (who, ids) = (operator(), findings.iter().map(|finding| finding.id).collect::<Vec<_>>());
        let kinds: Vec<_> = repair.kinds.iter().map(|kind| kind.as_str()).collect();
        let detail = serde_json::json!({
            "why": repair.why, "force": repair.force, "collections": repair.collections, "ids": repair.ids, "kinds": kinds,
            "findings": ids,
        });
        let asked = async {
            let requests = repairs::ask_for(self.session, &who, COMMAND, &ids).await?;
            record_action(self.session, &who, COMMAND, &detail).await?;
            Ok(requests)
        };
        self.session.transaction("ask for repairs", true, asked).await
    }

    /// Keeps both sides of documents as they are now. The sink keeps the rows that it removes.
    async fn keep_evidence(&self, collection: &str, documents: &[(i64, DocumentId)]) -> anyhow::Result<()> {
        let Some(place) = self.comparison.named(collection) else { return Ok(()) };
        let plan = self.comparison.plan(place);
        for page in documents.chunks(PAGE_DOCUMENTS) {
            let asked: Vec<_> = page.iter().map(|(_, document)| document.clone()).collect();
            let sides = self.comparison.both_sides(place, &asked).await?;
            let kept = page.iter().zip(sides).map(|((finding, _), Sides { document, as_of, rows })| {
                let mut by_table = BTreeMap::<String, Vec<serde_json::Value>>::new();
                for row in rows {
                    let name = &plan.tables[row.table].table;
                    let columns: serde_json::Map<_, _> =
                        row.columns.into_iter().map(|(column, text)| (column, text.into())).collect();
                    by_table.entry(name.label()).or_default().push(columns.into());
                }
                Evidence { finding: *finding, document, as_of, rows: serde_json::json!(by_table) }
            });
            evidence::store(self.session, &kept.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }
}

/// The documents of findings by collection, each with the number of its finding.
fn documents(findings: &[Finding]) -> BTreeMap<String, Vec<(i64, DocumentId)>> {
    let mut documents = BTreeMap::<_, Vec<_>>::new();
    for finding in findings {
        if let Subject::Document(document) = &finding.found.subject {
            documents.entry(finding.collection.clone()).or_default().push((finding.id, document.clone()));
        }
    }
    documents
}
