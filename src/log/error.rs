//! What can go wrong with the log, and what to do about it.

use std::{fmt, path::PathBuf};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use crate::{
    model::TokenError,
    retry::{Class, Classify},
};

/// Something about the brokers or the settings that a person has to put right, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, naming the topic or the setting.
    pub what: String,
    /// What to do about it.
    pub hint: String,
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

/// A failure of the log. No variant holds a key, a value or a secret.
#[derive(Debug, Error)]
pub enum Error {
    /// Settings or topics are not as they must be; every fault that was found.
    #[error("use the log as it is configured: {}", list(.0))]
    Faults(Vec<Fault>),
    /// The file of secret settings cannot be read.
    #[error("read the secret settings from `{path}`")]
    SecretsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A call of the brokers failed, or its outcome is unknown.
    #[error("{act} `{object}`")]
    Kafka {
        /// Verb.
        act: &'static str,
        /// Topic, group or transactional id.
        object: String,
        /// What the client library says.
        #[source]
        source: KafkaError,
    },
    /// No broker can be reached, or none lets this client in.
    #[error("{act} `{object}`: no broker answers{}", because(.why))]
    Unreachable {
        /// Verb.
        act: &'static str,
        /// Brokers, topic, group or transactional id.
        object: String,
        /// What the client library last said about a broker: its address, and why it failed.
        why: Option<String>,
    },
    /// No answer came in time.
    #[error("{act} `{object}`: no answer in time")]
    Timeout {
        /// Verb.
        act: &'static str,
        /// Topic, group or transactional id.
        object: String,
    },
    /// A newer publisher of the same stream is at work; nothing of this one's transaction became visible.
    #[error("publish as `{transactional_id}`: a newer publisher has taken over")]
    Fenced {
        /// The id that both share.
        transactional_id: String,
    },
    /// The publisher failed earlier, or a publish was given up half-way: its last outcome is unknown.
    #[error("publish with a publisher whose last transaction did not end well")]
    Unusable,
    /// A change or control names a collection that has no topic.
    #[error("publish to the topic of `{namespace}`: none was set up")]
    NoTopic {
        /// The collection.
        namespace: String,
    },
    /// A record is larger than the brokers take.
    #[error("publish a record of {bytes} bytes to `{topic}`: it is larger than the brokers take")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Size of key and value.
        bytes: usize,
    },
    /// The state topic holds something this version cannot read.
    #[error("read the state record `{key}` at offset {offset} of `{topic}`: {what}")]
    State {
        /// The state topic.
        topic: String,
        /// Which record.
        key: String,
        /// Its offset.
        offset: i64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The state topic holds a resume token this version cannot read.
    #[error("read the resume token from `{topic}`")]
    Token {
        /// The state topic.
        topic: String,
        /// Why.
        #[source]
        source: TokenError,
    },
    /// The offset at which a partition has to go on is gone from the log, or not in it yet.
    #[error("go on reading `{topic}`: the offset saved for a partition is not in the log")]
    OffsetLost {
        /// The topic, where the client library tells it.
        topic: String,
    },
    /// A topic was deleted while it was in use.
    #[error("use the topic `{topic}`: it is gone from the log")]
    TopicGone {
        /// The topic.
        topic: String,
    },
    /// A topic was deleted and made again while it was in use: what its records were is lost.
    #[error("use the topic `{topic}`: another one has taken its name")]
    TopicReplaced {
        /// The topic.
        topic: String,
    },
    /// The sink could not say where its partitions start.
    #[error("ask where the assigned partitions start")]
    StartOffsets {
        /// What the sink's own error asks for.
        class: Class,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The thread that owned the client has ended.
    #[error("reach the {0}: its thread has ended")]
    Ended(&'static str),
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

    /// The same with what the client's own log says of the brokers: the library's code tells no address, no refused password and
    /// no unknown authority.
    pub(super) fn because(self, why: Option<String>) -> Self {
        match self {
            Self::Unreachable { act, object, why: None } => Self::Unreachable { act, object, why },
            Self::Timeout { act, object } if why.is_some() => Self::Unreachable { act, object, why },
            other => other,
        }
    }

    /// Whether a newer publisher has taken over: no fault of anybody, the process goes back to stand by.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } => {
                Some("raise `max.message.bytes` of the topic and `message.max.bytes` of the client")
            }
            Self::OffsetLost { .. } => Some(
                "retention has removed records that were not applied: run `driftless replay --collection … --to-earliest` and \
                      `driftless snapshot start …`, which reads the collection again",
            ),
            Self::Unreachable { .. } => Some(
                "is a broker up and listening at `log.brokers`, do its advertised.listeners lead there from here, and do \
                 `security.protocol`, user, password and authorities under `log.client` fit that listener?",
            ),
            Self::State { .. } | Self::Token { .. } => Some("a newer version may have written it: run that one"),
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
            // The next attempt makes the topic again where it is gone, and starts with it from its beginning.
            Self::TopicGone { .. } | Self::TopicReplaced { .. } => Class::Transient,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Fenced { .. } | Self::Unusable | Self::Ended(_) => {
                Class::Transient
            }
            Self::StartOffsets { class, .. } => *class,
            Self::Kafka { source, .. } => class_of(source),
        }
    }
}

/// Brokers that are away, restarting or moving partitions come back; refused credentials and requests do not.
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

/// The brokers' or the client library's code, also of an admin call.
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
        // What is said about brokers explains no refusal of a request.
        let refused = error(RDKafkaErrorCode::TopicAuthorizationFailed).because(why);
        assert!(!refused.to_string().contains("SASL"));
    }
}
