//! The source, log and target of a migration, as they are recorded beside its state and compared with the configuration.
//!
//! The prefix of its log names a migration. Its source and its target may not change under that name: documents read from one
//! database are no start for another.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The source of the documents. A user who may only read the database can see all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceIdentity {
    /// The database.
    pub database: String,
    /// Name of the replica set; `None` behind a mongos, or before the server was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_set: Option<String>,
    /// The hosts of the replica set.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hosts: BTreeSet<String>,
    /// The UUIDs of the mapped collections: no two clusters share one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub collections: BTreeMap<String, String>,
}

/// The target of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetIdentity {
    /// PostgreSQL's own identifier of the cluster; `None` where the role may not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The database.
    pub database: String,
}

/// The source and the target of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The source of its changes.
    pub source: SourceIdentity,
    /// Their target; `None` while the publisher has not reached it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetIdentity>,
    /// Kafka's ids of its topics, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topics: BTreeMap<String, String>,
}

/// The recorded identity is not that of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// Another database.
    #[error(
        "the state of `log.prefix = \"{prefix}\"` is of the source database `{recorded}`, and `source.database` is `{configured}`"
    )]
    Database {
        /// Prefix of the log.
        prefix: String,
        /// As recorded.
        recorded: String,
        /// As configured.
        configured: String,
    },
    /// Another replica set.
    #[error(
        "the state of `log.prefix = \"{prefix}\"` is of the replica set `{recorded}`, and the source is the replica set `{found}`"
    )]
    ReplicaSet {
        /// Prefix of the log.
        prefix: String,
        /// As recorded.
        recorded: String,
        /// As the server reports it.
        found: String,
    },
    /// A cluster of the same name: none of its hosts and none of its collections are those that were read.
    #[error(
        "the state of `log.prefix = \"{prefix}\"` is of the cluster at {recorded}, and the source is the one at {found}, with \
         none of the collections that were read"
    )]
    Cluster {
        /// Prefix of the log.
        prefix: String,
        /// Its hosts as recorded.
        recorded: String,
        /// Its hosts now.
        found: String,
    },
    /// Another target.
    #[error(
        "the log of `log.prefix = \"{prefix}\"` is applied to the PostgreSQL database {recorded}, and `sink.url` leads to {found}"
    )]
    Target {
        /// Prefix of the log.
        prefix: String,
        /// As recorded.
        recorded: String,
        /// The database that `sink.url` leads to.
        found: String,
    },
}

impl Mismatch {
    /// A hint for the operator.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Database { .. } => "set `source.database` back, or choose another `log.prefix`",
            Self::ReplicaSet { .. } | Self::Cluster { .. } => "set `source.uri` back, or choose another `log.prefix`",
            Self::Target { .. } => "set `sink.url` back, or choose another `log.prefix`",
        }
    }
}

impl SourceIdentity {
    /// Whether this is the source that was recorded.
    ///
    /// Hosts move and collections are replaced, so that neither alone says anything. A cluster that has none of the hosts and
    /// none of the collections is another one.
    ///
    /// # Errors
    /// How it differs.
    pub fn check(&self, recorded: &Self, prefix: &str) -> Result<(), Mismatch> {
        let prefix = prefix.to_owned();
        if self.database != recorded.database {
            let (recorded, configured) = (recorded.database.clone(), self.database.clone());
            return Err(Mismatch::Database { prefix, recorded, configured });
        }
        if let (Some(found), Some(recorded)) = (&self.replica_set, &recorded.replica_set)
            && found != recorded
        {
            return Err(Mismatch::ReplicaSet { prefix, recorded: recorded.clone(), found: found.clone() });
        }
        let same = |(name, id): (&String, &String)| self.collections.get(name) == Some(id);
        let none_of_it = !recorded.collections.is_empty() && !recorded.collections.iter().any(same);
        let moved = !recorded.hosts.is_empty() && !self.hosts.is_empty() && self.hosts.is_disjoint(&recorded.hosts);
        if none_of_it && moved {
            return Err(Mismatch::Cluster { prefix, recorded: list(&recorded.hosts), found: list(&self.hosts) });
        }
        Ok(())
    }
}

fn list(hosts: &BTreeSet<String>) -> String {
    hosts.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl TargetIdentity {
    /// Whether this is the target that was recorded.
    ///
    /// # Errors
    /// How it differs.
    pub fn check(&self, recorded: &Self, prefix: &str) -> Result<(), Mismatch> {
        let other_cluster = matches!((&self.system, &recorded.system), (Some(now), Some(then)) if now != then);
        if other_cluster || self.database != recorded.database {
            return Err(Mismatch::Target {
                prefix: prefix.to_owned(),
                recorded: recorded.to_string(),
                found: self.to_string(),
            });
        }
        Ok(())
    }
}

impl std::fmt::Display for TargetIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.system {
            Some(system) => write!(f, "`{}` of the cluster {system}", self.database),
            None => write!(f, "`{}`", self.database),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn source(database: &str, replica_set: Option<&str>, hosts: &[&str], uuids: &[(&str, &str)]) -> SourceIdentity {
        let owned = |text: &&str| (*text).to_owned();
        SourceIdentity {
            database: database.to_owned(),
            replica_set: replica_set.map(str::to_owned),
            hosts: hosts.iter().map(owned).collect(),
            collections: uuids.iter().map(|(name, id)| (owned(name), owned(id))).collect(),
        }
    }

    #[rstest]
    #[case::same(source("a", Some("r"), &["h"], &[("c", "1")]), true)]
    #[case::unknown(source("a", None, &[], &[]), true)]
    #[case::database(source("b", Some("r"), &["h"], &[("c", "1")]), false)]
    #[case::replica_set(source("a", Some("s"), &["h"], &[("c", "1")]), false)]
    #[case::replaced_collections(source("a", Some("r"), &["h", "i"], &[("c", "2")]), true)]
    #[case::moved(source("a", Some("r"), &["i"], &[("c", "1"), ("d", "9")]), true)]
    #[case::cluster(source("a", Some("r"), &["i"], &[("c", "2")]), false)]
    #[case::empty_cluster(source("a", Some("r"), &["i"], &[]), false)]
    fn sources(#[case] now: SourceIdentity, #[case] same: bool) {
        let recorded = source("a", Some("r"), &["h"], &[("c", "1"), ("d", "3")]);
        let checked = now.check(&recorded, "p");
        assert_eq!(checked.is_ok(), same, "{checked:?}");
        assert!(checked.err().is_none_or(|mismatch| mismatch.hint().contains("log.prefix")));
    }

    #[rstest]
    #[case(Some("1"), "a", true)]
    #[case(None, "a", true)]
    #[case(Some("2"), "a", false)]
    #[case(Some("1"), "b", false)]
    #[case(None, "b", false)]
    fn targets(#[case] system: Option<&str>, #[case] database: &str, #[case] same: bool) {
        let target = |system: Option<&str>, database: &str| TargetIdentity {
            system: system.map(str::to_owned),
            database: database.to_owned(),
        };
        let checked = target(system, database).check(&target(Some("1"), "a"), "p");
        assert_eq!(checked.is_ok(), same, "{checked:?}");
    }
}
