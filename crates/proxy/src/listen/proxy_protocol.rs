//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), as a listener filter.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

/// Start of a version 2 header.
const SIGNATURE_V2: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Longest version 1 line, with its end.
const LINE_BYTES_MAX: usize = 107;

/// Longest version 2 body that is read; the rest of the protocol's 64 KiB is not needed for addresses and common TLVs.
const BODY_BYTES_MAX: usize = 4096;

/// Addresses of the connection as the balancer in front saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// Reads the header. `None` says that the balancer speaks for itself (`LOCAL`, `UNKNOWN`). A connection without a valid header is refused.
pub async fn read(socket: &mut TcpStream, timeout: Duration) -> io::Result<Option<Addresses>> {
    let reading = read_header(socket);
    if timeout.is_zero() {
        return reading.await;
    }
    match tokio::time::timeout(timeout, reading).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "no PROXY protocol header in time",
        )),
    }
}

/// The same of any bytes, without a limit in time.
pub async fn read_header(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Addresses>> {
    // The shortest header of either version has more bytes than the signature.
    let mut head = [0; 12];
    socket.read_exact(&mut head).await?;
    if head == SIGNATURE_V2 {
        return read_v2(socket).await;
    }
    if !head.starts_with(b"PROXY ") {
        return Err(invalid("connection does not start with a PROXY protocol header"));
    }
    let mut line = head.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(invalid("PROXY protocol line is too long"));
        }
        line.push(socket.read_u8().await?);
    }
    parse_v1(&line[..line.len() - 2])
}

fn parse_v1(line: &[u8]) -> io::Result<Option<Addresses>> {
    let text = std::str::from_utf8(line).map_err(|_| invalid("PROXY protocol line is not text"))?;
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            destination,
            source_port,
            destination_port,
        ] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().map_err(|_| invalid("PROXY protocol address is malformed"))?;
                if ip.is_ipv4() != (*family == "TCP4") {
                    return Err(invalid("PROXY protocol address is of the other family"));
                }
                let port = port.parse().map_err(|_| invalid("PROXY protocol port is malformed"))?;
                Ok(SocketAddr::new(ip, port))
            };
            Ok(Some(Addresses {
                source: address(source, source_port)?,
                destination: address(destination, destination_port)?,
            }))
        }
        _ => Err(invalid("PROXY protocol line is malformed")),
    }
}

async fn read_v2(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Addresses>> {
    let mut head = [0; 4];
    socket.read_exact(&mut head).await?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if length > BODY_BYTES_MAX {
        return Err(invalid("PROXY protocol header is too long"));
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    parse_v2(head[0], head[1], &body)
}

fn parse_v2(command: u8, family: u8, body: &[u8]) -> io::Result<Option<Addresses>> {
    match command {
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(invalid("PROXY protocol version or command is unknown")),
    }
    let port = |at: usize| body.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let parsed = match family {
        0x11 => {
            let ip = |at: usize| {
                body.get(at..at + 4)
                    .and_then(|four| <[u8; 4]>::try_from(four).ok())
                    .map(Ipv4Addr::from)
            };
            (|| Some(((ip(0)?.into(), port(8)?), (ip(4)?.into(), port(10)?))))()
        }
        0x21 => {
            let ip = |at: usize| {
                body.get(at..at + 16)
                    .and_then(|all| <[u8; 16]>::try_from(all).ok())
                    .map(Ipv6Addr::from)
            };
            (|| Some(((ip(0)?.into(), port(32)?), (ip(16)?.into(), port(34)?))))()
        }
        _ => return Ok(None),
    };
    let (source, destination): ((IpAddr, u16), (IpAddr, u16)) =
        parsed.ok_or_else(|| invalid("PROXY protocol header is cut short"))?;
    Ok(Some(Addresses {
        source: source.into(),
        destination: destination.into(),
    }))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_v1(line: &str, expected: Result<Option<(&str, &str)>, &str>) {
        let expected = expected.map(|found| {
            found.map(|(source, destination)| Addresses {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
            })
        });
        let got = parse_v1(line.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn version_1_lines() {
        check_v1(
            "PROXY TCP4 1.2.3.4 5.6.7.8 11 22",
            Ok(Some(("1.2.3.4:11", "5.6.7.8:22"))),
        );
        check_v1("PROXY TCP6 ::1 ::2 11 22", Ok(Some(("[::1]:11", "[::2]:22"))));
        check_v1("PROXY UNKNOWN", Ok(None));
        check_v1(
            "PROXY TCP4 ::1 ::2 11 22",
            Err("PROXY protocol address is of the other family"),
        );
        check_v1("PROXY TCP4 1.2.3.4 5.6.7.8 11", Err("PROXY protocol line is malformed"));
        check_v1(
            "PROXY TCP4 1.2.3.4 5.6.7.8 11 99999",
            Err("PROXY protocol port is malformed"),
        );
    }

    #[test]
    fn version_2_headers() {
        let body = [1, 2, 3, 4, 5, 6, 7, 8, 0, 11, 0, 22];
        let got = parse_v2(0x21, 0x11, &body).unwrap().unwrap();
        assert_eq!(
            (got.source.to_string(), got.destination.to_string()),
            ("1.2.3.4:11".into(), "5.6.7.8:22".into())
        );
        assert!(parse_v2(0x20, 0, &[]).unwrap().is_none());
        assert!(parse_v2(0x21, 0x11, &body[..8]).is_err());
        assert!(parse_v2(0x31, 0x11, &body).is_err());
    }
}
