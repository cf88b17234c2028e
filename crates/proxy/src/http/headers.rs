//! Headers that the proxy itself sets, removes or trusts.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::error::BadRequest;
use crate::http1::framing;
use crate::model::http::{ForwardClientCert, HttpConnectionManager, XfccMode};
use crate::stream_info::connection::ConnectionInfo;
use crate::stream_info::header_names;
use crate::stream_info::request::{RequestHead, Scheme};

/// Headers of one connection, never forwarded (RFC 9110, section 7.6.1); `upgrade` and `te` are treated by themselves.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Headers by which clients could steer the proxy.
const STEERING: [&str; 16] = [
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-retriable-status-codes",
    "x-envoy-internal",
    "x-envoy-retriable-header-names",
    "x-envoy-upstream-stream-duration-ms",
];

/// Removes what belongs to the connection it came on.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Looking at every name once is cheaper than hashing each of those that are seldom there.
    if !headers
        .keys()
        .any(|name| *name == header::TE || HOP_BY_HOP.contains(name))
    {
        return;
    }
    // A header named by `connection` goes, a length too: how long a body is, its reader knows by now. What is left of `te` comes below.
    let named: SmallVec<[HeaderName; 4]> = framing::list(headers, &header::CONNECTION)
        .filter_map(|name| name.parse().ok())
        .filter(|name| *name != header::TE)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if headers.contains_key(header::TE) {
        let trailers = framing::list(headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Removes the expectation that the proxy meets itself (RFC 9110, section 10.1.1). Others are for the upstream, as with Envoy.
pub fn strip_expectation(headers: &mut HeaderMap) {
    let is_met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get(header::EXPECT).is_some_and(is_met) {
        headers.remove(header::EXPECT);
    }
}

/// As many names in `connection` are too many.
const NAMED_MAX: usize = 10;
/// So long a `te` that is named there is too long, in bytes.
const NAMED_TE_BYTES_MAX: usize = 256;

/// Looks at what a client has removed by naming it in `connection`, within Envoy's bounds (`Utility::sanitizeConnectionHeader`). Whether
/// the host is named: then the request has none.
///
/// # Errors
/// What is named is one of the headers by which the proxies in front tell who the client is, or no header, or there is too much of it.
pub fn check_named(headers: &HeaderMap) -> Result<bool, BadRequest> {
    const TRUSTED: [HeaderName; 3] = [
        header_names::FORWARDED_FOR,
        header_names::FORWARDED_HOST,
        header_names::FORWARDED_PROTO,
    ];
    if !headers.contains_key(header::CONNECTION) {
        return Ok(false);
    }
    let lines = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let items = lines.flat_map(|line| line.split(|byte| *byte == b','));
    if items.filter(|item| !item.is_empty()).count() >= NAMED_MAX {
        return Err(BadRequest::Protocol);
    }
    let mut names_host = false;
    for named in framing::list(headers, &header::CONNECTION) {
        let is = |name: &HeaderName| named.eq_ignore_ascii_case(name.as_str());
        let is_long_te = || {
            let mut values = headers.get_all(header::TE).iter();
            is(&header::TE) && values.any(|value| value.len() >= NAMED_TE_BYTES_MAX)
        };
        if named.starts_with(':') || TRUSTED.iter().any(is) || is_long_te() {
            return Err(BadRequest::Protocol);
        }
        names_host |= is(&header::HOST);
    }
    Ok(names_host)
}

/// The lines of a header that is a list as one (RFC 9110, section 5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter();
    let mut whole = lines.next()?.as_bytes().to_vec();
    for line in lines {
        whole.push(b',');
        whole.extend_from_slice(line.as_bytes());
    }
    Some(whole)
}

/// Appends to a header that is a list, whose parts `separator` parts (RFC 9110, section 5.6.1).
pub fn append_to_list(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue, separator: &str) {
    let whole = match joined(headers, name) {
        Some(list) => HeaderValue::from_bytes(&[&list, separator.as_bytes(), value.as_bytes()].concat()),
        None => Ok(value.clone()),
    };
    if let Ok(whole) = whole {
        headers.insert(name, whole);
    }
}

/// What a proxy says of itself to the next: at an edge there is none before it (Envoy, `ConnectionManagerUtility`).
const OF_DOWNSTREAM: [&str; 3] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
];

/// Sets the headers that tell upstream of the client, and returns the client's address as far as it can be trusted.
pub fn prepare_request(
    request: &mut RequestHead,
    manager: &HttpConnectionManager,
    connection: &ConnectionInfo,
    random: impl FnMut() -> u64,
) -> IpAddr {
    strip_hop_by_hop(&mut request.headers);
    let client = client_address(&request.headers, manager, connection);
    // Nobody is trusted with these: without a list of internal addresses every client is an outsider.
    // What proxies of the mesh tell each other is no such header, and comes with every request.
    let steers = |name: &HeaderName| {
        let rest = name.as_str().strip_prefix("x-envoy-");
        rest.is_some_and(|rest| !rest.starts_with("peer-metadata"))
    };
    if request.headers.keys().any(steers) {
        for name in STEERING {
            request.headers.remove(name);
        }
    }
    if manager.use_remote_address {
        for name in OF_DOWNSTREAM {
            request.headers.remove(name);
        }
        request.headers.remove(header_names::ORIGINAL_PATH);
        if let Ok(address) = HeaderValue::try_from(client.to_string()) {
            request.headers.insert(header_names::EXTERNAL_ADDRESS, address);
        }
        if !manager.skip_xff_append {
            append_forwarded_for(&mut request.headers, connection.remote_addr);
        }
        if manager.trusted_hops == 0 {
            request.headers.remove(header_names::FORWARDED_PROTO);
        }
    }
    match request.headers.get(header_names::FORWARDED_PROTO) {
        // HTTP/1.1 says nowhere else by which scheme it was asked (Envoy, `ConnectionManagerUtility`).
        Some(told) if request.version <= Version::HTTP_11 => request.scheme = scheme_of(told).unwrap_or(request.scheme),
        Some(_) => {}
        None => {
            let scheme = HeaderValue::from_static(request.scheme.as_str());
            request.headers.insert(header_names::FORWARDED_PROTO, scheme);
        }
    }
    forward_client_cert(&mut request.headers, &manager.client_cert, connection);
    if manager.generate_request_id {
        let edge = manager.use_remote_address && !manager.preserve_external_request_id;
        if edge || !request.headers.contains_key(header_names::REQUEST_ID) {
            request.headers.insert(header_names::REQUEST_ID, request_id(random));
        }
    }
    client
}

fn scheme_of(told: &HeaderValue) -> Option<Scheme> {
    match told.as_bytes() {
        b"http" => Some(Scheme::Http),
        b"https" => Some(Scheme::Https),
        _ => None,
    }
}

/// The client as `x-forwarded-for` tells, the configured number of hops back.
fn client_address(headers: &HeaderMap, manager: &HttpConnectionManager, connection: &ConnectionInfo) -> IpAddr {
    let peer = connection.remote_addr.ip();
    let back = match (manager.use_remote_address, manager.trusted_hops) {
        (true, 0) => return peer,
        (true, hops) => hops as usize - 1,
        (false, hops) => hops as usize,
    };
    let values: Vec<&str> = headers
        .get_all(header_names::FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let addresses = values.iter().flat_map(|value| value.split(',')).map(str::trim);
    let addresses: Vec<&str> = addresses.collect();
    let chosen = addresses
        .len()
        .checked_sub(back + 1)
        .and_then(|at| addresses[at].parse().ok());
    chosen.unwrap_or(peer)
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: SocketAddr) {
    let mut list = joined(headers, &header_names::FORWARDED_FOR).unwrap_or_default();
    if !list.is_empty() {
        list.push(b',');
    }
    // Writing to memory does not fail.
    let _ = write!(list, "{}", peer.ip());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(header_names::FORWARDED_FOR, value);
    }
}

/// `x-forwarded-client-cert` (Envoy, "x-forwarded-client-cert").
fn forward_client_cert(headers: &mut HeaderMap, config: &ForwardClientCert, connection: &ConnectionInfo) {
    let mutual = connection.is_mutual_tls();
    match config.mode {
        XfccMode::AlwaysForwardOnly => return,
        XfccMode::ForwardOnly if mutual => return,
        XfccMode::AppendForward if mutual => {}
        XfccMode::SanitizeSet if mutual => {
            headers.remove(header_names::CLIENT_CERT);
        }
        XfccMode::Sanitize | XfccMode::ForwardOnly | XfccMode::AppendForward | XfccMode::SanitizeSet => {
            headers.remove(header_names::CLIENT_CERT);
            return;
        }
    }
    let Some(element) = client_cert_element(config, connection) else {
        return;
    };
    let value = match joined(headers, &header_names::CLIENT_CERT) {
        Some(before) => [&before, &b","[..], element.as_bytes()].concat(),
        None => element.into_bytes(),
    };
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(header_names::CLIENT_CERT, value);
    }
}

fn client_cert_element(config: &ForwardClientCert, connection: &ConnectionInfo) -> Option<String> {
    let tls = connection.tls.as_ref()?;
    let peer = tls.peer.as_ref()?;
    let mut parts = Vec::new();
    if let Some(own) = &tls.local_uri_san {
        parts.push(format!("By={own}"));
    }
    parts.push(format!("Hash={}", peer.sha256));
    if config.subject {
        parts.push(format!("Subject=\"{}\"", peer.subject.replace('"', "\\\"")));
    }
    if config.uri {
        parts.extend(peer.uri_sans.iter().map(|san| format!("URI={san}")));
    }
    if config.dns {
        parts.extend(peer.dns_sans.iter().map(|san| format!("DNS={san}")));
    }
    Some(parts.join(";"))
}

/// A random UUID, version 4 (RFC 9562, section 5.4).
fn request_id(mut random: impl FnMut() -> u64) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let high = (random() & 0xffff_ffff_ffff_0fff) | 0x4000;
    let low = (random() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (count, number) in [high, low].into_iter().enumerate() {
        for shift in (0..16).rev() {
            if matches!(at, 8 | 13 | 18 | 23) {
                at += 1;
            }
            text[at] = HEX[((number >> (shift * 4)) & 15) as usize];
            at += 1;
        }
        debug_assert!(count < 2);
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_uuids() {
        let id = request_id(|| 0xffff_ffff_ffff_ffff);
        assert_eq!(id, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let id = request_id(|| 0);
        assert_eq!(id, "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn what_connection_names_has_bounds() {
        let check = |connection: &[&str], te: usize, expected: Result<bool, BadRequest>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("a"));
            headers.insert(header::TE, HeaderValue::try_from("x".repeat(te)).unwrap());
            for line in connection {
                headers.append(header::CONNECTION, HeaderValue::try_from(*line).unwrap());
            }
            let found = check_named(&headers).map(|is_named| !is_named);
            assert_eq!(found, expected, "{connection:?}");
        };
        check(&[], 300, Ok(true));
        check(&["close, x-a, upgrade"], 300, Ok(true));
        check(&["x-a", "Host"], 0, Ok(false));
        check(&["te"], 255, Ok(true));
        for trusted in ["X-Forwarded-For", "x-forwarded-host", "x-forwarded-proto", ":path", ":"] {
            check(&["x-a", trusted], 0, Err(BadRequest::Protocol));
        }
        check(&["TE"], 256, Err(BadRequest::Protocol));
        check(&["a,b,c,d", ",,,,,,e,f,g,h,i"], 0, Ok(true));
        check(&["a,b,c,d", "e,f,g,h,i, "], 0, Err(BadRequest::Protocol));
    }

    #[test]
    fn hop_by_hop_headers_go() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-private, content-length"),
            ("x-private", "1"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("x-stays", "1"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-stays"]);
    }
}
