//! The message that goes upstream, in the form that its protocol wants.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, Scheme as UriScheme};
use http::{Method, Request, Uri, Version};
use hyper::ext::Protocol;

use super::upgrade::CONNECT;
use crate::error::{BadRequest, ErrorKind};
use crate::pool::request_body::RequestBody;
use crate::stream_info::header_names;
use crate::stream_info::request::{RequestHead, Scheme};
use crate::tls::asked::Asked;
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;

/// The message that goes upstream, made from the normalised head alone. `endpoint_host` replaces the host where the route wants
/// that of the endpoint.
pub fn build(
    head: &RequestHead,
    endpoint_host: Option<&HeaderValue>,
    count: u32,
    http2: bool,
    body: RequestBody,
) -> Result<Request<RequestBody>, ErrorKind> {
    let authority = endpoint_host.unwrap_or(&head.authority);
    let is_empty = matches!(body, RequestBody::Empty);
    // What an offer brings along over HTTP/2 is the beginning of the tunnel.
    let tunnels = http2 && head.upgrade.is_some();
    let mut request = Request::new(if tunnels { RequestBody::Empty } else { body });
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    if count > 0 {
        request
            .headers_mut()
            .insert(header_names::ATTEMPT_COUNT, HeaderValue::from(count));
    }
    if http2 {
        let authority = Authority::try_from(authority.as_bytes());
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(match head.scheme {
            Scheme::Http => UriScheme::HTTP,
            Scheme::Https => UriScheme::HTTPS,
        });
        parts.authority = Some(authority.map_err(|_| ErrorKind::BadRequest(BadRequest::Host))?);
        parts.path_and_query = head.path.to_uri();
        if let Some(protocol) = &head.upgrade {
            *request.method_mut() = Method::CONNECT;
            request.headers_mut().remove(header::CONTENT_LENGTH);
            if &**protocol == CONNECT {
                parts.scheme = None;
                parts.path_and_query = None;
            } else {
                request.extensions_mut().insert(Protocol::from(&**protocol));
            }
        }
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| ErrorKind::BadRequest(BadRequest::Path))?;
        *request.version_mut() = Version::HTTP_2;
        return Ok(request);
    }
    // The path of HTTP/1.1 goes beside the message: it may have characters that URIs may not.
    request.headers_mut().insert(header::HOST, authority.clone());
    if head.version == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    if is_empty
        && head.upgrade.is_none()
        && !request.headers().contains_key(header::CONTENT_LENGTH)
        && expects_content(&head.method)
    {
        request
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if let Some(protocol) = head.upgrade.as_ref().filter(|protocol| &***protocol != CONNECT) {
        let named = HeaderValue::from_str(protocol).map_err(|_| ErrorKind::UpgradeRefused)?;
        request
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(header::UPGRADE, named);
    }
    Ok(request)
}

/// What a request asks of the TLS of its connection, where the cluster lets it.
pub fn asked_of(cluster: &Cluster, endpoint: &Endpoint, head: &RequestHead) -> Option<Arc<Asked>> {
    let config = cluster.model.host_tls.as_ref().filter(|_| endpoint.tls.is_some());
    config.map(|config| Asked::new(config, &head.authority, &head.headers))
}

/// HTTP/2 may split cookies; towards HTTP/1.1 they are one field (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// Methods for which a missing length could be taken for a missing body (RFC 9110, section 8.6).
fn expects_content(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT | Method::TRACE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_cookies_become_one_field() {
        let mut headers = HeaderMap::new();
        for crumb in ["a=1", "b=2"] {
            headers.append(header::COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        let joined: Vec<&HeaderValue> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(joined, ["a=1; b=2"]);
    }
}
