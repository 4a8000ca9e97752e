//! Extended JSON.
