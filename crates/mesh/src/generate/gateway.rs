//! What a gateway offers to the outside: the servers of the Gateway objects that choose it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weft_api::gateway::{Gateway, Server, ServerTlsMode};
use weft_api::host;
use weft_api::meta::{Kind, Object, ObjectKey};
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::config::route::v3 as route;

use super::http::{Routes, manager, tcp};
use super::l4::{tcp_split, tls_splits};
use super::listener_filters::tls_inspector;
use super::route::{Scope, configuration, of_rules, virtual_host};
use super::side::Side;
use super::tls::gateway_server;
use super::wire::{duration, ip_address, origin};
use crate::snapshot::{GatewayRef, Origin, Protocol};
use crate::view::ProxyView;

/// A server with the object that it belongs to.
struct Bound<'a> {
    object: &'a Arc<Object<Gateway>>,
    server: &'a Server,
}

/// Adds the listeners of a gateway and their routes; nothing for sidecars.
pub(super) fn generate(
    view: &ProxyView,
    listeners: &mut Vec<listener::Listener>,
    routes: &mut Vec<route::RouteConfiguration>,
) {
    let mut by_port: BTreeMap<u16, Vec<Bound<'_>>> = BTreeMap::new();
    for object in view.gateways() {
        for server in &object.spec.servers {
            by_port.entry(server.port).or_default().push(Bound { object, server });
        }
    }
    for (port, servers) in by_port {
        // A port that the gateway does not bind is reported by the snapshot's diagnostics.
        let Some(local_port) = view.workload.gateway_port(port) else {
            continue;
        };
        if let Some(listener) = port_listener(view, port, local_port, &servers, routes) {
            listeners.push(listener);
        }
    }
}

fn port_listener(
    view: &ProxyView,
    port: u16,
    local_port: u16,
    servers: &[Bound<'_>],
    routes: &mut Vec<route::RouteConfiguration>,
) -> Option<listener::Listener> {
    let plain: Vec<&Bound<'_>> = servers.iter().filter(|bound| is_plain_http(bound.server)).collect();
    let mut chains = Vec::new();
    if !plain.is_empty() {
        let name = format!("http.{port}");
        routes.push(configuration(&name, virtual_hosts(view, port, &plain), true));
        chains.push(listener::FilterChain {
            filters: vec![manager(
                view,
                Side::Gateway,
                &format!("gateway_{port}"),
                Routes::ByName(name),
            )],
            ..listener::FilterChain::default()
        });
    } else {
        for bound in servers {
            chains.extend(other_chains(view, port, bound, routes));
        }
    }
    let first = servers.first()?;
    if chains.is_empty() {
        return None;
    }
    let address = view.workload.bind_address();
    let tls = plain.is_empty();
    let inspectors = tls.then(tls_inspector);
    Some(listener::Listener {
        name: format!("{address}_{local_port}"),
        address: Some(ip_address(address, local_port)),
        filter_chains: chains,
        listener_filters: inspectors.into_iter().collect(),
        listener_filters_timeout: Some(duration(Duration::from_secs(10))),
        metadata: Some(origin(
            &origin_of(first.object),
            None,
            &first.object.place_of(first.server.at),
        )),
        ..listener::Listener::default()
    })
}

fn is_plain_http(server: &Server) -> bool {
    let terminates = server.tls.as_ref().is_some_and(|tls| !tls.https_redirect);
    server.protocol.is_http() && !terminates
}

/// Chains of a server with TLS, or of bytes.
fn other_chains(
    view: &ProxyView,
    port: u16,
    bound: &Bound<'_>,
    routes: &mut Vec<route::RouteConfiguration>,
) -> Vec<listener::FilterChain> {
    let server = bound.server;
    let names = server
        .hosts
        .iter()
        .map(|host| host.host.clone())
        .filter(|host| host != "*")
        .collect();
    let matches = listener::FilterChainMatch {
        server_names: names,
        ..listener::FilterChainMatch::default()
    };
    match &server.tls {
        Some(tls) if tls.mode == ServerTlsMode::Passthrough => passthrough(view, port, bound),
        Some(tls) => {
            let http = server.protocol == Protocol::Https || server.protocol.is_http();
            let meta = &bound.object.meta;
            let filters = if http {
                let name = format!("https.{port}.{}.{}.{}", server.port_name, meta.name, meta.namespace);
                routes.push(configuration(&name, virtual_hosts(view, port, &[bound]), true));
                vec![manager(
                    view,
                    Side::Gateway,
                    &format!("gateway_{port}"),
                    Routes::ByName(name),
                )]
            } else {
                let clusters = tcp_clusters(view, port, bound);
                if clusters.is_empty() {
                    return Vec::new();
                }
                tcp(view, &format!("gateway_{port}"), &clusters)
            };
            vec![listener::FilterChain {
                filter_chain_match: Some(matches),
                filters,
                transport_socket: gateway_server(tls, http),
                ..listener::FilterChain::default()
            }]
        }
        None => {
            let clusters = tcp_clusters(view, port, bound);
            let filters = (!clusters.is_empty()).then(|| tcp(view, &format!("gateway_{port}"), &clusters));
            let chain = |filters| listener::FilterChain {
                filters,
                ..listener::FilterChain::default()
            };
            filters.map(chain).into_iter().collect()
        }
    }
}

/// Chains by server name, from the `tls` rules of VirtualServices.
fn passthrough(view: &ProxyView, port: u16, bound: &Bound<'_>) -> Vec<listener::FilterChain> {
    let gateway = reference(bound.object);
    let mut chains = Vec::new();
    for rules in view
        .snapshot
        .virtual_services
        .iter()
        .filter(|rules| rules.gateways.contains(&gateway))
    {
        let scope = Scope {
            view,
            gateway: &gateway,
            port,
        };
        for (server_names, clusters) in tls_splits(scope, rules) {
            chains.push(listener::FilterChain {
                filter_chain_match: Some(listener::FilterChainMatch {
                    server_names,
                    ..listener::FilterChainMatch::default()
                }),
                filters: tcp(view, &format!("gateway_{port}"), &clusters),
                ..listener::FilterChain::default()
            });
        }
    }
    chains
}

/// Clusters of the first `tcp` rule for this port.
fn tcp_clusters(view: &ProxyView, port: u16, bound: &Bound<'_>) -> Vec<(String, u32)> {
    let gateway = reference(bound.object);
    let scope = Scope {
        view,
        gateway: &gateway,
        port,
    };
    let bound_rules = view
        .snapshot
        .virtual_services
        .iter()
        .filter(|rules| rules.gateways.contains(&gateway));
    let mut splits = bound_rules.filter_map(|rules| tcp_split(scope, rules));
    splits.next().unwrap_or_default()
}

/// One host per VirtualService host that a server lets in; anything else is not found.
fn virtual_hosts(view: &ProxyView, port: u16, servers: &[&Bound<'_>]) -> Vec<route::VirtualHost> {
    let mut taken = BTreeSet::new();
    let mut hosts = Vec::new();
    for bound in servers {
        let gateway = reference(bound.object);
        let scope = Scope {
            view,
            gateway: &gateway,
            port,
        };
        for (name, rules) in view.snapshot.virtual_services.of_gateway(&gateway, view.namespace()) {
            let names: Vec<String> = bound
                .server
                .hosts
                .iter()
                .filter(|own| {
                    own.namespace
                        .covers(&bound.object.meta.namespace, &rules.object.meta.namespace)
                })
                .filter_map(|own| narrower(&own.host, name))
                .filter(|name| !taken.contains(*name))
                .map(str::to_owned)
                .collect();
            if names.is_empty() {
                continue;
            }
            let routes = of_rules(scope, rules);
            if routes.is_empty() {
                continue;
            }
            taken.extend(names.iter().cloned());
            let mut entry = virtual_host(format!("{name}:{port}"), names, routes);
            if bound.server.tls.as_ref().is_some_and(|tls| tls.https_redirect) {
                entry.require_tls = route::virtual_host::TlsRequirementType::All as i32;
            }
            hosts.push(entry);
        }
    }
    hosts
}

/// The hosts that both patterns cover, as one pattern.
fn narrower<'a>(server: &'a str, rules: &'a str) -> Option<&'a str> {
    if host::covers(server, rules) {
        Some(rules)
    } else {
        host::covers(rules, server).then_some(server)
    }
}

fn reference(object: &Object<Gateway>) -> GatewayRef {
    GatewayRef::Named {
        namespace: object.meta.namespace.clone(),
        name: object.meta.name.clone(),
    }
}

fn origin_of(object: &Object<Gateway>) -> Origin {
    Origin {
        object: ObjectKey {
            kind: Kind::Gateway,
            namespace: object.meta.namespace.clone(),
            name: object.meta.name.clone(),
        },
        place: object.place.clone(),
    }
}
