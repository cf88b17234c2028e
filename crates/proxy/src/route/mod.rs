//! Routing decisions as pure functions: which route, what it changes, whether an outcome is tried again.
//!
//! No clock, no I/O, no randomness: random numbers are arguments.

pub(crate) mod headers;
pub(crate) mod hosts;
pub(crate) mod matcher;
pub(crate) mod retry;
pub(crate) mod rewrite;
pub(crate) mod table;
