//! Route configurations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::matcher::{header_matchers, query_matchers};
use super::route_headers::mutations;
use super::route_retry::retry;
use super::virtual_host::{closed_routes, virtual_host};
use super::{
    Path, Result, boolean, compile_regex, data_source, duration, enumeration, fraction, full_regex, header_name,
    optional_duration, origin, required, status, substitution, text, uint32,
};
use crate::model::filters::overrides;
use crate::model::http::Upgrade;
use crate::model::listener::WeightedTarget;
use crate::model::route as model;
use crate::model::secret::DataSource;

/// Longest body of a direct response in bytes where the configuration sets no other bound.
const DIRECT_BODY_BYTES_MAX: usize = 4096;

/// One route configuration. Virtual hosts are taken also where what it says of all of them is refused.
pub fn route_config(source: &route::RouteConfiguration, at: &Path) -> Result<model::RouteConfig> {
    let body_max = uint32(
        source.max_direct_response_body_size_bytes.as_ref(),
        DIRECT_BODY_BYTES_MAX as u32,
    ) as usize;
    let mut virtual_hosts = Vec::with_capacity(source.virtual_hosts.len());
    let mut domains = HashMap::new();
    for (index, host) in source.virtual_hosts.iter().enumerate() {
        let at = at.field("virtual_hosts").index(index);
        let at = at.owned_by(&format!("virtual host {:?}", host.name));
        virtual_hosts.push(virtual_host(host, &mut domains, body_max, &at)?);
    }
    let settings = at.part(|at| settings(source, at))?;
    let settings = settings.unwrap_or_else(|| closed_routes(&source.name));
    Ok(model::RouteConfig {
        virtual_hosts,
        ..settings
    })
}

/// What a route configuration says of all its virtual hosts.
fn settings(source: &route::RouteConfiguration, at: &Path) -> Result<model::RouteConfig> {
    if boolean(source.validate_clusters.as_ref(), false) {
        let at = at.field("validate_clusters");
        return Err(at.error("only false is supported: a cluster may come after the routes to it"));
    }
    let internal = source.internal_only_headers.iter();
    let at_internal = at.field("internal_only_headers");
    Ok(model::RouteConfig {
        name: text(&source.name),
        virtual_hosts: Vec::new(),
        headers: mutations(
            &source.request_headers_to_add,
            &source.request_headers_to_remove,
            &source.response_headers_to_add,
            &source.response_headers_to_remove,
            at,
        )?,
        internal_only_headers: internal
            .map(|name| header_name(name, &at_internal))
            .collect::<Result<_>>()?,
        most_specific_header_mutations_wins: source.most_specific_header_mutations_wins,
        ignore_port_in_host_matching: source.ignore_port_in_host_matching,
        filters: overrides(&source.typed_per_filter_config, at)?,
        refused: false,
    })
}

/// A route with its match; `None` where that was refused.
pub(super) fn one_route(
    source: &route::Route,
    matches: Option<model::RouteMatch>,
    body_max: usize,
    at: &Path,
) -> Result<Option<model::Route>> {
    use route::route::Action;
    let action = match &source.action {
        Some(Action::Route(action)) => model::RouteAction::Forward(Box::new(forward(action, &at.field("route"))?)),
        Some(Action::Redirect(action)) => {
            model::RouteAction::Redirect(Box::new(redirect(action, &at.field("redirect"))?))
        }
        Some(Action::DirectResponse(action)) => {
            model::RouteAction::Direct(direct(action, body_max, &at.field("direct_response"))?)
        }
        _ => return Err(at.error("needs route, redirect or direct_response")),
    };
    let headers = mutations(
        &source.request_headers_to_add,
        &source.request_headers_to_remove,
        &source.response_headers_to_add,
        &source.response_headers_to_remove,
        at,
    )?;
    let filters = overrides(&source.typed_per_filter_config, at)?;
    Ok(matches.map(|matches| model::Route {
        name: text(&source.name),
        matches,
        action,
        waits: false,
        headers,
        filters,
        origin: origin(source.metadata.as_ref()),
    }))
}

pub(super) fn route_match(source: &route::RouteMatch, at: &Path) -> Result<model::RouteMatch> {
    use route::route_match::PathSpecifier as Specifier;
    let case_sensitive = boolean(source.case_sensitive.as_ref(), true);
    let path = match &source.path_specifier {
        Some(Specifier::Prefix(path)) => model::PathMatch::Prefix {
            path: text(path),
            case_sensitive,
        },
        Some(Specifier::Path(path)) => model::PathMatch::Exact {
            path: text(path),
            case_sensitive,
        },
        Some(Specifier::PathSeparatedPrefix(path)) => {
            if !path.starts_with('/') || path.ends_with('/') || path.contains(['?', '#']) {
                let at = at.field("path_separated_prefix");
                return Err(at.error(format!(
                    "{path:?} must start with a slash, not end with one, and have no ? or #"
                )));
            }
            model::PathMatch::SeparatedPrefix {
                path: text(path),
                case_sensitive,
            }
        }
        Some(Specifier::SafeRegex(regex)) => {
            model::PathMatch::Regex(full_regex(&regex.regex, &at.field("safe_regex").field("regex"))?)
        }
        Some(Specifier::ConnectMatcher(_)) => model::PathMatch::Connect,
        _ => return Err(at.error("needs prefix, path, path_separated_prefix, safe_regex or connect_matcher")),
    };
    let share = source
        .runtime_fraction
        .as_ref()
        .and_then(|fraction| fraction.default_value.as_ref());
    Ok(model::RouteMatch {
        path,
        headers: header_matchers(&source.headers, &at.field("headers"))?,
        query: query_matchers(&source.query_parameters, &at.field("query_parameters"))?,
        grpc: source.grpc.is_some(),
        fraction: share
            .map(|share| fraction(share, &at.field("runtime_fraction")))
            .transpose()?,
    })
}

fn forward(source: &route::RouteAction, at: &Path) -> Result<model::Forward> {
    use route::route_action::{ClusterNotFoundResponseCode as NotFound, HostRewriteSpecifier as Host};
    let not_found = enumeration(
        source.cluster_not_found_response_code,
        at,
        "cluster_not_found_response_code",
    )?;
    let regex = source.regex_rewrite.as_ref();
    let path_rewrite = match (source.prefix_rewrite.as_str(), regex) {
        ("", None) => None,
        (prefix, None) => Some(model::PathRewrite::Prefix(text(prefix))),
        ("", Some(rewrite)) => Some(regex_rewrite(rewrite, &at.field("regex_rewrite"))?),
        (_, Some(_)) => return Err(at.field("regex_rewrite").error("excludes prefix_rewrite")),
    };
    let host_rewrite = match &source.host_rewrite_specifier {
        None => None,
        Some(Host::HostRewriteLiteral(host)) => Some(model::HostRewrite::Literal(text(host))),
        Some(Host::AutoHostRewrite(auto)) => boolean(Some(auto), false).then_some(model::HostRewrite::Endpoint),
        Some(Host::HostRewriteHeader(name)) => Some(model::HostRewrite::Header(header_name(
            name,
            &at.field("host_rewrite_header"),
        )?)),
        Some(Host::HostRewritePathRegex(rewrite)) => {
            let (pattern, substitution) = pattern(rewrite, &at.field("host_rewrite_path_regex"))?;
            Some(model::HostRewrite::PathRegex { pattern, substitution })
        }
        Some(_) => return Err(at.error("host_rewrite is not supported")),
    };
    let longest = source.max_stream_duration.as_ref();
    let at_longest = at.field("max_stream_duration");
    let grpc_max = longest
        .and_then(|longest| longest.grpc_timeout_header_max.as_ref())
        .or(source.max_grpc_timeout.as_ref());
    Ok(model::Forward {
        target: target(source, at)?,
        cluster_not_found_status: match not_found {
            NotFound::ServiceUnavailable => ::http::StatusCode::SERVICE_UNAVAILABLE,
            NotFound::NotFound => ::http::StatusCode::NOT_FOUND,
            NotFound::InternalServerError => ::http::StatusCode::INTERNAL_SERVER_ERROR,
        },
        path_rewrite,
        host_rewrite,
        append_x_forwarded_host: source.append_x_forwarded_host,
        timeout: duration(source.timeout.as_ref(), Duration::from_secs(15), &at.field("timeout"))?,
        idle_timeout: optional_duration(source.idle_timeout.as_ref(), &at.field("idle_timeout"))?,
        grpc_timeout_max: optional_duration(grpc_max, &at.field("max_grpc_timeout"))?,
        stream_duration_max: optional_duration(
            longest.and_then(|longest| longest.max_stream_duration.as_ref()),
            &at_longest,
        )?,
        retry: retry(source.retry_policy.as_ref(), &at.field("retry_policy"))?,
        upgrades: (source.upgrade_configs.iter())
            .map(|config| Upgrade {
                protocol: text(&config.upgrade_type.to_ascii_lowercase()),
                enabled: boolean(config.enabled.as_ref(), true),
                ends_here: config.connect_config.is_some(),
            })
            .collect(),
    })
}

fn target(source: &route::RouteAction, at: &Path) -> Result<model::Target> {
    use route::route_action::ClusterSpecifier as Specifier;
    Ok(match &source.cluster_specifier {
        Some(Specifier::Cluster(name)) => model::Target::Cluster(text(name)),
        Some(Specifier::ClusterHeader(name)) => model::Target::Header(header_name(name, &at.field("cluster_header"))?),
        Some(Specifier::WeightedClusters(weighted)) => {
            let at = at.field("weighted_clusters").field("clusters");
            let mut clusters = Vec::with_capacity(weighted.clusters.len());
            for (index, entry) in weighted.clusters.iter().enumerate() {
                clusters.push(weighted_cluster(entry, &at.index(index))?);
            }
            if clusters
                .iter()
                .map(|cluster| u64::from(cluster.target.weight))
                .sum::<u64>()
                == 0
            {
                return Err(at.error("the weights must not all be zero"));
            }
            model::Target::Weighted(clusters)
        }
        _ => return Err(at.error("needs cluster, cluster_header or weighted_clusters")),
    })
}

fn weighted_cluster(source: &route::weighted_cluster::ClusterWeight, at: &Path) -> Result<model::WeightedCluster> {
    use route::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    Ok(model::WeightedCluster {
        target: WeightedTarget {
            cluster: text(&source.name),
            weight: uint32(source.weight.as_ref(), 0),
        },
        headers: mutations(
            &source.request_headers_to_add,
            &source.request_headers_to_remove,
            &source.response_headers_to_add,
            &source.response_headers_to_remove,
            at,
        )?,
        host_rewrite: (source.host_rewrite_specifier.as_ref())
            .map(|HostRewriteSpecifier::HostRewriteLiteral(host)| text(host)),
        filters: overrides(&source.typed_per_filter_config, at)?,
    })
}

fn regex_rewrite(source: &RegexMatchAndSubstitute, at: &Path) -> Result<model::PathRewrite> {
    let (pattern, substitution) = pattern(source, at)?;
    Ok(model::PathRewrite::Regex { pattern, substitution })
}

fn pattern(source: &RegexMatchAndSubstitute, at: &Path) -> Result<(regex::Regex, Arc<str>)> {
    let pattern = required(source.pattern.as_ref(), at, "pattern")?;
    let regex = compile_regex(&pattern.regex, &at.field("pattern").field("regex"))?;
    Ok((regex, substitution(&source.substitution, &at.field("substitution"))?))
}

fn redirect(source: &route::RedirectAction, at: &Path) -> Result<model::Redirect> {
    use route::redirect_action::{
        PathRewriteSpecifier as PathSpec, RedirectResponseCode as Code, SchemeRewriteSpecifier as Scheme,
    };
    let path = match &source.path_rewrite_specifier {
        None => None,
        Some(PathSpec::PathRedirect(path)) => Some(model::PathRewrite::Full(text(path))),
        Some(PathSpec::PrefixRewrite(prefix)) => Some(model::PathRewrite::Prefix(text(prefix))),
        Some(PathSpec::RegexRewrite(rewrite)) => Some(regex_rewrite(rewrite, &at.field("regex_rewrite"))?),
        Some(PathSpec::PathRewrite(_)) => return Err(at.field("path_rewrite").error("is not supported")),
    };
    let optional = |value: &str| (!value.is_empty()).then(|| text(value));
    Ok(model::Redirect {
        scheme: match &source.scheme_rewrite_specifier {
            Some(Scheme::SchemeRedirect(scheme)) => optional(scheme),
            _ => None,
        },
        https: matches!(source.scheme_rewrite_specifier, Some(Scheme::HttpsRedirect(true))),
        host: optional(&source.host_redirect),
        port: match source.port_redirect {
            0 => None,
            port => Some(u16::try_from(port).map_err(|_| at.field("port_redirect").error("is not a port"))?),
        },
        path,
        status: match enumeration(source.response_code, at, "response_code")? {
            Code::MovedPermanently => ::http::StatusCode::MOVED_PERMANENTLY,
            Code::Found => ::http::StatusCode::FOUND,
            Code::SeeOther => ::http::StatusCode::SEE_OTHER,
            Code::TemporaryRedirect => ::http::StatusCode::TEMPORARY_REDIRECT,
            Code::PermanentRedirect => ::http::StatusCode::PERMANENT_REDIRECT,
        },
        strip_query: source.strip_query,
    })
}

fn direct(source: &route::DirectResponseAction, body_max: usize, at: &Path) -> Result<model::DirectResponse> {
    let at_body = at.field("body");
    let body = match &source.body {
        None => bytes::Bytes::new(),
        Some(body) => match data_source(body, &at_body)? {
            DataSource::Inline(bytes) => bytes,
            DataSource::File(path) => std::fs::read(&path)
                .map_err(|error| at_body.error(format!("cannot read {}: {error}", path.display())))?
                .into(),
        },
    };
    if body.len() > body_max {
        return Err(at_body.error(format!("has {} bytes, at most {body_max} are allowed", body.len())));
    }
    Ok(model::DirectResponse {
        status: status(source.status, &at.field("status"))?,
        body,
    })
}
