//! Whether an attempt's outcome is tried again, and after how long.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use weft_base::backoff::Backoff;

use super::matcher::{header_fits, response_header_fits};
use crate::error::ErrorKind;
use crate::model::route::RetryPolicy;
use crate::stream_info::request::RequestHead;

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// With response headers.
    Answer { status: StatusCode, headers: &'a HeaderMap },
    /// Without. `request_sent` tells whether upstream may have seen any of the request.
    Failure {
        kind: ErrorKind,
        /// Whether upstream may have seen any of the request.
        request_sent: bool,
    },
}

/// Whether the policy is for requests like this one (Envoy, `RetryPolicy.retriable_request_headers`).
pub(crate) fn covers(policy: &RetryPolicy, request: &RequestHead) -> bool {
    policy.request_headers.is_empty() || policy.request_headers.iter().any(|m| header_fits(m, request))
}

/// Whether the policy, which covers the request, tries again after this outcome, the number of attempts aside.
pub(crate) fn wanted(policy: &RetryPolicy, request: &RequestHead, outcome: Outcome<'_>) -> bool {
    match outcome {
        Outcome::Answer { status, headers } => answer_wanted(policy, request, status, headers),
        Outcome::Failure { kind, request_sent } => failure_wanted(policy, kind, request_sent),
    }
}

fn answer_wanted(policy: &RetryPolicy, request: &RequestHead, status: StatusCode, headers: &HeaderMap) -> bool {
    let on = policy.on;
    let code = status.as_u16();
    let limited = headers.contains_key("x-envoy-ratelimited");
    if limited && !on.envoy_ratelimited {
        return false;
    }
    (limited && on.envoy_ratelimited)
        || (on.server_error && status.is_server_error())
        || (on.gateway_error && matches!(code, 502..=504))
        || (on.retriable_4xx && code == 409)
        || (on.retriable_status_codes && policy.status_codes.contains(&status))
        || (on.retriable_headers && header_named(policy, status, headers))
        || (request.grpc_upstream && grpc_wanted(policy, headers))
}

fn header_named(policy: &RetryPolicy, status: StatusCode, headers: &HeaderMap) -> bool {
    let mut named = policy.response_headers.iter();
    named.any(|matcher| response_header_fits(matcher, status, headers))
}

/// gRPC errors that come with the headers (trailers-only answers).
fn grpc_wanted(policy: &RetryPolicy, headers: &HeaderMap) -> bool {
    let on = policy.on;
    match headers.get("grpc-status").map(http::HeaderValue::as_bytes) {
        Some(b"1") => on.grpc_cancelled,
        Some(b"4") => on.grpc_deadline_exceeded,
        Some(b"8") => on.grpc_resource_exhausted,
        Some(b"13") => on.grpc_internal,
        Some(b"14") => on.grpc_unavailable,
        _ => false,
    }
}

fn failure_wanted(policy: &RetryPolicy, kind: ErrorKind, request_sent: bool) -> bool {
    let on = policy.on;
    let no_answer = on.server_error || on.gateway_error || on.reset || (on.reset_before_request && !request_sent);
    match kind {
        ErrorKind::ConnectFailed | ErrorKind::ConnectTimeout | ErrorKind::TlsFailed => no_answer || on.connect_failure,
        ErrorKind::RefusedStream => no_answer || on.refused_stream,
        ErrorKind::ConnectionTerminated | ErrorKind::StreamReset | ErrorKind::UpstreamProtocol => no_answer,
        ErrorKind::PerTryTimeout | ErrorKind::PerTryIdleTimeout => on.server_error || on.gateway_error || on.reset,
        ErrorKind::BadRequest(_)
        | ErrorKind::ClientGone
        | ErrorKind::ClusterNotFound(_)
        | ErrorKind::HeadTimeout
        | ErrorKind::IdleRequest
        | ErrorKind::IdleTimeout
        | ErrorKind::NoHealthyUpstream
        | ErrorKind::Overflow
        | ErrorKind::RequestDurationExceeded
        | ErrorKind::RequestTimeout
        | ErrorKind::RouteNotFound
        | ErrorKind::RouteRefused
        | ErrorKind::StreamDurationExceeded
        | ErrorKind::UpgradeRefused
        | ErrorKind::UpstreamTimeout => false,
    }
}

/// Whether the endpoint was not there for the request: it took nothing of it, or says in a header that the policy names that it could
/// deliver nothing.
pub(crate) fn was_absent(policy: &RetryPolicy, outcome: Outcome<'_>) -> bool {
    match outcome {
        Outcome::Answer { status, headers } => header_named(policy, status, headers),
        Outcome::Failure { request_sent, .. } => !request_sent,
    }
}

/// The pause before retry number `retry` (from 1): exponential with full jitter
/// (Envoy, router filter, "fully jittered exponential back-off"). `random` is uniform over all 64-bit numbers.
pub(crate) fn backoff(policy: &RetryPolicy, retry: u32, random: u64) -> Duration {
    let longest = policy.backoff_max.max(policy.backoff_base);
    Backoff::new(policy.backoff_base, longest).pause(retry, random)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method, Version};

    use super::*;
    use crate::model::convert::parse_retry_on;
    use crate::stream_info::request::Scheme;

    fn policy(on: &str) -> RetryPolicy {
        RetryPolicy {
            on: parse_retry_on(on),
            retries_max: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: vec![StatusCode::TOO_MANY_REQUESTS],
            response_headers: Vec::new(),
            request_headers: Vec::new(),
            avoid_previous_hosts: false,
            host_selection_attempts_max: 1,
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
        }
    }

    fn request(grpc: bool) -> RequestHead {
        RequestHead {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: HeaderValue::from_static("h"),
            path: "/".parse().unwrap(),
            headers: HeaderMap::new(),
            version: Version::HTTP_11,
            grpc,
            grpc_upstream: grpc,
            upgrade: None,
        }
    }

    #[test]
    fn answers_are_tried_again_by_condition() {
        let check = |on: &str, status: u16, expected: bool| {
            let headers = HeaderMap::new();
            let outcome = Outcome::Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: &headers,
            };
            assert_eq!(wanted(&policy(on), &request(false), outcome), expected, "{on} {status}");
        };
        check("5xx", 500, true);
        check("5xx", 404, false);
        check("gateway-error", 500, false);
        check("gateway-error", 503, true);
        check("retriable-4xx", 409, true);
        check("retriable-4xx", 404, false);
        check("retriable-status-codes", 429, true);
        check("retriable-status-codes", 503, false);
        check("connect-failure,refused-stream", 503, false);
    }

    #[test]
    fn failures_are_tried_again_by_condition() {
        let check = |on: &str, kind, request_sent, expected: bool| {
            let outcome = Outcome::Failure { kind, request_sent };
            assert_eq!(wanted(&policy(on), &request(false), outcome), expected, "{on} {kind:?}");
        };
        check("connect-failure", ErrorKind::ConnectFailed, false, true);
        check("connect-failure", ErrorKind::ConnectionTerminated, true, false);
        check("reset", ErrorKind::ConnectionTerminated, true, true);
        check("reset-before-request", ErrorKind::ConnectionTerminated, true, false);
        check("reset-before-request", ErrorKind::ConnectionTerminated, false, true);
        check("refused-stream", ErrorKind::RefusedStream, true, true);
        check("5xx", ErrorKind::PerTryTimeout, true, true);
        check("gateway-error", ErrorKind::PerTryIdleTimeout, true, true);
        check("connect-failure", ErrorKind::PerTryIdleTimeout, true, false);
        check("5xx", ErrorKind::UpstreamTimeout, true, false);
        check("5xx", ErrorKind::Overflow, false, false);
    }

    #[test]
    fn grpc_statuses_need_their_word() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        let outcome = Outcome::Answer {
            status: StatusCode::OK,
            headers: &headers,
        };
        assert!(wanted(&policy("unavailable"), &request(true), outcome));
        assert!(!wanted(&policy("cancelled"), &request(true), outcome));
        assert!(!wanted(&policy("unavailable"), &request(false), outcome));
    }

    #[test]
    fn backoff_doubles_to_its_bound() {
        let policy = policy("5xx");
        for (retry, longest) in [(1, 25), (2, 50), (4, 200), (5, 250), (40, 250)] {
            assert!(
                backoff(&policy, retry, u64::MAX) < Duration::from_millis(longest),
                "{retry}"
            );
            assert_eq!(backoff(&policy, retry, 0), Duration::ZERO);
        }
    }
}
