//! Reading the first bytes of a connection to learn what it speaks, without taking them from whoever serves it.
//!
//! A client that speaks first is inspected; one that waits for the server (MySQL, SMTP) is let go when the budget ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::model::listener::TransportProtocol;

/// A post-quantum ClientHello with many extensions fits; more is not a ClientHello.
const INSPECTED_BYTES_MAX: usize = 16 << 10;

/// The HTTP/2 connection preface (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest HTTP/1 method that the detection waits for.
const METHOD_BYTES_MAX: usize = 24;

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct Inspect {
    /// Server name and ALPN of a ClientHello.
    pub tls: bool,
    /// HTTP/1 or HTTP/2 in plaintext.
    pub http: bool,
    /// How long to wait for bytes; zero waits for ever.
    pub timeout: Duration,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Bytes read so far, to be replayed.
    pub prefix: Bytes,
    /// TLS or not.
    pub transport: TransportProtocol,
    /// Server name, lower case.
    pub server_name: Option<Arc<str>>,
    /// Protocols offered by ALPN, or the plaintext protocol detected.
    pub application_protocols: Vec<Arc<str>>,
    /// Whether the plaintext protocol was looked for to the end.
    pub plaintext_known: bool,
    /// The budget ended before the bytes were enough.
    pub timed_out: bool,
}

/// What the bytes read so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It cannot be told yet.
    More,
    Tls {
        server_name: Option<Arc<str>>,
        alpn: Vec<Arc<str>>,
    },
    Plain(Option<&'static str>),
}

/// Reads until the first bytes tell what the connection speaks, the budget ends, or the client closes.
pub async fn inspect(socket: &mut TcpStream, what: Inspect) -> io::Result<Inspected> {
    let mut read = BytesMut::with_capacity(2048);
    let reading = async {
        loop {
            let verdict = judge(&read, what);
            if verdict != Verdict::More || read.len() >= INSPECTED_BYTES_MAX {
                return io::Result::Ok(verdict);
            }
            if socket.read_buf(&mut read).await? == 0 {
                return Ok(Verdict::Plain(None));
            }
        }
    };
    let (verdict, timed_out) = if what.timeout.is_zero() {
        (reading.await?, false)
    } else {
        match tokio::time::timeout(what.timeout, reading).await {
            Ok(verdict) => (verdict?, false),
            Err(_) => (Verdict::Plain(None), true),
        }
    };
    let (transport, server_name, application_protocols) = match verdict {
        Verdict::Tls { server_name, alpn } => (TransportProtocol::Tls, server_name, alpn),
        Verdict::Plain(protocol) => {
            let protocols = protocol.into_iter().map(Arc::from).collect();
            (TransportProtocol::RawBuffer, None, protocols)
        }
        Verdict::More => (TransportProtocol::RawBuffer, None, Vec::new()),
    };
    Ok(Inspected {
        prefix: read.freeze(),
        transport,
        server_name,
        application_protocols,
        plaintext_known: what.http && !timed_out,
        timed_out,
    })
}

/// Whether a plaintext connection begins with the HTTP/2 preface, with the bytes read so far to be replayed. `read` are those
/// that were read before. Waits for as many bytes as it takes to tell, `timeout` at most where it is not zero.
pub async fn http2_preface(socket: &mut TcpStream, read: Bytes, timeout: Duration) -> io::Result<(Bytes, bool)> {
    let mut read = BytesMut::from(read);
    let reading = async {
        loop {
            let common = read.len().min(HTTP2_PREFACE.len());
            if read[..common] != HTTP2_PREFACE[..common] {
                return io::Result::Ok(false);
            }
            if common == HTTP2_PREFACE.len() {
                return Ok(true);
            }
            if socket.read_buf(&mut read).await? == 0 {
                return Ok(false);
            }
        }
    };
    let found = if timeout.is_zero() {
        reading.await?
    } else {
        tokio::time::timeout(timeout, reading)
            .await
            .map_err(io::Error::from)??
    };
    Ok((read.freeze(), found))
}

/// Judges the first bytes of a connection, without I/O.
pub fn judge(read: &[u8], what: Inspect) -> Verdict {
    let Some(first) = read.first() else {
        return Verdict::More;
    };
    // A TLS record of type handshake (RFC 8446, section 5.1).
    if what.tls && *first == 0x16 {
        return client_hello(read);
    }
    if what.http {
        plaintext(read)
    } else {
        Verdict::Plain(None)
    }
}

/// Parses the ClientHello if it is whole. One that rustls cannot read is still TLS, of an unknown name: it may be passed through.
fn client_hello(read: &[u8]) -> Verdict {
    let unreadable = Verdict::Tls {
        server_name: None,
        alpn: Vec::new(),
    };
    let mut acceptor = Acceptor::default();
    let mut rest = read;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return unreadable;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let server_name = hello.server_name().map(|name| Arc::from(name.to_ascii_lowercase()));
                let alpn = hello.alpn().into_iter().flatten();
                let alpn = alpn
                    .filter_map(|p| std::str::from_utf8(p).ok())
                    .map(Arc::from)
                    .collect();
                return Verdict::Tls { server_name, alpn };
            }
            Err(_) => return unreadable,
        }
    }
    if read.len() >= INSPECTED_BYTES_MAX {
        unreadable
    } else {
        Verdict::More
    }
}

/// Tells HTTP/1 by its request line's start and HTTP/2 by its preface.
fn plaintext(read: &[u8]) -> Verdict {
    let common = read.len().min(HTTP2_PREFACE.len());
    if read[..common] == HTTP2_PREFACE[..common] {
        return if common == HTTP2_PREFACE.len() {
            Verdict::Plain(Some("h2c"))
        } else {
            Verdict::More
        };
    }
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let method = read.iter().take_while(|b| token(b)).count();
    if method == 0 || method > METHOD_BYTES_MAX {
        return Verdict::Plain(None);
    }
    if method == read.len() {
        return Verdict::More;
    }
    if read[method] != b' ' {
        return Verdict::Plain(None);
    }
    let Some(end) = read.iter().position(|b| *b == b'\n') else {
        return if read.len() < INSPECTED_BYTES_MAX {
            Verdict::More
        } else {
            Verdict::Plain(None)
        };
    };
    let line = read[..end].strip_suffix(b"\r").unwrap_or(&read[..end]);
    if line.ends_with(b" HTTP/1.1") {
        Verdict::Plain(Some("http/1.1"))
    } else if line.ends_with(b" HTTP/1.0") {
        Verdict::Plain(Some("http/1.0"))
    } else {
        Verdict::Plain(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Inspect = Inspect {
        tls: true,
        http: true,
        timeout: Duration::ZERO,
    };

    #[test]
    fn plaintext_protocols_are_told_apart() {
        for (bytes, expected) in [
            (&b""[..], Verdict::More),
            (b"GE", Verdict::More),
            (b"GET / HTTP/1.1\r", Verdict::More),
            (b"GET / HTTP/1.1\r\n", Verdict::Plain(Some("http/1.1"))),
            (b"GET / HTTP/1.0\n", Verdict::Plain(Some("http/1.0"))),
            (b"PRI * HTTP/2.0\r\n", Verdict::More),
            (HTTP2_PREFACE, Verdict::Plain(Some("h2c"))),
            (b"SSH-2.0-x\r\n", Verdict::Plain(None)),
            (b"GET / FTP/1.1\r\n", Verdict::Plain(None)),
            (b"\x00\x01", Verdict::Plain(None)),
            (b"AVERYLONGMETHODNAMETHATISNONE", Verdict::Plain(None)),
        ] {
            assert_eq!(judge(bytes, BOTH), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_client_hello_is_read_in_pieces() {
        let hello = client_hello_bytes("Shop.Example.com", &[b"istio-h2", b"h2"]);
        for end in 1..hello.len() {
            assert_eq!(judge(&hello[..end], BOTH), Verdict::More, "{end} of {}", hello.len());
        }
        let expected = Verdict::Tls {
            server_name: Some(Arc::from("shop.example.com")),
            alpn: vec![Arc::from("istio-h2"), Arc::from("h2")],
        };
        assert_eq!(judge(&hello, BOTH), expected);
    }

    #[test]
    fn garbage_that_looks_like_tls_is_tls_of_no_name() {
        let verdict = judge(&[0x16, 3, 1, 0, 4, 9, 0, 0, 0], BOTH);
        assert!(matches!(verdict, Verdict::Tls { server_name: None, .. }), "{verdict:?}");
    }

    fn client_hello_bytes(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        let name = name.to_owned().try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }
}
