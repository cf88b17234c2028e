//! Requests go on once they have come whole (`envoy.filters.http.buffer`).

use std::sync::Arc;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderValue};

use super::{Answer, HttpFilter, Making, Next, NoState, RequestPass, Route};
use crate::model::filters::buffer::{Config, RouteConfig};
use crate::stats::counters::Counter;

/// Waits for whole bodies.
#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    too_large: Arc<Counter>,
}

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn new(config: &Config, making: &Making<'_>) -> Self {
        Self {
            config: *config,
            too_large: making.counter("downstream_rq_too_large"),
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<NoState> {
        let config = match route.most_specific() {
            Some(RouteConfig::Off) => return Next::go(),
            Some(RouteConfig::Instead(config)) => config,
            None => &self.config,
        };
        if !request.has_body() {
            return Next::go();
        }
        match request.collect(config.bytes_max).await {
            Ok(length) => {
                let headers = &mut request.head.headers;
                headers
                    .entry(CONTENT_LENGTH)
                    .or_insert_with(|| HeaderValue::from(length));
                Next::go()
            }
            Err(answer) => {
                if matches!(&answer, Answer::Told { status, .. } if *status == StatusCode::PAYLOAD_TOO_LARGE) {
                    self.too_large.increment();
                }
                Next::answer(answer)
            }
        }
    }
}
