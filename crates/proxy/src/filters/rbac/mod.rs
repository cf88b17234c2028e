//! Lets requests pass by rules of access (`envoy.filters.http.rbac`): rules that count, and rules that are tried out.

use std::sync::Arc;

use http::StatusCode;

use super::{Answer, HttpFilter, Making, Next, NoState, RequestPass, Route};
use crate::model::filters::rbac::{Config, RouteConfig};
use crate::model::rbac::Rules;
use crate::rbac::{Subject, Verdict, details, joined, note, note_log};
use crate::stats::counters::Counter;

/// Namespace of what is left of results.
const NAMESPACE: &str = "envoy.filters.http.rbac";

#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    allowed: Arc<Counter>,
    denied: Arc<Counter>,
    shadow_allowed: Arc<Counter>,
    shadow_denied: Arc<Counter>,
}

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn new(config: &Config, making: &Making<'_>) -> Self {
        let counter = |prefix: &str, name: &str| making.counter(&format!("rbac.{}", joined(prefix, name)));
        Self {
            allowed: counter(&config.prefix, "allowed"),
            denied: counter(&config.prefix, "denied"),
            shadow_allowed: counter(&config.shadow_prefix, "shadow_allowed"),
            shadow_denied: counter(&config.shadow_prefix, "shadow_denied"),
            config: config.clone(),
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<NoState> {
        let own = Some(&self.config);
        let Some(config) = route.most_specific().map_or(own, |RouteConfig(config)| config.as_ref()) else {
            return Next::go();
        };
        if let Some(rules) = &config.shadow {
            let verdict = decide(rules, request);
            let counter = if verdict.allowed {
                &self.shadow_allowed
            } else {
                &self.shadow_denied
            };
            counter.increment();
            note(
                request.info.notes(),
                NAMESPACE,
                (&config.shadow_prefix, "shadow"),
                verdict,
            );
        }
        let Some(rules) = &config.rules else {
            return Next::go();
        };
        let verdict = decide(rules, request);
        note_log(rules, verdict, request.info);
        note(request.info.notes(), NAMESPACE, (&config.prefix, "enforced"), verdict);
        if verdict.allowed {
            self.allowed.increment();
            return Next::go();
        }
        self.denied.increment();
        request.info.details = Some(details(verdict.policy));
        Next::answer(Answer::told(StatusCode::FORBIDDEN, "RBAC: access denied"))
    }
}

fn decide<'a>(rules: &'a Rules, request: &RequestPass<'_>) -> Verdict<'a> {
    rules.decide(Subject {
        head: Some(request.head),
        info: request.info,
    })
}
