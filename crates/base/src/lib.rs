//! Process chassis of every Weft binary: who it is, how it starts, logs, reports and stops.
//!
//! Knows nothing of meshes' configuration, of xDS resources or of Kubernetes objects.

pub mod accept;
pub mod admin;
pub mod backoff;
pub mod ca_client;
pub mod flags;
pub mod grpc_tls;
pub mod identity;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod listen;
pub mod log;
pub mod operators;
pub mod process;
pub mod readiness;
pub mod serve;
pub mod shutdown;
pub mod spiffe;
pub mod tls;
pub mod verify;
pub mod workload;
