//! The topics: creation and verification.
//!
//! The brokers never create a topic by themselves, because their defaults delete old records and refuse long ones.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::time::Instant;

use super::{
    Error, Fault, TopicPartition,
    client::{self, Context},
    envelope::MAX_RECORD,
    topic_ids::topic_ids,
    topic_names::{state_name, topic_name},
};
use crate::{config::LogConfig, model::Namespace};

/// Longest prefix, so that there is room for a readable `<db>.<collection>`.
const MAX_PREFIX: usize = 100;
/// Interval at which the ids of the topics are checked.
const WATCH: Duration = Duration::from_secs(1);
/// Longest wait for each of the two answers of a check.
const WATCH_ANSWER: Duration = Duration::from_secs(3);
/// Interval at which the brokers are asked whether a new topic exists.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long compaction keeps a tombstone: a century. The tombstone is all that compaction leaves of a delete, so a sink that reads
/// the topic later, over an older target, would keep the document without it.
const TOMBSTONES_KEPT_MS: i64 = 100 * 365 * 24 * 60 * 60 * 1_000;
/// The setting of a topic for it.
const DELETE_RETENTION: &str = "delete.retention.ms";

/// The topic of one collection, as found on the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The collection.
    pub namespace: Namespace,
    /// The name of the topic.
    pub name: Arc<str>,
    /// Number of partitions.
    pub partitions: i32,
    /// Kafka's id of the topic, if the brokers have ids; a later topic of the same name has another id.
    pub id: Option<String>,
}

/// The verified topics of one source.
#[derive(Clone, Debug)]
pub struct Topics {
    state: String,
    state_id: Option<String>,
    collections: Vec<Topic>,
}

impl Topics {
    /// Creates the missing topics and verifies all of them. Several processes may do so at once.
    ///
    /// # Errors
    /// Fails with [`Error::Faults`], which lists every fault, or with [`Error::Kafka`] or [`Error::Timeout`].
    pub async fn ensure(cfg: &LogConfig, namespaces: &[Namespace]) -> Result<Self, Error> {
        let wanted = Wanted::all(cfg, namespaces)?;
        let admin = Arc::new(client::create(&client::settings(cfg)?, Context::default())?);
        let deadline = Instant::now() + cfg.timeout;
        let faults = Survey::take(cfg, &admin, &wanted).await?.create_missing(cfg, &admin, &wanted, false).await?;
        if !faults.is_empty() {
            return Err(Error::Faults(faults));
        }
        let found = loop {
            let survey = Survey::take(cfg, &admin, &wanted).await?;
            if wanted.iter().all(|topic| survey.topics.get(&topic.name).is_some_and(|found| found.led)) {
                break survey;
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout { act: "find every partition of", object: cfg.prefix.clone() });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        Self::verified(cfg, namespaces, &wanted, &found)
    }

    /// Verifies the existing topics and creates none.
    ///
    /// # Errors
    /// Fails with [`Error::TopicsMissing`] until source or sink has created all of them, with [`Error::Faults`], which lists every fault,
    /// or with [`Error::Kafka`] or [`Error::Timeout`].
    pub async fn find(cfg: &LogConfig, namespaces: &[Namespace]) -> Result<Self, Error> {
        let wanted = Wanted::all(cfg, namespaces)?;
        let admin = Arc::new(client::create(&client::settings(cfg)?, Context::default())?);
        let found = Survey::take(cfg, &admin, &wanted).await?;
        let missing = wanted.iter().filter(|topic| !found.topics.contains_key(&topic.name));
        let topics: Vec<String> = missing.map(|topic| topic.name.clone()).collect();
        if topics.is_empty() {
            Self::verified(cfg, namespaces, &wanted, &found)
        } else {
            Err(Error::TopicsMissing { topics })
        }
    }

    fn verified(cfg: &LogConfig, namespaces: &[Namespace], wanted: &[Wanted], found: &Survey) -> Result<Self, Error> {
        let faults = found.faults(wanted);
        if !faults.is_empty() {
            return Err(Error::Faults(faults));
        }
        let collections = namespaces.iter().map(|namespace| {
            let name = topic_name(&cfg.prefix, namespace);
            let found = found.topics.get(&name);
            let (partitions, id) = found.map_or((0, None), |topic| (topic.partitions, topic.id.clone()));
            Topic { namespace: namespace.clone(), name: name.into(), partitions, id }
        });
        let state = state_name(&cfg.prefix);
        let state_id = found.topics.get(&state).and_then(|topic| topic.id.clone());
        Ok(Self { state, state_id, collections: collections.collect() })
    }

    /// Verifies the existing topics, and asks whether the missing ones could be created; creates none. Returns the faults.
    ///
    /// # Errors
    /// Fails with [`Error::Kafka`] or [`Error::Timeout`].
    pub async fn check(cfg: &LogConfig, namespaces: &[Namespace]) -> Result<Vec<Fault>, Error> {
        let surveyed = async {
            let wanted = Wanted::all(cfg, namespaces)?;
            let admin = Arc::new(client::create(&client::settings(cfg)?, Context::default())?);
            let survey = Survey::take(cfg, &admin, &wanted).await?;
            let mut faults = survey.faults(&wanted);
            if faults.is_empty() {
                faults = survey.create_missing(cfg, &admin, &wanted, true).await?;
            }
            Ok(faults)
        };
        match surveyed.await {
            Err(Error::Faults(faults)) => Ok(faults),
            outcome => outcome,
        }
    }

    /// Waits until one of the topics is deleted, or deleted and created again.
    ///
    /// # Errors
    /// Always ends with [`Error::TopicGone`] or [`Error::TopicReplaced`]. Brokers that do not answer are asked again.
    pub(crate) async fn changed(&self, cfg: &LogConfig) -> Result<Infallible, Error> {
        let admin: Arc<AdminClient<Context>> = Arc::new(client::create(&client::settings(cfg)?, Context::default())?);
        let mut known = HashMap::from([(self.state.clone(), self.state_id.clone())]);
        known.extend(self.collections.iter().map(|topic| (topic.name.to_string(), topic.id.clone())));
        let names: Vec<String> = known.keys().cloned().collect();
        loop {
            tokio::time::sleep(WATCH).await;
            let (admin, names, state) = (Arc::clone(&admin), names.clone(), self.state.clone());
            let asked = client::blocking("ids of the topics", move || {
                // The library spins while a request for ids waits for unreachable brokers, so it is sent only when they answer, and
                // with a short time limit.
                let metadata = admin.inner().fetch_metadata(Some(&state), WATCH_ANSWER);
                metadata.map_err(Error::kafka("find", &state))?;
                topic_ids(&admin, &names, WATCH_ANSWER)
            });
            let ids = match asked.await {
                Ok(ids) => ids,
                Err(error) => {
                    tracing::debug!(error = %crate::retry::chain(&error), "ask for the ids of the topics");
                    continue;
                }
            };
            for (topic, known) in &known {
                match ids.get(topic) {
                    None => return Err(Error::TopicGone { topic: topic.clone() }),
                    Some(Some(id)) if known.as_ref().is_some_and(|known| known != id) => {
                        return Err(Error::TopicReplaced { topic: topic.clone() });
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Returns the topics without those of these collections.
    pub(crate) fn without(&self, collections: &BTreeSet<String>) -> Self {
        let kept = self.collections.iter().filter(|topic| !collections.contains(&*topic.namespace.collection));
        Self { collections: kept.cloned().collect(), ..self.clone() }
    }

    /// Returns how long the brokers keep records of these collections; `None`: they delete none for their age.
    ///
    /// # Errors
    /// Fails with [`Error::Faults`], [`Error::Kafka`] or [`Error::Timeout`].
    pub(crate) async fn retention(cfg: &LogConfig, namespaces: &[Namespace]) -> Result<Option<Duration>, Error> {
        let wanted = Wanted::all(cfg, namespaces)?;
        let admin = Arc::new(client::create(&client::settings(cfg)?, Context::default())?);
        let survey = Survey::take(cfg, &admin, &wanted).await?;
        let state = state_name(&cfg.prefix);
        let collections = survey.topics.iter().filter(|(name, _)| **name != state).map(|(_, found)| &found.configs);
        let deleting = collections
            .filter(|configs| configs.get("cleanup.policy").is_some_and(|policy| policies(policy).contains("delete")));
        // -1: without end.
        let ages = deleting.filter_map(|configs| configs.get("retention.ms")?.parse::<u64>().ok());
        Ok(ages.min().map(Duration::from_millis))
    }

    /// Returns the name of the state topic.
    pub(crate) fn state(&self) -> &str {
        &self.state
    }

    /// Returns every collection topic, in the order of the given namespaces.
    pub fn collections(&self) -> &[Topic] {
        &self.collections
    }

    /// Returns every partition of every collection topic.
    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        let of = |topic: &Topic| {
            let name = Arc::clone(&topic.name);
            (0..topic.partitions).map(move |partition| TopicPartition { topic: Arc::clone(&name), partition })
        };
        self.collections.iter().flat_map(of).collect()
    }

    /// Returns the topic of a collection.
    pub fn of(&self, namespace: &Namespace) -> Option<&Topic> {
        self.collections.iter().find(|topic| topic.namespace == *namespace)
    }

    /// Returns the topic of that name.
    pub(crate) fn named(&self, name: &str) -> Option<&Topic> {
        self.collections.iter().find(|topic| &*topic.name == name)
    }
}

/// Returns the names of all topics of the prefix.
pub(super) async fn found(cfg: &LogConfig) -> Result<BTreeSet<String>, Error> {
    let (admin, cfg) =
        (client::create::<_, AdminClient<Context>>(&client::settings(cfg)?, Context::default())?, cfg.clone());
    client::blocking("metadata of the brokers", move || {
        let metadata = admin.inner().fetch_metadata(None, cfg.timeout.min(client::REACH));
        let metadata = metadata.map_err(Error::kafka("list the topics of", &cfg.brokers))?;
        let ours = metadata.topics().iter().map(|topic| topic.name());
        let ours = ours.filter(|name| name.strip_prefix(&cfg.prefix).is_some_and(|rest| rest.starts_with('.')));
        Ok(ours.map(str::to_owned).collect())
    })
    .await
}

/// A required topic.
#[derive(Debug)]
struct Wanted {
    name: String,
    /// Whether this is the state topic.
    state: bool,
    partitions: i32,
    replication: i32,
    configs: BTreeMap<&'static str, String>,
}

impl Wanted {
    fn all(cfg: &LogConfig, namespaces: &[Namespace]) -> Result<Vec<Self>, Error> {
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

fn policies(text: &str) -> BTreeSet<&str> {
    text.split(',').map(str::trim).filter(|policy| !policy.is_empty()).collect()
}

/// A topic as found on the brokers.
#[derive(Debug, Default)]
struct Found {
    partitions: i32,
    replicas: i32,
    /// Whether each partition has a leader.
    led: bool,
    id: Option<String>,
    configs: HashMap<String, String>,
}

/// The metadata of the brokers at one moment.
struct Survey {
    topics: HashMap<String, Found>,
    brokers: i32,
}

impl Survey {
    async fn take(cfg: &LogConfig, admin: &Arc<AdminClient<Context>>, wanted: &[Wanted]) -> Result<Self, Error> {
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

    fn faults(&self, wanted: &[Wanted]) -> Vec<Fault> {
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
    async fn create_missing(
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
