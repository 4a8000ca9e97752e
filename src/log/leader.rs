//! Leadership of a source stream: membership of a consumer group whose only partition is the state topic's.
//!
//! ```text
//!   candidate ──assigned──▶ leader ──revoked, lost, stopped──▶ candidate or gone
//! ```
//!
//! No further service is needed. The brokers take the partition from a leader that has sent no heartbeat for the session timeout.
//! The assignor is cooperative, so a joining standby takes nothing. No record is ever read through this membership.
//!
//! The client library of a leader that cannot reach the brokers notices this after the same time, but the process may be asleep
//! then. Fencing, not leadership, keeps the stream single-written.

use std::time::Duration;

use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Error, client, topic_names::state_name};
use crate::{
    config::LogConfig,
    retry::{Class, Classify, chain},
};

/// Longest delay until a stop is noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Returns the group of the candidates.
pub(super) fn group(prefix: &str) -> String {
    format!("{prefix}.source")
}

/// A candidate for the leadership of a source stream.
pub struct Leadership {
    member: BaseConsumer<Candidate>,
    group: String,
}

impl Leadership {
    /// Joins the candidates; the receiver holds whether this one leads. The topics must exist.
    ///
    /// # Errors
    /// Fails with [`Error::Faults`] or [`Error::Kafka`] for settings that the client library refuses.
    pub fn join(cfg: &LogConfig) -> Result<(Self, watch::Receiver<bool>), Error> {
        let (leads, receiver) = watch::channel(false);
        let group = group(&cfg.prefix);
        let mut settings = client::settings(cfg)?;
        client::member(&mut settings, cfg, &group);
        let member: BaseConsumer<Candidate> = client::create(&settings, Candidate { leads })?;
        member.subscribe(&[&state_name(&cfg.prefix)]).map_err(Error::kafka("join the group", &group))?;
        Ok((Self { member, group }, receiver))
    }

    /// Stays a candidate until cancelled, then leaves the group, so that another candidate takes over at once.
    ///
    /// Dropping the future also leaves the group, without waiting for it.
    ///
    /// # Errors
    /// Fails with [`Error::Kafka`] if the membership has ended; the receiver then holds `false`.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let stop = cancel.child_token();
        let _stop_if_dropped = stop.clone().drop_guard();
        client::blocking("leadership", move || {
            let Self { member, group } = self;
            let outcome = stay(&member, &group, &stop);
            // This comes first, so that the leader stops before the group is left.
            member.context().leads.send_replace(false);
            failpoint!(blocking LEADERSHIP_HAND_OVER);
            drop(member);
            outcome
        })
        .await
    }
}

fn stay(member: &BaseConsumer<Candidate>, group: &str, stop: &CancellationToken) -> Result<(), Error> {
    while !stop.is_cancelled() {
        let Some(Err(error)) = member.poll(POLL_INTERVAL) else { continue };
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let error = Error::kafka("stay in the group", group)(error);
        if fatal || error.class() == Class::Halt {
            return Err(error);
        }
        tracing::debug!(group, error = %chain(&error), "leadership");
    }
    Ok(())
}

/// Tracks whether this member holds the partition.
struct Candidate {
    leads: watch::Sender<bool>,
}

impl Candidate {
    fn take(&self, member: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> Result<(), KafkaError> {
        partitions.set_all_offsets(Offset::End)?;
        member.incremental_assign(partitions)?;
        member.pause(partitions)?;
        if partitions.count() > 0 {
            tracing::info!("leadership gained");
            self.leads.send_replace(true);
        }
        Ok(())
    }

    fn give(&self, member: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
        if partitions.count() > 0 && self.leads.send_replace(false) {
            tracing::info!(lost = member.assignment_lost(), "leadership given up");
        }
        member.incremental_unassign(partitions)
    }
}

impl ClientContext for Candidate {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::broker_trouble(&error, reason);
    }

    fn stats(&self, _statistics: Statistics) {}
}

impl ConsumerContext for Candidate {
    fn rebalance(&self, member: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.take(member, partitions),
            _ => self.give(member, partitions),
        };
        if let Err(error) = done {
            // The group takes the partition back by itself, because this member no longer polls for it.
            self.leads.send_replace(false);
            tracing::warn!(%error, "follow the group's assignment");
        }
    }
}
