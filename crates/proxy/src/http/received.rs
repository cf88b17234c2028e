//! A request as its codec read it, whichever that was.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Version};

use crate::error::BadRequest;
use crate::http1::head;
use crate::http2;
use crate::stream_info::path::RequestPath;
use crate::stream_info::request::Scheme;
use crate::stream_info::{Captured, RequestFacts};

/// The head of a request before it is normalised.
#[derive(Debug)]
pub struct ReceivedHead {
    pub method: Method,
    /// Host and path that are asked for.
    pub target: Result<Target, BadRequest>,
    /// Protocol of the client.
    pub version: Version,
    pub headers: HeaderMap,
    /// The protocol that an extended CONNECT asks for (RFC 8441), lower case.
    pub protocol: Option<Box<str>>,
    /// The target as it came, for the log.
    shown: RequestPath,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host, where the target has one; without user information, which never goes on (RFC 9110, section 4.2.4).
    pub authority: Option<HeaderValue>,
    /// Path with query; a single slash for CONNECT.
    pub path: RequestPath,
}

// === impl ReceivedHead ===

impl ReceivedHead {
    /// What the log says of a request that is refused before it is normalised; nothing where its target is none at all.
    pub fn facts(&self) -> Option<RequestFacts> {
        if self.target == Err(BadRequest::Protocol) {
            return None;
        }
        let host = self.target.as_ref().ok().and_then(|target| target.authority.clone());
        let host = host.or_else(|| self.headers.get(header::HOST).cloned());
        Some(RequestFacts {
            method: self.method.clone(),
            path: self.shown.clone(),
            authority: host.unwrap_or_else(|| HeaderValue::from_static("")),
            scheme: Scheme::Http,
            version: self.version,
            grpc: false,
            headers: Captured::new(),
        })
    }
}

impl From<head::Request> for ReceivedHead {
    fn from(head: head::Request) -> Self {
        let target = Target::parse(&head.method, &head.target);
        let shown = match &target {
            Ok(target) => target.path.clone(),
            Err(_) => RequestPath::refused(&head.target),
        };
        Self {
            method: head.method,
            target,
            version: head.version,
            headers: head.headers,
            protocol: None,
            shown,
        }
    }
}

impl From<http2::head::Request> for ReceivedHead {
    fn from(head: http2::head::Request) -> Self {
        let authority = head.authority.clone().map(HeaderValue::from_maybe_shared).transpose();
        let authority = authority.map_err(|_| BadRequest::Host);
        let path = match &head.path {
            Some(path) => RequestPath::from_utf8(path).map_err(|_| BadRequest::Path),
            None => Ok(RequestPath::from_static("/")),
        };
        let shown = match (&path, &head.path) {
            (Ok(path), _) => path.clone(),
            (Err(_), path) => RequestPath::refused(path.as_deref().unwrap_or_default()),
        };
        let protocol = head.protocol.as_deref();
        Self {
            target: authority.and_then(|authority| Ok(Target { authority, path: path? })),
            method: head.method,
            version: Version::HTTP_2,
            headers: head.headers,
            protocol: protocol.map(|protocol| String::from_utf8_lossy(protocol).to_ascii_lowercase().into()),
            shown,
        }
    }
}

// === impl Target ===

impl Target {
    /// Reads a request target in one of its four forms (RFC 9112, section 3.2).
    ///
    /// # Errors
    /// It has none of them.
    pub fn parse(method: &Method, target: &Bytes) -> Result<Self, BadRequest> {
        let of_path = |path: &Bytes| {
            let visible = path.iter().all(u8::is_ascii_graphic);
            let rule = if visible {
                BadRequest::Path
            } else {
                BadRequest::Protocol
            };
            RequestPath::from_bytes(path).map_err(|_| rule)
        };
        if *method == Method::CONNECT {
            let text = std::str::from_utf8(target).map_err(|_| BadRequest::Host)?;
            return Ok(Self {
                authority: Some(host_of(text)?),
                path: RequestPath::from_static("/"),
            });
        }
        if target.starts_with(b"/") || (*method == Method::OPTIONS && &target[..] == b"*") {
            return Ok(Self {
                authority: None,
                path: of_path(target)?,
            });
        }
        let text = std::str::from_utf8(target).map_err(|_| BadRequest::Protocol)?;
        let (scheme, rest) = text.split_once("://").ok_or(BadRequest::Protocol)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(BadRequest::Protocol);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let start = target.len() - rest.len();
        let host = host_of(&rest[..end]).map_err(|_| BadRequest::Protocol)?;
        // Of names, Envoy takes no more in this form.
        let is_named = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(byte);
        if !host.as_bytes().iter().all(is_named) {
            return Err(BadRequest::Protocol);
        }
        let path = match &rest[end..] {
            "" => RequestPath::from_static("/"),
            fragment if fragment.starts_with('#') => return Err(BadRequest::Protocol),
            // With a slash it would be what a route might not have meant.
            query if query.starts_with('?') => return Err(BadRequest::NoPath),
            _ => of_path(&target.slice(start + end..))?,
        };
        Ok(Self {
            authority: Some(host),
            path,
        })
    }
}

fn host_of(authority: &str) -> Result<HeaderValue, BadRequest> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        return Err(BadRequest::Host);
    }
    HeaderValue::from_str(host).map_err(|_| BadRequest::Host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, target: &'static str, expected: Result<(Option<&str>, &str), BadRequest>) {
        let found = Target::parse(&method, &Bytes::from_static(target.as_bytes()));
        let expected = expected.map(|(host, path)| Target {
            authority: host.map(|host| HeaderValue::from_str(host).unwrap()),
            path: path.parse().unwrap(),
        });
        assert_eq!(found, expected, "{target:?}");
    }

    #[test]
    fn targets_have_four_forms() {
        check(Method::GET, "/a?b", Ok((None, "/a?b")));
        check(Method::OPTIONS, "*", Ok((None, "*")));
        check(Method::GET, "http://h:1/a?b", Ok((Some("h:1"), "/a?b")));
        check(Method::GET, "HTTPS://user:pass@h", Ok((Some("h"), "/")));
        check(Method::GET, "http://[::1]:80/", Ok((Some("[::1]:80"), "/")));
        check(Method::CONNECT, "h:443", Ok((Some("h:443"), "/")));
    }

    #[test]
    fn other_targets_are_refused() {
        check(Method::GET, "foo", Err(BadRequest::Protocol));
        check(Method::GET, "ftp://h/", Err(BadRequest::Protocol));
        check(Method::GET, "http:///a", Err(BadRequest::Protocol));
        check(Method::GET, "http://h?b", Err(BadRequest::NoPath));
        check(Method::GET, "*", Err(BadRequest::Protocol));
        check(Method::OPTIONS, "*a", Err(BadRequest::Protocol));
        for host in ["a_b", "a*", "a%41", "a,b", "a~", "a!"] {
            let target = Bytes::from(format!("http://{host}/"));
            assert_eq!(
                Target::parse(&Method::GET, &target),
                Err(BadRequest::Protocol),
                "{host}"
            );
        }
        check(Method::GET, "/a#b", Err(BadRequest::Path));
        check(Method::GET, "/\u{e4}", Err(BadRequest::Protocol));
        check(Method::GET, "http://h#f", Err(BadRequest::Protocol));
    }
}
