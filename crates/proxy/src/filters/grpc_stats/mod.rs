//! Counts of gRPC requests and messages by cluster (`envoy.filters.http.grpc_stats`).

use std::sync::{Arc, OnceLock};

use super::{End, HttpFilter, Making, Next, RequestPass, Route};
use crate::model::filters::grpc_stats::{Config, RouteConfig};
use crate::stats::Scope;
use crate::stats::counters::{Counter, Counters, PerCluster};
use crate::stream_info::notes::StateValue;

/// Statuses that there are (<https://grpc.io/docs/guides/status-codes/>); any other is an upstream's whim and counts with its like.
const STATUSES: usize = 17;

/// Envoy's key of the filter state.
const STATE_KEY: &str = "envoy.filters.http.grpc_stats";

/// Counts when requests are over.
#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    /// Under which filter state has the numbers of messages.
    state_key: Arc<str>,
    counters: Arc<Counters>,
    clusters: PerCluster<OfCluster>,
}

/// Statistics of one cluster.
#[derive(Debug)]
struct OfCluster {
    scope: Scope,
    requests: Arc<Counter>,
    responses: Arc<Counter>,
    total: Arc<Counter>,
    success: Arc<Counter>,
    failure: Arc<Counter>,
    statuses: [OnceLock<Arc<Counter>>; STATUSES],
}

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    /// Kept of gRPC requests alone.
    type State = ();

    fn new(config: &Config, making: &Making<'_>) -> Self {
        Self {
            config: *config,
            state_key: Arc::from(STATE_KEY),
            counters: making.counters.clone(),
            clusters: PerCluster::default(),
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, _route: Route<'_, RouteConfig>) -> Next<()> {
        if !request.head.grpc_upstream {
            return Next::go();
        }
        request.progress.count_messages();
        Next::keep(())
    }

    fn on_end(&self, state: Option<()>, end: &mut End<'_>) {
        let Some(()) = state else {
            return;
        };
        let (requests, responses) = (end.progress.messages(), end.progress.answered.get());
        if self.config.emits_state && requests + responses > 0 {
            let value = StateValue::Messages { requests, responses };
            end.info.notes().set_state(&self.state_key, value);
        }
        let Some(cluster) = &end.info.upstream_cluster else {
            return;
        };
        let name = cluster.alt_stat_name.as_ref().unwrap_or(&cluster.name);
        let stats = self.clusters.of(name, || OfCluster::new(name, &self.counters));
        stats.requests.add(requests);
        stats.responses.add(responses);
        let Some(status) = end.progress.status.get().or(end.info.grpc_status) else {
            return;
        };
        stats.total.increment();
        let outcome = if status == 0 { &stats.success } else { &stats.failure };
        outcome.increment();
        stats.status(status, &self.counters).increment();
    }
}

// === impl OfCluster ===

impl OfCluster {
    fn new(name: &Arc<str>, counters: &Counters) -> Self {
        let scope = Scope::Cluster(name.clone());
        let counter = |metric: &str| counters.get(&scope, metric);
        Self {
            requests: counter("grpc.request_message_count"),
            responses: counter("grpc.response_message_count"),
            total: counter("grpc.total"),
            success: counter("grpc.success"),
            failure: counter("grpc.failure"),
            statuses: std::array::from_fn(|_| OnceLock::new()),
            scope,
        }
    }

    /// The counter of a status, made when it comes for the first time.
    fn status(&self, status: u32, counters: &Counters) -> Arc<Counter> {
        let make = || counters.get(&self.scope, &format!("grpc.{status}"));
        match self.statuses.get(status as usize) {
            Some(counter) => counter.get_or_init(make).clone(),
            None => counters.get(&self.scope, "grpc.others"),
        }
    }
}
