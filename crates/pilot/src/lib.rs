//! Discovery server: reads users' objects, resolves them to one snapshot of the mesh, and serves it over xDS.

pub mod app;
pub mod config;
pub mod debug;
pub mod generate;
pub mod inject;
pub mod metrics;
pub mod node;
pub mod resource;
pub mod settle;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod store;
pub mod view;
pub mod webhook;
pub mod xds;
