//! HTTP/1.1 on the wire (RFC 9112): what bytes mean, and exchanges that own their connection.
//!
//! [`framing`] says how long a body is, [`head`] and [`decode`] read, [`encode`] writes: pure functions of bytes. [`server`] and
//! [`client`] are the two ends of a connection. A connection serves its next exchange only as the result of one that is complete in
//! both directions, and a head never announces a body that is not sent: both by construction, for whoever pays for wrong bytes is the
//! next client.

pub mod client;
pub mod date;
pub mod decode;
pub mod encode;
pub mod framing;
pub mod head;
pub mod outgoing;
pub mod received_body;
pub mod server;
mod transport;
