//! Listeners in front of the workload's ports, with the mTLS that PeerAuthentication asks of callers.

use std::time::Duration;

use weft_api::peer_authentication::MtlsMode;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as pb;
use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::extensions::filters::listener::{http_inspector, tls_inspector};

use super::cluster::inbound_name;
use super::http::{Routes, Side, manager, tcp};
use super::istio;
use super::tls::{MESH_ALPN, mesh_server};
use super::wire::{any, duration, ip_address, origin};
use crate::snapshot::{InboundPort, Interception, Protocol};
use crate::view::ProxyView;

/// Plaintext protocols that the inspector tells.
pub(super) const PLAIN_HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// One listener per port of the workload.
pub(super) fn listeners(view: &ProxyView) -> Vec<pb::Listener> {
    if view.workload.interception != Interception::None {
        // Redirected traffic comes in through one listener for all ports.
        return Vec::new();
    }
    let ports = view.snapshot.inbound.of(&view.workload.key);
    ports.iter().map(|port| listener(view, port)).collect()
}

fn listener(view: &ProxyView, port: &InboundPort) -> pb::Listener {
    let address = view.workload.address();
    let auto = port.protocol == Protocol::Auto;
    let http = port.protocol.is_http() || auto;
    let mut chains = Vec::new();
    if port.mtls != MtlsMode::Disable {
        let http_alpn: Vec<&str> = MESH_ALPN.iter().copied().filter(|p| p.starts_with("istio-h")).collect();
        let mesh = |name: &str, alpn: &[&str], filters| pb::FilterChain {
            name: name.to_owned(),
            filter_chain_match: Some(pb::FilterChainMatch {
                transport_protocol: "tls".to_owned(),
                application_protocols: alpn.iter().map(|p| (*p).to_owned()).collect(),
                ..pb::FilterChainMatch::default()
            }),
            filters,
            transport_socket: Some(mesh_server()),
            ..pb::FilterChain::default()
        };
        if http {
            chains.push(mesh("mtls-http", &http_alpn, vec![http_filter(view, port)]));
        }
        if !http || auto {
            chains.push(mesh(
                "mtls-tcp",
                &["istio", "istio-peer-exchange"],
                tcp_filters(view, port),
            ));
        }
    }
    if port.mtls != MtlsMode::Strict {
        plaintext_chains(view, port, http, auto, &mut chains);
    }
    let mut listener_filters = vec![inspector(
        "envoy.filters.listener.tls_inspector",
        any(&tls_inspector::v3::TlsInspector::default()),
    )];
    if auto && port.mtls != MtlsMode::Strict {
        let config = any(&http_inspector::v3::HttpInspector::default());
        listener_filters.push(inspector("envoy.filters.listener.http_inspector", config));
    }
    pb::Listener {
        name: format!("{address}_{}", port.mesh_port),
        address: Some(ip_address(address, port.mesh_port)),
        filter_chains: chains,
        listener_filters,
        listener_filters_timeout: Some(duration(Duration::from_secs(5))),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Inbound as i32,
        metadata: Some(origin(&view.workload.origin, None, &view.workload.origin.place)),
        ..pb::Listener::default()
    }
}

fn plaintext_chains(view: &ProxyView, port: &InboundPort, http: bool, auto: bool, chains: &mut Vec<pb::FilterChain>) {
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
        chains.push(plain("plain-http", "raw_buffer", &[], vec![http_filter(view, port)]));
    } else {
        if auto {
            chains.push(plain(
                "plain-http",
                "raw_buffer",
                &PLAIN_HTTP,
                vec![http_filter(view, port)],
            ));
        }
        chains.push(plain("plain-tcp", "raw_buffer", &[], tcp_filters(view, port)));
    }
    // TLS that the application itself terminates.
    chains.push(plain("foreign-tls", "tls", &[], tcp_filters(view, port)));
}

fn http_filter(view: &ProxyView, port: &InboundPort) -> pb::Filter {
    let cluster = inbound_name(port);
    let number = port.services.first().map_or(port.app_port, |(_, number)| *number);
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.clone())),
        timeout: Some(duration(Duration::ZERO)),
        ..route::RouteAction::default()
    };
    let all = route::Route {
        name: "default".to_owned(),
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
            ..route::RouteMatch::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..route::Route::default()
    };
    let config = route::RouteConfiguration {
        name: cluster,
        virtual_hosts: vec![route::VirtualHost {
            name: format!("inbound|http|{number}"),
            domains: vec!["*".to_owned()],
            routes: super::guard::routes(view).into_iter().chain([all]).collect(),
            ..route::VirtualHost::default()
        }],
        request_headers_to_remove: istio::headers_to_remove(view),
        ..route::RouteConfiguration::default()
    };
    let prefix = format!("inbound_{}", port.mesh_port);
    manager(view, Side::Inbound, &prefix, Routes::Inline(Box::new(config)))
}

fn tcp_filters(view: &ProxyView, port: &InboundPort) -> Vec<pb::Filter> {
    let cluster = inbound_name(port);
    let target = if super::guard::is_closed(view) {
        "BlackHoleCluster".to_owned()
    } else {
        cluster.clone()
    };
    tcp(view, &cluster, &[(target, 1)])
}

pub(super) fn inspector(name: &str, config: weft_proto::xds::google::protobuf::Any) -> pb::ListenerFilter {
    pb::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(pb::listener_filter::ConfigType::TypedConfig(config)),
        ..pb::ListenerFilter::default()
    }
}
