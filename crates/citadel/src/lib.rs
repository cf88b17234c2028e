//! The certificate authority: turns proof of identity into short-lived certificates.
//!
//! Knows nothing of configuration or of xDS; a caller's identity is all that it signs. Of Kubernetes it knows where the root
//! is kept and whose token a token is (`kube`).

pub mod app;
mod authenticate;
mod authority;
pub mod config;
pub mod csr;
pub mod join_token;
mod kube;
mod metrics;
mod service;
mod store;
