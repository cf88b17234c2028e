//! What proxies of one scope have in common: everything towards other services.
//!
//! A scope is a namespace, a Sidecar, and those labels that any rule asks of its clients; so the sidecars of a namespace share
//! one set of clusters, endpoints and routes, however many they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_api::meta::Labels;

use super::encode::encode;
use super::{capture_outbound, cluster, endpoint, grpc, original, outbound};
use crate::node::Dialect;
use crate::resource::layer::Layer;
use crate::snapshot::{MeshSnapshot, Resolution};
use crate::view::ProxyView;

/// What makes the shared part of two proxies the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopeKey {
    namespace: Arc<str>,
    /// Namespace and name.
    sidecar: Option<(Arc<str>, Arc<str>)>,
    /// Of the proxy's labels those that rules look at.
    labels: Labels,
    gateway: bool,
    http_proxy: bool,
    /// Whether traffic is redirected, and of which families.
    captured: Option<(bool, bool)>,
    dialect: Dialect,
}

/// The shared part under one snapshot.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What it was made from.
    pub snapshot: Arc<MeshSnapshot>,
    /// Clusters of services.
    pub clusters: Arc<Layer>,
    pub endpoints: Arc<Layer>,
    /// Listeners of services: of gRPC clients, and of workloads whose traffic is redirected.
    pub listeners: Arc<Layer>,
    /// Routes to services.
    pub routes: Arc<Layer>,
}

// === impl ScopeKey ===

impl ScopeKey {
    /// The scope of a proxy, where `relevant` are the labels that rules look at.
    pub fn of(view: &ProxyView, relevant: &BTreeSet<String>) -> Self {
        let labels = view.workload.labels.iter();
        Self {
            namespace: view.workload.key.namespace.clone(),
            sidecar: view
                .sidecar()
                .map(|object| (object.meta.namespace.clone(), object.meta.name.clone())),
            labels: labels
                .filter(|(key, _)| relevant.contains(*key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            gateway: view.is_gateway(),
            http_proxy: view.workload.outbound_port.is_some(),
            captured: original::families(view),
            dialect: view.dialect,
        }
    }
}

/// The keys of client labels that any rule of a mesh looks at.
pub fn relevant_labels(snapshot: &MeshSnapshot) -> BTreeSet<String> {
    let rules = snapshot.destination_rules.iter();
    let selectors = rules.filter_map(|rule| rule.rule.workload_selector.as_ref());
    let mut keys: BTreeSet<String> = selectors.flat_map(|labels| labels.keys().cloned()).collect();
    for rules in snapshot.virtual_services.iter() {
        let spec = &rules.object.spec;
        let http = spec
            .http
            .iter()
            .flat_map(|rule| &rule.matches)
            .map(|one| &one.source_labels);
        let tls = spec
            .tls
            .iter()
            .flat_map(|rule| &rule.matches)
            .map(|one| &one.l4.source_labels);
        let tcp = spec
            .tcp
            .iter()
            .flat_map(|rule| &rule.matches)
            .map(|one| &one.source_labels);
        keys.extend(http.chain(tls).chain(tcp).flat_map(|labels| labels.keys().cloned()));
    }
    keys
}

// === impl Shared ===

impl Shared {
    /// Makes the shared part of a proxy's scope. Layers whose inputs are the same as those of `before` are taken over.
    pub fn build(view: &ProxyView, before: Option<&Self>) -> Self {
        let new = &view.snapshot;
        // Where a Sidecar narrows the services, destinations of rules join them.
        let same_rules =
            |old: &MeshSnapshot| !view.is_narrowed() || Arc::ptr_eq(&old.virtual_services, &new.virtual_services);
        let reuse = |layer: fn(&Self) -> &Arc<Layer>, same: fn(&MeshSnapshot, &MeshSnapshot) -> bool| {
            before
                .filter(|old| same(&old.snapshot, new) && same_rules(&old.snapshot))
                .map(|old| layer(old).clone())
        };
        let old_layer = |layer: fn(&Self) -> &Arc<Layer>| before.map(layer);
        let clusters = reuse(|old| &old.clusters, same_clusters).unwrap_or_else(|| {
            let clusters = match view.dialect {
                Dialect::Grpc => grpc::clusters(view),
                Dialect::Weft | Dialect::Envoy => cluster::shared_clusters(view),
            };
            let set = encode(clusters, |cluster| cluster.name.clone());
            Layer::after(old_layer(|old| &old.clusters), set)
        });
        let endpoints = reuse(|old| &old.endpoints, same_endpoints).unwrap_or_else(|| {
            let known = before.filter(|old| same_subsets(&old.snapshot, new));
            let known = known.map(|old| (&*old.snapshot.endpoints, old.endpoints.set()));
            Layer::after(old_layer(|old| &old.endpoints), endpoint::assignments(view, known))
        });
        let listeners = reuse(|old| &old.listeners, same_listeners).unwrap_or_else(|| {
            let listeners = match view.dialect {
                Dialect::Grpc => grpc::listeners(view),
                Dialect::Weft | Dialect::Envoy => capture_outbound::listeners(view),
            };
            let set = encode(listeners, |listener| listener.name.clone());
            Layer::after(old_layer(|old| &old.listeners), set)
        });
        let routes = reuse(|old| &old.routes, same_routes).unwrap_or_else(|| {
            let routes = match view.dialect {
                Dialect::Grpc => grpc::routes(view),
                Dialect::Weft | Dialect::Envoy => [outbound::routes(view), capture_outbound::routes(view)].concat(),
            };
            let set = encode(routes, |config| config.name.clone());
            Layer::after(old_layer(|old| &old.routes), set)
        });
        Self {
            snapshot: view.snapshot.clone(),
            clusters,
            endpoints,
            listeners,
            routes,
        }
    }
}

/// Which services a scope sees.
fn same_services(old: &MeshSnapshot, new: &MeshSnapshot) -> bool {
    Arc::ptr_eq(&old.settings, &new.settings)
        && Arc::ptr_eq(&old.services, &new.services)
        && Arc::ptr_eq(&old.sidecars, &new.sidecars)
}

fn same_subsets(old: &MeshSnapshot, new: &MeshSnapshot) -> bool {
    same_services(old, new) && Arc::ptr_eq(&old.destination_rules, &new.destination_rules)
}

fn same_endpoints(old: &MeshSnapshot, new: &MeshSnapshot) -> bool {
    same_subsets(old, new) && Arc::ptr_eq(&old.endpoints, &new.endpoints)
}

fn same_routes(old: &MeshSnapshot, new: &MeshSnapshot) -> bool {
    same_services(old, new) && Arc::ptr_eq(&old.virtual_services, &new.virtual_services)
}

/// Listeners of redirected traffic know the pods of headless services, and rules for bytes.
fn same_listeners(old: &MeshSnapshot, new: &MeshSnapshot) -> bool {
    same_routes(old, new) && Arc::ptr_eq(&old.backends, &new.backends)
}

/// Clusters know the identities behind them, and those found by DNS have their endpoints inside.
fn same_clusters(old: &MeshSnapshot, new: &MeshSnapshot) -> bool {
    let by_name = || {
        new.services
            .iter()
            .filter(|service| matches!(service.resolution, Resolution::Dns | Resolution::DnsRoundRobin))
            .all(|service| old.endpoints.of(&service.key) == new.endpoints.of(&service.key))
    };
    same_subsets(old, new)
        && Arc::ptr_eq(&old.backends, &new.backends)
        && (Arc::ptr_eq(&old.endpoints, &new.endpoints) || by_name())
}
