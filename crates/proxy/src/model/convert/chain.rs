//! Filter chains: TLS, what connections pass, and who serves them.

use std::time::Duration;

use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use weft_proto::xds::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use weft_proto::xds::google::protobuf::Any;

use super::access_log::access_logs;
use super::http::{connection_manager, edge, filter_config, http_filters, route_source};
use super::policies::enforces;
use super::{Path, Result, duration, holds, optional_duration, text, tls, uint32, unpack};
use crate::model::listener as model;
use crate::model::network_filters::{self, NetworkFilterConfig};

/// Longest handshake where `transport_socket_connect_timeout` is not set. Envoy then has no bound.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// A chain whose match is good. All else of it may be refused, each for itself: what closes it (TLS, routes, filters) never waits for
/// what does not.
pub(super) fn filter_chain(
    source: &listener::FilterChain,
    matches: model::ChainMatch,
    at: &Path,
) -> Result<model::FilterChain> {
    let tls = at
        .field("transport_socket")
        .part(|at| tls::downstream(source.transport_socket.as_ref(), at))?;
    let taken = at.field("filters").part(|at| filters(&source.filters, at))?;
    let timeout = at.part(|at| {
        duration(
            source.transport_socket_connect_timeout.as_ref(),
            HANDSHAKE_TIMEOUT,
            &at.field("transport_socket_connect_timeout"),
        )
    })?;
    let refused = |taken| (Vec::new(), model::ChainAction::Refused(taken));
    let (filters, action) = match (&tls, &timeout, taken) {
        // Without TLS nothing of it may be served, whatever was before.
        (None, _, _) => refused(model::Taken::Nothing),
        (Some(_), _, None) => refused(model::Taken::Tls),
        (Some(_), Some(_), Some(taken)) => taken,
        (Some(_), None, Some((filters, action))) => (filters, without_settings(action)),
    };
    Ok(model::FilterChain {
        name: text(&source.name),
        matches,
        tls: tls.flatten(),
        transport_connect_timeout: timeout.unwrap_or(HANDSHAKE_TIMEOUT),
        filters,
        action,
    })
}

/// What is good of an action whose chain is refused in something else.
fn without_settings(action: model::ChainAction) -> model::ChainAction {
    model::ChainAction::Refused(match action {
        model::ChainAction::Http(manager) => {
            let manager = *manager;
            model::Taken::Http(Box::new(model::TakenHttp {
                routes: Some(manager.routes),
                filters: Some((manager.filters, manager.left_out)),
                edge: None,
            }))
        }
        model::ChainAction::Tcp(tcp) => model::Taken::Clusters(tcp.clusters),
        model::ChainAction::Refused(taken) => taken,
    })
}

/// The list of a chain: filters, and what the last one does. Where it leads to, and what its filters ask, is taken also where the rest is
/// refused.
fn filters(source: &[listener::Filter], at: &Path) -> Result<Served> {
    let Some((last, before)) = source.split_last() else {
        return Err(at.error("needs http_connection_manager or tcp_proxy"));
    };
    let at_last = at.index(before.len()).field("typed_config");
    let any = typed_config(last, &at_last)?;
    let refused = |taken| (Vec::new(), model::ChainAction::Refused(taken));
    let polices = before.iter().any(|filter| typed_config(filter, at).is_ok_and(enforces));
    if holds::<HttpConnectionManager>(any) {
        let source: HttpConnectionManager = unpack(any, &at_last)?;
        let taken = http(&source, before, at, &at_last)?;
        return Ok(taken.unwrap_or_else(|taken| {
            // A policy that is not understood may refuse anything.
            refused(if polices { model::Taken::Nothing } else { taken })
        }));
    }
    let source: tcp_proxy::TcpProxy = unpack(any, &at_last)?;
    let clusters = tcp_clusters(&source, &at_last)?;
    let taken = at.part(|at| {
        let proxy = tcp(&source, clusters.clone(), &at_last)?;
        Ok((listed(before, at)?, model::ChainAction::Tcp(Box::new(proxy))))
    })?;
    let rest = if polices {
        model::Taken::Nothing
    } else {
        model::Taken::Clusters(clusters)
    };
    Ok(taken.unwrap_or_else(|| refused(rest)))
}

type Served = (Vec<NetworkFilterConfig>, model::ChainAction);

/// A connection manager with the filters before it, or what is good of it.
fn http(
    source: &HttpConnectionManager,
    before: &[listener::Filter],
    at: &Path,
    at_last: &Path,
) -> Result<std::result::Result<Served, model::Taken>> {
    let routes = route_source(source, at_last)?;
    let filters = at_last.field("http_filters").part(|at| http_filters(source, at))?;
    let settings = at.part(|at| {
        let listed = listed(before, at)?;
        for (index, filter) in listed.iter().enumerate() {
            if let Some(reason) = filter.not_before_http() {
                return Err(at.index(index).field("typed_config").error(reason));
            }
        }
        Ok((listed, connection_manager(source, at_last)?))
    })?;
    Ok(match (routes, filters, settings) {
        (Some(routes), Some(filters), Some((listed, mut manager))) => {
            manager.routes = routes;
            manager.filters = filters.before;
            manager.left_out = filters.left_out;
            manager.suppress_envoy_headers = filters.router.suppress_envoy_headers;
            Ok((listed, model::ChainAction::Http(Box::new(manager))))
        }
        (_, None, _) if source.http_filters.iter().filter_map(filter_config).any(enforces) => {
            Err(model::Taken::Nothing)
        }
        (routes, filters, _) => Err(model::Taken::Http(Box::new(model::TakenHttp {
            routes,
            filters: filters.map(|filters| (filters.before, filters.left_out)),
            edge: edge(source, at_last).ok(),
        }))),
    })
}

/// The filters before the last.
fn listed(source: &[listener::Filter], at: &Path) -> Result<Vec<NetworkFilterConfig>> {
    let one = |(index, filter): (usize, &listener::Filter)| {
        let at = at.index(index).field("typed_config");
        let any = typed_config(filter, &at)?;
        let config = network_filters::read(any, &at)?;
        config.ok_or_else(|| at.error(misplaced(any)))
    };
    source.iter().enumerate().map(one).collect()
}

/// Why something is no filter before the last.
fn misplaced(any: &Any) -> String {
    if holds::<HttpConnectionManager>(any) || holds::<tcp_proxy::TcpProxy>(any) {
        return "must be the last filter".to_owned();
    }
    format!("{} is not supported", any.type_url)
}

fn typed_config<'a>(filter: &'a listener::Filter, at: &Path) -> Result<&'a Any> {
    match &filter.config_type {
        Some(listener::filter::ConfigType::TypedConfig(any)) => Ok(any),
        Some(listener::filter::ConfigType::ConfigDiscovery(_)) | None => Err(at.error("is required")),
    }
}

fn tcp_clusters(source: &tcp_proxy::TcpProxy, at: &Path) -> Result<Vec<model::WeightedTarget>> {
    use tcp_proxy::tcp_proxy::ClusterSpecifier;
    let clusters = match &source.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![model::WeightedTarget {
            cluster: text(name),
            weight: 1,
        }],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let target = |entry: &tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight| model::WeightedTarget {
                cluster: text(&entry.name),
                weight: entry.weight,
            };
            weighted.clusters.iter().map(target).collect()
        }
        _ => return Err(at.error("needs cluster or weighted_clusters")),
    };
    if clusters.iter().map(|target| u64::from(target.weight)).sum::<u64>() == 0 {
        return Err(at.field("weighted_clusters").error("the weights must not all be zero"));
    }
    Ok(clusters)
}

fn tcp(source: &tcp_proxy::TcpProxy, clusters: Vec<model::WeightedTarget>, at: &Path) -> Result<model::TcpProxy> {
    Ok(model::TcpProxy {
        stat_prefix: text(&source.stat_prefix),
        clusters,
        idle_timeout: duration(
            source.idle_timeout.as_ref(),
            Duration::from_secs(3600),
            &at.field("idle_timeout"),
        )?,
        connect_attempts_max: uint32(source.max_connect_attempts.as_ref(), 1).max(1),
        duration_max: optional_duration(
            source.max_downstream_connection_duration.as_ref(),
            &at.field("max_downstream_connection_duration"),
        )?,
        access_logs: access_logs(&source.access_log, &at.field("access_log"))?,
    })
}
