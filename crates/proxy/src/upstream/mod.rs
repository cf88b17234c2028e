//! Upstreams: clusters, their endpoints, which one is chosen, and connections to it.

pub mod balance;
pub mod cluster;
pub mod connect;
pub mod connection;
pub mod directory;
pub mod dns;
pub mod endpoint;
pub mod grpc_channel;
pub mod limits;
pub mod originals;
pub mod outlier;
pub mod pool;
