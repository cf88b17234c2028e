//! Which listeners the services of a captured workload need, and what each leads to: by address where a service has one, else by
//! port alone, where HTTP goes by host, TLS by server name, and bytes to whoever came first.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_api::meta::selects;
use weft_api::protocol::Protocol;
use weft_api::virtual_service::{L4Destination, L4Match};
use weft_proto::cluster_name::Outbound;

use super::route::{Scope, destination_cluster};
use crate::snapshot::{EndpointAddress, GatewayRef, MeshService, MeshVirtualService, Origin, ServicePort};
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
    pub(super) clusters: Vec<(String, u32)>,
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

/// The claims of a service port: by the rules of its VirtualService, else everything to the service.
fn claims(view: &ProxyView, service: &MeshService, port: &ServicePort, matches: Match, auto: bool) -> Vec<Claim> {
    let mesh = GatewayRef::Mesh;
    let scope = Scope {
        view,
        gateway: &mesh,
        port: port.port,
    };
    let rules = (view.snapshot.virtual_services).for_host(&mesh, &service.key.hostname, view.namespace());
    let claim = |matches: Match, clusters: Vec<(String, u32)>| Claim {
        matches,
        clusters,
        auto,
        origin: service.origin.clone(),
    };
    if let Some(rules) = rules
        && is_tls(port.protocol)
    {
        let by_name: Vec<Claim> = by_name(scope, rules)
            .map(|(names, clusters)| claim(Match::Names(names), clusters))
            .collect();
        if !by_name.is_empty() {
            return by_name;
        }
    }
    if let Some(rules) = rules.filter(|_| !is_tls(port.protocol)) {
        let fits = |matched: &L4Match| applies(scope, rules, matched);
        let mut tcp = rules.object.spec.tcp.iter();
        if let Some(rule) = tcp.find(|rule| rule.matches.is_empty() || rule.matches.iter().any(fits)) {
            return vec![claim(matches, weighted(scope, rules, &rule.route))];
        }
    }
    let own = Outbound::new(port.port, None, &service.key.hostname).to_string();
    vec![claim(matches, vec![(own, 1)])]
}

/// Server names of the `tls` rules that hold for this workload and port, with their clusters.
fn by_name<'a>(
    scope: Scope<'a>,
    rules: &'a MeshVirtualService,
) -> impl Iterator<Item = (Vec<String>, Vec<(String, u32)>)> + 'a {
    rules.object.spec.tls.iter().filter_map(move |rule| {
        let fitting = rule.matches.iter().filter(|matched| applies(scope, rules, &matched.l4));
        let names: Vec<String> = fitting.flat_map(|matched| matched.sni_hosts.iter().cloned()).collect();
        (!names.is_empty()).then(|| (names, weighted(scope, rules, &rule.route)))
    })
}

fn applies(scope: Scope<'_>, rules: &MeshVirtualService, matched: &L4Match) -> bool {
    let workload = &scope.view.workload;
    matched.port.is_none_or(|port| port == scope.port)
        && rules.match_applies(&matched.gateways, scope.gateway)
        && selects(&matched.source_labels, &workload.labels)
        && (matched.source_namespace.as_ref()).is_none_or(|namespace| *namespace == *workload.key.namespace)
}

fn weighted(scope: Scope<'_>, rules: &MeshVirtualService, route: &[L4Destination]) -> Vec<(String, u32)> {
    let cluster = |to: &L4Destination| (destination_cluster(scope, rules, &to.destination), to.weight);
    match route {
        [only] => vec![(cluster(only).0, 1)],
        several => several.iter().filter(|to| to.weight > 0).map(cluster).collect(),
    }
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
