//! Listening: sockets, and what is learnt of a new connection before its filter chain takes it.

pub mod accept;
pub mod inspect;
pub mod original_dst;
pub mod proxy_protocol;
pub mod sockets;
