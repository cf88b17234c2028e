//! Routing decisions as pure functions: which route, what it changes, whether an outcome is tried again.
//!
//! No clock, no I/O, no randomness: random numbers are arguments.

pub mod headers;
pub mod hosts;
pub mod matcher;
pub mod retry;
pub mod rewrite;
pub mod table;
