//! The errors of the log, with their classes and hints.

use std::{fmt, path::PathBuf};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use crate::{
    model::TokenError,
    retry::{Class, Classify},
    tasks::Panicked,
};

/// A fault of the brokers or the settings that a person must fix, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The fault, with the topic or the setting.
    pub what: String,
    /// The remedy.
    pub(crate) hint: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.hint)
    }
}

/// An error of the log. No variant contains a key, a value or a secret.
#[derive(Debug, Error)]
pub enum Error {
    /// Settings or topics have faults; all of them are listed.
    #[error("use the configured log: {}", list(.0))]
    Faults(Vec<Fault>),
    /// The file of secret settings cannot be read.
    #[error("read the secret settings from `{path}`")]
    SecretsFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A call to the brokers failed, or its outcome is unknown.
    #[error("{act} `{object}`")]
    Kafka {
        /// The act.
        act: &'static str,
        /// Topic, group or transactional id.
        object: String,
        /// The error of the client library.
        #[source]
        source: KafkaError,
    },
    /// No broker can be reached, or none accepts this client.
    #[error("{act} `{object}`: no broker answers{}", because(.why))]
    Unreachable {
        /// The act.
        act: &'static str,
        /// Brokers, topic, group or transactional id.
        object: String,
        /// The last log line of the client library about a broker: its address and its failure.
        why: Option<String>,
    },
    /// No answer came in time.
    #[error("{act} `{object}`: no answer in time")]
    Timeout {
        /// The act.
        act: &'static str,
        /// Topic, group or transactional id.
        object: String,
    },
    /// A newer publisher of the same stream is active; nothing of this transaction became visible.
    #[error("publish as `{transactional_id}`: a newer publisher has taken over")]
    Fenced {
        /// The id that both share.
        transactional_id: String,
    },
    /// The publisher failed earlier, or a publish was dropped halfway, so the outcome of its last transaction is unknown.
    #[error("publish with a publisher whose last transaction failed")]
    Unusable,
    /// A change or control names a collection that has no topic.
    #[error("publish to the topic of `{namespace}`: it was not set up")]
    NoTopic {
        /// The collection.
        namespace: String,
    },
    /// A record is larger than the brokers accept.
    #[error("publish a record of {bytes} bytes to `{topic}`: it is larger than the brokers accept")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Size of key and value.
        bytes: usize,
    },
    /// The state topic contains a record that this version cannot read.
    #[error("read the state record `{key}` at offset {offset} of `{topic}`: {what}")]
    State {
        /// The state topic.
        topic: String,
        /// The key of the record.
        key: String,
        /// The offset of the record.
        offset: i64,
        /// The fault.
        what: &'static str,
    },
    /// The state topic contains a resume token that this version cannot read.
    #[error("read the resume token from `{topic}`")]
    Token {
        /// The state topic.
        topic: String,
        /// The cause.
        #[source]
        source: TokenError,
    },
    /// The next offset of a partition is no longer in the log, or not in it yet.
    #[error("continue reading `{topic}`: the saved offset of a partition is not in the log")]
    OffsetLost {
        /// The topic, if the client library names it.
        topic: String,
    },
    /// Topics do not exist. Only source and sink create them.
    #[error("read the topics {}: they do not exist", .topics.join(", "))]
    TopicsMissing {
        /// The topics.
        topics: Vec<String>,
    },
    /// A topic was deleted while it was in use.
    #[error("use the topic `{topic}`: it was deleted")]
    TopicGone {
        /// The topic.
        topic: String,
    },
    /// A topic was deleted and created again while it was in use; its records are lost.
    #[error("use the topic `{topic}`: it was deleted and created again")]
    TopicReplaced {
        /// The topic.
        topic: String,
    },
    /// The sink could not say where its partitions start.
    #[error("look up where the assigned partitions start")]
    StartOffsets {
        /// The class of the error of the sink.
        class: Class,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The thread that owned the client has ended.
    #[error("reach the {0}: its thread has ended")]
    Ended(&'static str),
    /// A task of the log panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl Error {
    pub(super) fn kafka(act: &'static str, object: impl Into<String>) -> impl FnOnce(KafkaError) -> Self {
        let object = object.into();
        move |source| match code_of(&source) {
            Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut) => {
                Self::Timeout { act, object }
            }
            Some(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Resolve,
            ) => Self::Unreachable { act, object, why: None },
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Self::OffsetLost { topic: object }
            }
            _ => Self::Kafka { act, object, source },
        }
    }

    /// Adds the last log line of the client about the brokers, because the error code names neither an address, nor a refused password,
    /// nor an unknown authority.
    pub(super) fn because(self, why: Option<String>) -> Self {
        match self {
            Self::Unreachable { act, object, why: None } => Self::Unreachable { act, object, why },
            Self::Timeout { act, object } if why.is_some() => Self::Unreachable { act, object, why },
            other => other,
        }
    }

    /// Returns whether a newer publisher has taken over. That is not a fault; the process returns to standby.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// Returns whether the brokers deny this user what it asks for: another right or password is all that is needed.
    pub(crate) fn is_denied(&self) -> bool {
        use RDKafkaErrorCode as Code;
        let Self::Kafka { source, .. } = self else { return false };
        matches!(
            code_of(source),
            Some(
                Code::SaslAuthenticationFailed
                    | Code::Authentication
                    | Code::TopicAuthorizationFailed
                    | Code::GroupAuthorizationFailed
                    | Code::ClusterAuthorizationFailed
                    | Code::TransactionalIdAuthorizationFailed
            )
        )
    }

    /// Returns the remedy, if a person can apply one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } => {
                Some("raise `max.message.bytes` of the topic and `message.max.bytes` of the client")
            }
            Self::OffsetLost { .. } => Some(
                "retention has removed records before they were applied: run `driftless replay --collection … --to-earliest --execute --why …`, \
                 `driftless resume --role sink`, and `driftless snapshot start …`, which reads the collection again",
            ),
            Self::Unreachable { why: Some(why), .. } if why.contains("certificate") => Some(
                "the certificate of the broker must not have expired, must name the host by which the broker is reached, and must come \
                 from an authority of `ssl.ca.location` under `log.client` or of the system",
            ),
            Self::Unreachable { .. } => Some(
                "check that a broker is listening at `log.brokers`, that its advertised.listeners can be reached from here, and that \
                 `security.protocol`, user, password and authorities under `log.client` fit that listener",
            ),
            Self::TopicsMissing { .. } => {
                Some("start the source and the sink with this mapping: they create the topics")
            }
            Self::State { .. } | Self::Token { .. } => Some("a newer version may have written it: run that version"),
            _ => None,
        }
    }
}

#[cfg(feature = "failpoints")]
impl From<crate::failpoints::Injected> for Error {
    fn from(crate::failpoints::Injected(point): crate::failpoints::Injected) -> Self {
        Self::Timeout { act: "pass the failpoint", object: point.to_owned() }
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Faults(_)
            | Self::SecretsFile { .. }
            | Self::NoTopic { .. }
            | Self::TooLarge { .. }
            | Self::State { .. }
            | Self::Token { .. }
            | Self::OffsetLost { .. } => Class::Halt,
            // The next attempt creates a deleted topic, and starts at its beginning.
            Self::TopicGone { .. } | Self::TopicReplaced { .. } | Self::TopicsMissing { .. } => Class::Transient,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Fenced { .. } | Self::Unusable | Self::Ended(_) => {
                Class::Transient
            }
            Self::Panicked(panicked) => panicked.class(),
            Self::StartOffsets { class, .. } => *class,
            Self::Kafka { source, .. } => class_of(source),
        }
    }
}

/// Classifies an error of the client. Unreachable, restarting or rebalancing brokers come back; refused credentials and requests do not.
fn class_of(error: &KafkaError) -> Class {
    use RDKafkaErrorCode as Code;
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => Class::Halt,
        other => match code_of(other) {
            Some(
                Code::SaslAuthenticationFailed
                | Code::Authentication
                | Code::UnsupportedSASLMechanism
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed
                | Code::SSL
                | Code::UnsupportedVersion
                | Code::UnsupportedFeature
                | Code::InvalidConfig
                | Code::InvalidTopic
                | Code::InvalidReplicationFactor
                | Code::InvalidTransactionTimeout
                | Code::PolicyViolation,
            ) => Class::Halt,
            _ => Class::Transient,
        },
    }
}

/// Returns the code of the brokers or the client library, also for an admin call.
pub(super) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

fn because(why: &Option<String>) -> String {
    why.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_broker_is_told_with_what_the_client_knows() {
        let error = |code| Error::kafka("list the topics of", "h:1")(KafkaError::MetadataFetch(code));
        let why = Some("sasl_plaintext://h:1/bootstrap: SASL authentication error".to_owned());
        let text =
            "list the topics of `h:1`: no broker answers: sasl_plaintext://h:1/bootstrap: SASL authentication error";
        for code in [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::OperationTimedOut] {
            let error = error(code).because(why.clone());
            assert_eq!((error.to_string().as_str(), error.class()), (text, Class::Transient));
            assert!(error.hint().is_some());
        }
        // A log line about brokers does not explain the refusal of a request.
        let refused = error(RDKafkaErrorCode::TopicAuthorizationFailed).because(why);
        assert!(!refused.to_string().contains("SASL"));
    }

    #[test]
    fn another_right_is_all_that_a_denied_request_needs() {
        let denied = |code| Error::kafka("create", "t")(KafkaError::MetadataFetch(code)).is_denied();
        assert!(
            denied(RDKafkaErrorCode::TopicAuthorizationFailed) && denied(RDKafkaErrorCode::SaslAuthenticationFailed)
        );
        assert!(!denied(RDKafkaErrorCode::InvalidTopic) && !denied(RDKafkaErrorCode::BrokerTransportFailure));
    }
}
