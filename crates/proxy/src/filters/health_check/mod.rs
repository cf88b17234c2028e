//! Health checks: answered here, or passed on and remembered for a while (`envoy.filters.http.health_check`).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Answer, AnswerPass, HttpFilter, Making, Next, RequestPass, Route};
use crate::error::ResponseFlags;
use crate::model::filters::health_check::{Answers, Config, RouteConfig};
use crate::route::matcher::header_fits;
use crate::upstream::cluster::Cluster;

/// Tells which proxies answered a health check.
const CHECKED_CLUSTER: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");

/// Answers health checks.
#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    /// Clusters that have to be well, with the shares of their endpoints in percent; `None` where there is no such cluster.
    clusters: Vec<(Option<Arc<Cluster>>, f64)>,
    node_cluster: Option<HeaderValue>,
    /// The upstream's last answer, and when the next one is wanted. Only health checks take the lock.
    last: Mutex<Option<(StatusCode, Instant)>>,
}

// === impl Filter ===

impl Filter {
    /// The answer of the proxy itself, and why.
    fn own(&self) -> (StatusCode, &'static str) {
        for (cluster, share) in &self.clusters {
            let Some(cluster) = cluster else {
                return (StatusCode::SERVICE_UNAVAILABLE, "health_check_failed_no_cluster_found");
            };
            let set = cluster.endpoints();
            let total = set.endpoints.len();
            if total == 0 && *share == 0.0 {
                continue;
            }
            if total == 0 {
                return (StatusCode::SERVICE_UNAVAILABLE, "health_check_failed_cluster_empty");
            }
            let healthy = set.endpoints.iter().filter(|endpoint| endpoint.is_healthy()).count();
            if (healthy as f64) < total as f64 * share / 100.0 {
                return (StatusCode::SERVICE_UNAVAILABLE, "health_check_failed_cluster_unhealthy");
            }
        }
        if self.clusters.is_empty() {
            (StatusCode::OK, "health_check_ok")
        } else {
            (StatusCode::OK, "health_check_ok_cluster_healthy")
        }
    }

    /// The upstream's last answer, as long as it is good for others.
    fn remembered(&self, cache_time: Option<Duration>) -> Option<(StatusCode, &'static str)> {
        cache_time?;
        let last = *self.last.lock();
        let (status, until) = last?;
        (Instant::now() < until).then_some((status, "health_check_cached"))
    }
}

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    /// Kept of health checks; whether the upstream answers.
    type State = bool;

    fn new(config: &Config, making: &Making<'_>) -> Self {
        let clusters = match &config.answers {
            Answers::Proxy(shares) => shares
                .iter()
                .map(|(name, share)| (making.clusters.get(name).cloned(), *share))
                .collect(),
            Answers::Upstream(_) => Vec::new(),
        };
        Self {
            config: config.clone(),
            clusters,
            node_cluster: HeaderValue::from_str(making.node_cluster).ok(),
            last: Mutex::default(),
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, _route: Route<'_, RouteConfig>) -> Next<bool> {
        if !self
            .config
            .headers
            .iter()
            .all(|matcher| header_fits(matcher, request.head))
        {
            return Next::go();
        }
        request.info.health_check = true;
        let answer = match &self.config.answers {
            Answers::Proxy(_) => Some(self.own()),
            Answers::Upstream(cache_time) => self.remembered(*cache_time),
        };
        let Some((status, details)) = answer else {
            return Next::keep(true);
        };
        if !status.is_success() {
            request.info.flags.insert(ResponseFlags::FAILED_LOCAL_HEALTH_CHECK);
        }
        request.info.details = Some(details.into());
        Next {
            keep: Some(false),
            answer: Some(Answer::told(status, "")),
        }
    }

    async fn on_answer(&self, state: Option<&mut bool>, answer: &mut AnswerPass<'_>, _route: Route<'_, RouteConfig>) {
        let Some(from_upstream) = state else {
            return;
        };
        if let (Answers::Upstream(Some(time)), true) = (&self.config.answers, *from_upstream) {
            *self.last.lock() = Some((*answer.status, Instant::now() + *time));
        }
        if let Some(name) = &self.node_cluster {
            answer.headers.insert(CHECKED_CLUSTER, name.clone());
        }
    }
}
