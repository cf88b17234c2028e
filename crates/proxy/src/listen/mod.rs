//! Listening: sockets, what is learnt of a new connection, and which filter chain takes it.

pub mod accept;
pub mod chain_match;
pub mod inspect;
pub mod original_dst;
pub mod proxy_protocol;
pub mod sockets;
