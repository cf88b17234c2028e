//! Listening on all addresses of a machine, whichever families it has.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted; the system's `net.core.somaxconn` may allow fewer.
const BACKLOG: u32 = 4096;

/// Opens a socket for `name` and says in the log where it is. The error says what is in the way.
pub fn open(name: &'static str, listen: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = bind(listen).map_err(|error| {
        let text = format!("cannot listen on {listen} for {name}: {error}; is another process using the port?");
        io::Error::new(error.kind(), text)
    })?;
    let addr = listener.local_addr()?;
    tracing::info!(name, %addr, "listening");
    Ok((listener, addr))
}

/// Binds an address. `[::]` takes IPv4 as well, as Linux has it by default, and means IPv4 alone where there is no IPv6.
pub fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    match bind_to(listen) {
        Err(error) if listen.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            bind_to((Ipv4Addr::UNSPECIFIED, listen.port()).into())
        }
        bound => bound,
    }
}

fn bind_to(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let taken = open("xds", addr).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let text = taken.to_string();
        assert!(
            text.starts_with(&format!("cannot listen on {addr} for xds: ")),
            "{text}"
        );
    }
}
