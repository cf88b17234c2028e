//! The discovery service: what a client was sent, what it asks for, and the gRPC around it.

pub mod connections;
pub mod findings;
pub mod identities;
mod message;
mod node;
pub mod refused;
mod scopes;
pub mod server;
pub mod service;
pub mod stream;
