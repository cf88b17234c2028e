//! From the checked model to the runtime that serves traffic.
//!
//! Pure but for key material, which contexts follow by themselves. What cannot be compiled is reported by name, and what was
//! there before stays in its place.

mod carry;
mod listener;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::model::cluster::{Cluster as ClusterModel, LoadAssignment};
use crate::model::listener::Listener;
use crate::model::route::RouteConfig;
use crate::observe::als::Exporters;
use crate::observe::http_stats::HttpStats;
use crate::observe::trace::export::SpanExporters;
use crate::runtime::Runtime;
use crate::runtime::chain_match::SameMatch;
use crate::secrets::SecretStore;
use crate::stats::Stat;
use crate::stats::counters::Counters;

/// All resources of one moment.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// Listeners by name.
    pub listeners: BTreeMap<Arc<str>, Arc<Listener>>,
    /// Clusters by name.
    pub clusters: BTreeMap<Arc<str>, Arc<ClusterModel>>,
    /// Route configurations by name.
    pub routes: BTreeMap<Arc<str>, Arc<RouteConfig>>,
    /// Endpoints by the name under which EDS has them.
    pub endpoints: BTreeMap<Arc<str>, Arc<LoadAssignment>>,
}

/// A resource that could not be compiled, or something of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub name: Arc<str>,
    pub reason: String,
}

/// Most sentences that are remembered to have been told; after that they are told again.
const TOLD_MAX: usize = 1024;

/// What compiling needs beside the resources; lives as long as the process.
#[derive(Debug)]
pub(crate) struct Compiler {
    provider: Arc<CryptoProvider>,
    secrets: SecretStore,
    exporters: Exporters,
    spans: SpanExporters,
    stats: HashMap<Arc<str>, Arc<HttpStats>>,
    counters: Arc<Counters>,
    node_cluster: Arc<str>,
    told: Told,
}

/// What the log was told once.
#[derive(Debug, Default)]
struct Told(HashSet<String>);

/// Whether a listener's chains can be told apart.
pub(crate) fn check(listener: &Listener) -> Result<(), SameMatch> {
    listener::index(listener).map(drop)
}

// === impl Compiler ===

impl Compiler {
    /// A compiler that takes key material from `secrets` and sends access logs through `exporters`, spans through `spans`.
    /// `node_cluster` is what the bootstrap calls the proxies of this one's kind.
    pub(crate) fn new(
        provider: Arc<CryptoProvider>,
        secrets: SecretStore,
        exporters: Exporters,
        spans: SpanExporters,
        node_cluster: Arc<str>,
    ) -> Self {
        Self {
            provider,
            secrets,
            exporters,
            spans,
            stats: HashMap::new(),
            counters: Arc::default(),
            node_cluster,
            told: Told::default(),
        }
    }

    /// Compiles all resources; `previous` is the running generation, whose state goes on.
    pub(crate) fn compile(&mut self, resources: &Resources, previous: &Runtime) -> (Runtime, Vec<Reject>) {
        let mut rejects = Vec::new();
        let clusters = carry::clusters(resources, previous, &self.provider, &self.secrets);
        let mut listeners = BTreeMap::new();
        for (name, model) in &resources.listeners {
            let mut refused = Vec::new();
            match self.listener(model, resources, &clusters, previous.listeners.get(name), &mut refused) {
                Ok(listener) => {
                    listeners.insert(name.clone(), Arc::new(listener));
                }
                Err(reason) => {
                    if let Some(before) = previous.listeners.get(name) {
                        listeners.insert(name.clone(), before.clone());
                    }
                    refused.push(reason);
                }
            }
            rejects.extend(refused.into_iter().map(|reason| Reject {
                name: name.clone(),
                reason,
            }));
        }
        (Runtime::new(previous.generation + 1, listeners, clusters), rejects)
    }

    /// The counters of a `stat_prefix`; the same for every chain that names it.
    fn stats(&mut self, prefix: &Arc<str>) -> Arc<HttpStats> {
        self.stats.entry(prefix.clone()).or_default().clone()
    }

    /// Access-log entries that collectors did not get.
    pub(crate) fn dropped_entries(&self) -> u64 {
        self.exporters.dropped()
    }

    /// Spans that collectors did not get.
    pub(crate) fn dropped_spans(&self) -> u64 {
        self.spans.dropped()
    }

    /// Everything that filters count.
    pub(crate) fn filter_stats(&self) -> Vec<Stat> {
        self.counters.stats()
    }

    /// All counters by prefix.
    pub(crate) fn all_stats(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<HttpStats>)> {
        self.stats.iter()
    }
}

// === impl Told ===

impl Told {
    /// Whether this was not told yet.
    fn insert(&mut self, what: String) -> bool {
        if self.0.len() >= TOLD_MAX {
            self.0.clear();
        }
        self.0.insert(what)
    }
}
