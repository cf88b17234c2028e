//! Forwarding of bytes without knowing what they mean.

pub(crate) mod copy;
pub(crate) mod forward;
