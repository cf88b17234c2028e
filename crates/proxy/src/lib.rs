//! The data plane: accepts connections, decides by the configuration that xDS brought, and forwards.
//!
//! Knows Envoy's xDS and nothing of Kubernetes or of users' resource kinds.

pub mod connection;
pub mod error;
pub mod listen;
pub mod model;
pub mod observe;
pub mod request;
pub mod route;
pub mod secrets;
pub mod stream;
pub mod tls;
