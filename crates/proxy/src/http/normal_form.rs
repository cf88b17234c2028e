//! The normal form of a request's path and host, as a connection manager wants it.

use crate::error::BadRequest;
use crate::model::http::{EscapedSlashes, HttpConnectionManager, StripPort};
use crate::stream_info::request::split_port;

/// How requests of a chain are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalisation {
    /// Resolve dot segments and decode unreserved characters.
    pub normalize_path: bool,
    /// Merge adjacent slashes.
    pub merge_slashes: bool,
    /// What an escaped slash does.
    pub escaped_slashes: EscapedSlashes,
    /// Cutting the port off the host.
    pub strip_port: StripPort,
    /// Cut a trailing dot off the host.
    pub strip_trailing_dot: bool,
    /// Port of the listener.
    pub listener_port: u16,
}

/// What normalisation found, beside the path itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NormalisedPath {
    /// Use this path.
    Path(String),
    /// The path needs no change.
    Unchanged,
    /// Send the client to this path.
    Redirect(String),
}

// === impl Normalisation ===

impl Normalisation {
    /// The settings of a connection manager on a listener port.
    pub fn of(manager: &HttpConnectionManager, listener_port: u16) -> Self {
        Self {
            normalize_path: manager.normalize_path,
            merge_slashes: manager.merge_slashes,
            escaped_slashes: manager.escaped_slashes,
            strip_port: manager.strip_port,
            strip_trailing_dot: manager.strip_trailing_host_dot,
            listener_port,
        }
    }

    /// Normalises a path with its query, as Envoy does: escaped slashes, then dot segments and unreserved characters, then slashes.
    pub fn path(&self, raw: &str) -> Result<NormalisedPath, BadRequest> {
        let (path, query) = match raw.find('?') {
            Some(at) => raw.split_at(at),
            None => (raw, ""),
        };
        let escaped = has_escaped_slash(path);
        if escaped && self.escaped_slashes == EscapedSlashes::Reject {
            return Err(BadRequest::EscapedSlash);
        }
        let unescape = escaped
            && matches!(
                self.escaped_slashes,
                EscapedSlashes::UnescapeAndForward | EscapedSlashes::UnescapeAndRedirect
            );
        let dirty = (self.normalize_path && needs_normalising(path)) || (self.merge_slashes && path.contains("//"));
        if !dirty && !unescape {
            return Ok(NormalisedPath::Unchanged);
        }
        let mut out = if unescape {
            unescape_slashes(path)
        } else {
            path.to_owned()
        };
        if self.normalize_path {
            out = normalise(&out)?;
        }
        if self.merge_slashes {
            out = merge_slashes(&out);
        }
        out.push_str(query);
        if escaped && self.escaped_slashes == EscapedSlashes::UnescapeAndRedirect {
            return Ok(NormalisedPath::Redirect(out));
        }
        Ok(NormalisedPath::Path(out))
    }

    /// The host after cutting off what the settings say; `None` leaves it as it is.
    pub fn host<'a>(&self, authority: &'a str) -> Option<&'a str> {
        let (host, port) = split_port(authority);
        let cut_port = match self.strip_port {
            StripPort::No => false,
            StripPort::Any => port.is_some_and(|port| !port.is_empty()),
            StripPort::Matching => port.is_some_and(|port| port.parse() == Ok(self.listener_port)),
        };
        let dotted = self.strip_trailing_dot && host.ends_with('.') && (cut_port || port.is_none());
        match (cut_port, dotted) {
            (false, false) => None,
            (_, true) => Some(&host[..host.len() - 1]),
            (true, false) => Some(host),
        }
    }
}

fn has_escaped_slash(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes
        .windows(3)
        .any(|w| w[0] == b'%' && matches!((w[1], w[2]), (b'2', b'f' | b'F') | (b'5', b'c' | b'C')))
}

fn unescape_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let slash = match rest.get(at + 1..at + 3) {
            Some("2f" | "2F") => Some('/'),
            Some("5c" | "5C") => Some('\\'),
            _ => None,
        };
        match slash {
            Some(slash) => {
                out.push(slash);
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// A quick look that lets clean paths go without a copy.
fn needs_normalising(path: &str) -> bool {
    path.as_bytes().iter().any(|byte| CHANGES[usize::from(*byte)]) || path.contains("/.")
}

/// Bytes that do not stay as they are: a backslash, a percent sign, which may begin the escape of something plain, and what is escaped.
const CHANGES: [bool; 256] = {
    let mut changes = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        changes[byte] = matches!(byte as u8, b'%' | b'\\' | 0x80..) || is_escaped(byte as u8);
        byte += 1;
    }
    changes
};

/// What has no place in a URI (RFC 3986, appendix A) but comes in targets all the same: Envoy's set, as sent to it byte by byte.
const fn is_escaped(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// Decodes unreserved characters, turns backslashes and resolves dot segments (RFC 3986, sections 6.2.2 and 5.2.4).
fn normalise(path: &str) -> Result<String, BadRequest> {
    let mut decoded = Vec::with_capacity(path.len());
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                // A sign that encodes nothing stays, as in Envoy: what it means is the application's affair.
                let Some(hex) = bytes.get(at + 1..at + 3).and_then(hex_byte) else {
                    decoded.push(b'%');
                    at += 1;
                    continue;
                };
                if hex == 0 {
                    return Err(BadRequest::Path);
                }
                if hex.is_ascii_alphanumeric() || b"-._~".contains(&hex) {
                    decoded.push(hex);
                } else {
                    decoded.extend_from_slice(&bytes[at..at + 3]);
                }
                at += 3;
            }
            b'\\' => {
                decoded.push(b'/');
                at += 1;
            }
            // UTF-8 as it is, as HTTP/2 clients send it, too.
            other if !other.is_ascii() || is_escaped(other) => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                let digits = [HEX[usize::from(other >> 4)], HEX[usize::from(other & 15)]];
                decoded.extend_from_slice(&[b'%', digits[0], digits[1]]);
                at += 1;
            }
            other => {
                decoded.push(other);
                at += 1;
            }
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| BadRequest::Path)?;
    remove_dot_segments(&decoded)
}

fn remove_dot_segments(path: &str) -> Result<String, BadRequest> {
    let absolute = path.strip_prefix('/').ok_or(BadRequest::Path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = absolute.split('/').peekable();
    while let Some(segment) = rest.next() {
        let last = rest.peek().is_none();
        // What follows a semicolon are parameters, with which a dot segment is still one: what servers take it for.
        match segment.split_once(';').map_or(segment, |(name, _)| name) {
            "." => {
                if last {
                    segments.push("");
                }
            }
            ".." => {
                // Above the root is the root (RFC 3986, section 5.2.4).
                segments.pop();
                if last {
                    segments.push("");
                }
            }
            _ => segments.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in segments {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// Adjacent slashes as one. A path of slashes alone keeps two, as in Envoy.
fn merge_slashes(path: &str) -> String {
    if path.len() > 1 && path.bytes().all(|byte| byte == b'/') {
        return "//".to_owned();
    }
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if !(c == '/' && out.ends_with('/')) {
            out.push(c);
        }
    }
    out
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let value = digit(*digits.first()?)? * 16 + digit(*digits.get(1)?)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(edit: impl FnOnce(&mut Normalisation)) -> Normalisation {
        let mut settings = Normalisation {
            normalize_path: true,
            merge_slashes: false,
            escaped_slashes: EscapedSlashes::Keep,
            strip_port: StripPort::No,
            strip_trailing_dot: false,
            listener_port: 80,
        };
        edit(&mut settings);
        settings
    }

    fn check(settings: Normalisation, raw: &str, expected: Result<&str, BadRequest>) {
        let got = settings.path(raw).map(|path| match path {
            NormalisedPath::Unchanged => raw.to_owned(),
            NormalisedPath::Path(path) => path,
            NormalisedPath::Redirect(path) => format!("-> {path}"),
        });
        assert_eq!(got.as_deref(), expected.as_ref().copied(), "{raw}");
    }

    #[test]
    fn paths_are_normalised_once() {
        let base = settings(|_| ());
        for (raw, expected) in [
            ("/", "/"),
            ("/a/b?x=/../y", "/a/b?x=/../y"),
            ("/./admin", "/admin"),
            ("/x/../admin", "/admin"),
            ("/%2e/admin", "/admin"),
            ("/x/%2e%2e/admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("\\admin", "/admin"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a%2fb", "/a%2fb"),
            ("/100%", "/100%"),
            ("/a/..;/b/.;x=1/c;d", "/b/c;d"),
            ("/a%zz/%2e/b%", "/a%zz/b%"),
            ("//admin", "//admin"),
            ("/a%252fb", "/a%252fb"),
            ("/../admin", "/admin"),
            ("/{**}?{", "/%7B**%7D?{"),
            ("/a\"<b>^c`|{/../}", "/%7D"),
            ("/!$&'()*+,;=:@[]~", "/!$&'()*+,;=:@[]~"),
            ("/%zz{", "/%zz%7B"),
            ("/%7b%3C", "/%7b%3C"),
            ("/\u{e4}?\u{e4}", "/%C3%A4?\u{e4}"),
            ("/%2e%2e/x", "/x"),
        ] {
            check(base, raw, Ok(expected));
        }
        check(base, "/a%00b", Err(BadRequest::Path));
    }

    #[test]
    fn slashes_merge_and_unescape_as_configured() {
        let merge = settings(|s| s.merge_slashes = true);
        check(merge, "//a///b", Ok("/a/b"));
        check(merge, "/a?x=//", Ok("/a?x=//"));
        check(merge, "/{//}", Ok("/%7B/%7D"));
        for (raw, expected) in [
            ("//", "//"),
            ("///", "//"),
            ("//?x", "//?x"),
            ("//a//", "/a/"),
            ("/", "/"),
        ] {
            check(merge, raw, Ok(expected));
        }
        let reject = settings(|s| s.escaped_slashes = EscapedSlashes::Reject);
        check(reject, "/a%2fb", Err(BadRequest::EscapedSlash));
        check(reject, "/a?b=%2f", Ok("/a?b=%2f"));
        let forward = settings(|s| s.escaped_slashes = EscapedSlashes::UnescapeAndForward);
        check(forward, "/a%2f..%5cb", Ok("/b"));
        let redirect = settings(|s| s.escaped_slashes = EscapedSlashes::UnescapeAndRedirect);
        check(redirect, "/a%2Fb?q", Ok("-> /a/b?q"));
    }

    #[test]
    fn hosts_lose_what_the_settings_say() {
        for (mode, dot, host, expected) in [
            (StripPort::No, false, "a:80", None),
            (StripPort::Any, false, "a:81", Some("a")),
            (StripPort::Matching, false, "a:81", None),
            (StripPort::Matching, false, "a:80", Some("a")),
            (StripPort::Any, false, "[::1]", None),
            (StripPort::Any, false, "a:", None),
            (StripPort::Any, false, "[::1]:80", Some("[::1]")),
            (StripPort::No, true, "a.", Some("a")),
            (StripPort::Any, true, "a.:80", Some("a")),
        ] {
            let settings = settings(|s| {
                s.strip_port = mode;
                s.strip_trailing_dot = dot;
            });
            assert_eq!(settings.host(host), expected, "{mode:?} {host}");
        }
    }
}
