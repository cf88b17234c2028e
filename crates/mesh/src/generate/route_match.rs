//! Istio's request matches as Envoy's.

use weft_api::matching::{StringMatch, ValueMatch};
use weft_api::virtual_service::{HttpMatch, HttpRoute};
use weft_proto::xds::envoy::config::route::v3 as pb;
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;

use super::wire::{boolean, exact, regex};

/// The match of a rule without criteria.
pub(super) fn any_request() -> pb::RouteMatch {
    pb::RouteMatch {
        path_specifier: Some(pb::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..pb::RouteMatch::default()
    }
}

/// One match of a rule; what does not depend on the request (port, source) was decided before.
pub(super) fn request(source: &HttpMatch) -> pb::RouteMatch {
    use pb::route_match::PathSpecifier;
    let path = match &source.uri {
        None => PathSpecifier::Prefix("/".to_owned()),
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(StringMatch::Prefix(path)) => PathSpecifier::Prefix(path.clone()),
        Some(StringMatch::Regex(source)) => PathSpecifier::SafeRegex(regex(source)),
    };
    let mut headers = Vec::new();
    let pseudo = [
        (":scheme", &source.scheme),
        (":method", &source.method),
        (":authority", &source.authority),
    ];
    for (name, value) in pseudo {
        if let Some(value) = value {
            headers.push(header(name, &ValueMatch::Value(value.clone()), false));
        }
    }
    headers.extend(source.headers.iter().map(|(name, value)| header(name, value, false)));
    headers.extend(
        source
            .without_headers
            .iter()
            .map(|(name, value)| header(name, value, true)),
    );
    pb::RouteMatch {
        path_specifier: Some(path),
        case_sensitive: source.ignore_uri_case.then(|| boolean(false)),
        headers,
        query_parameters: source
            .query_params
            .iter()
            .map(|(name, value)| query(name, value))
            .collect(),
        ..pb::RouteMatch::default()
    }
}

/// Whether a rule matches every request, so that those after it are never reached.
pub(super) fn is_catch_all(rule: &HttpRoute) -> bool {
    let all = |m: &HttpMatch| {
        let path = matches!(&m.uri, None | Some(StringMatch::Prefix(_))) && m.uri.as_ref().is_none_or(is_root);
        path && m.scheme.is_none()
            && m.method.is_none()
            && m.authority.is_none()
            && m.headers.is_empty()
            && m.without_headers.is_empty()
            && m.query_params.is_empty()
    };
    rule.matches.is_empty() || rule.matches.iter().any(all)
}

/// Whether a route takes every request that comes to it.
pub(super) fn takes_every_request(route: &pb::Route) -> bool {
    use pb::route_match::PathSpecifier;
    route.r#match.as_ref().is_some_and(|matched| {
        matches!(&matched.path_specifier, Some(PathSpecifier::Prefix(path)) if path == "/")
            && matched.headers.is_empty()
            && matched.query_parameters.is_empty()
    })
}

fn is_root(uri: &StringMatch) -> bool {
    matches!(uri, StringMatch::Prefix(path) if path == "/")
}

fn header(name: &str, value: &ValueMatch, invert: bool) -> pb::HeaderMatcher {
    use pb::header_matcher::HeaderMatchSpecifier;
    let specifier = match value {
        ValueMatch::Present => HeaderMatchSpecifier::PresentMatch(true),
        ValueMatch::Value(value) => HeaderMatchSpecifier::StringMatch(string(value)),
    };
    pb::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        // An absent header satisfies "without" as well (Istio API, `HTTPMatchRequest.without_headers`).
        treat_missing_header_as_empty: invert && matches!(value, ValueMatch::Value(_)),
        invert_match: invert,
    }
}

fn query(name: &str, value: &ValueMatch) -> pb::QueryParameterMatcher {
    use pb::query_parameter_matcher::QueryParameterMatchSpecifier;
    let specifier = match value {
        ValueMatch::Present => QueryParameterMatchSpecifier::PresentMatch(true),
        ValueMatch::Value(value) => QueryParameterMatchSpecifier::StringMatch(string(value)),
    };
    pb::QueryParameterMatcher {
        name: name.to_owned(),
        query_parameter_match_specifier: Some(specifier),
    }
}

pub(super) fn string(source: &StringMatch) -> matcher::StringMatcher {
    use matcher::string_matcher::MatchPattern;
    let pattern = match source {
        StringMatch::Exact(value) => return exact(value),
        StringMatch::Prefix(value) => MatchPattern::Prefix(value.clone()),
        StringMatch::Regex(source) => MatchPattern::SafeRegex(regex(source)),
    };
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: false,
    }
}
