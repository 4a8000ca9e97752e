//! The end of a migration's log: deletes its topics and its consumer groups.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, GroupResult},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{Error, client, client::Context, consumer, leader, topic_names::state_name, topics};
use crate::config::LogConfig;

/// Time between two attempts to delete a group that has members; sessions time out after several seconds.
const MEMBERS_LEAVE: Duration = Duration::from_millis(500);

/// The topics and groups that the brokers hold of a migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Topics.
    pub(crate) topics: Vec<String>,
    /// Consumer groups.
    pub(crate) groups: Vec<String>,
}

/// Finds which of these topics exist, with the state topic, and the groups of the migration. Others that begin with the prefix may
/// belong to a migration with a longer one.
///
/// # Errors
/// Fails with [`Error::Kafka`], [`Error::Unreachable`] or [`Error::Timeout`].
pub(crate) async fn find(cfg: &LogConfig, known: &[String]) -> Result<Remains, Error> {
    let found = topics::found(cfg).await?;
    let ours: BTreeSet<String> = known.iter().cloned().chain([state_name(&cfg.prefix)]).collect();
    let admin: Arc<AdminClient<Context>> = Arc::new(client::create(&client::settings(cfg)?, Context::default())?);
    let (timeout, prefix) = (cfg.timeout, cfg.prefix.clone());
    let groups = client::blocking("groups of the brokers", move || {
        let listed =
            admin.inner().fetch_group_list(None, timeout).map_err(Error::kafka("list the groups of", &prefix))?;
        let ours = [consumer::group(&prefix, None), leader::group(&prefix)];
        let of_sibling = consumer::group(&prefix, Some(""));
        let is_ours = |name: &String| ours.contains(name) || name.starts_with(&of_sibling);
        Ok(listed.groups().iter().map(|group| group.name().to_owned()).filter(is_ours).collect())
    });
    Ok(Remains { topics: ours.intersection(&found).cloned().collect(), groups: groups.await? })
}

/// The consumer group of a replay into a fresh schema, which has nothing else in the log.
pub(crate) fn of_sibling(cfg: &LogConfig) -> Remains {
    Remains { topics: Vec::new(), groups: vec![consumer::group(&cfg.prefix, cfg.into.as_deref())] }
}

/// Deletes them; what is gone already counts as deleted.
///
/// # Errors
/// Fails with [`Error::Kafka`], which names the first that cannot be deleted: a group still has members after `log.timeout`, or a right
/// is missing.
pub(crate) async fn remove(cfg: &LogConfig, remains: &Remains) -> Result<(), Error> {
    let admin: AdminClient<Context> = client::create(&client::settings(cfg)?, Context::default())?;
    let options = AdminOptions::new().request_timeout(Some(cfg.timeout)).operation_timeout(Some(cfg.timeout));
    let topics: Vec<&str> = remains.topics.iter().map(String::as_str).collect();
    let mut results = Vec::new();
    if !remains.groups.is_empty() {
        results.extend(delete_groups(cfg, &admin, &options, &remains.groups).await?);
    }
    if !topics.is_empty() {
        results.extend(
            admin.delete_topics(&topics, &options).await.map_err(Error::kafka("delete topics of", &cfg.prefix))?,
        );
    }
    for result in results {
        match result {
            Ok(_) => {}
            Err((
                _,
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::GroupIdNotFound,
            )) => {}
            Err((name, code)) => return Err(Error::kafka("delete", name)(KafkaError::AdminOp(code))),
        }
    }
    Ok(())
}

/// Deletes the groups as soon as they are empty: a process that was killed, or that stopped while the partitions were distributed, is a
/// member until its session times out.
async fn delete_groups(
    cfg: &LogConfig,
    admin: &AdminClient<Context>,
    options: &AdminOptions,
    groups: &[String],
) -> Result<Vec<GroupResult>, Error> {
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    let deadline = Instant::now() + cfg.timeout;
    loop {
        let deleted =
            admin.delete_groups(&names, options).await.map_err(Error::kafka("delete groups of", &cfg.prefix))?;
        let has_members = |result: &GroupResult| matches!(result, Err((_, RDKafkaErrorCode::NonEmptyGroup)));
        if !deleted.iter().any(has_members) || Instant::now() >= deadline {
            return Ok(deleted);
        }
        tokio::time::sleep(MEMBERS_LEAVE).await;
    }
}
