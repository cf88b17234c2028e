//! Which listeners the services of a captured workload need, and what each leads to: by address where a service has one, else by
//! port alone, where HTTP goes by host, TLS by server name, and bytes to whoever came first.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_api::protocol::Protocol;
use weft_proto::cluster_name::Outbound;

use super::l4::{Split, tcp_split, tls_splits};
use super::route::Scope;
use crate::snapshot::{EndpointAddress, GatewayRef, MeshService, Origin, ServicePort};
use crate::view::ProxyView;

/// A port, and an address unless it is every one.
pub(super) type Place = (u16, Option<IpAddr>);

/// What goes on at one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Bind {
    /// Route configuration of HTTP.
    pub(super) http: Option<String>,
    /// A service says that it speaks HTTP here, so clients are waited for.
    pub(super) declared_http: bool,
    /// The rest, the first of equals winning.
    pub(super) claims: Vec<Claim>,
}

/// Connections that go to some clusters.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) matches: Match,
    /// Where to, with weights.
    pub(super) clusters: Split,
    /// Their port does not say what it speaks, so that their clusters offer HTTP to mesh peers.
    pub(super) auto: bool,
    pub(super) origin: Origin,
}

/// Conditions of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Everything,
    /// These destinations, as ranges.
    Ranges(Vec<String>),
    /// TLS for these names.
    Names(Vec<String>),
}

/// Everything that a captured workload needs.
pub(super) fn binds(view: &ProxyView) -> BTreeMap<Place, Bind> {
    let mut binds: BTreeMap<Place, Bind> = BTreeMap::new();
    for service in view.services() {
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            if port.protocol.is_http() {
                let bind = binds.entry((port.port, None)).or_default();
                bind.http = Some(port.port.to_string());
                bind.declared_http = true;
            } else {
                bytes(view, service, port, &mut binds);
            }
        }
    }
    binds
}

fn bytes(view: &ProxyView, service: &MeshService, port: &ServicePort, binds: &mut BTreeMap<Place, Bind>) {
    let auto = port.protocol == Protocol::Auto;
    let (addresses, ranges) = addresses(view, service, port);
    let claims = |matches: Match| claims(view, service, port, matches, auto);
    let everywhere = (port.port, None);
    for address in &addresses {
        let bind = binds.entry((port.port, Some(*address))).or_default();
        if auto {
            bind.http = Some(sniffed_name(service, port.port));
        }
        bind.add(claims(Match::Everything));
    }
    if !ranges.is_empty() {
        binds
            .entry(everywhere)
            .or_default()
            .add(claims(Match::Ranges(ranges.clone())));
    }
    // An allocated address is known to those alone who ask the mesh for names.
    let own = addresses
        .iter()
        .any(|address| !service.auto_addresses.contains(address));
    // Bytes to an alias have nothing that tells them from others on the port: they go where DNS says, as Istio leaves them.
    let alias = service.alias_of.is_some();
    if own || !ranges.is_empty() || service.headless || (alias && !auto && !is_tls(port.protocol)) {
        return;
    }
    let bind = binds.entry(everywhere).or_default();
    if auto {
        bind.http.get_or_insert_with(|| port.port.to_string());
    }
    if is_tls(port.protocol) {
        bind.add(claims(Match::Names(vec![service.key.hostname.to_string()])));
    } else if !alias {
        bind.add(claims(Match::Everything));
    }
}

/// Name of the routes of a service whose port does not say what it speaks.
pub(super) fn sniffed_name(service: &MeshService, port: u16) -> String {
    format!("{}:{port}", service.key.hostname)
}

fn is_tls(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Tls | Protocol::Https)
}

/// Single addresses of a service, and ranges as text.
fn addresses(view: &ProxyView, service: &MeshService, port: &ServicePort) -> (Vec<IpAddr>, Vec<String>) {
    if service.headless {
        let all = view.snapshot.backends.of(&service.key);
        let members = all.map(|all| all.port(port.port)).unwrap_or_default();
        // Clients dial a pod at an address of either family.
        let addresses = members.iter().flat_map(|member| {
            let first = match &member.address {
                EndpointAddress::Ip(address) => Some(*address),
                EndpointAddress::Name(_) => None,
            };
            first.into_iter().chain(member.further_addresses.iter().copied())
        });
        return (addresses.collect(), Vec::new());
    }
    let (ranges, single): (Vec<&String>, Vec<&String>) =
        service.addresses.iter().partition(|address| address.contains('/'));
    let single = single.into_iter().filter_map(|address| address.parse().ok());
    let single = single.chain(service.auto_addresses.iter().copied());
    (single.collect(), ranges.into_iter().cloned().collect())
}

/// The claims of a service port: by the rules of VirtualServices that hold here, else everything to the service.
fn claims(view: &ProxyView, service: &MeshService, port: &ServicePort, matches: Match, auto: bool) -> Vec<Claim> {
    let mesh = GatewayRef::Mesh;
    let scope = Scope {
        view,
        gateway: &mesh,
        port: port.port,
    };
    let seen = (view.snapshot.virtual_services).covering(&mesh, &service.key.hostname, view.namespace());
    let rules: Vec<_> = seen.into_iter().filter(|rules| view.imports(rules)).collect();
    let claim = |matches: Match, clusters: Split| Claim {
        matches,
        clusters,
        auto,
        origin: service.origin.clone(),
    };
    if is_tls(port.protocol) {
        let by_name = rules.iter().flat_map(|rules| tls_splits(scope, rules));
        let by_name: Vec<Claim> = by_name
            .map(|(names, split)| claim(Match::Names(names), split))
            .collect();
        if !by_name.is_empty() {
            return by_name;
        }
    } else if let Some(split) = rules.iter().find_map(|rules| tcp_split(scope, rules)) {
        return vec![claim(matches, split)];
    }
    let own = Outbound::new(port.port, None, &service.key.hostname).to_string();
    vec![claim(matches, vec![(own, 1)])]
}

// === impl Bind ===

impl Bind {
    /// Adds claims; one that wants what another has already is reported by the snapshot's findings, and left out.
    fn add(&mut self, claims: Vec<Claim>) {
        for mut claim in claims {
            let taken = |wanted: &Match| self.claims.iter().any(|known| known.matches == *wanted);
            match &mut claim.matches {
                Match::Everything if taken(&Match::Everything) => continue,
                Match::Everything => {}
                Match::Ranges(ranges) => ranges.retain(|range| {
                    let has = |known: &Claim| matches!(&known.matches, Match::Ranges(own) if own.contains(range));
                    !self.claims.iter().any(has)
                }),
                Match::Names(names) => names.retain(|name| {
                    let has = |known: &Claim| matches!(&known.matches, Match::Names(own) if own.contains(name));
                    !self.claims.iter().any(has)
                }),
            }
            let empty = match &claim.matches {
                Match::Everything => false,
                Match::Ranges(list) | Match::Names(list) => list.is_empty(),
            };
            if !empty && !claim.clusters.is_empty() {
                self.claims.push(claim);
            }
        }
    }
}
