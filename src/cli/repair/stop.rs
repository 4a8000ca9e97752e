//! The stop rule: many findings have a common cause, which a repair would hide. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::{
    config::RepairConfig,
    control::findings::{Finding, Subject},
    model::ClusterTime,
};

/// So few findings are not systematic, however small the collection is.
const FEW: u64 = 20;
/// A trait that this part of the findings shares is common to them.
const MOST: f64 = 0.9;

/// Findings of one collection that are too many to be chance, and what they have in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Systematic {
    /// The collection.
    pub(super) collection: String,
    /// Findings of the collection that were to be repaired.
    pub(super) findings: u64,
    /// About how many documents the source has.
    pub(super) documents: u64,
    /// The traits that most of them share.
    pub(super) common: Vec<Common>,
    /// Cluster times of the first and the last of the changes that are applied for them.
    pub(super) changed: Option<(ClusterTime, ClusterTime)>,
}

/// Something that most of the findings share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Common {
    /// `kind`, `column`, `table`, `partition` or `dead letter`.
    pub(super) what: &'static str,
    /// Which one.
    pub(super) value: String,
    /// How many findings share it.
    pub(super) findings: u64,
}

/// Returns the collections that have more findings than the bounds allow. `documents` gives the size of a collection, and
/// `partition` the partition of the topic in which the changes of a document lie.
pub(super) fn systematic(
    bounds: &RepairConfig,
    findings: &[Finding],
    documents: &BTreeMap<String, u64>,
    partition: impl Fn(&Finding) -> Option<i32>,
) -> Vec<Systematic> {
    let mut by_collection = BTreeMap::<&str, Vec<&Finding>>::new();
    for finding in findings {
        by_collection.entry(&finding.collection).or_default().push(finding);
    }
    let all = findings.len() as u64;
    let systematic = by_collection.into_iter().filter_map(|(collection, findings)| {
        let (count, documents) = (findings.len() as u64, documents.get(collection).copied().unwrap_or(0));
        let share = count > FEW && count as f64 > documents as f64 * bounds.stop_share;
        (share || all > bounds.stop_at).then(|| Systematic {
            collection: collection.to_owned(),
            findings: count,
            documents,
            common: common(&findings, &partition),
            changed: changed(&findings),
        })
    });
    systematic.collect()
}

fn common(findings: &[&Finding], partition: impl Fn(&Finding) -> Option<i32>) -> Vec<Common> {
    let mut counts = HashMap::<(&'static str, String), u64>::new();
    let mut count = |what, value: String| *counts.entry((what, value)).or_default() += 1;
    for finding in findings {
        count("kind", finding.found.kind.as_str().to_owned());
        finding.found.columns.iter().for_each(|column| count("column", column.clone()));
        if let Subject::Row { table, .. } = &finding.found.subject {
            count("table", table.clone());
        }
        if let Some(partition) = partition(finding) {
            count("partition", partition.to_string());
        }
        if finding.found.letter.is_some() {
            count("dead letter", "waiting".to_owned());
        }
    }
    let most = (findings.len() as f64 * MOST).ceil() as u64;
    let shared = counts.into_iter().filter(|(_, count)| *count >= most);
    let mut common: Vec<_> = shared.map(|((what, value), findings)| Common { what, value, findings }).collect();
    common.sort_by(|a, b| (a.what, &a.value).cmp(&(b.what, &b.value)));
    common
}

fn changed(findings: &[&Finding]) -> Option<(ClusterTime, ClusterTime)> {
    let times = || findings.iter().filter_map(|finding| finding.found.entry.map(|(version, _)| version.time));
    Some((times().min()?, times().max()?))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::{
        control::findings::{Found, Kind},
        model::{Key, Version},
        target::DocumentId,
    };

    fn finding(id: i32, kind: Kind, column: &str) -> Finding {
        let key = Key::from_id(&rawdoc! { "_id": id }).expect("a key");
        let time = ClusterTime { t: 100 + id as u32, i: 1 };
        let found = Found {
            subject: Subject::Document(DocumentId { id: key.to_id(), key }),
            kind,
            columns: vec![column.to_owned()],
            as_of: ClusterTime { t: 900, i: 1 },
            entry: Some((Version { epoch: 1, time, op: 0 }, 7)),
            letter: None,
            refused: None,
        };
        let (collection_id, collection) = (1, "users".to_owned());
        Finding { id: i64::from(id), collection_id, collection, found, found_ms: 0, confirmed_ms: 0 }
    }

    fn stops(findings: &[Finding], documents: u64) -> Vec<Systematic> {
        let bounds = RepairConfig { stop_at: 100, stop_share: 0.05, ..RepairConfig::default() };
        systematic(&bounds, findings, &[("users".to_owned(), documents)].into(), |finding| {
            Some((finding.id % 2) as i32)
        })
    }

    #[test]
    fn many_findings_are_systematic_and_few_are_not() {
        let findings: Vec<_> = (0..101).map(|id| finding(id, Kind::Different, "app.users.email")).collect();
        assert_eq!(stops(&findings[..20], 40), [], "few");
        assert_eq!(stops(&findings[..100], 1_000_000), [], "a small share, and not above the number");
        assert_eq!(stops(&findings[..30], 100).len(), 1, "a large share");
        assert_eq!(stops(&findings, 1_000_000).len(), 1, "above the number");
    }

    #[test]
    fn what_most_of_them_share_is_named() {
        let mut findings: Vec<_> = (0..95).map(|id| finding(2 * id, Kind::Different, "app.users.email")).collect();
        findings.extend((95..100).map(|id| finding(2 * id, Kind::Missing, "app.users.name")));
        let found = stops(&findings, 100).remove(0);
        let common: Vec<_> = found.common.iter().map(|common| (common.what, common.value.as_str())).collect();
        assert_eq!(common, [("column", "app.users.email"), ("kind", "different"), ("partition", "0")]);
        assert_eq!((found.findings, found.documents, found.common[0].findings), (100, 100, 95));
        assert_eq!(found.changed, Some((ClusterTime { t: 100, i: 1 }, ClusterTime { t: 298, i: 1 })));
    }
}
