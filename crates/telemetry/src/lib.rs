//! The collector of the mesh: access logs and spans in; a service graph, traces and series out, in fixed memory.
//!
//! Knows the wires of logs and spans and the names in a mesh; nothing of configuration.

mod api;
pub mod app;
pub mod config;
mod graph;
mod history;
mod metrics;
pub mod receive;
pub mod record;
mod sketch;
pub mod span;
pub mod traces;
