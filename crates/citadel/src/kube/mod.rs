//! The authority on Kubernetes: its root in a Secret, and the root's certificate in every namespace.

pub(crate) mod distribute;
pub(crate) mod secret;
