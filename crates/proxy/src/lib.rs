//! The data plane: accepts connections, decides by the configuration that xDS brought, and forwards.
//!
//! Knows Envoy's xDS and nothing of Kubernetes or of users' resource kinds.

pub mod admin;
pub mod app;
pub mod body;
pub mod bootstrap;
pub mod capture;
pub mod compile;
pub mod config;
pub mod dataplane;
pub mod dns;
pub mod drain;
pub mod error;
pub mod executor;
pub mod filters;
pub mod hooks;
pub mod http;
pub mod http1;
pub mod http2;
pub mod journal;
pub mod listen;
pub mod mesh;
pub mod model;
pub mod network_filters;
pub mod observe;
pub mod pool;
pub mod random;
pub mod route;
pub mod runtime;
pub mod sds_agent;
pub mod secrets;
pub mod stats;
pub mod status;
pub mod stream;
pub mod stream_info;
pub mod tcp;
pub mod tls;
pub mod upstream;
pub mod worker;
pub mod xds;
