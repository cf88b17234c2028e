//! Listening on all addresses of a machine, whichever families it has.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

/// Opens a socket for `name` and says in the log where it is. The error says what is in the way.
pub async fn open(name: &'static str, listen: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = bind(listen).await.map_err(|error| {
        let text = format!("cannot listen on {listen} for {name}: {error}; is another process using the port?");
        io::Error::new(error.kind(), text)
    })?;
    let addr = listener.local_addr()?;
    tracing::info!(name, %addr, "listening");
    Ok((listener, addr))
}

/// Binds an address. `[::]` takes IPv4 as well, as Linux has it by default, and means IPv4 alone where there is no IPv6.
async fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(listen).await {
        Err(error) if listen.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, listen.port())).await
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let listener = bind("[::]:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let taken = open("xds", addr).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let text = taken.to_string();
        assert!(
            text.starts_with(&format!("cannot listen on {addr} for xds: ")),
            "{text}"
        );
    }
}
