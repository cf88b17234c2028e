//! Listeners in front of the workload's ports, with the mTLS that PeerAuthentication asks of callers.

use std::time::Duration;

use weft_api::peer_authentication::MtlsMode;
use weft_proto::cluster_name::ClusterName;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as pb;
use weft_proto::xds::envoy::config::route::v3 as route;

use super::authorization::Access;
use super::guard;
use super::http::{Routes, manager, tcp};
use super::istio;
use super::listener_filters::{PLAIN_HTTP, http_inspector, tls_inspector};
use super::side::Side;
use super::tls::{MESH_ALPN, mesh_server};
use super::wire::{duration, exact, ip_address, origin, uint32};
use crate::snapshot::{Capture, InboundPort, Protocol};
use crate::view::ProxyView;

/// One listener per port of the workload.
pub(super) fn listeners(view: &ProxyView) -> Vec<pb::Listener> {
    if view.workload.capture != Capture::None {
        // Redirected traffic comes in through one listener for all ports.
        return Vec::new();
    }
    let ports = view.snapshot.inbound.of(&view.workload.key);
    let access = Access::of(view);
    ports.iter().map(|port| listener(view, port, &access)).collect()
}

fn listener(view: &ProxyView, port: &InboundPort, access: &Access) -> pb::Listener {
    let address = view.workload.address();
    let target = Target::of_port(port);
    let mut listener_filters = vec![tls_inspector()];
    if target.protocol == Protocol::Auto && port.mtls != MtlsMode::Strict {
        listener_filters.push(http_inspector());
    }
    pb::Listener {
        name: format!("{address}_{}", port.mesh_port),
        address: Some(ip_address(address, port.mesh_port)),
        filter_chains: chains(view, &target, access),
        listener_filters,
        listener_filters_timeout: Some(duration(Duration::from_secs(5))),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Inbound as i32,
        metadata: Some(origin(&view.workload.origin, None, &view.workload.origin.place)),
        ..pb::Listener::default()
    }
}

/// Where connections of one kind go, and what callers must present.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) cluster: String,
    /// Number in the name of the virtual host.
    pub(super) number: u16,
    /// Prefix of statistics.
    pub(super) stat_prefix: String,
    /// What the application speaks.
    pub(super) protocol: Protocol,
    /// What callers must present.
    pub(super) mtls: MtlsMode,
}

impl Target {
    pub(super) fn of_port(port: &InboundPort) -> Self {
        Self {
            cluster: ClusterName::Inbound { port: port.number }.to_string(),
            number: port.services.first().map_or(port.app_port, |(_, number)| *number),
            stat_prefix: format!("inbound_{}", port.mesh_port),
            protocol: port.protocol,
            mtls: port.mtls,
        }
    }
}

/// The chains of a target: HTTP and bytes over mesh mTLS, and both in plaintext where that is let in.
pub(super) fn chains(view: &ProxyView, target: &Target, access: &Access) -> Vec<pb::FilterChain> {
    let auto = target.protocol == Protocol::Auto;
    let http = target.protocol.is_http() || auto;
    let mut chains = Vec::new();
    if target.mtls != MtlsMode::Disable {
        let http_alpn: Vec<&str> = MESH_ALPN.iter().copied().filter(|p| p.starts_with("istio-h")).collect();
        let mesh = |name: &str, alpn: &[&str], filters| pb::FilterChain {
            name: name.to_owned(),
            filter_chain_match: Some(pb::FilterChainMatch {
                transport_protocol: "tls".to_owned(),
                application_protocols: alpn.iter().map(|p| (*p).to_owned()).collect(),
                ..pb::FilterChainMatch::default()
            }),
            filters,
            transport_socket: Some(mesh_server(&[])),
            ..pb::FilterChain::default()
        };
        if http {
            chains.push(mesh("mtls-http", &http_alpn, vec![http_filter(view, target, access)]));
        }
        if !http || auto {
            let alpn = ["istio", "istio-peer-exchange"];
            chains.push(mesh("mtls-tcp", &alpn, tcp_filters(view, target, access)));
        }
    }
    if target.mtls != MtlsMode::Strict {
        plaintext_chains(view, target, access, &mut chains);
    }
    chains
}

fn plaintext_chains(view: &ProxyView, target: &Target, access: &Access, chains: &mut Vec<pb::FilterChain>) {
    let auto = target.protocol == Protocol::Auto;
    let http = target.protocol.is_http() || auto;
    let plain = |name: &str, transport: &str, alpn: &[&str], filters| pb::FilterChain {
        name: name.to_owned(),
        filter_chain_match: Some(pb::FilterChainMatch {
            transport_protocol: transport.to_owned(),
            application_protocols: alpn.iter().map(|p| (*p).to_owned()).collect(),
            ..pb::FilterChainMatch::default()
        }),
        filters,
        ..pb::FilterChain::default()
    };
    if http && !auto {
        chains.push(plain(
            "plain-http",
            "raw_buffer",
            &[],
            vec![http_filter(view, target, access)],
        ));
    } else {
        if auto {
            let filter = http_filter(view, target, access);
            chains.push(plain("plain-http", "raw_buffer", &PLAIN_HTTP, vec![filter]));
        }
        chains.push(plain("plain-tcp", "raw_buffer", &[], tcp_filters(view, target, access)));
    }
    // TLS that the application itself terminates.
    chains.push(plain("foreign-tls", "tls", &[], tcp_filters(view, target, access)));
}

fn http_filter(view: &ProxyView, target: &Target, access: &Access) -> pb::Filter {
    let cluster = &target.cluster;
    let mut application = everything_to(cluster);
    if let Some(route::route::Action::Route(action)) = &mut application.action {
        action.retry_policy = Some(once_more());
    }
    let config = route::RouteConfiguration {
        name: cluster.clone(),
        virtual_hosts: vec![route::VirtualHost {
            name: format!("inbound|http|{}", target.number),
            domains: vec!["*".to_owned()],
            routes: guard::routes(view).into_iter().chain([application]).collect(),
            ..route::VirtualHost::default()
        }],
        request_headers_to_remove: istio::headers_to_remove(view),
        ..route::RouteConfiguration::default()
    };
    let routes = Routes::Inline(Box::new(config));
    manager(view, Side::Inbound, &target.stat_prefix, routes, access)
}

/// Sends what may be sent twice (RFC 9110, section 9.2.1) once more when the application closes the connection without an answer. One
/// that ends closes connections that seem idle to it, while requests are on their way to it (docs/decisions/0068).
fn once_more() -> route::RetryPolicy {
    let method = |method: &str| route::HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(exact(method))),
        ..route::HeaderMatcher::default()
    };
    route::RetryPolicy {
        retry_on: "reset".to_owned(),
        num_retries: Some(uint32(1)),
        retriable_request_headers: ["GET", "HEAD", "OPTIONS"].map(method).to_vec(),
        ..route::RetryPolicy::default()
    }
}

/// Every request to one cluster, however long it takes.
pub(super) fn everything_to(cluster: &str) -> route::Route {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        timeout: Some(duration(Duration::ZERO)),
        ..route::RouteAction::default()
    };
    route::Route {
        name: "default".to_owned(),
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
            ..route::RouteMatch::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..route::Route::default()
    }
}

fn tcp_filters(view: &ProxyView, target: &Target, access: &Access) -> Vec<pb::Filter> {
    let forward = tcp(view, &target.cluster, &[(target.cluster.clone(), 1)]);
    access.connections().chain(forward).collect()
}
