//! What of the discovered resources is in use: traffic never meets half a configuration (decision 70).
//!
//! A new listener waits for its routes and a new cluster for its endpoints (Envoy, "Cluster manager", cluster warming), the cluster
//! for a while only. A listener or a virtual host that would go to a cluster that waits stays as it was, with the clusters that it
//! used: one change brings subsets and the routes to them, and their endpoints come last. The socket to which a pod's connections are
//! redirected is last of all: before it knows whom a connection is meant for, it would pass it on as it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::compile::Resources;
use crate::model::cluster::{Cluster, Discovery};
use crate::model::listener::Listener;
use crate::model::route::{RouteConfig, VirtualHost};

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
            let before = listeners.get(name);
            // The socket to which connections are redirected begins after all that they may be meant for.
            if before.is_none()
                && new.use_original_dst
                && !(answered && unready.none() && all_but_captures(known, listeners))
            {
                continue;
            }
            if let Some(before) = before.filter(|_| unready.has_any(|| new.cluster_names())) {
                held.extend(needed(before.cluster_names(), clusters));
            } else if new.route_names().all(|name| known.routes.contains_key(name)) {
                listeners.insert(name.clone(), new.clone());
            }
        }
        held
    }

    /// Takes the routes. Returns the clusters of virtual hosts that stay as they were.
    fn take_routes(&mut self, known: &Resources) -> Held {
        let Self { in_use, waiting } = self;
        let Resources { routes, clusters, .. } = in_use;
        let unready = Unready {
            waiting,
            in_use: clusters,
        };
        routes.retain(|name, _| known.routes.contains_key(name));
        let is_cold = |host: &VirtualHost| unready.has_any(|| host.cluster_names());
        let mut held = Held::new();
        for (name, new) in &known.routes {
            let mut next = new.clone();
            if let Some(used) = routes.get(name).filter(|_| new.virtual_hosts.iter().any(is_cold)) {
                let mut mixed = RouteConfig::clone(new);
                for host in mixed.virtual_hosts.iter_mut().filter(|host| is_cold(host)) {
                    let Some(before) = used.virtual_hosts.iter().find(|before| before.name == host.name) else {
                        continue;
                    };
                    held.extend(needed(before.cluster_names(), clusters));
                    // Its domains may be another's by now.
                    let domains = std::mem::take(&mut host.domains);
                    *host = VirtualHost {
                        domains,
                        ..before.clone()
                    };
                }
                next = Arc::new(mixed);
            }
            routes.insert(name.clone(), next);
        }
        held
    }
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
