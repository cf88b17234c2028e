//! Questions to a service over HTTP: a request that resembles the client's, whose answer decides (Envoy `ext_authz.v3.HttpService`).

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::Sight;
use super::verdict::{Change, Changes, Denial, How, Verdict, is_of_message};
use crate::filters::RequestPass;
use crate::filters::ask::{Answered, NoAnswer, Question};
use crate::model::filters::ext_authz::{Config, HttpService};
use crate::model::matcher::StringMatcher;
use crate::stream_info::header_names;

/// Longest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Names headers that the request loses.
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

/// The question about a request.
pub(super) fn question(
    service: &HttpService,
    config: &Config,
    request: &RequestPass<'_>,
    sight: &Sight<'_>,
) -> Question {
    let head = &request.head;
    let mut headers = HeaderMap::new();
    for name in head.headers.keys() {
        if sight.tells_http(config, name) && *name != header::CONTENT_LENGTH {
            let lines: Vec<&[u8]> = head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            headers.extend(
                HeaderValue::from_bytes(&lines.join(&b","[..]))
                    .ok()
                    .map(|value| (name.clone(), value)),
            );
        }
    }
    for (name, value) in &service.headers_to_add {
        headers.insert(name, value.clone());
    }
    if let Some(is_partial) = sight.is_partial {
        let value = HeaderValue::from_static(if is_partial { "true" } else { "false" });
        headers.insert("x-envoy-auth-partial-body", value);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(sight.body.len()));
    // As of any request that Envoy's proxies make themselves.
    headers.insert("x-envoy-internal", HeaderValue::from_static("true"));
    let millis = u64::try_from(service.timeout.as_millis()).unwrap_or(u64::MAX);
    if millis > 0 {
        headers.insert(header_names::EXPECTED_TIMEOUT, HeaderValue::from(millis));
    }
    let path = if service.path_override.is_empty() {
        format!("{}{}", service.path_prefix, head.path)
    } else {
        service.path_override.clone()
    };
    Question {
        cluster: service.cluster.clone(),
        method: head.method.clone(),
        path: path.parse().unwrap_or_else(|_| head.path.clone()),
        authority: head.authority.clone(),
        headers,
        body: sight.body.clone(),
        timeout: service.timeout,
        answer_bytes_max: ANSWER_BYTES_MAX,
        grpc: false,
    }
}

/// What the service says by an answer: 200 lets pass, 5xx is a failure of its own, anything else is for the client.
///
/// # Errors
/// It is a failure of the service.
pub(super) fn verdict(service: &HttpService, answer: &Answered) -> Result<Verdict, NoAnswer> {
    if answer.status.is_server_error() {
        return Err(NoAnswer::Broken);
    }
    let metadata = metadata(service, &answer.headers);
    if answer.status != StatusCode::OK {
        return Ok(Verdict::Denied(Box::new(Denial {
            status: answer.status,
            headers: for_client(service, &answer.headers),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
            metadata,
        })));
    }
    let mut request = of(&answer.headers, &service.upstream, How::Overwrite);
    request.extend(of(&answer.headers, &service.upstream_append, How::Append));
    let remove = answer.headers.get_all(TO_REMOVE).iter();
    let remove = remove
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    let remove = remove.filter_map(|name| name.trim().parse::<HeaderName>().ok());
    Ok(Verdict::Allowed(Box::new(Changes {
        request,
        remove: remove.filter(|name| *name != header::HOST).collect(),
        answer: of(&answer.headers, &service.client_on_success, How::Append),
        metadata,
        ..Changes::default()
    })))
}

fn of(headers: &HeaderMap, matchers: &[StringMatcher], how: How) -> Vec<Change> {
    let matching = headers.iter().filter(|(name, _)| fits(matchers, name));
    let change = |(name, value): (&HeaderName, &HeaderValue)| Change {
        name: name.clone(),
        value: value.clone(),
        how,
    };
    matching.map(change).collect()
}

/// The headers of a refusal that a client gets: how it may come back in any case (Envoy `allowed_client_headers`).
fn for_client(service: &HttpService, headers: &HeaderMap) -> HeaderMap {
    let always = [header::WWW_AUTHENTICATE, header::LOCATION, header::PROXY_AUTHENTICATE];
    let mut found = HeaderMap::new();
    for (name, value) in headers {
        let is_allowed = service.client.as_ref().is_none_or(|matchers| fits(matchers, name)) || always.contains(name);
        if is_allowed && !is_of_message(name) {
            found.append(name, value.clone());
        }
    }
    found
}

fn metadata(service: &HttpService, headers: &HeaderMap) -> Map<String, Value> {
    let matching = headers.iter().filter(|(name, _)| fits(&service.metadata, name));
    let pairs =
        matching.filter_map(|(name, value)| Some((name.as_str().to_owned(), Value::from(value.to_str().ok()?))));
    pairs.collect()
}

fn fits(matchers: &[StringMatcher], name: &HeaderName) -> bool {
    matchers.iter().any(|matcher| matcher.matches(name.as_str()))
}
