//! User resources: what people write, parsed into checked types that remember where they were written.
//!
//! Knows nothing of xDS, of other objects or of sockets; `weft-pilot` resolves references between objects.

pub mod authorization_policy;
mod cel;
pub mod cluster;
pub mod crd;
pub mod destination_rule;
pub mod diagnostic;
pub mod duration;
pub mod endpoint_slice;
pub mod gateway;
pub mod gateway_api;
pub mod host;
pub mod local_mesh;
pub mod local_workload;
pub mod matching;
pub mod mesh_config;
pub mod meta;
pub mod parse;
pub mod peer_authentication;
pub mod pod;
pub mod protocol;
pub mod request_authentication;
pub mod resource;
pub mod rule;
pub mod schema;
pub mod secret;
pub mod service;
pub mod service_entry;
pub mod sidecar;
pub mod stand_in;
pub mod suggest;
pub mod telemetry;
pub mod virtual_service;
