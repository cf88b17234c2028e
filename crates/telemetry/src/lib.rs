//! The collector of the mesh. So far its process chassis: readiness, metrics of its own, version.
//!
//! Receiving access logs and traces, the service graph and its page follow; until then nothing reports here.

pub mod app;
pub mod config;
