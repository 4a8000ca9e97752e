//! Integration tests against real servers, found by `support`.

mod sink;
mod support;
