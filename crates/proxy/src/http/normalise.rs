//! From a request as the codec read it to the normalised head: host, path, framing rules, upgrade.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version};

use super::normal_form::{Normalisation, NormalisedPath};
use crate::error::{BadRequest, ErrorKind};
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream_info::connection::ConnectionInfo;
use crate::stream_info::request::{RequestHead, Scheme, is_grpc};

/// What becomes of a request that was read.
#[derive(Debug)]
pub enum Normalised {
    /// It goes on.
    Request(RequestHead),
    /// The client is sent to the normalised path.
    Redirect(String),
    /// It is answered with this status.
    Answer(StatusCode, ErrorKind),
}

/// Normalises a request. Everything after this reads only the head that comes out.
pub fn normalise(parts: Parts, manager: &ConnectionManager, connection: &ConnectionInfo) -> Normalised {
    let Parts {
        method,
        uri,
        version,
        mut headers,
        extensions,
        ..
    } = parts;
    let refuse =
        |rule: BadRequest| Normalised::Answer(ErrorKind::BadRequest(rule).status(), ErrorKind::BadRequest(rule));
    if version <= Version::HTTP_10 && !manager.model.http1.accept_http10 {
        return Normalised::Answer(
            StatusCode::UPGRADE_REQUIRED,
            ErrorKind::BadRequest(BadRequest::Protocol),
        );
    }
    // Other codings would go on as they are, with a framing that upstream reads differently (RFC 9112, section 6.1).
    if headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Normalised::Answer(StatusCode::NOT_IMPLEMENTED, ErrorKind::BadRequest(BadRequest::Protocol));
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > manager.model.header_bytes_max {
        return refuse(BadRequest::HeadersTooLarge);
    }
    let normalisation = Normalisation::of(&manager.model, connection.local_addr.port());
    let authority = match authority(&uri, &mut headers, version, manager) {
        Ok(authority) => authority,
        Err(rule) => return refuse(rule),
    };
    let authority = match authority.to_str().ok().and_then(|host| normalisation.host(host)) {
        Some(host) => HeaderValue::from_str(host).unwrap_or(authority),
        None => authority,
    };
    let upgrade = upgrade_of(&method, &headers, version, extensions.get::<hyper::ext::Protocol>());
    let path = if method == Method::CONNECT && extensions.get::<hyper::ext::Protocol>().is_none() {
        PathAndQuery::from_static("/")
    } else {
        let raw = uri
            .into_parts()
            .path_and_query
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        match normalisation.path(raw.as_str()) {
            Ok(NormalisedPath::Unchanged) => raw,
            Ok(NormalisedPath::Path(path)) => match path.parse() {
                Ok(path) => path,
                Err(_) => return refuse(BadRequest::Path),
            },
            Ok(NormalisedPath::Redirect(path)) => return Normalised::Redirect(path),
            Err(rule) => return refuse(rule),
        }
    };
    let scheme = if connection.tls.is_some() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let grpc = is_grpc(&headers);
    Normalised::Request(RequestHead {
        method,
        scheme,
        authority,
        path,
        headers,
        version,
        grpc,
        grpc_upstream: grpc,
        upgrade,
    })
}

/// The one host of a request; `host` leaves the headers. An absolute target decides over the header (RFC 9112, section 3.2.2).
fn authority(
    uri: &http::Uri,
    headers: &mut HeaderMap,
    version: Version,
    manager: &ConnectionManager,
) -> Result<HeaderValue, BadRequest> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let header = hosts.next().cloned();
    if hosts.next().is_some() {
        return Err(BadRequest::Host);
    }
    headers.remove(header::HOST);
    if let Some(authority) = uri.authority() {
        // User information never goes on (RFC 9110, section 4.2.4).
        let text = authority.as_str();
        let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
        return HeaderValue::from_str(host).map_err(|_| BadRequest::Host);
    }
    if let Some(host) = header {
        let valid = |b: &u8| b.is_ascii_graphic() && !b"/?#@\\".contains(b);
        if !host.as_bytes().iter().all(valid) {
            return Err(BadRequest::Host);
        }
        return Ok(host);
    }
    let default = manager
        .model
        .http1
        .default_host_http10
        .as_ref()
        .filter(|_| version <= Version::HTTP_10);
    default
        .and_then(|host| HeaderValue::from_str(host).ok())
        .ok_or(BadRequest::Host)
}

/// The protocol that the client wants instead, lower case; `connect` for a plain CONNECT.
fn upgrade_of(
    method: &Method,
    headers: &HeaderMap,
    version: Version,
    protocol: Option<&hyper::ext::Protocol>,
) -> Option<Arc<str>> {
    if let Some(protocol) = protocol {
        return Some(Arc::from(protocol.as_str().to_ascii_lowercase()));
    }
    if method == Method::CONNECT {
        return Some(Arc::from("connect"));
    }
    if version != Version::HTTP_11 {
        return None;
    }
    let upgrade = headers.get(header::UPGRADE)?.to_str().ok()?;
    let named = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let asked = named
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    asked.then(|| Arc::from(upgrade.to_ascii_lowercase()))
}
