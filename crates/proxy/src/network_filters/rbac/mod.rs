//! Lets connections pass by rules of access (`envoy.filters.network.rbac`). Envoy decides with the first byte of the client; here it is
//! decided before anything passes, so that a server that speaks first says nothing to a client that may not hear it.

use std::sync::Arc;

use super::{Counting, Decision, NetworkFilter, NoState};
use crate::model::network_filters::rbac::Config;
use crate::model::rbac::Rules;
use crate::rbac::{Subject, Verdict, details, joined, note, note_log};
use crate::stats::Scope;
use crate::stats::counters::Counter;
use crate::stream_info::StreamInfo;

/// Namespace of what is left of results.
const NAMESPACE: &str = "envoy.filters.network.rbac";

#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    allowed: Arc<Counter>,
    denied: Arc<Counter>,
    shadow_allowed: Arc<Counter>,
    shadow_denied: Arc<Counter>,
}

// === impl Filter ===

impl NetworkFilter for Filter {
    type Config = Config;
    type State = NoState;

    fn new(config: &Config, counting: &Counting<'_>) -> Self {
        let scope = Scope::Rbac(config.stat_prefix.trim_end_matches('.').into());
        let counter = |name: &str| counting.counter(&scope, name);
        Self {
            allowed: counter("allowed"),
            denied: counter("denied"),
            shadow_allowed: counter(&joined(&config.shadow_prefix, "shadow_allowed")),
            shadow_denied: counter(&joined(&config.shadow_prefix, "shadow_denied")),
            config: config.clone(),
        }
    }

    fn on_connection(&self, info: &mut StreamInfo) -> Decision<NoState> {
        if let Some(rules) = &self.config.shadow {
            let verdict = decide(rules, info);
            let counter = if verdict.allowed {
                &self.shadow_allowed
            } else {
                &self.shadow_denied
            };
            counter.increment();
            note(info.notes(), NAMESPACE, (&self.config.shadow_prefix, "shadow"), verdict);
        }
        let Some(rules) = &self.config.rules else {
            return Decision::Pass(None);
        };
        let verdict = decide(rules, info);
        note_log(rules, verdict, info);
        if verdict.allowed {
            self.allowed.increment();
            return Decision::Pass(None);
        }
        self.denied.increment();
        info.termination = Some(details(verdict.policy));
        Decision::Deny
    }
}

fn decide<'a>(rules: &'a Rules, info: &StreamInfo) -> Verdict<'a> {
    rules.decide(Subject { head: None, info })
}
