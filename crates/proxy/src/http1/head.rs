//! Heads out of bytes: request and status lines with their fields, within limits.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use httparse::Status;
use smallvec::SmallVec;

/// Heads with so many fields are read without asking for memory.
const USUAL_COUNT: usize = 100;

/// The head of a request as it came.
#[derive(Debug)]
pub struct Request {
    pub method: Method,
    /// What is asked for, in whichever form (RFC 9112, section 3.2), byte for byte.
    pub target: Bytes,
    /// 1.0 or 1.1.
    pub version: Version,
    /// Its fields, names in lower case, in their order.
    pub headers: HeaderMap,
}

/// The head of an answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// 1.0 or 1.1.
    pub version: Version,
    /// Its fields, names in lower case, in their order.
    pub headers: HeaderMap,
}

/// How much a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes, its ends of line and the empty line included.
    pub bytes_max: usize,
    pub count_max: usize,
}

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// More bytes than the limit.
    #[error("a head of too many bytes")]
    TooLarge,
    /// More fields than the limit.
    #[error("a head of too many fields")]
    TooMany,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("an unknown version")]
    Version,
    /// Something else that RFC 9112 does not know.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Looks for the end of a head among bytes that come bit by bit, each of them once.
#[derive(Debug, Default)]
pub struct EndOfHead {
    looked: usize,
}

// === impl EndOfHead ===

impl EndOfHead {
    /// Whether a head may be whole. The first look says so of anything: most heads come whole, and what is none is found at once.
    pub fn may_be_in(&mut self, input: &[u8]) -> bool {
        let from = std::mem::replace(&mut self.looked, input.len());
        if from == 0 {
            return !input.is_empty();
        }
        // An empty line may have begun before.
        let behind = &input[from.saturating_sub(2).min(input.len())..];
        let ends = behind.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        ends.map(|(at, _)| &behind[at + 1..])
            .any(|next| next.starts_with(b"\n") || next.starts_with(b"\r\n"))
    }
}

/// Takes a request's head off `input`, if it is whole.
///
/// # Errors
/// What is there is no head of HTTP/1, or more than `limits`.
pub fn request(input: &mut BytesMut, limits: Limits) -> Result<Option<Request>, HeadError> {
    let (mut usual, mut many) = (USUAL_ROOM, Vec::new());
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(input, room(&mut usual, &mut many, limits));
    let parsed = match parsed {
        Err(httparse::Error::Version) if !names_version(input) => Err(httparse::Error::Token),
        parsed => parsed,
    };
    let Some(length) = whole(parsed, input.len(), limits)? else {
        return Ok(None);
    };
    let method = request.method.unwrap_or_default().as_bytes();
    let method = Method::from_bytes(method).map_err(|_| HeadError::Malformed("a method that is no token"))?;
    let version = version(request.version);
    let target = place(input, request.path.unwrap_or_default().as_bytes());
    let places = Places::of(input, request.headers);
    let bytes = input.split_to(length).freeze();
    Ok(Some(Request {
        method,
        target: bytes.slice(target.0..target.1),
        version,
        headers: places.fields(&bytes)?,
    }))
}

/// Whether the third word of a first line is a version, be it one that nobody speaks: a target may have a blank in it.
fn names_version(input: &[u8]) -> bool {
    let start = input
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(0);
    let line = input[start..].split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let mut words = line.unwrap_or_default().split(|byte| *byte == b' ').skip(2);
    match (words.next(), words.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None) => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

/// The method of what is no request, as far as it decides how that is answered.
pub fn probable_method(input: &[u8]) -> Method {
    let start = input.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    if input[start.unwrap_or(0)..].starts_with(b"HEAD ") {
        Method::HEAD
    } else {
        Method::GET
    }
}

/// Takes an answer's head off `input`, if it is whole.
///
/// # Errors
/// What is there is no head of HTTP/1, or more than `limits`.
pub fn answer(input: &mut BytesMut, limits: Limits) -> Result<Option<Answer>, HeadError> {
    // An empty line before it is for requests alone (RFC 9112, section 2.2).
    if matches!(input.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::Malformed("an empty line before the status"));
    }
    let (mut usual, mut many) = (USUAL_ROOM, Vec::new());
    let mut answer = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut answer, input, room(&mut usual, &mut many, limits));
    let Some(length) = whole(parsed, input.len(), limits)? else {
        return Ok(None);
    };
    let status = StatusCode::from_u16(answer.code.unwrap_or_default());
    let status = status.map_err(|_| HeadError::Malformed("a status that is none"))?;
    let version = version(answer.version);
    let places = Places::of(input, answer.headers);
    let bytes = input.split_to(length).freeze();
    Ok(Some(Answer {
        status,
        version,
        headers: places.fields(&bytes)?,
    }))
}

/// Fields that end with an empty line, which is the end of `bytes`: trailers.
///
/// # Errors
/// There are more than `count_max`, or something other than fields.
pub fn fields(bytes: &Bytes, count_max: usize) -> Result<HeaderMap, HeadError> {
    let mut parsed = vec![httparse::EMPTY_HEADER; count_max];
    match httparse::parse_headers(bytes, &mut parsed) {
        Ok(Status::Complete((length, fields))) if length == bytes.len() => Places::of(bytes, fields).fields(bytes),
        Ok(_) => Err(HeadError::Malformed("fields without their end")),
        Err(error) => Err(error.into()),
    }
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooMany,
            httparse::Error::Version => Self::Version,
            httparse::Error::HeaderName => Self::Malformed("a field name that is no token"),
            httparse::Error::HeaderValue => Self::Malformed("a field value with control characters"),
            httparse::Error::NewLine => Self::Malformed("a line that does not end as lines do"),
            httparse::Error::Status => Self::Malformed("a status that is none"),
            httparse::Error::Token => Self::Malformed("a first line that is none"),
        }
    }
}

/// Room for the fields of most heads, without asking for memory.
const USUAL_ROOM: [MaybeUninit<httparse::Header<'_>>; USUAL_COUNT] = [const { MaybeUninit::uninit() }; USUAL_COUNT];

/// Room for as many fields as there may be.
fn room<'r, 'b>(
    usual: &'r mut [MaybeUninit<httparse::Header<'b>>; USUAL_COUNT],
    many: &'r mut Vec<MaybeUninit<httparse::Header<'b>>>,
    limits: Limits,
) -> &'r mut [MaybeUninit<httparse::Header<'b>>] {
    if limits.count_max <= USUAL_COUNT {
        return &mut usual[..limits.count_max];
    }
    many.resize_with(limits.count_max, MaybeUninit::uninit);
    many
}

/// The length of a head that is whole.
fn whole(parsed: httparse::Result<usize>, bytes: usize, limits: Limits) -> Result<Option<usize>, HeadError> {
    match parsed? {
        Status::Complete(length) if length > limits.bytes_max => Err(HeadError::TooLarge),
        Status::Complete(length) => Ok(Some(length)),
        Status::Partial if bytes > limits.bytes_max => Err(HeadError::TooLarge),
        Status::Partial => Ok(None),
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    }
}

/// Where a part of some bytes stands in them.
fn place(bytes: &[u8], part: &[u8]) -> Place {
    let start = (part.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize);
    (start, start + part.len())
}

/// From where to where in the bytes of a head.
type Place = (usize, usize);

/// About as many as the proxy adds to a head: with room for them its map does not grow, which costs more than all of its look-ups.
const FIELDS_ADDED: usize = 8;

/// Where names and values stand, so that the fields can share the bytes that they came in.
struct Places(SmallVec<[(Place, Place); 24]>);

// === impl Places ===

impl Places {
    fn of(bytes: &[u8], fields: &[httparse::Header<'_>]) -> Self {
        let places = fields
            .iter()
            .map(|field| (place(bytes, field.name.as_bytes()), place(bytes, field.value)));
        Self(places.collect())
    }

    fn fields(&self, bytes: &Bytes) -> Result<HeaderMap, HeadError> {
        let mut headers = HeaderMap::with_capacity(self.0.len() + FIELDS_ADDED);
        for &((name, name_end), (value, value_end)) in &self.0 {
            let name = HeaderName::from_bytes(&bytes[name..name_end]);
            let name = name.map_err(|_| HeadError::Malformed("a field name that is no token"))?;
            let value = HeaderValue::from_maybe_shared(bytes.slice(value..value_end));
            let value = value.map_err(|_| HeadError::Malformed("a field value with control characters"))?;
            headers.append(name, value);
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bytes_max: 200,
        count_max: 3,
    };

    /// What a request's head says, and what is behind it.
    #[track_caller]
    fn check(text: &str, expected: Result<Option<&str>, HeadError>) {
        let mut input = BytesMut::from(text);
        let found = request(&mut input, LIMITS);
        let found = found.map(|head| {
            head.map(|head| {
                let target = String::from_utf8_lossy(&head.target).into_owned();
                let mut said = format!("{} {target} {:?}", head.method, head.version);
                for (name, value) in &head.headers {
                    said.push_str(&format!(" {name}={}", String::from_utf8_lossy(value.as_bytes())));
                }
                format!("{said} | {}", String::from_utf8_lossy(&input))
            })
        });
        assert_eq!(found, expected.map(|said| said.map(str::to_owned)), "{text:?}");
    }

    #[test]
    fn heads_are_read() {
        check("", Ok(None));
        check("GET / HTTP/1.1\r\nHost: a\r\n", Ok(None));
        check(
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET",
            Ok(Some("GET / HTTP/1.1 host=a | GET")),
        );
        check("\r\n\r\nPUT /x HTTP/1.0\r\n\r\n", Ok(Some("PUT /x HTTP/1.0 | ")));
        check(
            "GET /a<b>`%zz#f HTTP/1.1\r\n\r\n",
            Ok(Some("GET /a<b>`%zz#f HTTP/1.1 | ")),
        );
        check(
            "G.T * HTTP/1.1\r\nA: 1\r\nB:\r\na: \t2 \r\n\r\n",
            Ok(Some("G.T * HTTP/1.1 a=1 a=2 b= | ")),
        );
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let malformed = [
            ("\x16\x03\x01\x02\0\x01", "a first line that is none"),
            ("GET  / HTTP/1.1\r\n\r\n", "a first line that is none"),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "a field name that is no token"),
            ("GET / HTTP/1.1\r\na : b\r\n\r\n", "a field name that is no token"),
            ("GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", "a field name that is no token"),
            (
                "GET / HTTP/1.1\r\na: b\0c\r\n\r\n",
                "a field value with control characters",
            ),
            (
                "GET / HTTP/1.1\r\na: b\rc\r\n\r\n",
                "a field value with control characters",
            ),
        ];
        for (text, reason) in malformed {
            check(text, Err(HeadError::Malformed(reason)));
        }
        for version in ["2.0", "0.9", "1.2", "9.9"] {
            check(&format!("GET / HTTP/{version}\r\n\r\n"), Err(HeadError::Version));
        }
        for line in ["GET /a b HTTP/1.1", "GET / HTTP/x.y", "GET / http/1.1", "GET / HTTP/2"] {
            check(
                &format!("{line}\r\n\r\n"),
                Err(HeadError::Malformed("a first line that is none")),
            );
        }
        check(
            "GET / HTTP/1.1\r\na:1\r\nb:2\r\nc:3\r\nd:4\r\n\r\n",
            Err(HeadError::TooMany),
        );
        check(
            &format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200)),
            Err(HeadError::TooLarge),
        );
        check(&"a".repeat(201), Err(HeadError::TooLarge));
    }

    #[test]
    fn what_is_refused_may_be_a_head_request() {
        for (input, expected) in [
            ("HEAD / HTTP/1.1\r\na : b\r\n\r\n", Method::HEAD),
            ("\r\n\nHEAD x", Method::HEAD),
            ("HEADS / HTTP/1.1\r\n", Method::GET),
            ("head / HTTP/1.1\r\n", Method::GET),
            ("\r\n", Method::GET),
            ("", Method::GET),
        ] {
            assert_eq!(probable_method(input.as_bytes()), expected, "{input:?}");
        }
    }

    #[test]
    fn answers_are_read() {
        let mut input = BytesMut::from("HTTP/1.0 404 Not Found\r\nA: b\r\n\r\nrest");
        let head = answer(&mut input, LIMITS).unwrap().unwrap();
        assert_eq!((head.status, head.version), (StatusCode::NOT_FOUND, Version::HTTP_10));
        assert_eq!((head.headers["a"].as_bytes(), &input[..]), (&b"b"[..], &b"rest"[..]));
        let mut nameless = BytesMut::from("HTTP/1.1 200\r\n\r\n");
        assert!(answer(&mut nameless, LIMITS).unwrap().is_some());
        for text in ["HTTP/1.1 099 x\r\n\r\n", "HTTP/1.1 20 x\r\n\r\n", "garbage\r\n\r\n"] {
            assert!(answer(&mut BytesMut::from(text), LIMITS).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_it_was_cut() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 1..text.len() {
            let mut end = EndOfHead::default();
            assert!(end.may_be_in(&text[..cut]), "the first look");
            assert!(end.may_be_in(text), "cut at {cut}");
        }
        let mut end = EndOfHead::default();
        assert!(!end.may_be_in(b"") && end.may_be_in(b"GET"));
        assert!(!end.may_be_in(b"GET / HTTP/1.1\r\nA: b\r\n"));
        assert!(end.may_be_in(b"GET / HTTP/1.1\r\nA: b\r\n\r\n"));
    }
}
