//! Requests that change something must come from the host's own pages, or from origins that are named (`envoy.filters.http.csrf`).

use std::sync::Arc;

use http::header::{self, HeaderName};
use http::{HeaderMap, Method, StatusCode};

use super::{Answer, HttpFilter, Making, Next, NoState, RequestPass, Route};
use crate::model::filters::csrf::{Config, RouteConfig};
use crate::stats::counters::Counter;
use crate::stream_info::request::RequestHead;

/// Refuses requests from elsewhere.
#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    missing: Arc<Counter>,
    valid: Arc<Counter>,
    invalid: Arc<Counter>,
}

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn new(config: &Config, making: &Making<'_>) -> Self {
        Self {
            config: config.clone(),
            missing: making.counter("csrf.missing_source_origin"),
            valid: making.counter("csrf.request_valid"),
            invalid: making.counter("csrf.request_invalid"),
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<NoState> {
        let policy = route.most_specific().unwrap_or(&self.config);
        if !changes(&request.head.method) {
            return Next::go();
        }
        let enabled = policy.enabled.includes(request.random.next());
        let shadow = policy.shadow.includes(request.random.next());
        if !enabled && !shadow {
            return Next::go();
        }
        match source(&request.head.headers) {
            "" => self.missing.increment(),
            source if is_right(policy, source, request.head) => {
                self.valid.increment();
                return Next::go();
            }
            _ => self.invalid.increment(),
        }
        if !enabled {
            return Next::go();
        }
        request.info.details = Some("csrf_origin_mismatch".into());
        Next::answer(Answer::told(StatusCode::FORBIDDEN, "Invalid origin"))
    }
}

/// Methods that change something.
fn changes(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::DELETE, Method::PATCH].contains(method)
}

fn is_right(policy: &Config, source: &str, request: &RequestHead) -> bool {
    let target = request.authority.to_str().unwrap_or_default();
    source == target || policy.additional_origins.iter().any(|matcher| matcher.matches(source))
}

/// Host and port of the page that the request comes from.
fn source(headers: &HeaderMap) -> &str {
    let of = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(host_and_port)
    };
    let origin = of(header::ORIGIN).unwrap_or_default();
    // Pages that keep their origin to themselves send "null" (RFC 6454, section 7.3).
    if origin.is_empty() || origin == "null" {
        return of(header::REFERER).unwrap_or_default();
    }
    origin
}

/// Host and port of an absolute URL, without a user; anything else as it is.
fn host_and_port(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else {
        return url;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_a_host() {
        for (url, expected) in [
            ("https://a.example", "a.example"),
            ("http://a.example:8080/x?y", "a.example:8080"),
            ("https://a.example?x", "a.example"),
            ("https://user:word@a.example/x@y", "a.example"),
            ("null", "null"),
            ("", ""),
        ] {
            assert_eq!(host_and_port(url), expected, "{url}");
        }
    }
}
