//! The side of an endpoint that has switched to another protocol.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::connection::{Facts, StreamGuard};
use crate::stream::Rewound;
use crate::upstream::limits::Guard;

/// Bytes from and to an endpoint.
#[derive(Debug)]
pub enum Switched {
    /// All of a connection, which counts as long as it is open.
    Connection(Rewound, Option<(Guard, Box<Facts>)>),
    /// A stream of an HTTP/2 connection, which counts as long as it is open.
    Stream(TokioIo<Upgraded>, Guard, StreamGuard),
}
