//! The topics: creation and verification.
//!
//! The brokers never create a topic by themselves, because their defaults delete old records and refuse long ones.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use rdkafka::admin::AdminClient;
use tokio::time::Instant;

use super::{
    Error, Fault, TopicPartition,
    client::{self, Context},
    topic_ids::topic_ids,
    topic_names::{state_name, topic_name},
    topic_survey::{Survey, Wanted, policies},
};
use crate::{config::LogConfig, model::Namespace};

/// Interval at which the ids of the topics are checked.
const WATCH: Duration = Duration::from_secs(1);
/// Longest wait for each of the two answers of a check.
const WATCH_ANSWER: Duration = Duration::from_secs(3);
/// Interval at which the brokers are asked whether a new topic exists.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

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
        let admin = Arc::new(client::create(&client::settings(cfg)?, Context::default())?);
        loop {
            tokio::time::sleep(WATCH).await;
            failpoint!(TOPICS_WATCH);
            match self.compare_ids(&admin).await {
                Ok(()) => {}
                Err(changed @ (Error::TopicGone { .. } | Error::TopicReplaced { .. })) => return Err(changed),
                Err(error) => tracing::debug!(error = %crate::retry::chain(&error), "ask for the ids of the topics"),
            }
        }
    }

    /// Succeeds if the topics are still those that were found, or if the brokers have no ids.
    ///
    /// # Errors
    /// Fails with [`Error::TopicGone`] or [`Error::TopicReplaced`], and with the error of brokers that do not answer.
    pub(crate) async fn verify(&self, cfg: &LogConfig) -> Result<(), Error> {
        self.compare_ids(&Arc::new(client::create(&client::settings(cfg)?, Context::default())?)).await
    }

    async fn compare_ids(&self, admin: &Arc<AdminClient<Context>>) -> Result<(), Error> {
        let mut known = HashMap::from([(self.state.clone(), self.state_id.clone())]);
        known.extend(self.collections.iter().map(|topic| (topic.name.to_string(), topic.id.clone())));
        let names: Vec<String> = known.keys().cloned().collect();
        let (admin, state) = (Arc::clone(admin), self.state.clone());
        let asked = client::blocking("ids of the topics", move || {
            // The library spins while a request for ids waits for unreachable brokers, so it is sent only when they answer, and
            // with a short time limit.
            let metadata = admin.inner().fetch_metadata(Some(&state), WATCH_ANSWER);
            metadata.map_err(Error::kafka("find", &state))?;
            topic_ids(&admin, &names, WATCH_ANSWER)
        });
        let ids = asked.await?;
        for (topic, known) in known {
            match ids.get(&topic) {
                None => return Err(Error::TopicGone { topic }),
                Some(Some(id)) if known.is_some_and(|known| known != *id) => {
                    return Err(Error::TopicReplaced { topic });
                }
                Some(_) => {}
            }
        }
        Ok(())
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
