//! From a request as the codec read it to the normalised head: host, path, framing rules, upgrade.

use std::net::Ipv6Addr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Version};

use super::headers::check_named;
use super::normal_form::{Normalisation, NormalisedPath};
use super::received::{ReceivedHead, Target};
use super::upgrade::{CONNECT, offered};
use crate::error::BadRequest;
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream_info::connection::ConnectionInfo;
use crate::stream_info::request::{RequestHead, Scheme, is_grpc};

/// What becomes of a request that was read.
#[derive(Debug)]
pub enum Normalised {
    /// It goes on.
    Request(RequestHead),
    /// The client is sent to the normalised path.
    Redirect(String),
    /// It is refused; a caller of gRPC is told in its protocol.
    Refused { rule: BadRequest, grpc: bool },
}

/// Normalises a request. Everything after this reads only the head that comes out, which takes the headers along; of one that does not go
/// on all facts stay for the log.
pub fn normalise(received: &mut ReceivedHead, manager: &ConnectionManager, connection: &ConnectionInfo) -> Normalised {
    let ReceivedHead {
        method,
        target,
        version,
        headers,
        protocol,
        ..
    } = received;
    let version = *version;
    let grpc = is_grpc(headers);
    let refuse = |rule: BadRequest| Normalised::Refused { rule, grpc };
    // Over HTTP/2 every token is a method, with Envoy as well.
    if version <= Version::HTTP_11 && !manager.model.http1.custom_methods && !is_known(method) {
        return refuse(BadRequest::Protocol);
    }
    if version <= Version::HTTP_10 && !manager.model.http1.accept_http10 {
        // What is no target is refused before its version is looked at.
        let is_target = *target != Err(BadRequest::Protocol);
        return refuse(if is_target {
            BadRequest::Version
        } else {
            BadRequest::Protocol
        });
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > manager.model.header_bytes_max {
        return refuse(BadRequest::HeadersTooLarge);
    }
    let is_host_named = match check_named(headers) {
        Ok(named) => named,
        Err(rule) => return refuse(rule),
    };
    // A body of an unknown kind asks for nothing; refused over either version, as by Envoy.
    if *method == Method::QUERY && !headers.contains_key(header::CONTENT_TYPE) {
        return refuse(BadRequest::QueryContent);
    }
    let normalisation = Normalisation::of(&manager.model, connection.local_addr.port());
    let Target { authority, path: raw } = match target {
        Ok(target) => target.clone(),
        Err(rule) => return refuse(*rule),
    };
    let header = (!is_host_named).then_some(&*headers);
    let authority = match host(authority, header, version, manager) {
        Ok(authority) => authority,
        Err(rule) => return refuse(rule),
    };
    let authority = match authority.to_str().ok().and_then(|host| normalisation.host(host)) {
        Some(host) => HeaderValue::from_str(host).unwrap_or(authority),
        None => authority,
    };
    if raw.as_str() == "*" {
        return refuse(BadRequest::NoPath);
    }
    let tunnel = *method == Method::CONNECT && protocol.is_none();
    let upgrade = upgrade_of(method, headers, version, protocol.as_deref());
    let path = if tunnel {
        raw
    } else {
        match normalisation.path(raw.as_str()) {
            Ok(NormalisedPath::Unchanged) => raw,
            Ok(NormalisedPath::Path(path)) => match path.parse() {
                Ok(path) => path,
                Err(_) => return refuse(BadRequest::Path),
            },
            // Nobody follows in gRPC.
            Ok(NormalisedPath::Redirect(_)) if grpc => return refuse(BadRequest::Path),
            Ok(NormalisedPath::Redirect(path)) => return Normalised::Redirect(path),
            Err(rule) => return refuse(rule),
        }
    };
    let scheme = if connection.tls.is_some() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    // An extended CONNECT is an offer of HTTP/1.1 in another form, and passes as one.
    let method = if protocol.is_some() {
        Method::GET
    } else {
        method.clone()
    };
    let mut headers = std::mem::take(headers);
    headers.remove(header::HOST);
    Normalised::Request(RequestHead {
        method,
        scheme,
        authority,
        path,
        headers,
        version,
        grpc,
        grpc_upstream: grpc,
        upgrade,
    })
}

/// Methods that are known beside those of RFC 9110 and PATCH: Envoy's, in its spelling. WebDAV's are among them.
const FURTHER_METHODS: [&str; 25] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "MSEARCH",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// Whether HTTP/1.1 takes a method without `allow_custom_methods`.
fn is_known(method: &Method) -> bool {
    let common = matches!(
        *method,
        Method::GET
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::HEAD
            | Method::OPTIONS
            | Method::CONNECT
            | Method::PATCH
            | Method::TRACE
            | Method::QUERY
    );
    common || FURTHER_METHODS.contains(&method.as_str())
}

/// The one host of a request. An absolute target decides over the header (RFC 9112, section 3.2.2).
fn host(
    of_target: Option<HeaderValue>,
    headers: Option<&HeaderMap>,
    version: Version,
    manager: &ConnectionManager,
) -> Result<HeaderValue, BadRequest> {
    let mut hosts = headers.into_iter().flat_map(|headers| headers.get_all(header::HOST));
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(BadRequest::Host);
    }
    if let Some(host) = of_target.or_else(|| header.cloned()) {
        return if is_authority(host.as_bytes()) {
            Ok(host)
        } else {
            Err(BadRequest::Protocol)
        };
    }
    let default = manager
        .model
        .http1
        .default_host_http10
        .as_ref()
        .filter(|_| version <= Version::HTTP_10);
    default
        .and_then(|host| HeaderValue::from_str(host).ok())
        .ok_or(BadRequest::Host)
}

/// Whether bytes are a host, perhaps with a port (RFC 3986, section 3.2). An empty one is: HTTP/1.1 asks for the field, not for a name.
fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let (literal, rest) = (&rest[..end], &rest[end + 1..]);
            let literal = std::str::from_utf8(literal).ok();
            if literal.and_then(|literal| literal.parse::<Ipv6Addr>().ok()).is_none() {
                return false;
            }
            match rest {
                [] => return true,
                [b':', port @ ..] => (&b"v6"[..], Some(port)),
                _ => return false,
            }
        }
        None => match bytes.iter().position(|byte| *byte == b':') {
            Some(colon) => (&bytes[..colon], Some(&bytes[colon + 1..])),
            None => (bytes, None),
        },
    };
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let is_port = |port: &[u8]| {
        let digits = port.iter().all(u8::is_ascii_digit);
        let port = std::str::from_utf8(port).unwrap_or_default();
        digits && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    host.iter().all(of_name) && port.is_none_or(is_port)
}

/// The protocol that the client wants instead, lower case; `connect` for a plain CONNECT.
fn upgrade_of(method: &Method, headers: &HeaderMap, version: Version, protocol: Option<&str>) -> Option<Arc<str>> {
    if let Some(protocol) = protocol {
        return Some(Arc::from(protocol));
    }
    if method == Method::CONNECT {
        return Some(Arc::from(CONNECT));
    }
    offered(headers, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_by_their_exact_names() {
        for method in [
            "GET",
            "PATCH",
            "QUERY",
            "TRACE",
            "PROPFIND",
            "UNSUBSCRIBE",
            "MSEARCH",
            "PURGE",
        ] {
            assert!(is_known(&Method::from_bytes(method.as_bytes()).unwrap()), "{method}");
        }
        for method in [
            "get",
            "GETX",
            "TRACK",
            "FOO",
            "M-SEARCH",
            "PRI",
            "!#$%&'*+-.^_`|~",
            "DEBUG",
            "LABEL",
        ] {
            assert!(!is_known(&Method::from_bytes(method.as_bytes()).unwrap()), "{method}");
        }
        assert!(!is_known(&Method::from_bytes("A".repeat(100).as_bytes()).unwrap()));
    }

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        for host in [
            "",
            "a",
            "a.b:80",
            "a_b",
            "1.2.3.4:65535",
            "[::1]",
            "[2001:db8::1]:443",
            "a:",
            "xn--a.b.",
        ] {
            assert!(is_authority(host.as_bytes()), "{host:?}");
        }
        for host in [
            "a b", "\"a\"", "a/b", "a@b", "a#b", "a?b", "a\\b", "[a]", "[::1", "[::1]x", "a[b]", "a:65536", "a:8x",
            "::1", "a:1:2", "<a>",
        ] {
            assert!(!is_authority(host.as_bytes()), "{host:?}");
        }
    }
}
