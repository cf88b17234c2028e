//! How long a body is, as its head says (RFC 9112, section 6.3). What two readers could read differently is refused.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// After a last chunk.
    Chunked,
    /// With its connection: answers only.
    ToClose,
}

/// Why a head does not say where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Which of the two counts is a matter of the reader (RFC 9112, section 6.3, item 3).
    #[error("a length beside a transfer coding")]
    LengthAndCoding,
    /// Even equal ones: not every reader takes the first.
    #[error("more than one length")]
    RepeatedLength,
    /// No number, or one beyond 64 bits.
    #[error("a length that is no number")]
    BadLength,
    /// Only `chunked`, and only once, tells where a body ends.
    #[error("an unknown transfer coding")]
    UnknownCoding,
    /// What follows a CONNECT is its tunnel (RFC 9110, section 9.3.6).
    #[error("a body of a CONNECT")]
    BodyOfConnect,
    /// An answer that has no content (RFC 9110, section 8.6; RFC 9112, section 6.1).
    #[error("a body of an answer without content")]
    BodyOfNothing,
    /// HTTP/1.0 has no codings (RFC 9112, section 6.1): a client that says one may be read differently on its way.
    #[error("a transfer coding in HTTP/1.0")]
    CodingInHttp10,
}

/// The framing of a request's body.
///
/// # Errors
/// Where readers could differ.
pub fn of_request(method: &Method, version: Version, headers: &HeaderMap) -> Result<Framing, FramingError> {
    let framing = told(headers)?.unwrap_or(Framing::Empty);
    if framing == Framing::Chunked && version < Version::HTTP_11 {
        return Err(FramingError::CodingInHttp10);
    }
    if *method == Method::CONNECT {
        return match framing {
            Framing::Empty | Framing::Length(0) => Ok(Framing::Empty),
            Framing::Chunked => Err(FramingError::UnknownCoding),
            Framing::Length(_) | Framing::ToClose => Err(FramingError::BodyOfConnect),
        };
    }
    Ok(framing)
}

/// The framing of an answer's body. `method` is that of the request. One in chunks is read by them whatever its version, as by Envoy; one
/// of HTTP/1.0 ends its connection (RFC 9112, section 6.1).
///
/// # Errors
/// Where readers could differ.
pub fn of_answer(method: &Method, status: StatusCode, headers: &HeaderMap) -> Result<Framing, FramingError> {
    // Even where there is no body, such a head is from a peer that others may read differently.
    let told = told(headers)?;
    if is_bodiless(method, status) {
        // Of what these statuses never have, a length of zero alone is passed over, as in Envoy.
        let never = status.is_informational() || status == StatusCode::NO_CONTENT;
        if never && matches!(told, Some(Framing::Length(1..) | Framing::Chunked)) {
            return Err(FramingError::BodyOfNothing);
        }
        return Ok(Framing::Empty);
    }
    Ok(told.unwrap_or(Framing::ToClose))
}

/// Whether an answer has no body whatever its head says (RFC 9112, section 6.3, items 1 and 2).
pub fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || (*method == Method::CONNECT && status.is_success())
}

/// The length that a head announces, if it does; `None` too where it is no single number.
pub fn announced_length(headers: &HeaderMap) -> Option<u64> {
    length(headers).ok().flatten()
}

/// The items of a list header, over all of its lines (RFC 9110, section 5.6.1). An item that is no text is passed over, by itself.
pub fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let items = lines.flat_map(|line| line.split(|byte| *byte == b','));
    let items = items.filter_map(|item| std::str::from_utf8(item).ok());
    let items = items.map(|item| item.trim_matches([' ', '\t']));
    items.filter(|item| !item.is_empty())
}

/// By which programs that take every server for a proxy say what they mean by `connection`; what ends a connection is heeded of it.
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whether a client wants the connection to stay (RFC 9112, section 9.3).
pub(super) fn stays(version: Version, headers: &HeaderMap) -> bool {
    let mut stays = version >= Version::HTTP_11;
    if headers.contains_key(header::CONNECTION) {
        for option in list(headers, &header::CONNECTION) {
            if option.eq_ignore_ascii_case("close") {
                return false;
            }
            stays |= option.eq_ignore_ascii_case("keep-alive");
        }
    }
    stays && !says_close(headers, &PROXY_CONNECTION)
}

/// Whether the head of an answer says that the connection ends.
pub(super) fn asks_to_close(headers: &HeaderMap) -> bool {
    says_close(headers, &header::CONNECTION)
}

/// Whether a server keeps the connection open behind its answer (RFC 9112, section 9.3). Nothing follows a coding in HTTP/1.0, whose
/// framing is faulty by definition (section 6.1).
pub(super) fn server_stays(version: Version, headers: &HeaderMap) -> bool {
    let is_kept = || list(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case("keep-alive"));
    let stays = version >= Version::HTTP_11 || (is_kept() && !headers.contains_key(header::TRANSFER_ENCODING));
    stays && !asks_to_close(headers) && !says_close(headers, &PROXY_CONNECTION)
}

fn says_close(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.contains_key(name) && list(headers, name).any(|option| option.eq_ignore_ascii_case("close"))
}

fn told(headers: &HeaderMap) -> Result<Option<Framing>, FramingError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(length(headers)?.map(Framing::Length));
    };
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Err(FramingError::LengthAndCoding);
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(FramingError::UnknownCoding);
    }
    Ok(Some(Framing::Chunked))
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, FramingError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    if lengths.next().is_some() || length.as_bytes().contains(&b',') {
        return Err(FramingError::RepeatedLength);
    }
    number(length).map(Some).ok_or(FramingError::BadLength)
}

/// A length: digits alone, for a sign, a blank or another base is none.
pub(crate) fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    let number = digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.filter(|_| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[(&str, &str)], request: Result<Framing, FramingError>, answer: Result<Framing, FramingError>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        let of_post = of_request(&Method::POST, Version::HTTP_11, &headers);
        assert_eq!(of_post, request, "request {lines:?}");
        let of_get = of_answer(&Method::GET, StatusCode::OK, &headers);
        assert_eq!(of_get, answer, "answer {lines:?}");
    }

    #[test]
    fn a_head_says_where_its_body_ends() {
        check(&[], Ok(Framing::Empty), Ok(Framing::ToClose));
        for (length, expected) in [("0", 0), ("007", 7), ("18446744073709551615", u64::MAX)] {
            let framing = Ok(Framing::Length(expected));
            check(&[("content-length", length)], framing, framing);
        }
        for coding in ["chunked", "Chunked"] {
            let framing = Ok(Framing::Chunked);
            check(&[("transfer-encoding", coding)], framing, framing);
        }
    }

    #[test]
    fn what_readers_could_read_differently_is_refused() {
        let both = |lines: &[(&str, &str)], error| check(lines, Err(error), Err(error));
        for length in ["", "+1", "-1", "1 ", "0x1", "1a", "18446744073709551616"] {
            both(&[("content-length", length)], FramingError::BadLength);
        }
        both(&[("content-length", "5, 5")], FramingError::RepeatedLength);
        both(
            &[("content-length", "5"), ("content-length", "5")],
            FramingError::RepeatedLength,
        );
        both(
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            FramingError::LengthAndCoding,
        );
        for coding in ["identity", "gzip, chunked", "chunked, chunked", "xchunked", ""] {
            both(&[("transfer-encoding", coding)], FramingError::UnknownCoding);
        }
        both(
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            FramingError::UnknownCoding,
        );
        let mut chunked = HeaderMap::new();
        chunked.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        assert_eq!(
            of_request(&Method::POST, Version::HTTP_10, &chunked),
            Err(FramingError::CodingInHttp10)
        );
        let connect = |headers: &HeaderMap| of_request(&Method::CONNECT, Version::HTTP_11, headers);
        assert_eq!(connect(&chunked), Err(FramingError::UnknownCoding));
        let mut length = HeaderMap::new();
        for (told, expected) in [("0", Ok(Framing::Empty)), ("5", Err(FramingError::BodyOfConnect))] {
            length.insert(header::CONTENT_LENGTH, HeaderValue::from_static(told));
            assert_eq!(connect(&length), expected);
        }
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        let of = |method: Method, status: u16| of_answer(&method, StatusCode::from_u16(status).unwrap(), &headers);
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 304), (Method::CONNECT, 200)] {
            assert_eq!(of(method, status), Ok(Framing::Empty), "{status}");
        }
        assert_eq!(of(Method::CONNECT, 403), Ok(Framing::Length(5)));
        for status in [101, 103, 204] {
            assert_eq!(of(Method::GET, status), Err(FramingError::BodyOfNothing), "{status}");
        }
    }

    #[test]
    fn either_end_may_end_the_connection() {
        let check = |version: Version, lines: &[(&'static str, &str)], client: bool, server: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::try_from(*value).unwrap());
            }
            let found = (stays(version, &headers), server_stays(version, &headers));
            assert_eq!(found, (client, server), "{version:?} {lines:?}");
        };
        let (new, old) = (Version::HTTP_11, Version::HTTP_10);
        check(new, &[], true, true);
        check(old, &[], false, false);
        check(new, &[("connection", "x, Close")], false, false);
        check(old, &[("connection", "keep-alive")], true, true);
        check(
            old,
            &[("connection", "keep-alive"), ("connection", "close")],
            false,
            false,
        );
        check(new, &[("proxy-connection", "x,Close")], false, false);
        let coded = [("connection", "keep-alive"), ("transfer-encoding", "chunked")];
        check(new, &coded, true, true);
        check(old, &coded, true, false);
        check(
            new,
            &[("proxy-connection", "close"), ("connection", "keep-alive")],
            false,
            false,
        );
        check(old, &[("proxy-connection", "keep-alive")], false, false);
    }

    #[test]
    fn lists_go_over_all_of_their_lines() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("a, ,b"));
        headers.append(header::CONNECTION, HeaderValue::from_bytes(b"\xff, \tclose").unwrap());
        let items: Vec<_> = list(&headers, &header::CONNECTION).collect();
        assert_eq!(items, ["a", "b", "close"]);
    }
}
