//! The compiled configuration that serves traffic: immutable, replaced whole.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::error::ErrorKind;
use crate::filters::{FilterList, FilterRoutes, Slots, route_answer_formats};
use crate::http::chain::HttpChain;
use crate::listen::chain_match::ChainIndex;
use crate::model::access_log::Format;
use crate::model::listener::Listener;
use crate::model::route::{HeaderMutations, Route, RouteAction, Target, VirtualHost};
use crate::route::table::{Found, RouteTable};
use crate::secrets::SecretStore;
use crate::stats::ListenerStats;
use crate::stream_info::request::RequestHead;
use crate::tcp::chain::TcpChain;
use crate::tls::server::ServerContext;
use crate::upstream::cluster::Cluster;
use crate::upstream::directory::{ClusterDirectory, ClustersByName};

/// Bytes of a request body kept for retries, Envoy's default buffer limit.
pub const REPLAY_BYTES_MAX: usize = 1 << 20;

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
    /// Configuration.
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
    /// What it does.
    pub action: ActionRuntime,
}

/// What a chain does with a connection.
#[derive(Clone, Debug)]
pub enum ActionRuntime {
    /// Serves HTTP.
    Http(Arc<HttpChain>),
    /// Forwards bytes.
    Tcp(Arc<TcpChain>),
}

/// Finds a chain again in a later generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainRef {
    /// Listener.
    pub listener: Arc<str>,
    /// Name of the chain.
    pub name: Arc<str>,
    /// Its position, for chains without a name.
    pub position: usize,
}

/// A route table with its clusters looked up.
#[derive(Debug)]
pub struct CompiledRoutes {
    /// The table.
    pub table: RouteTable,
    /// Bytes of a request body kept for retries.
    pub replay_bytes_max: usize,
    filters: FilterRoutes,
    targets: Vec<Vec<Targets>>,
    clusters: HashMap<Arc<str>, Arc<Cluster>>,
}

/// The clusters of a route; `None` where one does not exist.
#[derive(Debug)]
enum Targets {
    None,
    One(Option<Arc<Cluster>>),
    /// Sums of weights with their clusters.
    Weighted(Vec<(u64, Option<Arc<Cluster>>)>),
    Header,
}

/// The cluster of one request.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// It.
    pub cluster: Arc<Cluster>,
    host_index: usize,
    route_index: usize,
    weighted: Option<usize>,
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

    /// The connection manager of a chain that a connection was accepted on.
    pub fn http_chain(&self, at: &ChainRef) -> Option<Arc<HttpChain>> {
        match &self.chain(at)?.action {
            ActionRuntime::Http(chain) => Some(chain.clone()),
            ActionRuntime::Tcp(_) => None,
        }
    }

    /// What forwards the bytes of a connection that was accepted on a chain.
    pub fn tcp_chain(&self, at: &ChainRef) -> Option<Arc<TcpChain>> {
        match &self.chain(at)?.action {
            ActionRuntime::Tcp(chain) => Some(chain.clone()),
            ActionRuntime::Http(_) => None,
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

// === impl CompiledRoutes ===

impl CompiledRoutes {
    /// Looks the clusters of a table up.
    pub fn new(table: RouteTable, clusters: &HashMap<Arc<str>, Arc<Cluster>>, filters: &FilterList) -> Self {
        let find = |name: &Arc<str>| clusters.get(name).cloned();
        let mut by_header = false;
        let mut targets_of = |route: &Route| match &route.action {
            RouteAction::Redirect(_) | RouteAction::Direct(_) => Targets::None,
            RouteAction::Forward(action) => match &action.target {
                Target::Cluster(name) => Targets::One(find(name)),
                Target::Header(_) => {
                    by_header = true;
                    Targets::Header
                }
                Target::Weighted(weighted) => {
                    let mut sum = 0;
                    let sums = weighted.iter().map(|cluster| {
                        sum += u64::from(cluster.target.weight);
                        (sum, find(&cluster.target.cluster))
                    });
                    Targets::Weighted(sums.collect())
                }
            },
        };
        let hosts = table.config().virtual_hosts.clone();
        let targets = hosts
            .iter()
            .map(|host| host.routes.iter().map(&mut targets_of).collect())
            .collect();
        Self {
            filters: FilterRoutes::new(table.config(), filters),
            table,
            replay_bytes_max: REPLAY_BYTES_MAX,
            targets,
            clusters: if by_header { clusters.clone() } else { HashMap::new() },
        }
    }

    /// A virtual host by position.
    pub fn host(&self, host_index: usize) -> &VirtualHost {
        &self.table.config().virtual_hosts[host_index]
    }

    /// A route by position.
    pub fn route(&self, host_index: usize, route_index: usize) -> &Route {
        &self.host(host_index).routes[route_index]
    }

    /// What the filters are told of a request on a route, with the cluster that was chosen for it.
    pub fn filter_slots(&self, found: &Found<'_>, chosen: Option<&Chosen>) -> Option<&Arc<Slots>> {
        let weighted = chosen.and_then(|chosen| chosen.weighted);
        self.filters.find(found.host_index, found.route_index, weighted)
    }

    /// The cluster that takes a request. `random` is uniform over all 64-bit numbers.
    pub fn choose(
        &self,
        host_index: usize,
        route_index: usize,
        head: &RequestHead,
        random: u64,
    ) -> Result<Chosen, ErrorKind> {
        let RouteAction::Forward(action) = &self.route(host_index, route_index).action else {
            return Err(ErrorKind::RouteNotFound);
        };
        let missing = ErrorKind::ClusterNotFound(action.cluster_not_found_status);
        let (cluster, weighted) = match &self.targets[host_index][route_index] {
            Targets::None => (None, None),
            Targets::One(cluster) => (cluster.clone(), None),
            Targets::Weighted(sums) => {
                let total = sums.last().map_or(1, |(sum, _)| *sum).max(1);
                let ticket = random % total;
                let at = sums.partition_point(|(sum, _)| *sum <= ticket);
                (sums.get(at).and_then(|(_, cluster)| cluster.clone()), Some(at))
            }
            Targets::Header => {
                let Target::Header(name) = &action.target else {
                    return Err(missing);
                };
                let named = head.headers.get(name).and_then(|value| value.to_str().ok());
                (named.and_then(|name| self.clusters.get(name)).cloned(), None)
            }
        };
        Ok(Chosen {
            cluster: cluster.ok_or(missing)?,
            host_index,
            route_index,
            weighted,
        })
    }

    /// Formats of response headers, whose request headers must be kept until then.
    pub fn response_formats(&self) -> impl Iterator<Item = &Format> {
        let config = self.table.config();
        let hosts = config.virtual_hosts.iter();
        let of_routes = hosts
            .clone()
            .flat_map(|host| host.routes.iter().map(|route| &route.headers));
        let levels = std::iter::once(&config.headers)
            .chain(hosts.map(|host| &host.headers))
            .chain(of_routes);
        let of_filters = config.filter_configs().flat_map(route_answer_formats);
        let of_levels = levels.flat_map(|level| level.response_add.iter().map(|add| &add.value));
        of_levels.chain(of_filters)
    }
}

// === impl Chosen ===

impl Chosen {
    /// Header changes of the weighted cluster.
    pub fn headers<'a>(&self, routes: &'a CompiledRoutes) -> Option<&'a HeaderMutations> {
        self.entry(routes).map(|entry| &entry.headers)
    }

    /// Host of the weighted cluster.
    pub fn host_rewrite<'a>(&self, routes: &'a CompiledRoutes) -> Option<&'a Arc<str>> {
        self.entry(routes)?.host_rewrite.as_ref()
    }

    fn entry<'a>(&self, routes: &'a CompiledRoutes) -> Option<&'a crate::model::route::WeightedCluster> {
        let RouteAction::Forward(action) = &routes.route(self.host_index, self.route_index).action else {
            return None;
        };
        let Target::Weighted(entries) = &action.target else {
            return None;
        };
        entries.get(self.weighted?)
    }
}
