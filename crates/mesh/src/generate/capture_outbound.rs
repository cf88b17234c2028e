//! `virtualOutbound` and the listeners that it hands connections to: by the address and port that the application dialled.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use weft_proto::cluster_name::{BLACK_HOLE, PASSTHROUGH};
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as pb;
use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::extensions::filters::common::set_filter_state::v3 as filter_state;
use weft_proto::xds::envoy::extensions::filters::network::set_filter_state::v3::Config;

use super::authorization::Access;
use super::capture::{DETECTION_BUDGET, OUTBOUND_PORT, everywhere, loop_guard};
use super::capture_services::{Bind, Claim, Match, Place, binds, sniffed_name};
use super::hosts::{takes_all, virtual_hosts};
use super::http::{Routes, manager, tcp};
use super::inbound::everything_to;
use super::listener_filters::{PLAIN_HTTP, http_inspector, tls_inspector};
use super::original::is_captured;
use super::route::{block_all, configuration, virtual_host};
use super::side::Side;
use super::wire::{any, boolean, duration, ip_address, network_filter, origin, uint32};
use crate::snapshot::{MeshService, ServicePort};
use crate::view::ProxyView;

const NAME: &str = "virtualOutbound";

/// The listeners that connections are handed to, the same for all workloads of a scope; none where traffic is not redirected.
pub(super) fn listeners(view: &ProxyView) -> Vec<pb::Listener> {
    if !is_captured(view) {
        return Vec::new();
    }
    let binds = binds(view);
    binds.iter().map(|(place, bind)| listener(view, *place, bind)).collect()
}

pub(super) fn routes(view: &ProxyView) -> Vec<route::RouteConfiguration> {
    if !is_captured(view) {
        return Vec::new();
    }
    let mut routes = Vec::new();
    let mut sniffed = BTreeSet::new();
    for ((number, at), bind) in binds(view) {
        let Some(name) = bind.http else {
            continue;
        };
        if at.is_some() {
            sniffed.insert(name);
            continue;
        }
        let mut hosts = virtual_hosts(view, |_, port| port.port == number, Some(number));
        if !takes_all(&hosts) {
            hosts.push(unregistered(view));
        }
        routes.push(configuration(&name, hosts, true));
    }
    for service in view.services() {
        for port in &service.ports {
            let name = sniffed_name(service, port.port);
            if !sniffed.contains(&name) {
                continue;
            }
            let own = |own: &MeshService, other: &ServicePort| own.key == service.key && other.port == port.port;
            let mut hosts = virtual_hosts(view, own, Some(port.port));
            // It was dialled by its address: whatever the host is called, the service is meant.
            hosts.truncate(1);
            for host in &mut hosts {
                host.domains = vec!["*".to_owned()];
            }
            routes.push(configuration(&name, hosts, true));
        }
    }
    routes
}

/// Adds the listener that everything is redirected to, where it is. What no other listener takes goes where it was meant to go,
/// or nowhere.
pub(super) fn capturing(view: &ProxyView, listeners: &mut Vec<pb::Listener>) {
    if !is_captured(view) {
        return;
    }
    let (address, additional_addresses) = everywhere(view, OUTBOUND_PORT);
    listeners.push(pb::Listener {
        name: NAME.to_owned(),
        address,
        additional_addresses,
        use_original_dst: Some(boolean(true)),
        filter_chains: vec![
            loop_guard(view, "virtualOutbound-blackhole", OUTBOUND_PORT),
            pb::FilterChain {
                name: "virtualOutbound-catchall-tcp".to_owned(),
                filters: passthrough(view),
                ..pb::FilterChain::default()
            },
        ],
        traffic_direction: core::TrafficDirection::Outbound as i32,
        metadata: Some(origin(&view.workload.origin, None, &view.workload.origin.place)),
        ..pb::Listener::default()
    });
}

/// Bytes to an address that nobody registered.
fn passthrough(view: &ProxyView) -> Vec<pb::Filter> {
    let cluster = if view.registry_only() { BLACK_HOLE } else { PASSTHROUGH };
    tcp(view, cluster, &[(cluster.to_owned(), 1)])
}

/// Requests for a host that nobody registered.
fn unregistered(view: &ProxyView) -> route::VirtualHost {
    if view.registry_only() {
        return block_all();
    }
    let mut to_original = everything_to(PASSTHROUGH);
    to_original.name = "allow_any".to_owned();
    virtual_host("allow_any".to_owned(), vec!["*".to_owned()], vec![to_original])
}

fn listener(view: &ProxyView, place: Place, bind: &Bind) -> pb::Listener {
    let (port, at) = place;
    let (address, additional_addresses) = match at {
        Some(address) => (Some(ip_address(address, port)), Vec::new()),
        None => everywhere(view, port),
    };
    let mut chains: Vec<pb::FilterChain> = bind.http.iter().map(|name| http(view, port, name)).collect();
    let mut rest = None;
    for claim in &bind.claims {
        let filters = bytes(view, claim);
        let matches = match &claim.matches {
            Match::Everything => {
                rest = Some(filters);
                continue;
            }
            Match::Ranges(ranges) => pb::FilterChainMatch {
                prefix_ranges: ranges.iter().filter_map(|range| cidr(range)).collect(),
                ..pb::FilterChainMatch::default()
            },
            Match::Names(names) => pb::FilterChainMatch {
                server_names: names.clone(),
                transport_protocol: "tls".to_owned(),
                ..pb::FilterChainMatch::default()
            },
        };
        chains.push(pb::FilterChain {
            filter_chain_match: Some(matches),
            filters,
            metadata: Some(origin(&claim.origin, None, &claim.origin.place)),
            ..pb::FilterChain::default()
        });
    }
    let mut default = pb::FilterChain {
        name: "PassthroughFilterChain".to_owned(),
        filters: passthrough(view),
        ..pb::FilterChain::default()
    };
    if let Some(filters) = rest {
        default.name = String::new();
        default.filters = filters;
    }
    let inspects = !chains.is_empty();
    let default_filter_chain = if inspects {
        Some(default)
    } else {
        chains.push(default);
        None
    };
    let first = bind.claims.first();
    pb::Listener {
        name: format!(
            "{}_{port}",
            at.map_or_else(|| "0.0.0.0".to_owned(), |at: IpAddr| at.to_string())
        ),
        address,
        additional_addresses,
        bind_to_port: Some(boolean(false)),
        filter_chains: chains,
        default_filter_chain,
        listener_filters: if inspects {
            vec![tls_inspector(), http_inspector()]
        } else {
            Vec::new()
        },
        // A client of a service that says that it speaks HTTP is waited for, however long it takes.
        listener_filters_timeout: Some(duration(if bind.declared_http {
            Duration::ZERO
        } else {
            DETECTION_BUDGET
        })),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Outbound as i32,
        metadata: first.map(|claim| origin(&claim.origin, None, &claim.origin.place)),
        ..pb::Listener::default()
    }
}

fn http(view: &ProxyView, port: u16, routes: &str) -> pb::FilterChain {
    pb::FilterChain {
        name: format!("outbound-http-{port}"),
        filter_chain_match: Some(pb::FilterChainMatch {
            transport_protocol: "raw_buffer".to_owned(),
            application_protocols: PLAIN_HTTP.iter().map(|protocol| (*protocol).to_owned()).collect(),
            ..pb::FilterChainMatch::default()
        }),
        filters: vec![manager(
            view,
            Side::Outbound,
            &format!("outbound_{port}"),
            Routes::ByName(routes.to_owned()),
            &Access::open(),
        )],
        ..pb::FilterChain::default()
    }
}

/// The filters of a claim. Where the port does not say what it speaks, these bytes are no HTTP, and the peer is told by ALPN.
fn bytes(view: &ProxyView, claim: &Claim) -> Vec<pb::Filter> {
    let prefix = claim.clusters.first().map_or("", |(name, _)| name);
    let told = claim.auto.then(no_http);
    told.into_iter().chain(tcp(view, prefix, &claim.clusters)).collect()
}

fn no_http() -> pb::Filter {
    use core::substitution_format_string::Format;
    use filter_state::filter_state_value::{Key, SharedWithUpstream, Value};
    let protocols = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString("istio".to_owned())),
        ..core::DataSource::default()
    };
    let value = filter_state::FilterStateValue {
        key: Some(Key::ObjectKey("envoy.network.application_protocols".to_owned())),
        value: Some(Value::FormatString(core::SubstitutionFormatString {
            format: Some(Format::TextFormatSource(protocols)),
            ..core::SubstitutionFormatString::default()
        })),
        shared_with_upstream: SharedWithUpstream::Once as i32,
        ..filter_state::FilterStateValue::default()
    };
    let config = Config {
        on_new_connection: vec![value],
        ..Config::default()
    };
    network_filter("envoy.filters.network.set_filter_state", any(&config))
}

fn cidr(range: &str) -> Option<core::CidrRange> {
    let (address, length) = range.split_once('/')?;
    Some(core::CidrRange {
        address_prefix: address.to_owned(),
        prefix_len: Some(uint32(length.parse().ok()?)),
    })
}
