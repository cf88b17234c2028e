//! What operators ask of a running proxy: its statistics, and a drain of its listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::Proxy;
use crate::observe::istio::registry::Exposition;
use crate::stats::{Scope, Stat};
use crate::upstream::cluster::Cluster;
use crate::upstream::limits::Resource;

/// What discovery brings that is counted, as Envoy counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovered {
    Clusters,
    Listeners,
    Routes,
}

/// Responses of the control plane.
#[derive(Debug, Default)]
pub(super) struct Updates {
    clusters: Counts,
    listeners: Counts,
    routes: Counts,
}

/// Responses of one kind, taken and refused.
#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    refused: AtomicU64,
}

// === impl Updates ===

impl Updates {
    fn of(&self, what: Discovered) -> &Counts {
        match what {
            Discovered::Clusters => &self.clusters,
            Discovered::Listeners => &self.listeners,
            Discovered::Routes => &self.routes,
        }
    }
}

// === impl Proxy ===

impl Proxy {
    /// Number of traffic threads.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Istio's standard metrics as they are now.
    pub fn istio_metrics(&self) -> Exposition {
        self.istio.exposition()
    }

    /// A response of the control plane was taken whole, or not.
    pub fn count_update(&self, what: Discovered, taken: bool) {
        let counts = self.updates.of(what);
        let count = if taken { &counts.taken } else { &counts.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Statistics of connection managers, clusters, listeners and discovery. Of a cluster that got no traffic only its endpoints are told.
    pub fn stats(&self) -> Vec<Stat> {
        let mut stats = Vec::new();
        let compiler = self.compiler.lock();
        for (prefix, counters) in compiler.all_stats() {
            let scope = Scope::Http(prefix.clone());
            let values = counters.values().into_iter();
            stats.extend(values.map(|(name, value, gauge)| Stat {
                gauge,
                ..Stat::counter(&scope, name, value)
            }));
        }
        let (log, tracing) = (Scope::Process("access_log"), Scope::Process("tracing"));
        stats.extend([
            Stat::counter(&log, "dropped", self.log.dropped()),
            Stat::counter(&log, "dropped_entries", compiler.dropped_entries()),
            Stat::counter(&tracing, "dropped_spans", compiler.dropped_spans()),
        ]);
        stats.extend(compiler.filter_stats());
        drop(compiler);
        let runtime = self.runtime.load();
        for listener in runtime.listeners.values() {
            let model = &listener.model;
            let address = model
                .addresses
                .first()
                .map(|address| address.to_string().replace(':', "_"));
            let name = model.stat_prefix.clone().or_else(|| address.map(Arc::from));
            let scope = Scope::Listener(name.unwrap_or_else(|| model.name.clone()));
            stats.extend(listener.stats.stats(&scope));
        }
        for cluster in runtime.clusters.values() {
            of_cluster(cluster, &mut stats);
        }
        self.of_discovery(runtime.clusters.len(), runtime.listeners.len(), &mut stats);
        stats
    }

    fn of_discovery(&self, clusters: usize, listeners: usize, stats: &mut Vec<Stat>) {
        let (manager, listening) = (Scope::Process("cluster_manager"), Scope::Process("listener_manager"));
        stats.push(Stat::gauge(&manager, "active_clusters", clusters as u64));
        stats.push(Stat::gauge(&listening, "total_listeners_active", listeners as u64));
        // Envoy counts routes for each connection manager that has them.
        let routes = Scope::Process("rds");
        for (what, scope, prefix) in [
            (Discovered::Clusters, &manager, "cds."),
            (Discovered::Listeners, &listening, "lds."),
            (Discovered::Routes, &routes, ""),
        ] {
            let Counts { taken, refused } = self.updates.of(what);
            for (name, count) in [("update_success", taken), ("update_rejected", refused)] {
                let count = count.load(Ordering::Relaxed);
                stats.push(Stat::counter(scope, format!("{prefix}{name}"), count));
            }
        }
    }

    /// Stops listening; `graceful` sends clients away first and stops after the drain time. Connections that stay are served.
    pub fn drain_listeners(self: &Arc<Self>, inbound_only: bool, graceful: bool) {
        tracing::info!(inbound_only, graceful, "listeners drain");
        if !graceful {
            self.stop_listening(inbound_only);
            return;
        }
        self.drain.start(inbound_only, Instant::now());
        let proxy = Arc::downgrade(self);
        let (stop, time) = (self.shutdown.token(), self.drain_time);
        self.shutdown.spawn(async move {
            if stop.run_until_cancelled(tokio::time::sleep(time)).await.is_some()
                && let Some(proxy) = proxy.upgrade()
            {
                proxy.stop_listening(inbound_only);
            }
        });
    }

    /// Sends callers of the workload away for as long as the process lives. Listeners stay: while its pod ends somebody may still come.
    pub fn send_callers_away(&self) {
        tracing::info!("the workload ends, its callers are sent away");
        self.drain.start(true, Instant::now());
    }

    fn stop_listening(&self, inbound_only: bool) {
        self.drain.stop(inbound_only);
        for error in self.bind() {
            tracing::error!(%error, "cannot listen");
        }
    }
}

fn of_cluster(cluster: &Cluster, stats: &mut Vec<Stat>) {
    let scope = Scope::Cluster(
        cluster
            .model
            .alt_stat_name
            .clone()
            .unwrap_or_else(|| cluster.model.name.clone()),
    );
    let endpoints = cluster.endpoints();
    let healthy = endpoints
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.is_healthy())
        .count();
    stats.push(Stat::gauge(
        &scope,
        "membership_total",
        endpoints.endpoints.len() as u64,
    ));
    stats.push(Stat::gauge(&scope, "membership_healthy", healthy as u64));
    if let Some(used) = cluster.state.used_stats() {
        let state = &cluster.state;
        let active = |count: &std::sync::atomic::AtomicU32| u64::from(count.load(Ordering::Relaxed));
        stats.push(Stat::gauge(&scope, "upstream_cx_active", active(&state.connections)));
        stats.push(Stat::gauge(&scope, "upstream_rq_active", active(&state.requests)));
        stats.push(Stat::gauge(
            &scope,
            "upstream_rq_pending_active",
            active(&state.pending),
        ));
        stats.extend(used.stats(&scope));
    }
    let limits = &cluster.model.limits;
    if limits.track_remaining {
        for (name, resource) in [
            ("cx", Resource::Connection),
            ("pending", Resource::Pending),
            ("rq", Resource::Request),
            ("retries", Resource::Retry),
        ] {
            let remaining = u64::from(cluster.state.remaining(resource, limits));
            let name = format!("circuit_breakers.default.remaining_{name}");
            stats.push(Stat::gauge(&scope, name, remaining));
        }
    }
    if let Some(detector) = cluster.detector() {
        stats.extend(detector.stats(&scope, endpoints.ejected()));
    }
}
