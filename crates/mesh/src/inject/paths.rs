//! Paths of HTTP requests as Kubernetes takes them: anything, which is escaped where a request line needs it.

use http::uri::PathAndQuery;

/// The path as it stands in a request, with a slash first. Kubernetes escapes likewise (`k8s.io/kubernetes/pkg/probe/http`, `formatURL`).
pub(super) fn path(text: &str) -> Result<String, String> {
    let mut path = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        path.push('/');
    }
    for (at, byte) in text.bytes().enumerate() {
        let escape = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
        let stays = match byte {
            b'%' => escape(at + 1) && escape(at + 2),
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            other => other.is_ascii_graphic(),
        };
        if stays {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    match path.parse::<PathAndQuery>() {
        Ok(_) => Ok(path),
        Err(error) => Err(format!("path {text:?} is not a path: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_line_cannot_hold_is_escaped() {
        for (text, expected) in [
            ("/healthz?full=1&a=b", "/healthz?full=1&a=b"),
            ("metrics", "/metrics"),
            ("", "/"),
            ("/a b", "/a%20b"),
            ("/a%20b", "/a%20b"),
            ("/100%", "/100%25"),
            ("/\u{e9}", "/%C3%A9"),
            ("/x\r\nhost: y", "/x%0D%0Ahost:%20y"),
        ] {
            assert_eq!(path(text).as_deref(), Ok(expected));
        }
        assert!(path(&"x".repeat(70_000)).is_err());
    }
}
