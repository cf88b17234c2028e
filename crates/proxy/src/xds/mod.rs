//! The proxy as an xDS client: one aggregated stream, delta or state of the world.
//!
//! `session` decides what to say (no I/O), `config_store` turns resources into the checked model, `client` is the thin shell
//! around both that talks gRPC.

mod check;
pub mod client;
pub mod config_store;
mod keep;
mod names;
mod resource;
pub mod sds;
pub mod session;
mod warming;
