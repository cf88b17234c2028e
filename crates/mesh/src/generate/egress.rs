//! Listeners that a Sidecar's `egress` binds for the workload to connect to: HTTP, TLS by server name, bytes
//! (istio.io, "Sidecar", `IstioEgressListener`).
//!
//! The port of the listener need not be a port of the services behind it: a service with one port is reached at that
//! port, one with several needs the same number or a VirtualService.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use weft_api::meta::{Kind, Object, ObjectKey};
use weft_api::sidecar::{EgressListener, Sidecar, SidecarPort};
use weft_proto::cluster_name::Outbound;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as pb;
use weft_proto::xds::envoy::config::route::v3 as route;

use super::authorization::Access;
use super::hosts::{add_host, aliases};
use super::http::{Routes, manager, tcp};
use super::l4::{Split, tcp_split, tls_splits};
use super::listener_filters::{PLAIN_HTTP, http_inspector, tls_inspector};
use super::route::{Scope, block_all, configuration, of_rules, to_service};
use super::side::Side;
use super::wire::{duration, ip_address, origin};
use crate::snapshot::{GatewayRef, MeshService, MeshVirtualService, Origin, Protocol, ServicePort};
use crate::view::ProxyView;

/// Where a listener is bound that says nothing.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// How long a client may take to say what it speaks.
const INSPECTION_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// One listener with what it imports.
struct Bound<'a> {
    view: &'a ProxyView,
    port: u16,
    address: IpAddr,
    services: Vec<&'a Arc<MeshService>>,
    /// The more specific hosts first, those of one host winners first.
    rules: Vec<(&'a Arc<str>, &'a Arc<MeshVirtualService>)>,
}

/// Adds the listeners and the routes of those that speak HTTP.
pub(super) fn generate(
    view: &ProxyView,
    listeners: &mut Vec<pb::Listener>,
    routes: &mut Vec<route::RouteConfiguration>,
) {
    let Some(sidecar) = view.sidecar() else {
        return;
    };
    for listener in view.bound_egress() {
        if let Some(port) = &listener.port
            && let Some(made) = one(view, sidecar, listener, port, routes)
        {
            listeners.push(made);
        }
    }
}

fn one(
    view: &ProxyView,
    sidecar: &Arc<Object<Sidecar>>,
    source: &EgressListener,
    port: &SidecarPort,
    routes: &mut Vec<route::RouteConfiguration>,
) -> Option<pb::Listener> {
    let bound = Bound::new(view, source, port.number);
    let name = format!("{}_{}", bound.address, bound.port);
    let mut filter_chains = Vec::new();
    let mut listener_filters = Vec::new();
    if port.protocol.is_http() || port.protocol == Protocol::Auto {
        routes.push(configuration(&name, bound.virtual_hosts(), true));
        filter_chains.push(bound.http_chain(&name, port.protocol == Protocol::Auto));
    }
    if port.protocol == Protocol::Auto {
        listener_filters.push(http_inspector());
    }
    if port.protocol.is_tls() {
        listener_filters.push(tls_inspector());
        filter_chains.extend(bound.tls_chains());
    } else if !port.protocol.is_http()
        && let Some(split) = bound.tcp_target()
    {
        filter_chains.push(bound.tcp_chain(None, &split));
    }
    if filter_chains.is_empty() {
        return None;
    }
    let from = Origin {
        object: ObjectKey {
            kind: Kind::Sidecar,
            namespace: sidecar.meta.namespace.clone(),
            name: sidecar.meta.name.clone(),
        },
        place: sidecar.place.clone(),
    };
    Some(pb::Listener {
        address: Some(ip_address(bound.address, bound.port)),
        name,
        filter_chains,
        listener_filters,
        listener_filters_timeout: Some(duration(INSPECTION_TIME)),
        continue_on_listener_filters_timeout: port.protocol == Protocol::Auto,
        traffic_direction: core::TrafficDirection::Outbound as i32,
        metadata: Some(origin(&from, None, &sidecar.place_of(source.at))),
        ..pb::Listener::default()
    })
}

// === impl Bound ===

impl<'a> Bound<'a> {
    fn new(view: &'a ProxyView, source: &EgressListener, port: u16) -> Self {
        let namespace = view.namespace();
        let services = view.snapshot.services.visible_from(namespace);
        let rules = view.snapshot.virtual_services.of_gateway(&GatewayRef::Mesh, namespace);
        let mut rules: Vec<_> = rules
            .filter(|(host, rules)| source.imports_rules(namespace, &rules.object.meta.namespace, host))
            .collect();
        rules.sort_by_key(|(host, _)| weft_api::host::specificity(host));
        Self {
            view,
            port,
            address: source.bind.unwrap_or(LOOPBACK),
            services: services
                .filter(|service| source.imports(namespace, &service.key.namespace, &service.key.hostname))
                .collect(),
            rules,
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            view: self.view,
            gateway: &GatewayRef::Mesh,
            port: self.port,
        }
    }

    /// The port of a service that stands behind the listener: the one of the same number, else its only one.
    fn port_of<'s>(&self, service: &'s MeshService, fits: fn(Protocol) -> bool) -> Option<&'s ServicePort> {
        let same = service.port(self.port);
        let only = match service.ports.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        same.or(only).filter(|port| fits(port.protocol))
    }

    fn http_chain(&self, routes: &str, among_others: bool) -> pb::FilterChain {
        let protocols = PLAIN_HTTP.iter().map(|protocol| (*protocol).to_owned());
        pb::FilterChain {
            filter_chain_match: among_others.then(|| pb::FilterChainMatch {
                application_protocols: protocols.collect(),
                ..pb::FilterChainMatch::default()
            }),
            filters: vec![manager(
                self.view,
                Side::Outbound,
                &format!("outbound_{}_{}", self.address, self.port),
                Routes::ByName(routes.to_owned()),
                &Access::open(),
            )],
            ..pb::FilterChain::default()
        }
    }

    fn tcp_chain(&self, server_names: Option<Vec<String>>, split: &Split) -> pb::FilterChain {
        let prefix = match split.as_slice() {
            [(only, _)] => only.clone(),
            _ => format!("outbound_{}_{}", self.address, self.port),
        };
        pb::FilterChain {
            filter_chain_match: server_names.map(|server_names| pb::FilterChainMatch {
                server_names,
                ..pb::FilterChainMatch::default()
            }),
            filters: tcp(self.view, &prefix, split),
            ..pb::FilterChain::default()
        }
    }

    /// The first VirtualService with a rule for the port, else the first service that has a port for bytes.
    fn tcp_target(&self) -> Option<Split> {
        let mut rules = self.rules.iter();
        rules.find_map(|(_, rules)| tcp_split(self.scope(), rules)).or_else(|| {
            let mut services = self.services.iter();
            services.find_map(|service| {
                let port = self.port_of(service, |protocol| protocol.is_tcp() || protocol == Protocol::Auto)?;
                Some(vec![(
                    Outbound::new(port.port, None, &service.key.hostname).to_string(),
                    1,
                )])
            })
        })
    }

    /// Chains by server name: the rules of VirtualServices, then the hosts of services that speak TLS themselves.
    fn tls_chains(&self) -> Vec<pb::FilterChain> {
        let mut taken = BTreeSet::new();
        let mut chains = Vec::new();
        let ruled = self.rules.iter().flat_map(|(_, rules)| tls_splits(self.scope(), rules));
        let plain = self.services.iter().filter_map(|service| {
            let port = self.port_of(service, Protocol::is_tls)?;
            let split = vec![(Outbound::new(port.port, None, &service.key.hostname).to_string(), 1)];
            Some((vec![service.key.hostname.to_string()], split))
        });
        for (names, split) in ruled.chain(plain) {
            let names: Vec<String> = names.into_iter().filter(|name| taken.insert(name.clone())).collect();
            if !names.is_empty() {
                // A lone `*` is every name, which a chain says by naming none.
                let all = names.iter().any(|name| name == "*");
                chains.push(self.tcp_chain((!all).then_some(names), &split));
            }
        }
        chains
    }

    fn virtual_hosts(&self) -> Vec<route::VirtualHost> {
        let mut taken = BTreeSet::new();
        let mut hosts = Vec::new();
        let ruled = |hostname: &str| {
            let covering = self
                .rules
                .iter()
                .filter(|(host, _)| weft_api::host::covers(host, hostname));
            let first = covering.clone().next().map(|(host, _)| host)?;
            let mut routes = covering
                .filter(|(host, _)| host == first)
                .map(|(_, rules)| of_rules(self.scope(), rules));
            routes.find(|routes| !routes.is_empty())
        };
        for service in &self.services {
            let http = |protocol: Protocol| protocol.is_http() || protocol == Protocol::Auto;
            let port = self.port_of(service, http).map(|port| port.port);
            let routes = match (ruled(&service.key.hostname), port) {
                (Some(routes), _) => routes,
                (None, Some(port)) => vec![to_service(service, port)],
                (None, None) => continue,
            };
            let mut names = aliases(self.view, service);
            if self.services.len() == 1 {
                // With one service there is no question whom a client means that names the listener itself.
                names.extend(["localhost".to_owned(), self.address.to_string()]);
            }
            let name = format!("{}:{}", service.key.hostname, self.port);
            add_host(name, names, routes, &mut taken, &mut hosts);
        }
        for (host, rules) in &self.rules {
            let routes = of_rules(self.scope(), rules);
            let name = format!("{host}:{}", self.port);
            add_host(name, vec![host.to_string()], routes, &mut taken, &mut hosts);
        }
        if !taken.contains("*") {
            hosts.push(block_all());
        }
        hosts
    }
}
