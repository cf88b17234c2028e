//! Container images, made without a daemon.

pub(crate) mod archive;
pub(crate) mod closure;
