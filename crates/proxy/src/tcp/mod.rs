//! Forwarding of bytes without knowing what they mean.

pub mod copy;
pub mod forward;
