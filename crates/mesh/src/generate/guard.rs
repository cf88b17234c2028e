//! Routes of sidecars and gateways that refuse tokens, which are not checked yet (decision record 37).

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;

use crate::snapshot::TokenPlace;
use crate::view::ProxyView;

/// Routes before all others: 401 for requests with a token that nobody checks.
pub(super) fn routes(view: &ProxyView) -> Vec<route::Route> {
    let places = view
        .snapshot
        .authorization
        .token_places(view.namespace(), &view.workload.labels);
    let refused = places.iter().map(|place| {
        let message = "tokens cannot be checked here, so none is accepted";
        refuse("token", at(place), 401, message)
    });
    refused.collect()
}

/// A request with a token at a place.
fn at(place: &TokenPlace) -> route::RouteMatch {
    let header = |name: &str, specifier| route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(
            matcher::StringMatcher {
                match_pattern: Some(specifier),
                ..matcher::StringMatcher::default()
            },
        )),
        ..route::HeaderMatcher::default()
    };
    use matcher::string_matcher::MatchPattern;
    let (mut headers, mut parameters) = (Vec::new(), Vec::new());
    match place {
        TokenPlace::Header(name, prefix) if prefix.is_empty() => headers.push(route::HeaderMatcher {
            name: name.clone(),
            header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::PresentMatch(true)),
            ..route::HeaderMatcher::default()
        }),
        TokenPlace::Header(name, prefix) => headers.push(header(name, MatchPattern::Prefix(prefix.clone()))),
        TokenPlace::Cookie(name) => {
            let pattern = format!("(.*; ?)?{}=.*", regex::escape(name));
            headers.push(header("cookie", MatchPattern::SafeRegex(super::wire::regex(&pattern))));
        }
        TokenPlace::Param(name) => parameters.push(route::QueryParameterMatcher {
            name: name.clone(),
            query_parameter_match_specifier: Some(
                route::query_parameter_matcher::QueryParameterMatchSpecifier::PresentMatch(true),
            ),
        }),
    }
    route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        headers,
        query_parameters: parameters,
        ..route::RouteMatch::default()
    }
}

fn refuse(name: &str, matching: route::RouteMatch, status: u32, message: &str) -> route::Route {
    let body = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(message.to_owned())),
        ..core::DataSource::default()
    };
    route::Route {
        name: name.to_owned(),
        r#match: Some(matching),
        action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
            status,
            body: Some(body),
            ..route::DirectResponseAction::default()
        })),
        ..route::Route::default()
    }
}
