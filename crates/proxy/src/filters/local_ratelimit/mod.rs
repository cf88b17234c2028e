//! Limits on requests that this proxy keeps by itself, with buckets of tokens (`envoy.filters.http.local_ratelimit`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use tokio::time::Instant;

use super::{Answer, AnswerPass, HttpFilter, Making, Next, RequestPass, Route};
use crate::error::ResponseFlags;
use crate::model::filters::local_ratelimit::bucket::Bucket;
use crate::model::filters::local_ratelimit::limiter::Descriptor;
use crate::model::filters::local_ratelimit::{Action, Config, RouteConfig};
use crate::model::matcher::HeaderKey;
use crate::route::headers::{add_to_request, evaluate, put};
use crate::route::matcher::header_fits;
use crate::stats::Scope;
use crate::stats::counters::{Counter, Counters};
use crate::stream_info::operators::Headers;

/// Text and details of a refusal, Envoy's.
const REFUSED: &str = "local_rate_limited";

/// gRPC status of a refusal where that is asked for (`RESOURCE_EXHAUSTED`).
const EXHAUSTED: u32 = 8;

/// Most prefixes that routes may count under while a listener lives; what more there are count under the listener's own. Route
/// configurations come and go, their prefixes stay in the statistics.
const PREFIXES_MAX: usize = 1000;

/// Since when the seconds of buckets are counted.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Refuses requests that are too many.
#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    node_cluster: Arc<str>,
    own: Arc<Stats>,
    counters: Arc<Counters>,
    /// Statistics of what routes say, by their prefixes; read for every request of such a route and replaced for every new prefix.
    of_routes: ArcSwap<HashMap<Arc<str>, Arc<Stats>>>,
}

/// What is counted under a prefix.
#[derive(Debug)]
struct Stats {
    enabled: Arc<Counter>,
    ok: Arc<Counter>,
    limited: Arc<Counter>,
    enforced: Arc<Counter>,
}

/// What the client is told with the answer.
#[derive(Debug)]
pub(crate) struct Told {
    bucket: Arc<Bucket>,
    limits: bool,
    retry: bool,
}

// === impl Filter ===

impl Filter {
    fn stats_of_route(&self, prefix: &Arc<str>) -> Arc<Stats> {
        let known = self.of_routes.load();
        if let Some(known) = known.get(prefix) {
            return known.clone();
        }
        if known.len() >= PREFIXES_MAX {
            return self.own.clone();
        }
        let made = Arc::new(Stats::new(prefix, &self.counters));
        self.of_routes.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(prefix.clone(), made.clone());
            known
        });
        made
    }

    /// Descriptors of a request: of each policy whose actions all find something.
    fn descriptors(&self, config: &Config, request: &RequestPass<'_>) -> Vec<Descriptor> {
        let one = |actions: &Vec<Action>| {
            let mut entries = Descriptor::new();
            for action in actions {
                entries.extend(self.entry(action, request)?);
            }
            (!entries.is_empty()).then_some(entries)
        };
        config.policies.iter().filter_map(one).collect()
    }

    /// What an action finds; `None` where there is no descriptor without it.
    fn entry(&self, action: &Action, request: &RequestPass<'_>) -> Option<Option<(Arc<str>, Arc<str>)>> {
        let found = |key: &Arc<str>, value: Option<Arc<str>>, optional: bool| match value {
            Some(value) => Some(Some((key.clone(), value))),
            None => optional.then_some(None),
        };
        match action {
            Action::Constant(key, value) => Some(Some((key.clone(), value.clone()))),
            Action::Header { name, key, optional } => {
                let value = request.head.headers.get(name);
                let value = value.map(|value| Arc::from(String::from_utf8_lossy(value.as_bytes())));
                found(key, value, *optional)
            }
            Action::Query { name, key, optional } => {
                let query = request.head.path.query().unwrap_or_default();
                let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                let value = pairs
                    .find(|(known, _)| *known == &**name)
                    .map(|(_, value)| Arc::from(value));
                found(key, value, *optional)
            }
            Action::Client => {
                let address = request.info.remote_addr.ip().to_string();
                Some(Some((Arc::from("remote_address"), Arc::from(address))))
            }
            Action::Network { v4, v6 } => {
                let address = request.info.remote_addr.ip();
                let bits = match address {
                    IpAddr::V4(_) => *v4,
                    IpAddr::V6(_) => *v6,
                };
                let network = IpNet::new(address, bits).ok()?.trunc().to_string();
                Some(Some((Arc::from("masked_remote_address"), Arc::from(network))))
            }
            Action::Match {
                key,
                value,
                expected,
                headers,
            } => {
                let fits = headers.iter().all(|matcher| header_fits(matcher, request.head));
                (fits == *expected).then(|| Some((key.clone(), value.clone())))
            }
            Action::Destination => {
                let cluster = request.info.upstream_cluster.as_ref()?;
                Some(Some((Arc::from("destination_cluster"), cluster.name.clone())))
            }
            Action::Source => Some(Some((Arc::from("source_cluster"), self.node_cluster.clone()))),
        }
    }
}

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = Told;

    fn new(config: &Config, making: &Making<'_>) -> Self {
        Self {
            own: Arc::new(Stats::new(&config.stat_prefix, making.counters)),
            config: config.clone(),
            node_cluster: making.node_cluster.clone(),
            counters: making.counters.clone(),
            of_routes: ArcSwap::default(),
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<Told> {
        let (config, stats) = match route.most_specific() {
            Some(config) => (config, self.stats_of_route(&config.stat_prefix)),
            None => (&self.config, self.own.clone()),
        };
        if !config.enabled.includes(request.random.next()) {
            return Next::go();
        }
        stats.enabled.increment();
        let descriptors = self.descriptors(config, request);
        let verdict = config.limiter.take(&descriptors, START.elapsed().as_secs_f64());
        let mut told = verdict.bucket.map(|bucket| Told {
            bucket,
            limits: config.tells_limits,
            retry: false,
        });
        if verdict.allowed {
            stats.ok.increment();
            return Next {
                keep: told,
                answer: None,
            };
        }
        stats.limited.increment();
        if !config.enforced.includes(request.random.next()) {
            for add in &config.request_headers {
                add_to_request(add, request.head, request.info);
            }
            return Next {
                keep: told,
                answer: None,
            };
        }
        stats.enforced.increment();
        request.info.flags.insert(ResponseFlags::RATE_LIMITED);
        request.info.details = Some(REFUSED.into());
        if let Some(told) = &mut told {
            told.retry = config.tells_retry;
        }
        let mut headers = HeaderMap::new();
        let live = Headers::Live {
            request: request.head,
            response: None,
        };
        for add in &config.response_headers {
            if let (HeaderKey::Name(name), Some(value)) = (&add.name, evaluate(add, request.info, live)) {
                put(&mut headers, name, value, add.action);
            }
        }
        Next {
            keep: told,
            answer: Some(Answer::Told {
                status: config.status,
                grpc: config.as_exhausted.then_some(EXHAUSTED),
                text: REFUSED.to_owned(),
                headers,
            }),
        }
    }

    async fn on_answer(&self, state: Option<&mut Told>, answer: &mut AnswerPass<'_>, _route: Route<'_, RouteConfig>) {
        const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
        const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
        const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
        let Some(Told { bucket, limits, retry }) = state else {
            return;
        };
        let now = START.elapsed().as_secs_f64();
        let reset = bucket.next_token_secs(now).ceil() as u64;
        if *limits {
            let limit = bucket.filling().tokens_max;
            answer.headers.append(LIMIT, HeaderValue::from(limit));
            let left = bucket.tokens(now) as u64;
            answer.headers.append(REMAINING, HeaderValue::from(left));
            answer.headers.append(RESET, HeaderValue::from(reset));
        }
        if *retry {
            let name = http::header::RETRY_AFTER;
            answer.headers.insert(name, HeaderValue::from(reset));
        }
    }
}

// === impl Stats ===

impl Stats {
    fn new(prefix: &Arc<str>, counters: &Counters) -> Self {
        let scope = Scope::LocalRateLimit(prefix.clone());
        let counter = |name: &str| counters.get(&scope, &format!("http_local_rate_limit.{name}"));
        Self {
            enabled: counter("enabled"),
            ok: counter("ok"),
            limited: counter("rate_limited"),
            enforced: counter("enforced"),
        }
    }
}
