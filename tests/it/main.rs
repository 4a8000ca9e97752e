//! Integration tests against real servers. `deploy/local/stack` starts them.

mod log;
mod support;
