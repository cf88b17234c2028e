//! Asks a service whether a request may pass (`envoy.filters.http.ext_authz`): in gRPC or over HTTP, with as much of the body as is wanted.

mod grpc;
mod http;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use tokio::time::Instant;

use self::verdict::{Change, Changes, Denial, Verdict};
use super::ask::NoAnswer;
use super::{Answer, AnswerPass, HttpFilter, Making, Next, RequestPass, Route};
use crate::error::ResponseFlags;
use crate::journal::say;
use crate::model::filters::ext_authz::{BodySettings, Config, RouteConfig, Service};
use crate::stats::Scope;
use crate::stats::counters::{Counter, Counters, PerCluster};

/// Namespace of the dynamic metadata that services give.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// Tells upstream that nobody was there to decide.
const FAILURE_MODE_ALLOWED: HeaderName = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");

/// Asks a service.
#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    counters: Arc<Counters>,
    /// Of the connection manager.
    counts: Counts,
    /// Of the clusters that requests go to.
    clusters: PerCluster<Counts>,
}

/// How often services said what.
#[derive(Debug)]
struct Counts {
    ok: Arc<Counter>,
    denied: Arc<Counter>,
    error: Arc<Counter>,
    timeout: Arc<Counter>,
    disabled: Arc<Counter>,
    failure_mode_allowed: Arc<Counter>,
}

/// What a service is shown of a request beside its head.
#[derive(Debug, Default)]
pub(super) struct Sight<'a> {
    /// What routes tell it.
    extensions: BTreeMap<&'a str, &'a str>,
    settings: Option<BodySettings>,
    body: Bytes,
    /// Bytes of the body that have come.
    length: i64,
    /// Whether the body goes on behind what is shown; `None` where none is shown.
    is_partial: Option<bool>,
}

/// Headers that the answer gets.
#[derive(Debug)]
pub(crate) struct State(Vec<Change>);

// === impl Sight ===

impl Sight<'_> {
    /// Whether a service of gRPC is told a header: all where nothing is said.
    fn tells_grpc(&self, config: &Config, name: &str) -> bool {
        let is_allowed = |name| {
            let list = config.headers.allowed.as_ref();
            list.is_none_or(|list| list.iter().any(|matcher| matcher.matches(name)))
        };
        is_allowed(name) && !is_disallowed(config, name)
    }

    /// Whether a service over HTTP is told a header: where nothing is said, those alone that tell who the client is.
    fn tells_http(&self, config: &Config, name: &HeaderName) -> bool {
        let list = config.headers.allowed.as_deref().unwrap_or_default();
        let is_allowed = *name == header::AUTHORIZATION || list.iter().any(|matcher| matcher.matches(name.as_str()));
        is_allowed && !is_disallowed(config, name.as_str())
    }
}

fn is_disallowed(config: &Config, name: &str) -> bool {
    config.headers.disallowed.iter().any(|matcher| matcher.matches(name))
}

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = State;

    fn new(config: &Config, making: &Making<'_>) -> Self {
        let scope = Scope::Http(making.prefix.clone());
        Self {
            counts: Counts::new(&scope, &config.stat_prefix, making.counters),
            counters: making.counters.clone(),
            clusters: PerCluster::default(),
            config: config.clone(),
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<State> {
        if matches!(route.most_specific(), Some(RouteConfig::Off)) {
            return Next::go();
        }
        if !self.is_enabled(request) {
            self.count(request, |counts| &counts.disabled);
            return if self.config.deny_at_disable {
                Next::answer(self.refuse(request, "ext_authz_error"))
            } else {
                Next::go()
            };
        }
        let sight = match self.look(request, route).await {
            Ok(sight) => sight,
            Err(answer) => return Next::answer(answer),
        };
        let question = match &self.config.service {
            Service::Grpc(service) => grpc::question(service, &self.config, request, &sight),
            Service::Http(service) => http::question(service, &self.config, request, &sight),
        };
        let asked_at = Instant::now();
        let verdict = match request.services.ask(question).await {
            Ok(answer) => match &self.config.service {
                Service::Grpc(_) => grpc::verdict(&answer, asked_at.elapsed()),
                Service::Http(service) => http::verdict(service, &answer),
            },
            Err(reason) => Err(reason),
        };
        match verdict {
            Ok(Verdict::Allowed(changes)) => self.allow(request, *changes),
            Ok(Verdict::Denied(denial)) => Next::answer(self.deny(request, *denial)),
            Err(reason) => self.fail(request, reason),
        }
    }

    async fn on_answer(&self, state: Option<&mut State>, answer: &mut AnswerPass<'_>, _route: Route<'_, RouteConfig>) {
        for change in state.iter().flat_map(|State(changes)| changes) {
            change.apply(answer.headers);
        }
    }
}

// === impl Counts ===

impl Counts {
    fn new(scope: &Scope, prefix: &str, counters: &Counters) -> Self {
        let counter = |name: &str| counters.get(scope, &format!("ext_authz.{prefix}{name}"));
        Self {
            ok: counter("ok"),
            denied: counter("denied"),
            error: counter("error"),
            timeout: counter("timeout"),
            disabled: counter("disabled"),
            failure_mode_allowed: counter("failure_mode_allowed"),
        }
    }
}

impl Filter {
    /// Counts for the connection manager, and for the cluster that the request goes to.
    fn count(&self, request: &RequestPass<'_>, of: fn(&Counts) -> &Counter) {
        of(&self.counts).increment();
        if let Some(cluster) = &request.info.upstream_cluster {
            let name = cluster.alt_stat_name.as_ref().unwrap_or(&cluster.name);
            let make = || Counts::new(&Scope::Cluster(name.clone()), &self.config.stat_prefix, &self.counters);
            of(&self.clusters.of(name, make)).increment();
        }
    }

    /// Whether the service is asked about a request.
    fn is_enabled(&self, request: &RequestPass<'_>) -> bool {
        let config = &self.config;
        config.enabled.is_none_or(|share| share.includes(request.random.next()))
            && (config.enabled_metadata.as_ref()).is_none_or(|matcher| matcher.fits(request.info))
    }

    /// What the service is shown.
    async fn look<'a>(
        &self,
        request: &mut RequestPass<'_>,
        route: Route<'a, RouteConfig>,
    ) -> Result<Sight<'a>, Answer> {
        let mut sight = Sight {
            settings: self.config.body,
            ..Sight::default()
        };
        // The least specific first, so that the more specific ones stand.
        for level in route.levels().rev() {
            if let RouteConfig::On { extensions, body } = level {
                let pairs = extensions.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                sight.extensions.extend(pairs);
                sight.settings = body.unwrap_or(sight.settings);
            }
        }
        let Some(settings) = sight.settings.filter(|_| request.has_body()) else {
            return Ok(sight);
        };
        if settings.allow_partial {
            let (first, is_whole) = request.begin(settings.bytes_max).await?;
            sight.is_partial = Some(!is_whole);
            sight.body = first.into();
        } else {
            request.collect(settings.bytes_max).await?;
            sight.is_partial = Some(false);
            sight.body = request.body.kept().into();
        }
        if !request.head.headers.contains_key(header::CONTENT_LENGTH) {
            // It goes on as it came.
            request.body.hide_length();
        }
        sight.length = i64::try_from(request.body.kept_bytes()).unwrap_or(i64::MAX);
        Ok(sight)
    }

    fn allow(&self, request: &mut RequestPass<'_>, changes: Changes) -> Next<State> {
        self.count(request, |counts| &counts.ok);
        changes.apply(request.head);
        if !changes.metadata.is_empty() {
            request.info.notes().merge(NAMESPACE, &changes.metadata);
        }
        if changes.answer.is_empty() {
            return Next::go();
        }
        Next::keep(State(changes.answer))
    }

    fn deny(&self, request: &mut RequestPass<'_>, mut denial: Denial) -> Answer {
        self.count(request, |counts| &counts.denied);
        if !denial.metadata.is_empty() {
            request.info.notes().merge(NAMESPACE, &denial.metadata);
        }
        request.info.flags.insert(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE);
        request.info.details = Some("ext_authz_denied".into());
        let bound = self.config.denied_body_bytes_max;
        if bound > 0 && denial.body.len() > bound {
            denial.body.truncate(denial.body.floor_char_boundary(bound));
        }
        Answer::Told {
            status: denial.status,
            grpc: None,
            text: denial.body,
            headers: denial.headers,
        }
    }

    /// Nobody has decided.
    fn fail(&self, request: &mut RequestPass<'_>, reason: NoAnswer) -> Next<State> {
        self.count(request, |counts| &counts.error);
        if reason == NoAnswer::TimedOut {
            self.count(request, |counts| &counts.timeout);
        }
        say!(request.info.journal, %reason, "the authorization service gives no answer");
        if !self.config.failure_mode_allow {
            return Next::answer(self.refuse(request, "ext_authz_error"));
        }
        self.count(request, |counts| &counts.failure_mode_allowed);
        if self.config.failure_mode_allow_header {
            let value = HeaderValue::from_static("true");
            request.head.headers.insert(FAILURE_MODE_ALLOWED, value);
        }
        Next::go()
    }

    fn refuse(&self, request: &mut RequestPass<'_>, details: &'static str) -> Answer {
        request.info.flags.insert(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE);
        request.info.details = Some(details.into());
        Answer::Told {
            status: self.config.status_on_error,
            grpc: None,
            text: String::new(),
            headers: HeaderMap::new(),
        }
    }
}
