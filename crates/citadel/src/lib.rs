//! The certificate authority: turns proof of identity into short-lived certificates.
//!
//! Knows nothing of configuration, of xDS or of Kubernetes objects; a caller's identity is all that it signs.

pub mod app;
pub mod authenticate;
pub mod authority;
pub mod config;
pub mod csr;
pub mod join_token;
pub mod metrics;
pub mod service;
pub mod store;
