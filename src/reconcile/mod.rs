//! Compares both sides as of one cluster time.

pub mod compare;
pub mod verdict;
