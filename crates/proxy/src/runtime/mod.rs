//! The compiled configuration that serves traffic: immutable, replaced whole.

pub(crate) mod chain_match;
pub(crate) mod connection_manager;
pub(crate) mod routes;
pub(crate) mod tcp_proxy;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use self::chain_match::ChainIndex;
use self::connection_manager::ConnectionManager;
use self::tcp_proxy::TcpProxy;
use crate::model::listener::Listener;
use crate::network_filters::NetworkFilters;
use crate::secrets::SecretStore;
use crate::stats::ListenerStats;
use crate::stream_info::connection::TlsInfo;
use crate::tls::server::ServerContext;
use crate::upstream::cluster::Cluster;
use crate::upstream::directory::{ClusterDirectory, ClustersByName};

/// One generation of the configuration.
#[derive(Debug, Default)]
pub struct Runtime {
    /// Counts up with every replacement.
    pub generation: u64,
    /// Listeners by name.
    pub listeners: BTreeMap<Arc<str>, Arc<ListenerRuntime>>,
    /// Clusters by name.
    pub clusters: Arc<ClustersByName>,
    by_address: HashMap<SocketAddr, Arc<ListenerRuntime>>,
}

/// Where the running generation is found.
#[derive(Debug, Default)]
pub struct RuntimeHandle {
    current: ArcSwap<Runtime>,
    clusters: Arc<ClusterDirectory>,
}

/// A listener with its chains ready to take connections.
#[derive(Debug)]
pub struct ListenerRuntime {
    pub model: Arc<Listener>,
    /// Which chain takes which connection.
    pub index: ChainIndex,
    /// Chains, in the order of the configuration; the default chain last, where there is one.
    pub chains: Vec<ChainRuntime>,
    /// Counts, carried by name.
    pub stats: Arc<ListenerStats>,
}

/// A filter chain ready to serve.
#[derive(Debug)]
pub struct ChainRuntime {
    /// Name, empty where unset.
    pub name: Arc<str>,
    /// TLS to terminate.
    pub tls: Option<Arc<ServerContext>>,
    /// What connections pass before that.
    pub filters: Arc<NetworkFilters>,
    /// What it does.
    pub action: ActionRuntime,
}

/// What a chain does with a connection.
#[derive(Clone, Debug)]
pub enum ActionRuntime {
    Http(Arc<ConnectionManager>),
    Tcp(Arc<TcpProxy>),
    /// It was refused: connections are closed.
    Refused,
}

/// Finds a chain again in a later generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainRef {
    pub listener: Arc<str>,
    /// Name of the chain.
    pub name: Arc<str>,
    /// Its position, for chains without a name.
    pub position: usize,
}

// === impl RuntimeHandle ===

impl RuntimeHandle {
    /// The running generation.
    pub fn load(&self) -> Guard<Arc<Runtime>> {
        self.current.load()
    }

    /// Replaces the running generation.
    pub fn store(&self, runtime: Arc<Runtime>) {
        self.clusters.store(runtime.clusters.clone());
        self.current.store(runtime);
    }

    /// The clusters of the running generation, for what is not traffic.
    pub fn clusters(&self) -> &Arc<ClusterDirectory> {
        &self.clusters
    }
}

// === impl Runtime ===

impl Runtime {
    /// Rebuilds the TLS contexts whose key material has changed.
    pub fn refresh_contexts(&self, secrets: &SecretStore) {
        let chains = self.listeners.values().flat_map(|listener| &listener.chains);
        for context in chains.filter_map(|chain| chain.tls.as_ref()) {
            context.refresh(secrets);
        }
        for context in self
            .clusters
            .values()
            .flat_map(|cluster| cluster.contexts.iter().flatten())
        {
            context.refresh(secrets);
        }
    }

    /// A generation of these listeners and clusters.
    pub fn new(generation: u64, listeners: BTreeMap<Arc<str>, Arc<ListenerRuntime>>, clusters: ClustersByName) -> Self {
        let mut by_address = HashMap::new();
        for listener in listeners.values() {
            for address in &listener.model.addresses {
                by_address.entry(*address).or_insert_with(|| listener.clone());
            }
        }
        Self {
            generation,
            listeners,
            clusters: Arc::new(clusters),
            by_address,
        }
    }

    /// The listener of a connection that was redirected to `captured`: the one with the address that the client meant, else the
    /// one with its port at every address, else `captured` itself. Listeners of the other direction are none of its business.
    pub fn listener_of<'a>(
        &'a self,
        original: SocketAddr,
        captured: &'a Arc<ListenerRuntime>,
    ) -> &'a Arc<ListenerRuntime> {
        let everywhere: IpAddr = match original {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let candidates = [original, SocketAddr::new(everywhere, original.port())];
        let mut found = candidates.iter().filter_map(|address| self.by_address.get(address));
        found
            .find(|listener| listener.model.direction == captured.model.direction)
            .unwrap_or(captured)
    }

    /// Whether a connection that was accepted on a chain is less than is asked for now: the chain is gone from its listener, or wants TLS
    /// or a certificate that the connection does not have. Of a listener that is gone nothing is asked.
    pub fn is_outdated(&self, at: &ChainRef, tls: Option<&TlsInfo>) -> bool {
        let Some(listener) = self.listeners.get(&at.listener) else {
            return false;
        };
        let mut chains = listener.model.chains.iter().chain(&listener.model.default_chain);
        let chain = if at.name.is_empty() {
            chains.nth(at.position)
        } else {
            chains.find(|chain| chain.name == at.name)
        };
        match (chain.map(|chain| &chain.tls), tls) {
            (None, _) | (Some(Some(_)), None) => true,
            (Some(None), _) => false,
            (Some(Some(wanted)), Some(has)) => wanted.require_client_certificate && has.peer.is_none(),
        }
    }

    /// The connection manager of a chain that a connection was accepted on.
    pub fn connection_manager(&self, at: &ChainRef) -> Option<Arc<ConnectionManager>> {
        match &self.chain(at)?.action {
            ActionRuntime::Http(chain) => Some(chain.clone()),
            ActionRuntime::Tcp(_) | ActionRuntime::Refused => None,
        }
    }

    /// What forwards the bytes of a connection that was accepted on a chain.
    pub fn tcp_proxy(&self, at: &ChainRef) -> Option<(Arc<NetworkFilters>, Arc<TcpProxy>)> {
        let chain = self.chain(at)?;
        match &chain.action {
            ActionRuntime::Tcp(proxy) => Some((chain.filters.clone(), proxy.clone())),
            ActionRuntime::Http(_) | ActionRuntime::Refused => None,
        }
    }

    fn chain(&self, at: &ChainRef) -> Option<&ChainRuntime> {
        let listener = self.listeners.get(&at.listener)?;
        if at.name.is_empty() {
            listener.chains.get(at.position)
        } else {
            listener.chains.iter().find(|chain| chain.name == at.name)
        }
    }

    /// Idle timeout of the upstream connections of every endpoint.
    pub fn idle_timeouts(&self) -> HashMap<u64, Duration> {
        let clusters = self.clusters.values();
        let of = |cluster: &Arc<Cluster>| {
            let idle = cluster.model.idle_timeout;
            cluster
                .endpoints()
                .endpoints
                .iter()
                .map(|endpoint| (endpoint.state.id, idle))
                .collect::<Vec<_>>()
        };
        clusters.flat_map(of).collect()
    }
}
