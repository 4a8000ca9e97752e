//! Compares the topics that a migration needs with those that the brokers have, and creates the missing ones.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    Error, Fault,
    client::{self, Context},
    envelope::MAX_RECORD,
    topic_ids::topic_ids,
    topic_names::{state_name, topic_name},
};
use crate::{config::LogConfig, model::Namespace};

/// Longest prefix, so that there is room for a readable `<db>.<collection>`.
const MAX_PREFIX: usize = 100;
/// How long compaction keeps a tombstone: a century. The tombstone is all that compaction leaves of a delete, so a sink that reads
/// the topic later, over an older target, would keep the document without it.
const TOMBSTONES_KEPT_MS: i64 = 100 * 365 * 24 * 60 * 60 * 1_000;
/// The setting of a topic for it.
const DELETE_RETENTION: &str = "delete.retention.ms";

/// A required topic.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// Whether this is the state topic.
    state: bool,
    partitions: i32,
    replication: i32,
    configs: BTreeMap<&'static str, String>,
}

impl Wanted {
    pub(super) fn all(cfg: &LogConfig, namespaces: &[Namespace]) -> Result<Vec<Self>, Error> {
        let mut faults = Vec::new();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if cfg.prefix.is_empty() || cfg.prefix.len() > MAX_PREFIX || !cfg.prefix.bytes().all(legal) {
            faults.push(Fault::new(
                "`prefix` is not allowed in the name of a topic",
                format!("use 1 to {MAX_PREFIX} letters, digits, `.`, `_` and `-`"),
            ));
        }
        if cfg.partitions < 1 {
            faults.push(Fault::new("`partitions` is below 1", "a topic has at least one partition"));
        }
        if cfg.replication < 1 {
            faults.push(Fault::new("`replication` is below 1", "a topic has at least one replica"));
        }
        if !faults.is_empty() {
            return Err(Error::Faults(faults));
        }
        let common =
            [("max.message.bytes", MAX_RECORD.to_string()), ("message.timestamp.type", "CreateTime".to_owned())];
        let mut wanted = vec![Self {
            name: state_name(&cfg.prefix),
            state: true,
            partitions: 1,
            replication: cfg.replication,
            configs: common.iter().cloned().chain([("cleanup.policy", "compact".to_owned())]).collect(),
        }];
        let mut configs: BTreeMap<_, _> =
            common.iter().cloned().chain([("cleanup.policy", cfg.cleanup_policy.clone())]).collect();
        if cfg.tombstones && policies(&cfg.cleanup_policy).contains("compact") {
            configs.insert(DELETE_RETENTION, TOMBSTONES_KEPT_MS.to_string());
        }
        wanted.extend(namespaces.iter().map(|namespace| Self {
            name: topic_name(&cfg.prefix, namespace),
            state: false,
            partitions: cfg.partitions,
            replication: cfg.replication,
            configs: configs.clone(),
        }));
        Ok(wanted)
    }

    fn new_topic(&self) -> NewTopic<'_> {
        let topic = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(self.replication));
        let topic = self.configs.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        if self.state {
            // Each transaction adds a record, and only closed segments are compacted. Small segments keep a start fast.
            topic.set("segment.bytes", "33554432").set("min.cleanable.dirty.ratio", "0.1")
        } else {
            topic
        }
    }

    fn faults(&self, found: &Found) -> Vec<Fault> {
        let name = &self.name;
        let mut faults = Vec::new();
        if found.partitions != self.partitions {
            let hint = if self.state {
                "choose another `prefix`; the state must have one partition".to_owned()
            } else {
                format!(
                    "set `partitions = {}`, or choose another `prefix`: with another number keys would move to other partitions",
                    found.partitions
                )
            };
            faults.push(Fault::new(
                format!("the topic `{name}` has {} partitions instead of {}", found.partitions, self.partitions),
                hint,
            ));
        }
        if found.replicas < self.replication {
            faults.push(Fault::new(
                format!(
                    "a partition of the topic `{name}` has {} replicas instead of {}",
                    found.replicas, self.replication
                ),
                format!("reassign its partitions, or set `replication = {}`", found.replicas),
            ));
        }
        for (key, expected) in &self.configs {
            let actual = found.configs.get(*key).map_or("", String::as_str);
            let fits = match *key {
                "cleanup.policy" => policies(actual) == policies(expected),
                DELETE_RETENTION => actual.parse::<i64>().is_ok_and(|kept| kept >= TOMBSTONES_KEPT_MS),
                "max.message.bytes" => actual.parse::<usize>().is_ok_and(|bytes| bytes >= MAX_RECORD),
                _ => actual == expected,
            };
            if !fits {
                faults.push(Fault::new(
                    format!("the topic `{name}` has `{key}={actual}` instead of `{expected}`"),
                    format!("run `kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {key}=[{expected}]`"),
                ));
            }
        }
        if let Some(needed) = found.configs.get("min.insync.replicas").and_then(|text| text.parse::<i32>().ok())
            && needed > found.replicas
        {
            faults.push(Fault::new(
                format!("the topic `{name}` needs {needed} in-sync replicas and has {}", found.replicas),
                "raise `replication` or lower `min.insync.replicas`: nothing can be written",
            ));
        }
        faults
    }
}

pub(super) fn policies(text: &str) -> BTreeSet<&str> {
    text.split(',').map(str::trim).filter(|policy| !policy.is_empty()).collect()
}

/// A topic as found on the brokers.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) partitions: i32,
    replicas: i32,
    /// Whether each partition has a leader.
    pub(super) led: bool,
    pub(super) id: Option<String>,
    pub(super) configs: HashMap<String, String>,
}

/// The metadata of the brokers at one moment.
pub(super) struct Survey {
    pub(super) topics: HashMap<String, Found>,
    brokers: i32,
}

impl Survey {
    pub(super) async fn take(
        cfg: &LogConfig,
        admin: &Arc<AdminClient<Context>>,
        wanted: &[Wanted],
    ) -> Result<Self, Error> {
        let (client, timeout, object) = (Arc::clone(admin), cfg.timeout.min(client::REACH), cfg.brokers.clone());
        let asked = cfg.clone();
        let names: BTreeSet<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
        // All topics are listed, because asking for one by its name may create it.
        let mut survey = client::blocking("metadata of the brokers", move || {
            let metadata = client
                .inner()
                .fetch_metadata(None, timeout)
                .map_err(|error| Error::kafka("list the topics of", object)(error).because(client::ask_why(&asked)))?;
            let topics = metadata.topics().iter().filter(|topic| names.contains(topic.name())).map(|topic| {
                let partitions = topic.partitions();
                let found = Found {
                    partitions: partitions.len() as i32,
                    replicas: partitions.iter().map(|one| one.replicas().len() as i32).min().unwrap_or(0),
                    led: !partitions.is_empty() && partitions.iter().all(|one| one.leader() >= 0),
                    id: None,
                    configs: HashMap::new(),
                };
                (topic.name().to_owned(), found)
            });
            let mut survey = Self { topics: topics.collect(), brokers: metadata.brokers().len() as i32 };
            let found: Vec<String> = survey.topics.keys().cloned().collect();
            let ids = if found.is_empty() { HashMap::new() } else { topic_ids(&client, &found, timeout)? };
            for (name, topic) in &mut survey.topics {
                topic.id = ids.get(name).cloned().flatten();
            }
            Ok(survey)
        })
        .await?;
        survey.describe(cfg, admin).await?;
        Ok(survey)
    }

    async fn describe(&mut self, cfg: &LogConfig, admin: &AdminClient<Context>) -> Result<(), Error> {
        let names: Vec<String> = self.topics.keys().cloned().collect();
        if names.is_empty() {
            return Ok(());
        }
        let specifiers: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let described = admin
            .describe_configs(&specifiers, &options(cfg))
            .await
            .map_err(Error::kafka("describe the topics of", &cfg.prefix))?;
        for resource in described {
            let resource = resource
                .map_err(|code| Error::kafka("describe the topics of", &cfg.prefix)(KafkaError::AdminOp(code)))?;
            let rdkafka::admin::OwnedResourceSpecifier::Topic(name) = &resource.specifier else { continue };
            if let Some(found) = self.topics.get_mut(name) {
                found.configs =
                    resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect();
            }
        }
        Ok(())
    }

    pub(super) fn faults(&self, wanted: &[Wanted]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for topic in wanted {
            match self.topics.get(&topic.name) {
                Some(found) => faults.extend(topic.faults(found)),
                None if topic.replication > self.brokers => faults.push(Fault::new(
                    format!(
                        "the topic `{}` needs {} replicas and there are {} brokers",
                        topic.name, topic.replication, self.brokers
                    ),
                    "lower `replication` or add brokers",
                )),
                None => {}
            }
        }
        faults
    }

    /// Creates the topics that the brokers do not have, or in a dry run asks whether it could; returns what a person must fix before.
    pub(super) async fn create_missing(
        &self,
        cfg: &LogConfig,
        admin: &AdminClient<Context>,
        wanted: &[Wanted],
        dry_run: bool,
    ) -> Result<Vec<Fault>, Error> {
        let missing = wanted.iter().filter(|topic| !self.topics.contains_key(&topic.name));
        let new: Vec<_> = missing.map(Wanted::new_topic).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let created = admin.create_topics(&new, &options(cfg).validate_only(dry_run)).await;
        let mut faults = Vec::new();
        for result in created.map_err(Error::kafka("create the topics of", &cfg.prefix))? {
            match result {
                Ok(_) if dry_run => {}
                Ok(name) => tracing::info!(topic = name, "created topic"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => match refusal(&name, code) {
                    Some(fault) => faults.push(fault),
                    None => return Err(Error::kafka("create the topic", name)(KafkaError::AdminOp(code))),
                },
            }
        }
        Ok(faults)
    }
}

/// Returns the fault that a person must fix before the topic can be created; `None` for a failure that may pass by itself.
fn refusal(name: &str, code: RDKafkaErrorCode) -> Option<Fault> {
    let hint = match code {
        RDKafkaErrorCode::InvalidReplicationFactor => "set `replication` to no more than the number of brokers",
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "allow CREATE on it, or create it beforehand as `driftless check` demands"
        }
        RDKafkaErrorCode::PolicyViolation => {
            "the brokers have a policy for new topics: create it yourself, within that policy"
        }
        RDKafkaErrorCode::InvalidTopic => {
            "another topic may differ from it only in `.` and `_`: choose another `prefix`"
        }
        RDKafkaErrorCode::InvalidConfig => "the brokers do not know the setting: check `cleanup_policy`",
        _ => return None,
    };
    Some(Fault::new(format!("the brokers refuse to create the topic `{name}`: {code}"), hint))
}

fn options(cfg: &LogConfig) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(cfg.timeout)).operation_timeout(Some(cfg.timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_topic_is_named() {
        let cfg: LogConfig =
            toml::from_str("brokers = \"b\"\nprefix = \"p\"\nreplication = 3\npartitions = 4").expect("a config");
        let wanted = Wanted::all(&cfg, &[Namespace::new("d", "c")]).expect("fine");
        let configs = [
            ("cleanup.policy", "delete"),
            ("max.message.bytes", "1048588"),
            ("message.timestamp.type", "CreateTime"),
            ("min.insync.replicas", "2"),
        ];
        let found = Found {
            partitions: 3,
            replicas: 1,
            led: true,
            id: None,
            configs: configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        };
        let faults = wanted[1].faults(&found);
        let whats: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(whats.len(), 5, "{whats:?}");
        assert!(whats[0].contains("has 3 partitions instead of 4") && whats[2].contains("cleanup.policy=delete"));
        let right = Found {
            partitions: 4,
            replicas: 3,
            configs: [
                ("cleanup.policy", " compact"),
                ("max.message.bytes", "67108864"),
                ("message.timestamp.type", "CreateTime"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            led: true,
            id: None,
        };
        assert_eq!(wanted[1].faults(&right), []);
    }

    #[test]
    fn tombstones_must_stay_where_topics_are_compacted() {
        let wanted = |more: &str| {
            let cfg = format!("brokers = \"b\"\nprefix = \"p\"\nreplication = 1\npartitions = 1\n{more}");
            let wanted = Wanted::all(&toml::from_str(&cfg).expect("a config"), &[Namespace::new("d", "c")]);
            wanted.expect("fine").pop().expect("a topic")
        };
        let faults = |kept: &str, policy: &str, more: &str| {
            let topic = wanted(more);
            let configs = [
                ("cleanup.policy", policy),
                ("max.message.bytes", "67108864"),
                ("message.timestamp.type", "CreateTime"),
                (DELETE_RETENTION, kept),
            ];
            let configs = configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            topic.faults(&Found { partitions: 1, replicas: 1, led: true, id: None, configs })
        };
        let [fault] = &faults("86400000", "compact", "tombstones = true")[..] else { panic!("a fault") };
        assert!(fault.what.contains("`delete.retention.ms=86400000`"), "{fault:?}");
        assert_eq!(faults("3153600000000", "compact", "tombstones = true"), []);
        assert_eq!(faults("86400000", "compact", ""), []);
        assert_eq!(
            faults("86400000", "delete", "tombstones = true\ncleanup_policy = \"delete\""),
            [],
            "retention is the operator's bound there"
        );
    }
}
