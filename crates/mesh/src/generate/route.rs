//! The routes of one host: a VirtualService's rules, or everything to the service.

use std::time::Duration;

use weft_api::matching::{Destination, HeaderOps, Headers, StringMatch};
use weft_api::meta::{Kind, ObjectKey, selects};
use weft_api::virtual_service::{
    HttpAction, HttpDestination, HttpMatch, HttpRoute, Redirect, RedirectPort, Retries, Rewrite,
};
use weft_proto::cluster_name::Outbound;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::route::v3 as pb;
use weft_proto::xds::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;

use super::http::UNDELIVERED;
use super::wire::{any, boolean, duration, origin, regex, uint32};
use super::{filters, route_match};
use crate::snapshot::{GatewayRef, MeshService, MeshVirtualService, Origin};
use crate::view::ProxyView;

/// Retry conditions where a rule names none (Istio's default).
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// Condition under which an answer with [`UNDELIVERED`] is one to send again.
const RETRIABLE_HEADERS: &str = "retriable-headers";

/// What a host's routes are made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) view: &'a ProxyView,
    /// Which gateway's rules apply.
    pub(super) gateway: &'a GatewayRef,
    /// Port that clients use.
    pub(super) port: u16,
}

/// The routes of a VirtualService, up to the first rule that takes everything.
pub(super) fn of_rules(scope: Scope<'_>, rules: &MeshVirtualService) -> Vec<pb::Route> {
    let object = &rules.object;
    let from = Origin {
        object: ObjectKey {
            kind: Kind::VirtualService,
            namespace: object.meta.namespace.clone(),
            name: object.meta.name.clone(),
        },
        place: object.place.clone(),
    };
    let mut routes = Vec::new();
    for (index, rule) in object.spec.http.iter().enumerate() {
        let metadata = origin(&from, Some(index), &object.place_of(rule.at));
        let matches: Vec<&HttpMatch> = rule.matches.iter().filter(|m| applies(scope, rules, m)).collect();
        if matches.is_empty() && !rule.matches.is_empty() {
            continue;
        }
        if rule.matches.is_empty() {
            routes.push(one(scope, rules, rule, None, metadata.clone()));
        }
        for matched in matches {
            routes.push(one(scope, rules, rule, Some(matched), metadata.clone()));
        }
        let narrowed = rule.matches.iter().any(|m| !applies(scope, rules, m));
        if route_match::is_catch_all(rule) && !narrowed {
            break;
        }
    }
    routes
}

/// Everything to a service's port.
pub(super) fn to_service(service: &MeshService, port: u16) -> pb::Route {
    let action = pb::RouteAction {
        cluster_specifier: Some(pb::route_action::ClusterSpecifier::Cluster(
            Outbound::new(port, None, &service.key.hostname).to_string(),
        )),
        timeout: Some(duration(Duration::ZERO)),
        retry_policy: Some(retry_policy(None)),
        ..pb::RouteAction::default()
    };
    pb::Route {
        name: "default".to_owned(),
        r#match: Some(route_match::any_request()),
        action: Some(pb::route::Action::Route(action)),
        metadata: Some(origin(&service.origin, None, &service.origin.place)),
        ..pb::Route::default()
    }
}

/// Whether a match can hold at all for this proxy and port.
fn applies(scope: Scope<'_>, rules: &MeshVirtualService, matched: &HttpMatch) -> bool {
    let workload = &scope.view.workload;
    !matched.never
        && matched.port.is_none_or(|port| port == scope.port)
        && rules.match_applies(&matched.gateways, scope.gateway)
        && selects(&matched.source_labels, &workload.labels)
        && matched
            .source_namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == *workload.key.namespace)
}

fn one(
    scope: Scope<'_>,
    rules: &MeshVirtualService,
    rule: &HttpRoute,
    matched: Option<&HttpMatch>,
    metadata: core::Metadata,
) -> pb::Route {
    let name = match (&rule.name, matched.and_then(|matched| matched.name.as_ref())) {
        (Some(rule), Some(matched)) => format!("{rule}.{matched}"),
        (Some(name), None) | (None, Some(name)) => name.clone(),
        (None, None) => String::new(),
    };
    let mut route = pb::Route {
        name,
        r#match: Some(matched.map_or_else(route_match::any_request, route_match::request)),
        metadata: Some(metadata),
        ..pb::Route::default()
    };
    route.typed_per_filter_config = filters::of_rule(rule);
    let headers = &rule.headers;
    route.request_headers_to_add = additions(&headers.request);
    route.request_headers_to_remove.clone_from(&headers.request.remove);
    route.response_headers_to_add = additions(&headers.response);
    route.response_headers_to_remove.clone_from(&headers.response.remove);
    route.action = Some(match &rule.action {
        HttpAction::Route(destinations) => {
            pb::route::Action::Route(forward(scope, rules, rule, matched, destinations, &mut route))
        }
        HttpAction::Redirect(action) => pb::route::Action::Redirect(redirect(action, scope.port)),
        HttpAction::DirectResponse(action) => pb::route::Action::DirectResponse(pb::DirectResponseAction {
            status: u32::from(action.status),
            body: (!action.body.is_empty()).then(|| core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineBytes(action.body.clone())),
                ..core::DataSource::default()
            }),
            ..pb::DirectResponseAction::default()
        }),
    });
    route
}

fn forward(
    scope: Scope<'_>,
    rules: &MeshVirtualService,
    rule: &HttpRoute,
    matched: Option<&HttpMatch>,
    destinations: &[HttpDestination],
    route: &mut pb::Route,
) -> pb::RouteAction {
    use pb::route_action::{ClusterSpecifier, HostRewriteSpecifier};
    let mut action = pb::RouteAction {
        timeout: Some(duration(rule.timeout.unwrap_or_default())),
        retry_policy: retries(rule.retries.as_ref()),
        ..pb::RouteAction::default()
    };
    if let Some(rewrite) = &rule.rewrite {
        rewrite_path(rewrite, matched, &mut action);
        let host = rewrite.authority.clone();
        action.host_rewrite_specifier = host.map(HostRewriteSpecifier::HostRewriteLiteral);
    }
    let name = |destination: &Destination| destination_cluster(scope, rules, destination);
    action.cluster_specifier = Some(match destinations {
        [only] => {
            merge_headers(&only.headers, route);
            ClusterSpecifier::Cluster(name(&only.destination))
        }
        several => ClusterSpecifier::WeightedClusters(pb::WeightedCluster {
            clusters: several
                .iter()
                .map(|entry| pb::weighted_cluster::ClusterWeight {
                    name: name(&entry.destination),
                    weight: Some(uint32(entry.weight)),
                    request_headers_to_add: additions(&entry.headers.request),
                    request_headers_to_remove: entry.headers.request.remove.clone(),
                    response_headers_to_add: additions(&entry.headers.response),
                    response_headers_to_remove: entry.headers.response.remove.clone(),
                    ..pb::weighted_cluster::ClusterWeight::default()
                })
                .collect(),
            ..pb::WeightedCluster::default()
        }),
    });
    action
}

fn merge_headers(headers: &Headers, route: &mut pb::Route) {
    route.request_headers_to_add.extend(additions(&headers.request));
    route
        .request_headers_to_remove
        .extend(headers.request.remove.iter().cloned());
    route.response_headers_to_add.extend(additions(&headers.response));
    route
        .response_headers_to_remove
        .extend(headers.response.remove.iter().cloned());
}

/// The cluster of a destination. Its port may be left out where the service has one, or has the port that clients use.
pub(super) fn destination_cluster(scope: Scope<'_>, rules: &MeshVirtualService, destination: &Destination) -> String {
    let host = rules.resolve(&destination.host);
    let service = scope.view.snapshot.services.lookup(&host, scope.view.namespace());
    let only = service.and_then(|service| match service.ports.as_slice() {
        [only] => Some(only.port),
        _ => None,
    });
    let port = destination.port.or(only).unwrap_or(scope.port);
    Outbound::new(port, destination.subset.as_deref(), &host).to_string()
}

fn rewrite_path(rewrite: &Rewrite, matched: Option<&HttpMatch>, action: &mut pb::RouteAction) {
    if let Some((source, replacement)) = &rewrite.uri_regex {
        action.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
            pattern: Some(regex(source)),
            substitution: replacement.clone(),
        });
        return;
    }
    let Some(uri) = &rewrite.uri else {
        return;
    };
    match matched.and_then(|matched| matched.uri.as_ref()) {
        // There is no prefix to replace in an expression: the whole path is.
        Some(StringMatch::Regex(source)) => {
            action.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
                pattern: Some(regex(source)),
                substitution: uri.replace('\\', "\\\\"),
            });
        }
        None | Some(StringMatch::Exact(_) | StringMatch::Prefix(_)) => action.prefix_rewrite.clone_from(uri),
    }
}

fn redirect(source: &Redirect, client_port: u16) -> pb::RedirectAction {
    use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let path = match (&source.uri, &source.prefix_rewrite) {
        (Some(uri), _) => Some(PathRewriteSpecifier::PathRedirect(uri.clone())),
        (None, Some(prefix)) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.clone())),
        (None, None) => None,
    };
    let port = match &source.port {
        None | Some(RedirectPort::ProtocolDefault) => 0,
        Some(RedirectPort::Number(port)) => u32::from(*port),
        Some(RedirectPort::Request) => u32::from(client_port),
    };
    let code = match source.code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    pb::RedirectAction {
        host_redirect: source.authority.clone().unwrap_or_default(),
        port_redirect: port,
        response_code: code as i32,
        scheme_rewrite_specifier: source.scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path,
        ..pb::RedirectAction::default()
    }
}

/// A rule's retries; no attempts switch them off.
fn retries(source: Option<&Retries>) -> Option<pb::RetryPolicy> {
    match source {
        Some(retries) if retries.attempts == 0 => None,
        other => Some(retry_policy(other)),
    }
}

/// Istio's default is two retries on another endpoint.
fn retry_policy(source: Option<&Retries>) -> pb::RetryPolicy {
    let on = source.and_then(|retries| retries.on.as_ref());
    let mut conditions = on.map_or_else(
        || vec![RETRY_ON],
        |on| on.conditions.iter().map(String::as_str).collect(),
    );
    if on.is_some_and(|on| !on.status_codes.is_empty()) {
        conditions.push("retriable-status-codes");
    }
    conditions.push(RETRIABLE_HEADERS);
    let avoid = source.and_then(|retries| retries.ignore_previous_hosts).unwrap_or(true);
    let predicate = pb::retry_policy::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(pb::retry_policy::retry_host_predicate::ConfigType::TypedConfig(any(
            &PreviousHostsPredicate {},
        ))),
    };
    pb::RetryPolicy {
        retry_on: conditions.join(","),
        num_retries: Some(uint32(source.map_or(2, |retries| retries.attempts))),
        per_try_timeout: source.and_then(|retries| retries.per_try_timeout).map(duration),
        retry_host_predicate: if avoid { vec![predicate] } else { Vec::new() },
        host_selection_retry_max_attempts: 5,
        retriable_headers: vec![pb::HeaderMatcher {
            name: UNDELIVERED.to_owned(),
            header_match_specifier: Some(pb::header_matcher::HeaderMatchSpecifier::PresentMatch(true)),
            ..pb::HeaderMatcher::default()
        }],
        retriable_status_codes: on
            .iter()
            .flat_map(|on| &on.status_codes)
            .map(|code| u32::from(*code))
            .collect(),
        retry_back_off: source
            .and_then(|retries| retries.backoff)
            .map(|base| pb::retry_policy::RetryBackOff {
                base_interval: Some(duration(base)),
                max_interval: None,
            }),
        ..pb::RetryPolicy::default()
    }
}

fn additions(ops: &HeaderOps) -> Vec<core::HeaderValueOption> {
    use core::header_value_option::HeaderAppendAction;
    let option = |(name, value): &(String, String), action: HeaderAppendAction| core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: name.clone(),
            value: value.clone(),
            ..core::HeaderValue::default()
        }),
        append_action: action as i32,
        ..core::HeaderValueOption::default()
    };
    let set = ops
        .set
        .iter()
        .map(|entry| option(entry, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = ops
        .add
        .iter()
        .map(|entry| option(entry, HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add).collect()
}

/// Every request to the same place with TLS.
pub(super) fn to_tls() -> pb::Route {
    let action = pb::RedirectAction {
        scheme_rewrite_specifier: Some(pb::redirect_action::SchemeRewriteSpecifier::HttpsRedirect(true)),
        ..pb::RedirectAction::default()
    };
    pb::Route {
        name: "https".to_owned(),
        r#match: Some(route_match::any_request()),
        action: Some(pb::route::Action::Redirect(action)),
        ..pb::Route::default()
    }
}

/// The answer to hosts that nobody registered: 502 as of a black hole.
pub(super) fn block_all() -> pb::VirtualHost {
    let direct = pb::DirectResponseAction {
        status: 502,
        ..pb::DirectResponseAction::default()
    };
    pb::VirtualHost {
        name: "block_all".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![pb::Route {
            name: "block_all".to_owned(),
            r#match: Some(route_match::any_request()),
            action: Some(pb::route::Action::DirectResponse(direct)),
            ..pb::Route::default()
        }],
        include_request_attempt_count: true,
        ..pb::VirtualHost::default()
    }
}

/// A virtual host as gateways and sidecars have it: endpoints are told how often a request was tried (`x-envoy-attempt-count`).
pub(super) fn virtual_host(name: String, domains: Vec<String>, routes: Vec<pb::Route>) -> pb::VirtualHost {
    pb::VirtualHost {
        name,
        domains,
        routes,
        include_request_attempt_count: true,
        ..pb::VirtualHost::default()
    }
}

/// Istio never looks at the port of a host name.
pub(super) fn configuration(
    name: &str,
    virtual_hosts: Vec<pb::VirtualHost>,
    ignore_port: bool,
) -> pb::RouteConfiguration {
    pb::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        // Between proxies; where all attempts failed the client has no use for it.
        response_headers_to_remove: vec![UNDELIVERED.to_owned()],
        validate_clusters: Some(boolean(false)),
        ignore_port_in_host_matching: ignore_port,
        max_direct_response_body_size_bytes: Some(uint32(1 << 20)),
        ..pb::RouteConfiguration::default()
    }
}
