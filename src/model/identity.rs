//! What a migration belongs to, as it is recorded beside its state and compared with the configuration.
//!
//! A migration is named by the prefix of its log. Its source and its target may not change under that name: what was read of
//! one database is nothing to go on with in another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where documents come from. Everything in it can be had by a user who may only read the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceIdentity {
    /// The database.
    pub database: String,
    /// Name of the replica set; `None` behind a mongos, or where nobody has asked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_set: Option<String>,
    /// The UUIDs of the mapped collections. No two clusters share one, so they tell two clusters of one name apart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub collections: BTreeMap<String, String>,
}

/// Where rows go to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetIdentity {
    /// PostgreSQL's own identifier of the cluster; `None` where the role may not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The database.
    pub database: String,
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
        /// What the server says.
        found: String,
    },
    /// A cluster of the same name, with none of the collections that were read.
    #[error(
        "the state of `log.prefix = \"{prefix}\"` is of another cluster than the source: the collection `{collection}` of \
         `{database}` had the UUID {recorded} and has {found}, and no other collection is the one that was read"
    )]
    Cluster {
        /// Prefix of the log.
        prefix: String,
        /// The database.
        database: String,
        /// A collection of both.
        collection: String,
        /// Its UUID as recorded.
        recorded: String,
        /// Its UUID now.
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
        /// What `sink.url` leads to.
        found: String,
    },
}

impl Mismatch {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Database { .. } => "set `source.database` back, or choose another `log.prefix`",
            Self::ReplicaSet { .. } => "set `source.uri` back, or choose another `log.prefix`",
            Self::Cluster { .. } => {
                "set `source.uri` back, or choose another `log.prefix`; when this is the same source, restored, raise `source.epoch`"
            }
            Self::Target { .. } => "set `sink.url` back, or choose another `log.prefix`",
        }
    }
}

impl SourceIdentity {
    /// Whether this is the source that was recorded.
    ///
    /// A collection may be dropped and made again, so one UUID says nothing; when not one of them is left, it is another
    /// cluster (or all of this one was replaced, which comes to the same).
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
        let both =
            recorded.collections.iter().filter_map(|(name, then)| Some((name, then, self.collections.get(name)?)));
        let both: Vec<_> = both.collect();
        match both.first() {
            Some((collection, recorded, found)) if both.iter().all(|(_, then, now)| then != now) => {
                Err(Mismatch::Cluster {
                    prefix,
                    database: self.database.clone(),
                    collection: (*collection).clone(),
                    recorded: (*recorded).clone(),
                    found: (*found).clone(),
                })
            }
            _ => Ok(()),
        }
    }
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
