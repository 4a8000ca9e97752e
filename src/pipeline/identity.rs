//! Whose state this is: the configuration is compared with what is recorded beside the state, before a role does anything.
//!
//! The record in the state topic is written by the leader, in the transaction with its changes; the one in PostgreSQL by the
//! roles that write there. Either one is enough to refuse what does not belong.

use std::{collections::BTreeMap, time::Duration};

use super::error::Error;
use crate::{
    config::Config,
    log::{StoredState, Topics, stored_identity},
    model::{Identity, SourceIdentity, TargetIdentity},
    postgres::{Postgres, Purpose, Session, identity},
    source::Source,
};

/// How long the source waits for PostgreSQL, which it can do without: less than anybody would call a slow start.
const TARGET_TIMEOUT: Duration = Duration::from_secs(3);

/// Compares source and target with the record in the state topic, if there is one; a side that is not known is not compared.
///
/// # Errors
/// [`Error::Mismatch`] halts; those of the log.
pub(crate) async fn compare(
    config: &Config,
    source: Option<&SourceIdentity>,
    target: Option<&TargetIdentity>,
) -> Result<(), Error> {
    match stored_identity(&config.log).await? {
        Some(recorded) => compare_with(&recorded, &config.log.prefix, source, target),
        None => Ok(()),
    }
}

fn compare_with(
    recorded: &Identity,
    prefix: &str,
    source: Option<&SourceIdentity>,
    target: Option<&TargetIdentity>,
) -> Result<(), Error> {
    if let Some(source) = source {
        source.check(&recorded.source, prefix)?;
    }
    if let (Some(target), Some(recorded)) = (target, &recorded.target) {
        target.check(recorded, prefix)?;
    }
    Ok(())
}

/// For the sink: compares both records with the configuration, and writes the one in PostgreSQL. The sink does not reach the source,
/// so it takes the replica set from the record that the leader has made.
///
/// # Errors
/// Those of [`compare`] and of [`identity::claim`].
pub(super) async fn claim(config: &Config, control: &Session) -> Result<(), Error> {
    let target = identity::target(control).await?;
    let mut source = configured(config);
    if let Some(recorded) = stored_identity(&config.log).await? {
        compare_with(&recorded, &config.log.prefix, Some(&source), Some(&target))?;
        source.replica_set = recorded.source.replica_set;
    }
    Ok(identity::claim(control, &source).await?)
}

/// The source as the configuration names it, for a role that does not reach it.
pub(crate) fn configured(config: &Config) -> SourceIdentity {
    SourceIdentity { database: config.source.database.clone(), ..SourceIdentity::default() }
}

/// For a candidate: the identity of what it would publish, compared with both records before it waits for its turn.
///
/// # Errors
/// Those of [`compare`], of the source, and [`Error::Sink`] when PostgreSQL has recorded another source.
pub(super) async fn of_candidate<'a>(
    config: &Config,
    collections: impl Iterator<Item = &'a str>,
) -> Result<Identity, Error> {
    let source = Source::connect(&config.source).await?.identity(collections).await?;
    let read = async {
        let session = Postgres::new(&config.sink, &config.log.prefix)?.open(Purpose::Read).await?;
        identity::compare(&session, &source).await?;
        identity::target(&session).await
    };
    let target = match tokio::time::timeout(TARGET_TIMEOUT, read).await {
        Ok(Ok(target)) => Some(target),
        Ok(Err(error @ crate::postgres::Error::Mismatch(_))) => return Err(error.into()),
        // The sink reports what is wrong with PostgreSQL.
        Ok(Err(_)) | Err(_) => None,
    };
    compare(config, Some(&source), target.as_ref()).await?;
    Ok(Identity { source, target, topics: BTreeMap::new() })
}

/// For the leader: compares what its predecessor left with what it publishes; returns what is to be recorded.
///
/// A collection whose topic is another one is read again: what the topic held is lost, and so is what was not applied yet.
///
/// # Errors
/// [`Error::Mismatch`] halts.
pub(super) fn of_leader(
    ours: &Identity,
    stored: &mut StoredState,
    topics: &Topics,
    prefix: &str,
) -> Result<Identity, Error> {
    let recorded = stored.identity.clone().unwrap_or_default();
    if stored.identity.is_some() {
        compare_with(&recorded, prefix, Some(&ours.source), ours.target.as_ref())?;
    }
    let mut identity = ours.clone();
    identity.target = identity.target.or(recorded.target);
    identity.topics = recorded.topics;
    for topic in topics.collections() {
        let Some(id) = &topic.id else { continue };
        let collection = &*topic.namespace.collection;
        let known = identity.topics.insert(topic.name.to_string(), id.clone());
        if known.is_some_and(|known| known != *id) {
            tracing::warn!(
                collection,
                topic = &*topic.name,
                "the topic is another one than before: the collection is read again"
            );
            if let Some(snapshot) = stored.snapshots.get_mut(collection) {
                snapshot.left = true;
            }
        }
    }
    Ok(identity)
}
