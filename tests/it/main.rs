//! Integration tests against real servers (`deploy/local/stack up`).
#![allow(clippy::unwrap_used)]

mod source;
mod support;
