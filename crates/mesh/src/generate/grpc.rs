//! What gRPC clients are served that are their own data plane (`xds:///host:port`): the only place that knows how their xDS
//! differs from a proxy's (gRPC proposals A27, A28, A29, A44; Istio, "gRPC proxyless").
//!
//! A client asks for a listener by the name of its target, so there is one for every name of every service port. What gRPC
//! cannot carry out is left out where it changes only how well a call is served (outlier ejection, header changes); a service
//! that asks for TLS that gRPC cannot speak is not served at all.

use std::sync::Arc;

use weft_api::destination_rule::{ClientTls, ClientTlsMode};
use weft_proto::cluster_name::Outbound;
use weft_proto::xds::envoy::config::cluster::v3 as cluster_pb;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use super::hosts::{aliases, routes_of};
use super::route::{Scope, configuration, virtual_host};
use super::wire::{ads, any};
use super::{cluster, filters, mtls, tls};
use crate::snapshot::{GatewayRef, MeshService, Protocol, Resolution, ServicePort};
use crate::view::ProxyView;

/// The clusters that gRPC can use.
pub(super) fn clusters(view: &ProxyView) -> Vec<cluster_pb::Cluster> {
    let mut clusters = Vec::new();
    for (service, port) in ports(view.reachable()) {
        let rule = view.destination_rule(service);
        let names = rule
            .iter()
            .flat_map(|rule| &rule.rule.subsets)
            .map(|subset| Some(subset.name.as_str()));
        for subset in std::iter::once(None).chain(names) {
            let asked = rule.and_then(|rule| rule.rule.policy(subset, port.port).tls);
            let made = cluster::outbound(view, service, port, rule, subset);
            clusters.extend(adapt_cluster(view, service, port, asked.as_ref(), made));
        }
    }
    clusters
}

/// A listener for every name that a target may have.
pub(super) fn listeners(view: &ProxyView) -> Vec<listener::Listener> {
    let mut listeners = Vec::new();
    for (service, port) in ports(view.services()) {
        let manager = hcm::HttpConnectionManager {
            route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
                config_source: Some(ads()),
                route_config_name: route_name(service, port),
            })),
            http_filters: filters::of_grpc(),
            ..hcm::HttpConnectionManager::default()
        };
        let api = listener::ApiListener {
            api_listener: Some(any(&manager)),
        };
        listeners.extend(aliases(view, service).into_iter().map(|name| listener::Listener {
            name: format!("{name}:{}", port.port),
            api_listener: Some(api.clone()),
            ..listener::Listener::default()
        }));
    }
    listeners
}

/// The routes of every service port. The target alone decides which of them a call meets, so any authority fits.
pub(super) fn routes(view: &ProxyView) -> Vec<route::RouteConfiguration> {
    let mut configurations = Vec::new();
    for (service, port) in ports(view.services()) {
        let scope = Scope {
            view,
            gateway: &GatewayRef::Mesh,
            port: port.port,
        };
        let hostname = &service.key.hostname;
        let mut routes = routes_of(scope, service, service);
        routes.iter_mut().for_each(adapt_route);
        let host = virtual_host(format!("{hostname}:{}", port.port), vec!["*".to_owned()], routes);
        configurations.push(configuration(&route_name(service, port), vec![host], false));
    }
    configurations
}

fn route_name(service: &MeshService, port: &ServicePort) -> String {
    Outbound::new(port.port, None, &service.key.hostname).to_string()
}

/// The ports of some services that a call may go to.
fn ports(services: Vec<&Arc<MeshService>>) -> impl Iterator<Item = (&MeshService, &ServicePort)> {
    let carried = |port: &&ServicePort| port.protocol != Protocol::Udp && !port.protocol.is_tls();
    services
        .into_iter()
        .filter(|service| service.resolution != Resolution::None)
        .flat_map(move |service| service.ports.iter().filter(carried).map(move |port| (&**service, port)))
}

/// A proxy's cluster with what gRPC reads of it; `None` where its security cannot be kept.
fn adapt_cluster(
    view: &ProxyView,
    service: &MeshService,
    port: &ServicePort,
    asked: Option<&ClientTls>,
    made: cluster_pb::Cluster,
) -> Option<cluster_pb::Cluster> {
    use cluster_pb::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
    // Auto mTLS is a choice by endpoint, which gRPC does not have: mTLS must be asked for (as in Istio).
    let transport_socket = match asked.map(|tls| tls.mode) {
        None | Some(ClientTlsMode::Disable) => None,
        Some(ClientTlsMode::IstioMutual) => {
            let names = mtls::server_names(view, service, port, asked);
            Some(tls::grpc_client(&names))
        }
        Some(ClientTlsMode::Simple | ClientTlsMode::Mutual | ClientTlsMode::Unusable) => return None,
    };
    let eds = made.eds_cluster_config.is_some();
    let kind = if eds {
        DiscoveryType::Eds
    } else {
        DiscoveryType::LogicalDns
    };
    // gRPC resolves one name of a cluster (A37).
    let members = made.load_assignment.iter().flat_map(|found| &found.endpoints);
    if !eds && members.map(|group| group.lb_endpoints.len()).sum::<usize>() != 1 {
        return None;
    }
    Some(cluster_pb::Cluster {
        name: made.name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind as i32)),
        eds_cluster_config: made.eds_cluster_config,
        load_assignment: made.load_assignment,
        // The one policy that every gRPC implementation has.
        lb_policy: LbPolicy::RoundRobin as i32,
        circuit_breakers: made.circuit_breakers,
        transport_socket,
        metadata: made.metadata,
        ..cluster_pb::Cluster::default()
    })
}

/// gRPC has its own field for the time that a call may take (A31); header changes it does not have.
fn adapt_route(route: &mut route::Route) {
    route.request_headers_to_add.clear();
    route.request_headers_to_remove.clear();
    route.response_headers_to_add.clear();
    route.response_headers_to_remove.clear();
    // Faults are gRPC's too (A33), CORS is for browsers.
    route.typed_per_filter_config.retain(|name, _| name == filters::FAULT);
    let Some(route::route::Action::Route(action)) = &mut route.action else {
        return;
    };
    let limit = action
        .timeout
        .take()
        .filter(|limit| limit.seconds > 0 || limit.nanos > 0);
    action.max_stream_duration = limit.map(|limit| route::route_action::MaxStreamDuration {
        max_stream_duration: Some(limit),
        ..route::route_action::MaxStreamDuration::default()
    });
    if let Some(policy) = &mut action.retry_policy {
        policy.retry_host_predicate.clear();
        policy.host_selection_retry_max_attempts = 0;
    }
    if let Some(route::route_action::ClusterSpecifier::WeightedClusters(split)) = &mut action.cluster_specifier {
        for entry in &mut split.clusters {
            *entry = route::weighted_cluster::ClusterWeight {
                name: std::mem::take(&mut entry.name),
                weight: entry.weight.take(),
                ..route::weighted_cluster::ClusterWeight::default()
            };
        }
    }
}
