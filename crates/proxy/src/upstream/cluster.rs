//! A cluster of the running configuration.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::balance;
use super::dns::{self, Resolved};
use super::endpoint::{Endpoint, EndpointSet};
use super::limits::ClusterState;
use super::outlier;
use crate::model::cluster::{self as model, Discovery, LoadAssignment};
use crate::secrets::SecretStore;
use crate::tls::client::ClientContext;

/// A cluster with its endpoints. Endpoints change without the rest: discovery swaps the set.
#[derive(Debug)]
pub struct Cluster {
    pub model: Arc<model::Cluster>,
    /// Counts, carried by name.
    pub state: Arc<ClusterState>,
    /// TLS contexts: one per transport match, then the default.
    pub contexts: Vec<Option<Arc<ClientContext>>>,
    endpoints: ArcSwap<Members>,
    /// Wakes who waits for other endpoints.
    changed: Notify,
    /// Cancelled once the names of a DNS cluster were looked up, with or without success; from the start for others.
    looked_up: CancellationToken,
    /// What the names of a DNS cluster stand for; only its task learns more.
    names: Mutex<Resolved>,
    /// Cancelled when nobody has the cluster any more.
    gone: CancellationToken,
}

#[derive(Debug, Default)]
struct Members {
    assignment: Arc<LoadAssignment>,
    set: Arc<EndpointSet>,
}

// === impl Cluster ===

impl Cluster {
    /// Makes a cluster; `previous` is the one of the same name, whose counts and endpoints' states go on.
    pub fn new(
        model: Arc<model::Cluster>,
        previous: Option<&Self>,
        provider: &Arc<CryptoProvider>,
        secrets: &SecretStore,
    ) -> Arc<Self> {
        let context = |tls: &Option<Arc<crate::model::tls::UpstreamTls>>| {
            tls.as_ref()
                .map(|tls| ClientContext::new(tls.clone(), provider.clone(), secrets))
        };
        let mut contexts: Vec<_> = model
            .transport
            .matches
            .iter()
            .map(|entry| context(&entry.tls))
            .collect();
        contexts.push(context(&model.transport.default));
        let known = previous.map_or_else(Resolved::new, |previous| {
            dns::carried(&model.discovery, &previous.model.discovery, &previous.names.lock())
        });
        let found = dns::assignment(&model.name, &model.discovery, &known);
        let cluster = Arc::new(Self {
            names: Mutex::new(known),
            gone: CancellationToken::new(),
            state: previous.map_or_else(Arc::default, |previous| previous.state.clone()),
            contexts,
            endpoints: ArcSwap::from_pointee(Members::default()),
            changed: Notify::new(),
            looked_up: previous.map_or_else(CancellationToken::new, |previous| previous.looked_up.clone()),
            model,
        });
        if !cluster.model.discovery.is_dns() {
            cluster.looked_up.cancel();
        }
        let assignment = match (&cluster.model.discovery, previous) {
            (Discovery::Static(assignment), _) => Arc::new(assignment.clone()),
            (Discovery::StrictDns { .. } | Discovery::LogicalDns { .. }, _) => found.map(Arc::new).unwrap_or_default(),
            (_, Some(previous)) => previous.endpoints.load().assignment.clone(),
            (_, None) => Arc::default(),
        };
        let before = previous
            .map(|previous| previous.endpoints.load().set.clone())
            .unwrap_or_default();
        cluster.assign(assignment, &before);
        cluster
    }

    /// Replaces the endpoints with what discovery found.
    pub fn update(&self, assignment: Arc<LoadAssignment>) {
        let before = self.endpoints.load().set.clone();
        self.assign(assignment, &before);
    }

    /// Replaces the endpoints unless they are the very same.
    pub fn update_if_changed(&self, assignment: &Arc<LoadAssignment>) {
        if !Arc::ptr_eq(&self.endpoints.load().assignment, assignment) {
            self.update(assignment.clone());
        }
    }

    fn assign(&self, assignment: Arc<LoadAssignment>, before: &EndpointSet) {
        let panic = self.model.panic_threshold_percent;
        let set = EndpointSet::new(&assignment, &self.model.transport, &self.contexts, panic, before);
        self.endpoints.store(Arc::new(Members {
            assignment,
            set: Arc::new(set),
        }));
        self.changed.notify_waiters();
    }

    /// The endpoints now.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.endpoints.load().set.clone()
    }

    /// A name of a DNS cluster stands for these addresses now, which may be none.
    pub fn resolved(&self, host: &Arc<str>, addresses: Vec<IpAddr>) {
        let mut names = self.names.lock();
        if dns::learn(&mut names, &self.model.discovery, host, addresses)
            && let Some(assignment) = dns::assignment(&self.model.name, &self.model.discovery, &names)
        {
            self.update(Arc::new(assignment));
        }
    }

    /// Cancelled when nobody has the cluster any more.
    pub fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// The names were looked up, with or without success.
    pub fn looked_up(&self) {
        self.looked_up.cancel();
    }

    /// Chooses an endpoint: after `looks` more looks that hit one in `avoid`, whichever other there is. A DNS cluster whose names were
    /// never looked up has none yet: that is waited for, at most for the connect timeout (Envoy takes a cluster into use only after
    /// it, "Cluster manager", cluster warming).
    pub async fn endpoint(&self, avoid: &[u64], looks: u32, mut random: impl FnMut() -> u64) -> Option<Arc<Endpoint>> {
        let chosen = self.choose(avoid, looks, &mut random);
        if chosen.is_some() || self.looked_up.is_cancelled() {
            return chosen;
        }
        // Late or not, what is there now is used.
        let _ = tokio::time::timeout(self.model.connect_timeout, self.looked_up.cancelled()).await;
        self.choose(avoid, looks, random)
    }

    fn choose(&self, avoid: &[u64], looks: u32, mut random: impl FnMut() -> u64) -> Option<Arc<Endpoint>> {
        let members = self.endpoints.load();
        let mut choose = || balance::choose(&members.set, &self.model.balancer, &self.state.turn, &mut random);
        let mut chosen = choose()?;
        for _ in 0..looks {
            if !avoid.contains(&chosen.state.id) {
                return Some(chosen.clone());
            }
            chosen = choose()?;
        }
        if looks > 0 && avoid.contains(&chosen.state.id) {
            chosen = balance::other_than(&members.set, avoid, random()).unwrap_or(chosen);
        }
        Some(chosen.clone())
    }

    /// Whether `tried` are all the healthy endpoints that there are, and discovery may bring others.
    pub fn is_exhausted(&self, tried: &[u64]) -> bool {
        matches!(self.model.discovery, Discovery::Eds(_) | Discovery::StrictDns { .. }) && !self.has_other_than(tried)
    }

    /// Waits until there is a healthy endpoint that is not in `tried`. Endpoints of this generation of the cluster count.
    pub async fn other_than(&self, tried: &[u64]) {
        loop {
            // Registered before the look, so that no change falls between the two.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.has_other_than(tried) {
                return;
            }
            changed.await;
        }
    }

    fn has_other_than(&self, tried: &[u64]) -> bool {
        let members = self.endpoints.load();
        let mut endpoints = members.set.endpoints.iter();
        endpoints.any(|endpoint| !tried.contains(&endpoint.state.id) && endpoint.is_healthy())
    }

    /// Feeds passive health checks with how a request to an endpoint ended.
    pub fn record(&self, endpoint: &Endpoint, result: outlier::Result, now: Instant) {
        let Some(config) = &self.model.outlier else {
            return;
        };
        let eject = endpoint.state.outlier.lock().record(config, result);
        if !eject {
            return;
        }
        let set = self.endpoints.load().set.clone();
        let ejected = set
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.state.outlier.lock().is_ejected())
            .count();
        // At least one may always be ejected (Envoy, max_ejection_percent).
        let allowed = (set.endpoints.len() * config.ejection_percent_max as usize / 100).max(1);
        if ejected < allowed && config.ejection_percent_max > 0 {
            endpoint.state.outlier.lock().eject(config, now);
            tracing::info!(cluster = %self.model.name, endpoint = %endpoint.text, "endpoint ejected");
            self.regroup();
        }
    }

    /// Brings endpoints back whose ejection is over; called once an interval.
    pub fn tick(&self, now: Instant) {
        if self.model.outlier.is_none() {
            return;
        }
        let set = self.endpoints.load().set.clone();
        let returned = set
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.state.outlier.lock().tick(now))
            .count();
        if returned > 0 {
            self.regroup();
        }
    }

    fn regroup(&self) {
        let members = self.endpoints.load_full();
        let before = members.set.clone();
        self.assign(members.assignment.clone(), &before);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}
