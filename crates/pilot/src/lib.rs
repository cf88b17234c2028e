//! Discovery server: reads users' objects, keeps the one snapshot of the mesh that `weft-mesh` makes of them, and serves it over xDS.

pub mod app;
pub mod config;
mod debug;
pub mod metrics;
pub mod source;
pub mod status;
pub mod store;
pub mod webhook;
pub mod xds;
