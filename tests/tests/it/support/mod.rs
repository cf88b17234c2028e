//! What the tests stand on: processes that always end, scripted servers, clients that see bytes.

pub(crate) mod ads;
pub(crate) mod authz;
pub(crate) mod backend;
pub(crate) mod bootstrap;
pub(crate) mod client;
pub(crate) mod coding;
pub(crate) mod envoy;
pub(crate) mod exposition;
pub(crate) mod http2;
pub(crate) mod mesh;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod script;
pub(crate) mod sds;
pub(crate) mod weft;
pub(crate) mod wire;
