//! The path of a request with its query, byte for byte as it came or as rules have made it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::uri::PathAndQuery;

/// A path with its query: from a slash on (or `*`), without blanks and without a fragment. More than RFC 3986 has: browsers and programs
/// send `<`, `>`, back-ticks and percent signs that encode nothing, and over HTTP/2 UTF-8 as it is; servers know what to do with them.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestPath(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// What URIs may have.
    Usual(PathAndQuery),
    /// With other characters.
    Odd(Arc<str>),
}

/// Bytes that are no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no path of visible ASCII characters")]
pub struct NoPath;

// === impl RequestPath ===

impl RequestPath {
    /// A path of the program's own.
    pub fn from_static(path: &'static str) -> Self {
        Self(Form::Usual(PathAndQuery::from_static(path)))
    }

    /// A path that a client wrote.
    ///
    /// # Errors
    /// Control characters, blanks, bytes beyond ASCII, or a fragment, which never belongs into a request (RFC 9112, section 3.2).
    pub fn from_bytes(bytes: &bytes::Bytes) -> Result<Self, NoPath> {
        if !bytes.is_ascii() {
            return Err(NoPath);
        }
        Self::from_utf8(bytes)
    }

    /// A path that a client of HTTP/2 wrote: UTF-8 is one, too.
    ///
    /// # Errors
    /// Control characters, blanks, other bytes beyond ASCII, or a fragment.
    pub fn from_utf8(bytes: &bytes::Bytes) -> Result<Self, NoPath> {
        let text = std::str::from_utf8(bytes).map_err(|_| NoPath)?;
        check(text)?;
        match PathAndQuery::from_maybe_shared(bytes.clone()) {
            Ok(path) => Ok(Self(Form::Usual(path))),
            Err(_) => Ok(Self(Form::Odd(text.into()))),
        }
    }

    /// What a log says of bytes that are no path.
    pub fn refused(bytes: &[u8]) -> Self {
        Self(Form::Odd(String::from_utf8_lossy(bytes).into()))
    }

    /// Path and query.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Usual(path) => path.as_str(),
            Form::Odd(path) => path,
        }
    }

    /// The path alone.
    pub fn path(&self) -> &str {
        match &self.0 {
            Form::Usual(path) => path.path(),
            Form::Odd(path) => path.split_once('?').map_or(path, |(path, _)| path),
        }
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&str> {
        match &self.0 {
            Form::Usual(path) => path.query(),
            Form::Odd(path) => path.split_once('?').map(|(_, query)| query),
        }
    }

    /// In the form that URIs have: what they may not have is percent-encoded (RFC 3986, section 2.1), which means the same.
    pub fn to_uri(&self) -> Option<PathAndQuery> {
        let path = match &self.0 {
            Form::Usual(path) => return Some(path.clone()),
            Form::Odd(path) => path,
        };
        let mut out = String::with_capacity(path.len() + 8);
        for c in path.chars() {
            if matches!(c, '<' | '>' | '`' | '^' | '\\' | '"' | '{' | '}' | '|') {
                out.push_str(&format!("%{:02X}", u32::from(c)));
            } else {
                out.push(c);
            }
        }
        out.parse().ok()
    }
}

fn check(text: &str) -> Result<(), NoPath> {
    let visible = text
        .bytes()
        .all(|byte| (byte.is_ascii_graphic() || !byte.is_ascii()) && byte != b'#');
    if visible && (text.starts_with('/') || text == "*") {
        Ok(())
    } else {
        Err(NoPath)
    }
}

impl FromStr for RequestPath {
    type Err = NoPath;

    fn from_str(text: &str) -> Result<Self, NoPath> {
        check(text)?;
        Ok(Self(match text.parse() {
            Ok(path) => Form::Usual(path),
            Err(_) => Form::Odd(text.into()),
        }))
    }
}

impl From<PathAndQuery> for RequestPath {
    fn from(path: PathAndQuery) -> Self {
        Self(Form::Usual(path))
    }
}

impl fmt::Display for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_as_they_are() {
        for (text, path, query) in [
            ("/", "/", None),
            ("*", "*", None),
            ("/100%", "/100%", None),
            ("/a%zz/b?c=%", "/a%zz/b", Some("c=%")),
            ("/<b>`?x=<y>?z", "/<b>`", Some("x=<y>?z")),
            ("//a/../b;c=d", "//a/../b;c=d", None),
        ] {
            let parsed: RequestPath = text.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.path(), parsed.query()), (text, path, query));
            let of_bytes = RequestPath::from_bytes(&bytes::Bytes::from_static(text.as_bytes())).unwrap();
            assert_eq!(of_bytes, parsed);
        }
    }

    #[test]
    fn other_bytes_are_no_path() {
        for text in ["", "a", "/a b", "/a#b", "/a\tb", "**", "/\u{7f}"] {
            assert_eq!(text.parse::<RequestPath>(), Err(NoPath), "{text:?}");
        }
        // Over HTTP/1.1, where it is no path.
        let utf8 = "/\u{e4}";
        assert_eq!(RequestPath::from_bytes(&utf8.into()), Err(NoPath));
        assert_eq!(RequestPath::from_utf8(&utf8.into()).unwrap().as_str(), utf8);
        assert_eq!(utf8.parse::<RequestPath>().unwrap().as_str(), utf8);
    }

    #[test]
    fn a_uri_means_the_same() {
        let odd: RequestPath = "/<b>`?q=<".parse().unwrap();
        assert_eq!(odd.to_uri().unwrap(), "/%3Cb%3E%60?q=%3C");
    }
}
