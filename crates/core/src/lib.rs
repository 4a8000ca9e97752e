//! The pure part of `driftless`: nothing here does I/O, waits, reads a clock or knows a driver.

pub mod analyze;
pub mod draft;
pub mod ejson;
pub mod fit;
pub mod mapping;
pub mod model;
pub mod profile;
