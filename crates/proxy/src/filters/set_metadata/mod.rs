//! Metadata for later filters and the log (`envoy.filters.http.set_metadata`).

use std::sync::Arc;

use super::{HttpFilter, Making, Next, NoState, RequestPass, Route};
use crate::model::filters::set_metadata::{Config, Existing, RouteConfig};
use crate::stats::counters::Counter;

#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    denied: Arc<Counter>,
}

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn new(config: &Config, making: &Making<'_>) -> Self {
        Self {
            config: config.clone(),
            denied: making.counter("set_metadata.overwrite_denied"),
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<NoState> {
        let levels = std::iter::once(&self.config).chain(route.most_specific());
        for entry in levels.flat_map(|config| &config.entries) {
            let notes = request.info.notes();
            if entry.existing == Existing::Stays && notes.metadata(&entry.namespace).is_some() {
                self.denied.increment();
            } else {
                notes.merge(&entry.namespace, &entry.fields);
            }
        }
        Next::go()
    }
}
