//! Where the own application is, and a way there that capture leaves alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// Sources of connections to the own application. What the proxy sends to the pod's own address is taken for the application's call
/// of itself and led back in through the inbound listener, which accepts whatever the application does; not so from here (Istio's
/// addresses for the inbound pass-through).
const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// An address to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    address: SocketAddr,
    source: Option<IpAddr>,
}

// === impl Place ===

impl Place {
    /// An address; `own` is the pod's.
    pub(super) fn new(address: SocketAddr, own: IpAddr) -> Self {
        let source = match own {
            _ if address.ip() != own || own.is_loopback() => None,
            IpAddr::V4(_) => Some(SOURCE_V4.into()),
            IpAddr::V6(_) => Some(SOURCE_V6.into()),
        };
        Self { address, source }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = self.source {
            match socket.bind((source, 0).into()) {
                // Capture puts ::6 on the loopback interface; a pod without capture needs no source.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                bound => bound?,
            }
        }
        socket.connect(self.address).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pods_own_address_is_called_from_a_source() {
        let check = |address: &str, own: &str, source: Option<&str>| {
            let place = Place::new(address.parse().unwrap(), own.parse().unwrap());
            assert_eq!(
                place.source.map(|ip| ip.to_string()).as_deref(),
                source,
                "{address} {own}"
            );
        };
        check("10.1.0.5:80", "10.1.0.5", Some("127.0.0.6"));
        check("10.1.0.6:80", "10.1.0.5", None);
        check("127.0.0.1:80", "127.0.0.1", None);
        check("[fd00::5]:80", "fd00::5", Some("::6"));
        check("[::1]:80", "::1", None);
    }
}
