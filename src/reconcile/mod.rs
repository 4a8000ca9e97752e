//! Compares both sides as of one cluster time.
