//! What both ends know without being told (RFC 7541, appendix A), and what they were told lately.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};

use super::ENTRY_BYTES;
use super::decode::{Field, Name, Pseudo, Value};

/// Entries of the static table.
pub(super) const STATIC_COUNT: usize = 61;

/// What a decoder remembers.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    dynamic: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Entry {
    field: Field,
    bytes: usize,
}

// === impl Table ===

impl Table {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            dynamic: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// The entry of an index, which begins at 1.
    pub(super) fn get(&self, index: usize) -> Option<&Field> {
        let index = index.checked_sub(1)?;
        match STATIC.get(index) {
            Some(field) => Some(field),
            None => self.dynamic.get(index - STATIC_COUNT).map(|entry| &entry.field),
        }
    }

    /// Adds an entry; one that is larger than the table leaves nothing in it.
    pub(super) fn add(&mut self, field: Field, bytes: usize) {
        let bytes = bytes + ENTRY_BYTES;
        self.shrink(self.bytes_max.saturating_sub(bytes));
        if bytes <= self.bytes_max {
            self.bytes += bytes;
            self.dynamic.push_front(Entry { field, bytes });
        }
    }

    /// Changes its size.
    pub(super) fn resize(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.shrink(bytes_max);
    }

    fn shrink(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some(oldest) = self.dynamic.pop_back() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

const fn pseudo(name: Pseudo, value: &'static str) -> Field {
    Field {
        name: Name::Pseudo(name),
        value: Value::Raw(Bytes::from_static(value.as_bytes())),
    }
}

const fn field(name: HeaderName, value: &'static str) -> Field {
    Field {
        name: Name::Field(name),
        value: Value::Header(HeaderValue::from_static(value)),
    }
}

const fn name(name: HeaderName) -> Field {
    field(name, "")
}

#[rustfmt::skip]
static STATIC: [Field; STATIC_COUNT] = [
    pseudo(Pseudo::Authority, ""),
    pseudo(Pseudo::Method, "GET"),
    pseudo(Pseudo::Method, "POST"),
    pseudo(Pseudo::Path, "/"),
    pseudo(Pseudo::Path, "/index.html"),
    pseudo(Pseudo::Scheme, "http"),
    pseudo(Pseudo::Scheme, "https"),
    pseudo(Pseudo::Status, "200"),
    pseudo(Pseudo::Status, "204"),
    pseudo(Pseudo::Status, "206"),
    pseudo(Pseudo::Status, "304"),
    pseudo(Pseudo::Status, "400"),
    pseudo(Pseudo::Status, "404"),
    pseudo(Pseudo::Status, "500"),
    name(header::ACCEPT_CHARSET),
    field(header::ACCEPT_ENCODING, "gzip, deflate"),
    name(header::ACCEPT_LANGUAGE),
    name(header::ACCEPT_RANGES),
    name(header::ACCEPT),
    name(header::ACCESS_CONTROL_ALLOW_ORIGIN),
    name(header::AGE),
    name(header::ALLOW),
    name(header::AUTHORIZATION),
    name(header::CACHE_CONTROL),
    name(header::CONTENT_DISPOSITION),
    name(header::CONTENT_ENCODING),
    name(header::CONTENT_LANGUAGE),
    name(header::CONTENT_LENGTH),
    name(header::CONTENT_LOCATION),
    name(header::CONTENT_RANGE),
    name(header::CONTENT_TYPE),
    name(header::COOKIE),
    name(header::DATE),
    name(header::ETAG),
    name(header::EXPECT),
    name(header::EXPIRES),
    name(header::FROM),
    name(header::HOST),
    name(header::IF_MATCH),
    name(header::IF_MODIFIED_SINCE),
    name(header::IF_NONE_MATCH),
    name(header::IF_RANGE),
    name(header::IF_UNMODIFIED_SINCE),
    name(header::LAST_MODIFIED),
    name(header::LINK),
    name(header::LOCATION),
    name(header::MAX_FORWARDS),
    name(header::PROXY_AUTHENTICATE),
    name(header::PROXY_AUTHORIZATION),
    name(header::RANGE),
    name(header::REFERER),
    name(header::REFRESH),
    name(header::RETRY_AFTER),
    name(header::SERVER),
    name(header::SET_COOKIE),
    name(header::STRICT_TRANSPORT_SECURITY),
    name(header::TRANSFER_ENCODING),
    name(header::USER_AGENT),
    name(header::VARY),
    name(header::VIA),
    name(header::WWW_AUTHENTICATE),
];

/// The index of a name in the static table, of those that answers have; 0 where it has none.
pub(super) fn index_of(name: &str) -> u8 {
    match name.as_bytes() {
        b"age" => 21,
        b"via" => 60,
        b"date" => 33,
        b"etag" => 34,
        b"link" => 45,
        b"vary" => 59,
        b"allow" => 22,
        b"server" => 54,
        b"cookie" => 32,
        b"expires" => 36,
        b"refresh" => 52,
        b"location" => 46,
        b"set-cookie" => 55,
        b"retry-after" => 53,
        b"content-type" => 31,
        b"accept-ranges" => 18,
        b"cache-control" => 24,
        b"content-range" => 30,
        b"last-modified" => 44,
        b"authorization" => 23,
        b"content-length" => 28,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-location" => 29,
        b"www-authenticate" => 61,
        b"proxy-authenticate" => 48,
        b"content-disposition" => 25,
        b"strict-transport-security" => 56,
        b"access-control-allow-origin" => 20,
        _ => 0,
    }
}
