//! The proxy's own checked configuration: what Envoy's xDS resources mean, with every default filled in.
//!
//! Values here hold no protobuf and are not yet compiled for speed: `convert` makes them from xDS resources and refuses, by
//! path, what the proxy does not carry; `crate::compile` turns them into the runtime that serves requests.

pub mod access_log;
pub mod bootstrap;
pub mod cluster;
pub mod convert;
#[path = "../filters/config.rs"]
pub mod filters;
pub mod http;
pub mod listener;
pub mod matcher;
pub mod metadata;
#[path = "../network_filters/config.rs"]
pub mod network_filters;
pub mod outlier;
pub mod path_template;
pub mod rbac;
pub mod refusal;
pub mod route;
pub mod secret;
pub mod tls;
