//! What a sidecar offers to its workload: the `http_proxy` listener with a route to everything that is visible.

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::config::route::v3 as route;

use super::authorization::Access;
use super::egress;
use super::hosts::{takes_all, virtual_hosts};
use super::http::{Routes, manager};
use super::route::{block_all, configuration};
use super::side::Side;
use super::wire::{ip_address, origin};
use crate::view::ProxyView;

/// Name of the route configuration of the `http_proxy` listener.
const HTTP_PROXY: &str = "http_proxy";

/// Adds the listeners for the workload, and the routes of those that its Sidecar binds; nothing for gateways.
pub(super) fn listeners(
    view: &ProxyView,
    listeners: &mut Vec<listener::Listener>,
    routes: &mut Vec<route::RouteConfiguration>,
) {
    if view.is_gateway() {
        return;
    }
    egress::generate(view, listeners, routes);
    let Some(port) = view.workload.outbound_port else {
        return;
    };
    let address = std::net::IpAddr::from([127, 0, 0, 1]);
    listeners.push(listener::Listener {
        name: format!("{address}_{port}"),
        address: Some(ip_address(address, port)),
        filter_chains: vec![listener::FilterChain {
            filters: vec![manager(
                view,
                Side::Outbound,
                "outbound_http_proxy",
                Routes::ByName(HTTP_PROXY.to_owned()),
                &Access::open(),
            )],
            ..listener::FilterChain::default()
        }],
        traffic_direction: core::TrafficDirection::Outbound as i32,
        metadata: Some(origin(&view.workload.origin, None, &view.workload.origin.place)),
        ..listener::Listener::default()
    });
}

/// The routes of the `http_proxy` listener, the same for all workloads of a scope; nothing for gateways.
pub(super) fn routes(view: &ProxyView) -> Vec<route::RouteConfiguration> {
    if view.is_gateway() || view.workload.outbound_port.is_none() {
        return Vec::new();
    }
    let mut hosts = virtual_hosts(view, |_, _| true, None);
    if !takes_all(&hosts) {
        hosts.push(block_all());
    }
    vec![configuration(HTTP_PROXY, hosts, false)]
}
