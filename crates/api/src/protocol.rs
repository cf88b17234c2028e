//! Protocols of ports, and how a port says which one it speaks.

use std::fmt;

/// What a port speaks. `Auto` means: nobody said, the proxy finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.x in clear text.
    Http,
    /// HTTP/2 in clear text.
    Http2,
    /// gRPC, so HTTP/2 in clear text.
    Grpc,
    /// gRPC-Web, so HTTP/1.x in clear text.
    GrpcWeb,
    /// HTTP over TLS that the mesh does not terminate (on gateways: terminates).
    Https,
    /// TLS of anything.
    Tls,
    Tcp,
    /// MongoDB, carried as TCP.
    Mongo,
    /// MySQL, carried as TCP.
    Mysql,
    /// Redis, carried as TCP.
    Redis,
    /// Not carried by the mesh.
    Udp,
    /// Not said; detected per connection.
    Auto,
}

// === impl Protocol ===

impl Protocol {
    /// The names that Istio's objects use for protocols of ports, in upper case.
    pub const NAMES: &'static [&'static str] = &[
        "HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "MYSQL", "REDIS", "TCP", "TLS", "UDP",
    ];

    /// Reads a protocol name in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "mongo" => Self::Mongo,
            "mysql" => Self::Mysql,
            "redis" => Self::Redis,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// Reads Kubernetes' `appProtocol`: the names that Kubernetes reserves, then as Istio reads a port's name, by what is before
    /// the first `-` (istio.io, "Protocol Selection").
    pub fn from_app_protocol(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "kubernetes.io/h2c" => Some(Self::Http2),
            "kubernetes.io/ws" => Some(Self::Http),
            "kubernetes.io/wss" => Some(Self::Https),
            other => Self::from_port_name(other),
        }
    }

    /// Reads the prefix of a port's name before the first `-`; `grpc-web` is the one name with a dash.
    pub fn from_port_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Some(Self::GrpcWeb);
        }
        Self::parse(name.split('-').next().unwrap_or_default())
    }

    /// Whether requests are visible to the proxy, so that HTTP routes apply.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether the bytes are HTTP/2 from the first one.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }

    /// Whether the application itself speaks TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Whether only L4 rules apply (TLS included).
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Mongo | Self::Mysql | Self::Redis | Self::Https | Self::Tls
        )
    }

    /// The name in lower case, as in a port name's prefix.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
            Self::Https => "https",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Mongo => "mongo",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Udp => "udp",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_names_choose_by_their_prefix() {
        for (name, expected) in [
            ("http", Some(Protocol::Http)),
            ("HTTP-web", Some(Protocol::Http)),
            ("http2-x", Some(Protocol::Http2)),
            ("grpc-web", Some(Protocol::GrpcWeb)),
            ("grpc-web-2", Some(Protocol::GrpcWeb)),
            ("grpc-webx", Some(Protocol::Grpc)),
            ("httpx", None),
            ("", None),
            ("tcp-mysql", Some(Protocol::Tcp)),
        ] {
            assert_eq!(Protocol::from_port_name(name), expected, "{name}");
        }
        assert_eq!(Protocol::from_app_protocol("kubernetes.io/h2c"), Some(Protocol::Http2));
        assert_eq!(Protocol::from_app_protocol("example.com/own"), None);
    }
}
