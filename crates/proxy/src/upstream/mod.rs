//! Upstreams: clusters, their endpoints, which one is chosen, and how it is connected to.

pub(crate) mod balance;
pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod detector;
pub(crate) mod directory;
pub(crate) mod dns;
pub(crate) mod endpoint;
pub(crate) mod grpc_channel;
pub(crate) mod limits;
pub(crate) mod originals;
pub(crate) mod outlier;
