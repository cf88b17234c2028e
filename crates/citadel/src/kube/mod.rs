//! The authority on Kubernetes: its root in a Secret, and the root's certificate in every namespace.

pub mod distribute;
pub mod secret;
