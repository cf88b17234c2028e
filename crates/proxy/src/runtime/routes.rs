//! The routes of a connection manager with their clusters looked up, and the choice of one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::ErrorKind;
use crate::filters::{FilterList, FilterRoutes, Slots, route_answer_formats};
use crate::model::access_log::Format;
use crate::model::route::{HeaderMutations, Route, RouteAction, Target, VirtualHost, WeightedCluster};
use crate::route::headers::ordered;
use crate::route::table::{Found, RouteTable};
use crate::stream_info::request::RequestHead;
use crate::upstream::cluster::Cluster;

/// A route table with its clusters looked up.
#[derive(Debug)]
pub struct CompiledRoutes {
    pub table: RouteTable,
    /// Bytes of a request body kept for retries: what the listener lets a connection buffer.
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
    pub cluster: Arc<Cluster>,
    host_index: usize,
    route_index: usize,
    weighted: Option<usize>,
}

// === impl CompiledRoutes ===

impl CompiledRoutes {
    /// Looks the clusters of a table up.
    pub fn new(
        table: RouteTable,
        clusters: &HashMap<Arc<str>, Arc<Cluster>>,
        filters: &FilterList,
        replay_bytes_max: usize,
    ) -> Self {
        let find = |name: &Arc<str>| clusters.get(name).cloned();
        let mut by_header = false;
        let mut targets_of = |route: &Route| match &route.action {
            RouteAction::Redirect(_) | RouteAction::Direct(_) | RouteAction::Refused(_) => Targets::None,
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
            replay_bytes_max,
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

    /// Header changes for what passes on a route, in the order in which they apply. `weighted` is the entry of a weighted target.
    pub fn header_changes(
        &self,
        host_index: usize,
        route_index: usize,
        weighted: Option<usize>,
    ) -> [Option<&HeaderMutations>; 4] {
        let config = self.table.config();
        let entry = weighted.and_then(|at| self.weighted(host_index, route_index, at));
        let levels = [
            entry.map(|entry| &entry.headers),
            Some(&self.route(host_index, route_index).headers),
            Some(&self.host(host_index).headers),
            Some(&config.headers),
        ];
        ordered(levels, config.most_specific_header_mutations_wins)
    }

    fn weighted(&self, host_index: usize, route_index: usize, at: usize) -> Option<&WeightedCluster> {
        let RouteAction::Forward(action) = &self.route(host_index, route_index).action else {
            return None;
        };
        let Target::Weighted(entries) = &action.target else {
            return None;
        };
        entries.get(at)
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
    /// Header changes on the way to the cluster and back, in the order in which they apply.
    pub fn header_changes<'a>(&self, routes: &'a CompiledRoutes) -> [Option<&'a HeaderMutations>; 4] {
        routes.header_changes(self.host_index, self.route_index, self.weighted)
    }

    /// Which entry of a weighted target it is.
    pub fn weighted(&self) -> Option<usize> {
        self.weighted
    }

    /// Host of the weighted cluster.
    pub fn host_rewrite<'a>(&self, routes: &'a CompiledRoutes) -> Option<&'a Arc<str>> {
        let entry = routes.weighted(self.host_index, self.route_index, self.weighted?)?;
        entry.host_rewrite.as_ref()
    }
}
