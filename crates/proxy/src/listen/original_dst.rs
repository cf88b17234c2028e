//! Where the client of a captured connection meant to go (`SO_ORIGINAL_DST`, set by REDIRECT rules).

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The original destination; `None` where the connection was not redirected.
pub fn original_dst(socket: &TcpStream) -> Option<SocketAddr> {
    let local = socket.local_addr().ok()?;
    let reference = SockRef::from(socket);
    let original = match local {
        SocketAddr::V4(_) => reference.original_dst_v4(),
        SocketAddr::V6(_) => reference.original_dst_v6(),
    };
    original.ok()?.as_socket()
}
