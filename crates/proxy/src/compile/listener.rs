//! Listeners: chain index, TLS contexts, and the action of each chain.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Compiler, Resources};
use crate::filters::{FilterList, Making};
use crate::model::access_log::AccessLog;
use crate::model::http::{HttpConnectionManager, RouteSource, Tracing};
use crate::model::listener::{ChainAction, FilterChain, Listener};
use crate::model::route::RouteConfig;
use crate::network_filters::{Counting, NetworkFilters};
use crate::observe::access_log::CompiledLog;
use crate::observe::trace::Tracer;
use crate::route::table::RouteTable;
use crate::runtime::chain_match::{ChainIndex, SameMatch};
use crate::runtime::connection_manager::ConnectionManager;
use crate::runtime::routes::CompiledRoutes;
use crate::runtime::tcp_proxy::TcpProxy;
use crate::runtime::{ActionRuntime, ChainRuntime, ListenerRuntime};
use crate::tls::server::ServerContext;
use crate::upstream::cluster::Cluster;

type Clusters = HashMap<Arc<str>, Arc<Cluster>>;

/// The look-up of a listener's chains.
pub(super) fn index(model: &Listener) -> Result<ChainIndex, SameMatch> {
    let matches: Vec<_> = model.chains.iter().map(|chain| &chain.matches).collect();
    Ok(ChainIndex::compile(&matches)?.closing(&model.refused.matches))
}

// === impl Compiler ===

impl Compiler {
    /// One listener; `refused` takes what of it is left out. TLS contexts of a listener that did not change are kept, and so are their
    /// sessions.
    pub(super) fn listener(
        &mut self,
        model: &Arc<Listener>,
        resources: &Resources,
        clusters: &Clusters,
        previous: Option<&Arc<ListenerRuntime>>,
        refused: &mut Vec<String>,
    ) -> Result<ListenerRuntime, String> {
        let stats = previous.map_or_else(Arc::default, |previous| previous.stats.clone());
        let previous = previous.filter(|previous| Arc::ptr_eq(&previous.model, model));
        let index = index(model).map_err(|error| error.to_string())?;
        let mut chains = Vec::with_capacity(model.chains.len() + 1);
        for (position, chain) in model.chains.iter().chain(&model.default_chain).enumerate() {
            let kept = previous
                .and_then(|previous| previous.chains.get(position))
                .and_then(|chain| chain.tls.clone());
            chains.push(ChainRuntime {
                name: chain.name.clone(),
                tls: kept.or_else(|| self.context(chain)),
                filters: Arc::new(NetworkFilters::new(
                    &chain.filters,
                    &Counting {
                        counters: &self.counters,
                    },
                )),
                action: self.action(chain, model.buffer_bytes_max, resources, clusters, refused),
            });
        }
        Ok(ListenerRuntime {
            model: model.clone(),
            index,
            chains,
            stats,
        })
    }

    fn context(&self, chain: &FilterChain) -> Option<Arc<ServerContext>> {
        let tls = chain.tls.clone()?;
        Some(ServerContext::new(
            tls,
            chain.transport_connect_timeout,
            self.provider.clone(),
            &self.secrets,
        ))
    }

    fn action(
        &mut self,
        chain: &FilterChain,
        buffer_bytes_max: usize,
        resources: &Resources,
        clusters: &Clusters,
        refused: &mut Vec<String>,
    ) -> ActionRuntime {
        match &chain.action {
            ChainAction::Http(manager) => {
                let config = match &manager.routes {
                    RouteSource::Inline(config) => Some(config.clone()),
                    RouteSource::Rds(name) => resources.routes.get(name).cloned(),
                };
                let filters = self.filters(manager, clusters);
                let routes = config.map(|config| {
                    self.tell_of_filters(manager, &filters, &config);
                    let table = RouteTable::new(config);
                    Arc::new(CompiledRoutes::new(table, clusters, &filters, buffer_bytes_max))
                });
                let logs = self.logs(&manager.access_logs, refused);
                let tracer = manager.tracing.as_ref().map(|tracing| self.tracer(tracing));
                let stats = self.stats(&manager.stat_prefix);
                ActionRuntime::Http(Arc::new(ConnectionManager::new(
                    (**manager).clone(),
                    filters,
                    routes,
                    logs,
                    tracer,
                    stats,
                )))
            }
            ChainAction::Tcp(proxy) => {
                let logs = self.logs(&proxy.access_logs, refused);
                let find = |name: &Arc<str>| clusters.get(name).cloned();
                ActionRuntime::Tcp(Arc::new(TcpProxy::new((**proxy).clone(), logs, find)))
            }
            ChainAction::Refused(_) => ActionRuntime::Refused,
        }
    }

    fn filters(&self, manager: &HttpConnectionManager, clusters: &Clusters) -> FilterList {
        let making = Making {
            prefix: &manager.stat_prefix,
            counters: &self.counters,
            node_cluster: &self.node_cluster,
            clusters,
        };
        FilterList::new(&manager.filters, &making)
    }

    /// Says once which filters are left out, and what routes say about filters that are not listed, which does nothing (as in Envoy).
    fn tell_of_filters(&mut self, manager: &HttpConnectionManager, filters: &FilterList, routes: &RouteConfig) {
        let prefix = &manager.stat_prefix;
        for name in &manager.left_out {
            if self.told.insert(format!("{prefix} {name}")) {
                tracing::warn!(stat_prefix = %prefix, filter = %name, "an optional filter of an unknown type is left out");
            }
        }
        let named: BTreeSet<&Arc<str>> = routes.filter_names().collect();
        for name in named {
            if !filters.names().any(|listed| listed == name)
                && self.told.insert(format!("{prefix} {} {name}", routes.name))
            {
                tracing::warn!(
                    stat_prefix = %prefix, routes = %routes.name, filter = %name,
                    "routes configure a filter that http_filters does not list by this name: it does nothing"
                );
            }
        }
    }

    fn tracer(&self, tracing: &Tracing) -> Tracer {
        let exporter = self
            .spans
            .get(&tracing.collector_cluster, tracing.service_name.as_ref());
        Tracer::new(tracing.clone(), exporter, |name| std::env::var(name).ok())
    }

    /// The logs; one that cannot be written is left out.
    fn logs(&self, logs: &[AccessLog], refused: &mut Vec<String>) -> Vec<CompiledLog> {
        let compiled = logs.iter().map(|log| CompiledLog::new(log, &self.exporters));
        let writable = compiled.filter_map(|log| log.map_err(|error| refused.push(error.to_string())).ok());
        writable.collect()
    }
}
