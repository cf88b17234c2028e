//! Whether a request satisfies a route's criteria beside its path.

use std::borrow::Cow;

use http::HeaderMap;

use crate::model::matcher::{HeaderKey, HeaderMatcher, HeaderValueMatcher, QueryMatcher};
use crate::model::route::RouteMatch;
use crate::request::RequestHead;

/// Whether headers, query and share fit. `random` is uniform over all 64-bit numbers.
pub fn criteria_fit(criteria: &RouteMatch, request: &RequestHead, random: u64) -> bool {
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
pub fn header_fits(matcher: &HeaderMatcher, request: &RequestHead) -> bool {
    let value = match &matcher.name {
        HeaderKey::Name(name) => joined(&request.headers, name),
        pseudo @ (HeaderKey::Method
        | HeaderKey::Path
        | HeaderKey::Authority
        | HeaderKey::Scheme
        | HeaderKey::Status) => request.value(pseudo).map(String::from_utf8_lossy),
    };
    value_fits(matcher, value)
}

/// Whether one header of a response fits.
pub fn response_header_fits(matcher: &HeaderMatcher, status: http::StatusCode, headers: &HeaderMap) -> bool {
    let value = match &matcher.name {
        HeaderKey::Name(name) => joined(headers, name),
        HeaderKey::Status => Some(Cow::Borrowed(status.as_str())),
        HeaderKey::Method | HeaderKey::Path | HeaderKey::Authority | HeaderKey::Scheme => None,
    };
    let value = value.map(|value| value.into_owned());
    value_fits(matcher, value.as_deref().map(Cow::Borrowed))
}

fn value_fits(matcher: &HeaderMatcher, value: Option<Cow<'_, str>>) -> bool {
    let value = match value {
        None if matcher.treat_missing_as_empty => Some(Cow::Borrowed("")),
        other => other,
    };
    let fits = match (&matcher.value, value.as_deref()) {
        (HeaderValueMatcher::Present(present), value) => value.is_some() == *present,
        // A missing header fits nothing, and inverting does not change that (Envoy API, HeaderMatcher.invert_match).
        (_, None) => return false,
        (HeaderValueMatcher::String(string), Some(value)) => string.matches(value),
        (HeaderValueMatcher::Range { start, end }, Some(value)) => value
            .parse::<i64>()
            .is_ok_and(|number| (*start..*end).contains(&number)),
    };
    fits != matcher.invert
}

/// The value of a header, several joined by a comma, as Envoy reads them.
fn joined<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter();
    let first = String::from_utf8_lossy(values.next()?.as_bytes());
    let Some(second) = values.next() else {
        return Some(first);
    };
    let mut all = first.into_owned();
    for value in std::iter::once(second).chain(values) {
        all.push(',');
        all.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    Some(Cow::Owned(all))
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
