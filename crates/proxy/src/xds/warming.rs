//! What of the discovered resources is in use: traffic never meets half a configuration (decision 70).
//!
//! A new listener waits for its routes and a new cluster for its endpoints (Envoy, "Cluster manager", cluster warming), the cluster
//! for a while only. A chain or a route that would go to a cluster that waits leads where it led before, to the clusters that were used
//! there: one change brings subsets and the routes to them, and their endpoints come last. Nothing else of the change waits, above all
//! not what closes: TLS, chains that are gone, routes that refuse. The socket to which a pod's connections are redirected is last of all:
//! before it knows whom a connection is meant for, it would pass it on as it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::keep;
use crate::compile::Resources;
use crate::model::cluster::{Cluster, Discovery};
use crate::model::http::RouteSource;
use crate::model::listener::{ChainAction, FilterChain, Listener, Taken};
use crate::model::route::{Route, RouteConfig};

/// Longest wait of a cluster for its endpoints, which then has none, and of readiness for secrets (Envoy's `initial_fetch_timeout`).
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

type Clusters = BTreeMap<Arc<str>, Arc<Cluster>>;

/// Clusters that are needed a little longer, each with the name of its endpoints.
type Held = BTreeMap<Arc<str>, Option<Arc<str>>>;

/// The resources in use.
#[derive(Debug, Default)]
pub(super) struct Warm {
    in_use: Resources,
    /// Clusters without endpoints, and until when they wait for them.
    waiting: BTreeMap<Arc<str>, Instant>,
}

/// The clusters that wait, but for those that are in use as they were.
struct Unready<'a> {
    waiting: &'a BTreeMap<Arc<str>, Instant>,
    in_use: &'a Clusters,
}

// === impl Warm ===

impl Warm {
    /// The resources in use.
    pub(super) fn resources(&self) -> &Resources {
        &self.in_use
    }

    /// When the first of the clusters that wait will have waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().min().copied()
    }

    /// Takes of the known resources what has all it needs now, and lets go of what is not known any more.
    /// Before the control plane has `answered`, nothing that is captured is taken.
    pub(super) fn follow(&mut self, known: &Resources, answered: bool, now: Instant) {
        self.take_clusters(known, now);
        let mut held = self.take_listeners(known, answered);
        held.extend(self.take_routes(known));
        self.in_use
            .clusters
            .retain(|name, _| known.clusters.contains_key(name) || held.contains_key(name));
        let before = std::mem::replace(&mut self.in_use.endpoints, known.endpoints.clone());
        for service in held.values().flatten() {
            if let Some(endpoints) = before.get(service)
                && !self.in_use.endpoints.contains_key(service)
            {
                self.in_use.endpoints.insert(service.clone(), endpoints.clone());
            }
        }
    }

    /// Takes the clusters that do not wait. Those that are gone stay for now.
    fn take_clusters(&mut self, known: &Resources, now: Instant) {
        let mut waiting = BTreeMap::new();
        for (name, cluster) in &known.clusters {
            let used = self.in_use.clusters.get(name);
            if used.is_some_and(|used| Arc::ptr_eq(used, cluster)) {
                continue;
            }
            if service(cluster).is_some_and(|service| !known.endpoints.contains_key(service)) {
                let until = self.waiting.get(name).copied().unwrap_or(now + FETCH_TIMEOUT);
                if now < until {
                    waiting.insert(name.clone(), until);
                    // What protects its connections does not wait.
                    if let Some(used) = used.filter(|used| !is_secured_like(used, cluster)) {
                        let secured = Cluster {
                            transport: cluster.transport.clone(),
                            host_tls: cluster.host_tls.clone(),
                            ..Cluster::clone(used)
                        };
                        self.in_use.clusters.insert(name.clone(), Arc::new(secured));
                    }
                    continue;
                }
                tracing::warn!(cluster = %name, "no endpoints came in time, the cluster is used without");
            }
            self.in_use.clusters.insert(name.clone(), cluster.clone());
        }
        self.waiting = waiting;
    }

    /// Takes the listeners that have their routes and whose clusters do not wait. Returns the clusters of those that stay as they were.
    fn take_listeners(&mut self, known: &Resources, answered: bool) -> Held {
        let Self { in_use, waiting } = self;
        let Resources {
            listeners, clusters, ..
        } = in_use;
        let unready = Unready {
            waiting,
            in_use: clusters,
        };
        listeners.retain(|name, _| known.listeners.contains_key(name));
        let mut held = Held::new();
        let (captures, others): (Vec<_>, Vec<_>) = known.listeners.iter().partition(|(_, new)| new.use_original_dst);
        for (name, new) in others.into_iter().chain(captures) {
            let before = listeners.get(name).cloned();
            // The socket to which connections are redirected begins after all that they may be meant for.
            if before.is_none()
                && new.use_original_dst
                && !(answered && unready.none() && all_but_captures(known, listeners))
            {
                continue;
            }
            let has_routes = new.route_names().all(|name| known.routes.contains_key(name));
            match before {
                Some(before) if !has_routes || unready.has_any(|| new.cluster_names()) => {
                    let mixed = listener_meanwhile(new, &before, known, &unready, &mut held);
                    listeners.insert(name.clone(), Arc::new(mixed));
                }
                None if !has_routes => {}
                Some(_) | None => drop(listeners.insert(name.clone(), new.clone())),
            }
        }
        held
    }

    /// Takes the routes. Returns the clusters of virtual hosts that lead where they led before.
    fn take_routes(&mut self, known: &Resources) -> Held {
        let Self { in_use, waiting } = self;
        let Resources { routes, clusters, .. } = in_use;
        let unready = Unready {
            waiting,
            in_use: clusters,
        };
        routes.retain(|name, _| known.routes.contains_key(name));
        let mut held = Held::new();
        for (name, new) in &known.routes {
            let before = routes.get(name).map(|before| &**before);
            let next = routes_meanwhile(new, before, &unready, &mut held);
            routes.insert(name.clone(), next);
        }
        held
    }
}

/// A listener while clusters or routes of some of its chains are not there: these do what they did before, and one that did nothing is
/// closed until its routes come.
fn listener_meanwhile(
    new: &Listener,
    before: &Listener,
    known: &Resources,
    unready: &Unready<'_>,
    held: &mut Held,
) -> Listener {
    let mut mixed = new.clone();
    let default_before = before.default_chain.as_ref();
    for chain in &mut mixed.chains {
        let was = keep::chain_of(before, chain);
        chain_meanwhile(chain, was, known, unready, held);
    }
    if let Some(chain) = &mut mixed.default_chain {
        chain_meanwhile(chain, default_before, known, unready, held);
    }
    mixed
}

fn chain_meanwhile(
    chain: &mut FilterChain,
    before: Option<&FilterChain>,
    known: &Resources,
    unready: &Unready<'_>,
    held: &mut Held,
) {
    match &mut chain.action {
        ChainAction::Refused(_) => {}
        ChainAction::Tcp(tcp) => {
            if let Some(before) = before
                && let ChainAction::Tcp(was) = &before.action
                && unready.has_any(|| tcp.clusters.iter().map(|target| &target.cluster))
            {
                held.extend(needed(
                    was.clusters.iter().map(|target| &target.cluster),
                    unready.in_use,
                ));
                chain.filters.clone_from(&before.filters);
                chain.action = before.action.clone();
            }
        }
        ChainAction::Http(manager) => match &mut manager.routes {
            RouteSource::Inline(routes) => {
                *routes = routes_meanwhile(routes, before.and_then(keep::inline_of), unready, held);
            }
            RouteSource::Rds(name) if known.routes.contains_key(name) => {}
            RouteSource::Rds(_) => {
                let was = before.and_then(|before| match &before.action {
                    ChainAction::Http(manager) => Some(manager.routes.clone()),
                    ChainAction::Tcp(_) | ChainAction::Refused(_) => None,
                });
                match was {
                    Some(RouteSource::Rds(name)) if known.routes.contains_key(&name) => {
                        manager.routes = RouteSource::Rds(name);
                    }
                    Some(RouteSource::Inline(routes)) => {
                        let names = routes.virtual_hosts.iter().flat_map(|host| host.cluster_names());
                        held.extend(needed(names, unready.in_use));
                        manager.routes = RouteSource::Inline(routes.clone());
                    }
                    Some(RouteSource::Rds(_)) | None => chain.action = ChainAction::Refused(Taken::Tls),
                }
            }
        },
    }
}

/// A route configuration while some of its clusters wait: their routes lead where the same requests were led before.
fn routes_meanwhile(
    new: &Arc<RouteConfig>,
    before: Option<&RouteConfig>,
    unready: &Unready<'_>,
    held: &mut Held,
) -> Arc<RouteConfig> {
    let is_cold = |route: &Route| unready.has_any(|| route.cluster_names());
    let Some(before) = before.filter(|_| {
        let mut hosts = new.virtual_hosts.iter();
        hosts.any(|host| unready.has_any(|| host.cluster_names()))
    }) else {
        return new.clone();
    };
    let mut mixed = RouteConfig::clone(new);
    for host in &mut mixed.virtual_hosts {
        let was = before.virtual_hosts.iter().find(|before| before.name == host.name);
        let Some(was) = was.filter(|_| host.routes.iter().any(is_cold)) else {
            continue;
        };
        for route in &mut host.routes {
            route.waits = is_cold(route);
        }
        keep::goes_on_from(host, was);
        let from = host.before_from.unwrap_or_default();
        held.extend(needed(
            host.routes[from..].iter().flat_map(Route::cluster_names),
            unready.in_use,
        ));
    }
    Arc::new(mixed)
}

/// Whether connections to two clusters are protected alike.
fn is_secured_like(one: &Cluster, other: &Cluster) -> bool {
    one.host_tls == other.host_tls && format!("{:?}", one.transport) == format!("{:?}", other.transport)
}

/// Whether all listeners are in use to which a redirected connection may belong.
fn all_but_captures(known: &Resources, in_use: &BTreeMap<Arc<str>, Arc<Listener>>) -> bool {
    let mut others = known.listeners.iter().filter(|(_, new)| !new.use_original_dst);
    others.all(|(name, _)| in_use.contains_key(name))
}

// === impl Unready ===

impl Unready<'_> {
    /// Whether no cluster waits for the first time.
    fn none(&self) -> bool {
        self.waiting.keys().all(|name| self.in_use.contains_key(name))
    }

    /// Whether any of these waits. Nearly always nothing does, and nobody is looked at.
    fn has_any<'a, I: Iterator<Item = &'a Arc<str>>>(&self, names: impl FnOnce() -> I) -> bool {
        let waits = |name: &Arc<str>| self.waiting.contains_key(name) && !self.in_use.contains_key(name);
        !self.waiting.is_empty() && names().any(waits)
    }
}

/// Of these clusters those in use, to be held.
fn needed<'a>(names: impl Iterator<Item = &'a Arc<str>>, in_use: &Clusters) -> Held {
    let clusters = names.filter_map(|name| in_use.get_key_value(name));
    clusters
        .map(|(name, cluster)| (name.clone(), service(cluster).cloned()))
        .collect()
}

/// The name under which a cluster's endpoints are discovered.
fn service(cluster: &Cluster) -> Option<&Arc<str>> {
    match &cluster.discovery {
        Discovery::Eds(service) => Some(service),
        Discovery::Static(_)
        | Discovery::StrictDns { .. }
        | Discovery::LogicalDns { .. }
        | Discovery::OriginalDst { .. } => None,
    }
}
