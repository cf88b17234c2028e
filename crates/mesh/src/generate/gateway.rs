//! What a gateway offers to the outside: the servers of the Gateway objects that choose it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weft_api::gateway::{Gateway, Server, ServerTlsMode};
use weft_api::host;
use weft_api::meta::{Kind, Object, ObjectKey};
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::config::route::v3 as route;

use super::authorization::Access;
use super::guard;
use super::http::{Routes, manager, tcp};
use super::l4::{Split, tcp_split, tls_splits};
use super::listener_filters::tls_inspector;
use super::route::{Scope, configuration, of_rules, to_tls, virtual_host};
use super::route_match::takes_every_request;
use super::side::Side;
use super::tls::gateway_server;
use super::wire::{duration, ip_address, origin};
use crate::snapshot::{GatewayRef, MeshVirtualService, Origin, Protocol};
use crate::view::ProxyView;

/// A server with the object that it belongs to.
struct Bound<'a> {
    object: &'a Arc<Object<Gateway>>,
    server: &'a Server,
}

/// A port of a gateway, and whom policies let in.
#[derive(Clone, Copy)]
struct Door<'a> {
    view: &'a ProxyView,
    access: &'a Access,
    /// Port of the Gateway object.
    port: u16,
}

/// Adds the listeners of a gateway and their routes; nothing for sidecars.
pub(super) fn generate(
    view: &ProxyView,
    listeners: &mut Vec<listener::Listener>,
    routes: &mut Vec<route::RouteConfiguration>,
) {
    let mut by_port: BTreeMap<u16, Vec<Bound<'_>>> = BTreeMap::new();
    for object in view.gateways() {
        for server in object.spec.servers.iter().filter(|server| !server.closed) {
            by_port.entry(server.port).or_default().push(Bound { object, server });
        }
    }
    let access = Access::of(view);
    for (port, servers) in by_port {
        // A port that the gateway does not bind is reported by the snapshot's diagnostics.
        let Some(local_port) = view.workload.gateway_port(port) else {
            continue;
        };
        if let Some(listener) = port_listener(
            Door {
                view,
                access: &access,
                port,
            },
            local_port,
            &servers,
            routes,
        ) {
            listeners.push(listener);
        }
    }
}

fn port_listener(
    door: Door<'_>,
    local_port: u16,
    servers: &[Bound<'_>],
    routes: &mut Vec<route::RouteConfiguration>,
) -> Option<listener::Listener> {
    let Door { view, port, .. } = door;
    let plain: Vec<&Bound<'_>> = servers.iter().filter(|bound| is_plain_http(bound.server)).collect();
    let mut chains = Vec::new();
    if !plain.is_empty() {
        let name = format!("http.{port}");
        routes.push(configuration(&name, virtual_hosts(view, port, &plain), true));
        chains.push(listener::FilterChain {
            filters: vec![requests(door, name)],
            ..listener::FilterChain::default()
        });
    } else {
        for bound in servers {
            chains.extend(other_chains(door, bound, routes));
        }
        chains = distinct(chains);
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
    door: Door<'_>,
    bound: &Bound<'_>,
    routes: &mut Vec<route::RouteConfiguration>,
) -> Vec<listener::FilterChain> {
    let Door { view, port, .. } = door;
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
        Some(tls) if tls.mode == ServerTlsMode::Passthrough => passthrough(door, bound),
        Some(tls) => {
            let http = server.protocol == Protocol::Https || server.protocol.is_http();
            let meta = &bound.object.meta;
            let filters = if http {
                let name = format!("https.{port}.{}.{}.{}", server.port_name, meta.name, meta.namespace);
                routes.push(configuration(&name, virtual_hosts(view, port, &[bound]), true));
                vec![requests(door, name)]
            } else {
                let clusters = tcp_clusters(view, port, bound);
                if clusters.is_empty() {
                    return Vec::new();
                }
                bytes(door, &clusters)
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
            let filters = (!clusters.is_empty()).then(|| bytes(door, &clusters));
            let chain = |filters| listener::FilterChain {
                filters,
                ..listener::FilterChain::default()
            };
            filters.map(chain).into_iter().collect()
        }
    }
}

/// Chains by server name, from the `tls` rules of VirtualServices.
fn passthrough(door: Door<'_>, bound: &Bound<'_>) -> Vec<listener::FilterChain> {
    let Door { view, port, .. } = door;
    let gateway = reference(bound.object);
    let scope = Scope {
        view,
        gateway: &gateway,
        port,
    };
    let rules = bound.rules(view, &gateway);
    let splits = rules.into_iter().flat_map(|rules| tls_splits(scope, rules));
    let chain = |(names, clusters): (Vec<String>, Split)| listener::FilterChain {
        filter_chain_match: Some(listener::FilterChainMatch {
            // A lone `*` is every name, which a chain says by naming none.
            server_names: if names.iter().any(|name| name == "*") {
                Vec::new()
            } else {
                names
            },
            ..listener::FilterChainMatch::default()
        }),
        filters: bytes(door, &clusters),
        ..listener::FilterChain::default()
    };
    splits.map(chain).collect()
}

/// Clusters of the first `tcp` rule for this port.
fn tcp_clusters(view: &ProxyView, port: u16, bound: &Bound<'_>) -> Split {
    let gateway = reference(bound.object);
    let scope = Scope {
        view,
        gateway: &gateway,
        port,
    };
    let rules = bound.rules(view, &gateway);
    let mut splits = rules.into_iter().filter_map(|rules| tcp_split(scope, rules));
    splits.next().unwrap_or_default()
}

/// Serves the requests that policies let in.
fn requests(door: Door<'_>, routes: String) -> listener::Filter {
    let prefix = format!("gateway_{}", door.port);
    manager(door.view, Side::Gateway, &prefix, Routes::ByName(routes), door.access)
}

/// Forwards the bytes of connections that policies let in.
fn bytes(door: Door<'_>, clusters: &[(String, u32)]) -> Vec<listener::Filter> {
    let forward = tcp(door.view, &format!("gateway_{}", door.port), clusters);
    door.access.connections().chain(forward).collect()
}

/// Leaves of some chains what an earlier one does not take already: a listener with two chains for the same is refused whole.
fn distinct(chains: Vec<listener::FilterChain>) -> Vec<listener::FilterChain> {
    let mut taken = BTreeSet::new();
    let mut takes_rest = false;
    let mut kept = Vec::with_capacity(chains.len());
    for mut chain in chains {
        let mut names = chain
            .filter_chain_match
            .iter_mut()
            .map(|matches| &mut matches.server_names);
        let has_news = match names.find(|names| !names.is_empty()) {
            Some(names) => {
                names.retain(|name| taken.insert(name.to_ascii_lowercase()));
                !names.is_empty()
            }
            None => !std::mem::replace(&mut takes_rest, true),
        };
        if has_news {
            kept.push(chain);
        }
    }
    kept
}

/// A host that a gateway serves, and whose rules are in it already.
#[derive(Default)]
struct Served<'a> {
    rules: Vec<&'a Arc<MeshVirtualService>>,
    routes: Vec<route::Route>,
    needs_tls: bool,
}

/// One host per host that a server lets in and rules name, with the rules of all its VirtualServices, and those that are sent to TLS;
/// anything else is not found (Istio: `buildGatewayHTTPRouteConfig`).
fn virtual_hosts(view: &ProxyView, port: u16, servers: &[&Bound<'_>]) -> Vec<route::VirtualHost> {
    let mut hosts: BTreeMap<String, Served<'_>> = BTreeMap::new();
    for bound in servers {
        let gateway = reference(bound.object);
        let scope = Scope {
            view,
            gateway: &gateway,
            port,
        };
        let redirects = bound.server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        for rules in bound.rules(view, &gateway) {
            let routes = of_rules(scope, rules);
            if routes.is_empty() {
                continue;
            }
            for name in bound.names(rules) {
                let served = hosts.entry(name).or_default();
                served.needs_tls |= redirects;
                if !served.rules.iter().any(|known| Arc::ptr_eq(known, rules)) {
                    served.rules.push(rules);
                    served.routes.extend(routes.iter().cloned());
                }
            }
        }
        for host in bound.server.hosts.iter().filter(|_| redirects) {
            hosts.entry(host.host.clone()).or_default().needs_tls = true;
        }
    }
    let refusing = guard::routes(view);
    hosts
        .into_iter()
        .map(|(name, served)| served.into_host(name, port, &refusing))
        .collect()
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

// === impl Bound ===

impl Bound<'_> {
    /// The rules of the gateway that name a host of the server, winners first.
    fn rules<'v>(&self, view: &'v ProxyView, gateway: &GatewayRef) -> Vec<&'v Arc<MeshVirtualService>> {
        let mut rules = view.snapshot.virtual_services.at_gateway(gateway, view.namespace());
        rules.retain(|rules| !self.names(rules).is_empty());
        rules
    }

    /// Which hosts of the server some rules are for, as the narrower of both patterns, each once.
    fn names(&self, rules: &MeshVirtualService) -> BTreeSet<String> {
        let (own, other) = (&self.object.meta.namespace, &rules.object.meta.namespace);
        let open = self
            .server
            .hosts
            .iter()
            .filter(|host| host.namespace.covers(own, other));
        let pairs = open.flat_map(|host| rules.hosts.iter().filter_map(|name| narrower(&host.host, name)));
        pairs.map(str::to_owned).collect()
    }
}

// === impl Served ===

impl Served<'_> {
    /// The host. What takes every request stands last, so that it hides no rule of another object (Istio: `SortVHostRoutes`). What refuses
    /// requests stands first.
    fn into_host(self, name: String, port: u16, refusing: &[route::Route]) -> route::VirtualHost {
        let (last, routes): (Vec<_>, Vec<_>) = self.routes.into_iter().partition(takes_every_request);
        let mut routes: Vec<_> = refusing.iter().cloned().chain(routes).chain(last).collect();
        // Nothing else is done here, whether rules would take the request or not.
        if self.needs_tls && !routes.last().is_some_and(takes_every_request) {
            routes.push(to_tls());
        }
        let mut host = virtual_host(format!("{name}:{port}"), vec![name], routes);
        if self.needs_tls {
            host.require_tls = route::virtual_host::TlsRequirementType::All as i32;
        }
        host
    }
}
