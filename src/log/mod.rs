//! Kafka: the only user of its client, and the only place where bytes become a change.
