//! The collector of the mesh: access logs in, a service graph out, in fixed memory.
//!
//! Knows Envoy's access-log service and the names in a mesh; nothing of configuration.

pub mod api;
pub mod app;
pub mod config;
pub mod graph;
pub mod receive;
pub mod record;
pub mod sketch;
