//! Whether a request satisfies a route's criteria beside its path.

use std::borrow::Cow;

use http::HeaderMap;

use crate::model::matcher::{HeaderKey, HeaderMatcher, HeaderValueMatcher, QueryMatcher};
use crate::model::route::RouteMatch;
use crate::stream_info::request::RequestHead;

/// Whether headers, query and share fit. `random` is uniform over all 64-bit numbers.
pub(crate) fn criteria_fit(criteria: &RouteMatch, request: &RequestHead, random: u64) -> bool {
    if criteria.grpc && !request.grpc {
        return false;
    }
    if criteria
        .fraction
        .is_some_and(|share| random % 1_000_000 >= u64::from(share.parts_per_million))
    {
        return false;
    }
    criteria.headers.iter().all(|matcher| header_fits(matcher, request))
        && (criteria.query.is_empty() || query_fits(&criteria.query, request.path.query().unwrap_or_default()))
}

/// Whether one header of a request fits.
pub(crate) fn header_fits(matcher: &HeaderMatcher, request: &RequestHead) -> bool {
    let value = match &matcher.name {
        HeaderKey::Name(name) => return field_fits(matcher, &request.headers, name),
        pseudo @ (HeaderKey::Method
        | HeaderKey::Path
        | HeaderKey::Authority
        | HeaderKey::Scheme
        | HeaderKey::Status) => request.value(pseudo).map(String::from_utf8_lossy),
    };
    value_fits(matcher, value)
}

/// Whether one header of a response fits.
pub(crate) fn response_header_fits(matcher: &HeaderMatcher, status: http::StatusCode, headers: &HeaderMap) -> bool {
    let value = match &matcher.name {
        HeaderKey::Name(name) => return field_fits(matcher, headers, name),
        HeaderKey::Status => Some(Cow::Borrowed(status.as_str())),
        HeaderKey::Method | HeaderKey::Path | HeaderKey::Authority | HeaderKey::Scheme => None,
    };
    let value = value.map(|value| value.into_owned());
    value_fits(matcher, value.as_deref().map(Cow::Borrowed))
}

/// Several lines of one name are looked at one by one: one that fits is enough, and inverted, none may.
fn field_fits(matcher: &HeaderMatcher, headers: &HeaderMap, name: &http::HeaderName) -> bool {
    let mut lines = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let Some(first) = lines.next() else {
        return value_fits(matcher, None);
    };
    let fits = |line: &Cow<'_, str>| matches(&matcher.value, line);
    (fits(&first) || lines.any(|line| fits(&line))) != matcher.invert
}

fn value_fits(matcher: &HeaderMatcher, value: Option<Cow<'_, str>>) -> bool {
    let value = match value {
        None if matcher.treat_missing_as_empty => Some(Cow::Borrowed("")),
        other => other,
    };
    match (&matcher.value, value.as_deref()) {
        (HeaderValueMatcher::Present(present), None) => *present == matcher.invert,
        // A missing header fits nothing, and inverting does not change that (Envoy API, HeaderMatcher.invert_match).
        (_, None) => false,
        (value, Some(text)) => matches(value, text) != matcher.invert,
    }
}

fn matches(matcher: &HeaderValueMatcher, value: &str) -> bool {
    match matcher {
        HeaderValueMatcher::Present(present) => *present,
        HeaderValueMatcher::String(string) => string.matches(value),
        HeaderValueMatcher::Range { start, end } => value
            .parse::<i64>()
            .is_ok_and(|number| (*start..*end).contains(&number)),
    }
}

/// Envoy compares query parameters as they are written, without decoding; the first of a name counts.
fn query_fits(matchers: &[QueryMatcher], query: &str) -> bool {
    let find = |name: &str| {
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    };
    matchers
        .iter()
        .all(|matcher| match (find(&matcher.name), &matcher.value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(value), Some(string)) => string.matches(value),
        })
}
