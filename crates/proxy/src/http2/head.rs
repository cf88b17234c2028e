//! Heads and trailers out of fields (RFC 9113, section 8): what makes a message, and what is none.

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::hpack::decode::{Field, Name, Pseudo, Value};
use crate::http1::framing::number;

/// Fields of most heads, with room for those that the proxy adds.
const USUAL_COUNT: usize = 12;

/// The head of a request as it came.
#[derive(Debug)]
pub struct Request {
    pub method: Method,
    /// As it came; there is none in a plain CONNECT.
    pub path: Option<Bytes>,
    /// As it came.
    pub authority: Option<Bytes>,
    /// What an extended CONNECT asks for (RFC 8441).
    pub protocol: Option<Bytes>,
    pub headers: HeaderMap,
    /// Bytes of its body, where they are told.
    pub length: Option<u64>,
}

/// How much a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of names and values.
    pub bytes_max: usize,
    /// Fields, pseudo-headers among them.
    pub count_max: usize,
}

/// Why fields are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    #[error("a head of too many bytes")]
    TooLarge,
    #[error("a head of too many fields")]
    TooMany,
    /// A field that is none, or not there where it is.
    #[error("{0}")]
    Field(&'static str),
    /// Fields that are none together.
    #[error("{0}")]
    Message(&'static str),
}

/// Gathers the fields of a block. What breaks a rule is remembered, for the rest of the block has to be read all the same.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    bytes: usize,
    count: usize,
    fault: Option<HeadFault>,
    is_trailers: bool,
    method: Option<Method>,
    scheme: Option<Bytes>,
    path: Option<Bytes>,
    authority: Option<Bytes>,
    protocol: Option<Bytes>,
    headers: HeaderMap,
    length: Option<u64>,
}

// === impl Reader ===

impl Reader {
    /// Reads a head.
    pub fn of_request(limits: Limits) -> Self {
        Self::new(limits, HeaderMap::with_capacity(USUAL_COUNT), false)
    }

    /// Reads what follows a body; control data has no place there.
    pub fn of_trailers(limits: Limits) -> Self {
        Self::new(limits, HeaderMap::new(), true)
    }

    fn new(limits: Limits, headers: HeaderMap, is_trailers: bool) -> Self {
        Self {
            limits,
            bytes: 0,
            count: 0,
            fault: None,
            is_trailers,
            method: None,
            scheme: None,
            path: None,
            authority: None,
            protocol: None,
            headers,
            length: None,
        }
    }

    /// Takes the next field.
    pub fn take(&mut self, field: Field, bytes: usize) {
        if self.fault.is_some() {
            return;
        }
        self.bytes += bytes;
        self.count += 1;
        let taken = if self.bytes > self.limits.bytes_max {
            Err(HeadFault::TooLarge)
        } else if self.count > self.limits.count_max {
            Err(HeadFault::TooMany)
        } else {
            self.add(field).map_err(HeadFault::Field)
        };
        self.fault = taken.err();
    }

    fn add(&mut self, field: Field) -> Result<(), &'static str> {
        match (field.name, field.value) {
            (Name::Pseudo(pseudo), Value::Raw(value)) => self.control(pseudo, value),
            (Name::Field(name), Value::Header(value)) => {
                self.check(&name, &value)?;
                self.headers.append(name, value);
                Ok(())
            }
            (Name::Malformed, _) => Err("a field name that is none"),
            (Name::Pseudo(_) | Name::Field(_), _) => Err("a field value with control characters"),
        }
    }

    fn control(&mut self, pseudo: Pseudo, value: Bytes) -> Result<(), &'static str> {
        if self.is_trailers {
            return Err("a pseudo-header in trailers");
        }
        if !self.headers.is_empty() {
            return Err("a pseudo-header behind other fields");
        }
        let (place, is_valid): (_, fn(&u8) -> bool) = match pseudo {
            Pseudo::Method => {
                let method = Method::from_bytes(&value).map_err(|_| "a method that is no token")?;
                let repeated = self.method.replace(method).is_some();
                return if repeated { Err("a pseudo-header twice") } else { Ok(()) };
            }
            Pseudo::Scheme => (&mut self.scheme, |byte| {
                byte.is_ascii_alphanumeric() || b"+-.".contains(byte)
            }),
            Pseudo::Path => (&mut self.path, |byte| byte.is_ascii_graphic() || !byte.is_ascii()),
            Pseudo::Authority => (&mut self.authority, is_of_authority),
            Pseudo::Protocol => (&mut self.protocol, u8::is_ascii_graphic),
            Pseudo::Status => return Err("a status in a request"),
        };
        if value.is_empty() || !value.iter().all(is_valid) {
            return Err("a pseudo-header that is none");
        }
        if place.replace(value).is_some() {
            return Err("a pseudo-header twice");
        }
        Ok(())
    }

    /// Rules of single fields (RFC 9113, section 8.2.2).
    fn check(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), &'static str> {
        if *name == header::CONTENT_LENGTH {
            if self.is_trailers {
                return Err("a length in trailers");
            }
            let length = number(value).ok_or("a length that is no number")?;
            if self.length.replace(length).is_some() {
                return Err("more than one length");
            }
        } else if *name == header::HOST {
            if !self.is_trailers && (self.headers.contains_key(header::HOST) || value.is_empty()) {
                return Err("no host, or more than one");
            }
        } else if *name == header::TE {
            if !value.as_bytes().eq_ignore_ascii_case(b"trailers") {
                return Err("a transfer coding");
            }
        } else if *name == header::CONNECTION
            || *name == header::TRANSFER_ENCODING
            || *name == header::UPGRADE
            || matches!(name.as_str(), "keep-alive" | "proxy-connection")
        {
            return Err("a field of HTTP/1 connections");
        }
        Ok(())
    }

    /// The head that was read. `extended` tells whether an extended CONNECT is understood.
    ///
    /// # Errors
    /// It is none.
    pub fn request(self, extended: bool) -> Result<Request, HeadFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let method = self.method.ok_or(HeadFault::Message("no method"))?;
        let (path, scheme) = (self.path.as_deref(), self.scheme.as_deref());
        let rules = if self.protocol.is_none() && method == Method::CONNECT {
            tunnel(
                self.authority.is_some(),
                path.is_some() || scheme.is_some(),
                self.length,
            )
        } else if self.protocol.is_some() && (!extended || method != Method::CONNECT || self.authority.is_none()) {
            Err("an extended CONNECT that is none")
        } else if self.authority.is_none() && !self.headers.contains_key(header::HOST) {
            Err("no host")
        } else {
            target(&method, path, scheme)
        };
        rules.map_err(HeadFault::Message)?;
        Ok(Request {
            method,
            path: self.path,
            authority: self.authority,
            protocol: self.protocol,
            headers: self.headers,
            length: self.length,
        })
    }

    /// The trailers that were read.
    ///
    /// # Errors
    /// There are too many, or some that no message has there.
    pub fn trailers(self) -> Result<HeaderMap, HeadFault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.headers),
        }
    }
}

/// A plain CONNECT names a host alone (RFC 9113, section 8.5), and what follows it is the tunnel.
fn tunnel(has_host: bool, has_target: bool, length: Option<u64>) -> Result<(), &'static str> {
    if !has_host || has_target {
        return Err("a CONNECT that is none");
    }
    match length {
        Some(1..) => Err("a body of a CONNECT"),
        _ => Ok(()),
    }
}

/// All other requests name a path (RFC 9113, section 8.3.1).
fn target(method: &Method, path: Option<&[u8]>, scheme: Option<&[u8]>) -> Result<(), &'static str> {
    let (Some(path), Some(scheme)) = (path, scheme) else {
        return Err("no path or scheme");
    };
    let of_web = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let is_path = path.starts_with(b"/") || (path == b"*" && *method == Method::OPTIONS);
    if of_web && !is_path {
        return Err("a path that is none");
    }
    Ok(())
}

/// What a host may consist of, with its port (RFC 3986, section 3.2). User information is for programs, never for servers (RFC 9113,
/// section 8.3.1).
fn is_of_authority(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bytes_max: 200,
        count_max: 8,
    };

    fn read(mut reader: Reader, fields: &[(&str, &str)]) -> Reader {
        for (name, value) in fields {
            let bytes = name.len() + value.len();
            reader.take(Field::new(name.as_bytes(), value.as_bytes()), bytes);
        }
        reader
    }

    /// What a request says.
    #[track_caller]
    fn check(fields: &[(&str, &str)], expected: Result<&str, &'static str>) {
        let found = read(Reader::of_request(LIMITS), fields).request(true);
        let found = found.map(|head| {
            let text = |bytes: &Option<Bytes>| {
                bytes
                    .as_deref()
                    .map_or_else(|| "-".into(), String::from_utf8_lossy)
                    .into_owned()
            };
            let [path, host, protocol] = [&head.path, &head.authority, &head.protocol].map(text);
            let fields = head.headers.iter();
            let fields: Vec<_> = fields
                .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
                .collect();
            format!(
                "{} {path} {host} {protocol} {} {:?}",
                head.method,
                fields.join(","),
                head.length
            )
        });
        let found = found.map_err(|fault| fault.to_string());
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{fields:?}");
    }

    /// A request for `/` with more, or other, fields.
    #[track_caller]
    fn refused(more: &[(&str, &str)], reason: &'static str) {
        let usual = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "e"),
        ];
        let is_other = |(name, _): &(&str, &str)| more.iter().all(|(other, _)| other != name || !name.starts_with(':'));
        let mut fields: Vec<_> = usual.into_iter().filter(is_other).collect();
        fields.extend_from_slice(more);
        check(&fields, Err(reason));
    }

    #[test]
    fn heads_are_read() {
        let usual = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/<a>#?b"),
            (":authority", "e"),
        ];
        check(&usual, Ok("GET /<a>#?b e -  None"));
        let mut more = usual.to_vec();
        more.extend([("a", "1"), ("te", "trailers"), ("a", ""), ("content-length", "007")]);
        check(
            &more,
            Ok("GET /<a>#?b e - a=1,a=,te=trailers,content-length=007 Some(7)"),
        );
        check(
            &[
                (":method", "OPTIONS"),
                (":scheme", "https"),
                (":path", "*"),
                ("host", "e"),
            ],
            Ok("OPTIONS * - - host=e None"),
        );
        check(
            &[(":method", "CONNECT"), (":authority", "e:1")],
            Ok("CONNECT - e:1 -  None"),
        );
        check(
            &[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "e"),
            ],
            Ok("CONNECT / e websocket  None"),
        );
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for (name, value) in [
            (":authority", ""),
            (":scheme", ""),
            (":path", ""),
            (":path", "/ b"),
            (":scheme", "h:"),
            (":authority", "a b"),
            (":authority", "u@e"),
            (":authority", "\"e\""),
            (":path", "/\u{7f}"),
        ] {
            refused(&[(name, value)], "a pseudo-header that is none");
        }
        for path in ["?admin", "admin", "*", "http://e/"] {
            refused(&[(":path", path)], "a path that is none");
        }
        refused(&[(":method", "")], "a method that is no token");
        refused(&[(":path", "/"), (":path", "/")], "a pseudo-header twice");
        refused(&[(":method", "GET"), (":method", "GET")], "a pseudo-header twice");
        refused(&[("a", "b"), (":path", "/")], "a pseudo-header behind other fields");
        refused(&[(":status", "200")], "a status in a request");
        for name in [":foo", "A", "a b", "", "a:"] {
            refused(&[(name, "b")], "a field name that is none");
        }
        refused(&[("a", "b\r\nc: d")], "a field value with control characters");
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
        ] {
            refused(&[(name, "")], "a field of HTTP/1 connections");
        }
        refused(&[("te", "gzip")], "a transfer coding");
        for length in ["", "+5", "5, 5", "0x5", " 5", "18446744073709551616"] {
            refused(&[("content-length", length)], "a length that is no number");
        }
        refused(
            &[("content-length", "5"), ("content-length", "5")],
            "more than one length",
        );
        refused(&[("host", "")], "no host, or more than one");
        refused(&[("host", "e"), ("host", "e")], "no host, or more than one");
        refused(&[(":protocol", "websocket")], "an extended CONNECT that is none");
        check(
            &[(":method", "CONNECT"), (":authority", "e"), (":path", "/")],
            Err("a CONNECT that is none"),
        );
        check(&[(":method", "CONNECT")], Err("a CONNECT that is none"));
        check(
            &[(":method", "CONNECT"), (":authority", "e"), ("content-length", "5")],
            Err("a body of a CONNECT"),
        );
        check(
            &[(":method", "GET"), (":scheme", "http"), (":path", "/")],
            Err("no host"),
        );
        check(
            &[(":method", "GET"), (":path", "/"), (":authority", "e")],
            Err("no path or scheme"),
        );
        check(
            &[(":path", "/"), (":scheme", "http"), (":authority", "e")],
            Err("no method"),
        );
    }

    #[test]
    fn heads_have_bounds() {
        let long = "v".repeat(200);
        let found = read(Reader::of_request(LIMITS), &[("a", &long)]).request(true);
        assert_eq!(found.unwrap_err(), HeadFault::TooLarge);
        let found = read(Reader::of_request(LIMITS), &[("a", ""); 9]).request(true);
        assert_eq!(found.unwrap_err(), HeadFault::TooMany);
    }

    #[test]
    fn trailers_have_no_control_data() {
        let of = |fields: &[(&str, &str)]| read(Reader::of_trailers(LIMITS), fields).trailers();
        assert_eq!(of(&[("grpc-status", "0")]).unwrap().len(), 1);
        for (name, value) in [(":path", "/"), ("content-length", "0"), ("connection", "x"), ("A", "b")] {
            assert!(matches!(of(&[(name, value)]), Err(HeadFault::Field(_))), "{name}");
        }
    }
}
