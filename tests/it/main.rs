//! Tests of the parts against real servers: `deploy/local/stack up` starts them.

mod demo;
mod source;
mod support;
