//! HTTP/2 on the wire (RFC 9113): what bytes mean, and the server's end of a connection.
//!
//! [`frame`], [`hpack`], [`head`], [`window`] and [`floods`] are functions of bytes and counts. [`connection`] is a connection without
//! its socket: bytes in, requests and bytes out; what of it belongs to one request is a [`stream`]. [`server`] reads and writes. The
//! task of a connection alone does that; the task of a request puts its answer into what is to be written, as far as the windows let it,
//! and wakes that task, so that answers which are made together are written together. A head that breaks a rule costs its stream, never
//! the streams beside it; bytes that nobody can read end the connection.

pub mod connection;
pub mod exchange;
pub mod floods;
pub mod frame;
pub mod head;
pub mod hpack;
mod output;
pub mod reason;
pub mod received_body;
pub mod server;
pub mod stream;
pub mod tunnel;
pub mod window;
