//! Upstreams: clusters, their endpoints, which one is chosen, and how it is connected to.

pub mod balance;
pub mod cluster;
pub mod connect;
pub mod detector;
pub mod directory;
pub mod dns;
pub mod endpoint;
pub mod grpc_channel;
pub mod limits;
pub mod originals;
pub mod outlier;
