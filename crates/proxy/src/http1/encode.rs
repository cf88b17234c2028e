//! Heads and the framing of bodies as bytes.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version};
use http_body::SizeHint;

use super::framing::{self, Framing};

/// The framing of an answer that is to be written; its head is made to say so. `hint` is how long its body knows itself to be.
pub fn framing_of_answer(
    method: &Method,
    version: Version,
    status: StatusCode,
    headers: &mut HeaderMap,
    hint: &SizeHint,
) -> Framing {
    headers.remove(header::TRANSFER_ENCODING);
    let tunnel = *method == Method::CONNECT && status.is_success();
    if status.is_informational() || status == StatusCode::NO_CONTENT || tunnel {
        // Must not be there (RFC 9110, section 8.6).
        headers.remove(header::CONTENT_LENGTH);
        return Framing::Empty;
    }
    if framing::is_bodiless(method, status) {
        // What is there tells of the body that another request would get; the proxy's own is there, and is left out.
        if let Some(length @ 1..) = hint.exact().filter(|_| *method == Method::HEAD) {
            headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        return Framing::Empty;
    }
    let length = framing::announced_length(headers).or_else(|| hint.exact());
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        return Framing::Length(length);
    }
    headers.remove(header::CONTENT_LENGTH);
    if version < Version::HTTP_11 {
        return Framing::ToClose;
    }
    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    Framing::Chunked
}

/// The framing of a request that is to be written; its head is made to say so. `hint` is how long its body knows itself to be.
pub fn framing_of_request(headers: &mut HeaderMap, hint: &SizeHint) -> Framing {
    headers.remove(header::TRANSFER_ENCODING);
    match hint.exact() {
        Some(0) => {
            // A length of nothing stays where it was told.
            if framing::announced_length(headers) != Some(0) {
                headers.remove(header::CONTENT_LENGTH);
            }
            Framing::Empty
        }
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            Framing::Length(length)
        }
        None => {
            headers.remove(header::CONTENT_LENGTH);
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            Framing::Chunked
        }
    }
}

/// Appends a request's head. The target must have no blank or control character.
pub fn request(out: &mut Vec<u8>, method: &Method, target: &[u8], headers: &HeaderMap) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields(out, headers);
}

/// Appends an answer's head.
pub fn answer(out: &mut Vec<u8>, version: Version, status: StatusCode, headers: &HeaderMap) {
    out.extend_from_slice(if version < Version::HTTP_11 {
        b"HTTP/1.0 "
    } else {
        b"HTTP/1.1 "
    });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
    fields(out, headers);
}

/// Appends fields and the empty line behind them.
pub fn fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the line before a chunk.
pub fn chunk_size(out: &mut Vec<u8>, bytes: usize) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut left = bytes;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, status: u16, told: Option<&'static str>, hint: Option<u64>, expected: (Framing, &str)) {
        let mut headers = HeaderMap::new();
        if let Some(told) = told {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static(told));
        }
        let status = StatusCode::from_u16(status).unwrap();
        let hint = hint.map_or_else(SizeHint::default, SizeHint::with_exact);
        let framing = framing_of_answer(&method, Version::HTTP_11, status, &mut headers, &hint);
        let mut out = Vec::new();
        fields(&mut out, &headers);
        let said = String::from_utf8(out).unwrap().replace("\r\n", ";");
        assert_eq!((framing, said.as_str()), expected, "{method} {status} {told:?}");
    }

    #[test]
    fn answers_say_how_long_they_are() {
        let get = Method::GET;
        check(
            get.clone(),
            200,
            Some("5"),
            None,
            (Framing::Length(5), "content-length: 5;;"),
        );
        check(
            get.clone(),
            200,
            None,
            Some(0),
            (Framing::Length(0), "content-length: 0;;"),
        );
        check(
            get.clone(),
            200,
            None,
            None,
            (Framing::Chunked, "transfer-encoding: chunked;;"),
        );
        check(get.clone(), 204, Some("5"), None, (Framing::Empty, ";"));
        check(
            get.clone(),
            304,
            Some("5"),
            None,
            (Framing::Empty, "content-length: 5;;"),
        );
        check(get, 101, Some("5"), None, (Framing::Empty, ";"));
        check(
            Method::HEAD,
            200,
            Some("5"),
            None,
            (Framing::Empty, "content-length: 5;;"),
        );
        check(Method::CONNECT, 200, Some("5"), None, (Framing::Empty, ";"));
    }

    #[test]
    fn old_clients_get_what_ends_with_the_connection() {
        let mut headers = HeaderMap::new();
        let framing = framing_of_answer(
            &Method::GET,
            Version::HTTP_10,
            StatusCode::OK,
            &mut headers,
            &SizeHint::default(),
        );
        assert_eq!((framing, headers.len()), (Framing::ToClose, 0));
    }

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for bytes in [0, 9, 10, 255, 4096, usize::MAX] {
            let mut out = Vec::new();
            chunk_size(&mut out, bytes);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{bytes:x}\r\n"));
        }
    }

    #[test]
    fn a_request_announces_only_what_is_sent() {
        for (told, hint, expected, said) in [
            (Some("5"), Some(0), Framing::Empty, ";"),
            (Some("0"), Some(0), Framing::Empty, "content-length: 0;;"),
            (Some("5"), Some(5), Framing::Length(5), "content-length: 5;;"),
            (Some("5"), None, Framing::Chunked, "transfer-encoding: chunked;;"),
            (None, Some(7), Framing::Length(7), "content-length: 7;;"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(told) = told {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static(told));
            }
            let hint = hint.map_or_else(SizeHint::default, SizeHint::with_exact);
            let framing = framing_of_request(&mut headers, &hint);
            let mut out = Vec::new();
            fields(&mut out, &headers);
            assert_eq!(framing, expected);
            assert_eq!(String::from_utf8(out).unwrap().replace("\r\n", ";"), said);
        }
    }
}
