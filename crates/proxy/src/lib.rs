//! The data plane: accepts connections, decides by the configuration that xDS brought, and forwards.
//!
//! Knows Envoy's xDS and nothing of Kubernetes or of users' resource kinds.

mod admin;
pub mod app;
mod body;
pub mod bootstrap;
pub mod capture;
mod compile;
pub mod config;
pub mod dataplane;
pub mod dns;
mod drain;
mod error;
mod executor;
mod filters;
pub mod hooks;
pub mod http;
pub mod http1;
pub mod http2;
mod journal;
pub mod listen;
pub mod mesh;
pub mod model;
mod network_filters;
mod observe;
mod pool;
mod random;
mod rbac;
mod route;
mod runtime;
pub mod sds_agent;
mod secrets;
mod stats;
mod status;
mod stream;
mod stream_info;
mod tcp;
mod tls;
mod upstream;
mod worker;
pub mod xds;
