//! Istio's standard metrics of requests (`istio.stats`).

use std::rc::Rc;
use std::sync::Arc;

use super::{End, HttpFilter, Making, Next, NoState, RequestPass, Route};
use crate::body::Progress;
use crate::model::filters::istio_stats::{Config, RouteConfig};
use crate::observe::istio::series::MessageSeries;

/// Counts requests when they are over, and messages of gRPC as they pass.
#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
}

/// Adds what both directions have counted to a series.
#[derive(Debug)]
pub struct MessageMeter {
    series: Arc<MessageSeries>,
    request: Rc<Progress>,
    requests: u64,
    responses: u64,
}

// === impl Filter ===

impl Filter {
    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn new(config: &Config, _making: &Making<'_>) -> Self {
        Self { config: *config }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, _route: Route<'_, RouteConfig>) -> Next<NoState> {
        if request.head.grpc_upstream {
            request.progress.count_messages();
        }
        Next::go()
    }

    fn on_end(&self, _state: Option<NoState>, end: &mut End<'_>) {
        end.istio.request(&self.config, end.info);
    }
}

// === impl MessageMeter ===

impl MessageMeter {
    /// Reports to `series` the messages of a request and, as [`Self::report`] is told, of its answer.
    pub fn new(series: Arc<MessageSeries>, request: Rc<Progress>) -> Self {
        Self {
            series,
            request,
            requests: 0,
            responses: 0,
        }
    }

    /// Adds what was counted since the last time. `responses` is the number of the answer's messages so far.
    pub fn report(&mut self, responses: u64) {
        let requests = self.request.messages();
        self.series.requests.add(requests - self.requests);
        self.series.responses.add(responses - self.responses);
        (self.requests, self.responses) = (requests, responses);
    }
}
