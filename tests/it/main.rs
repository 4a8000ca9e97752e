//! Tests against real servers: `deploy/local/stack up` starts them.

mod demo;
mod support;
