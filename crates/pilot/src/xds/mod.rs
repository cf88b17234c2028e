//! The discovery service: who a client is, what it was sent, what it asks for, and the gRPC around it.

pub mod identities;
pub mod layer;
mod message;
pub mod node;
pub mod resource;
pub mod server;
pub mod stream;
