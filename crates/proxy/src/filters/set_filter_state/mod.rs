//! Objects of the filter state for later filters and the log (`envoy.filters.http.set_filter_state`).

use super::{HttpFilter, Making, Next, NoState, RequestPass, Route};
use crate::model::filters::set_filter_state::{Config, RouteConfig};
use crate::stream_info::notes::StateValue;
use crate::stream_info::operators::{Headers, write_format};

#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
}

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn new(config: &Config, _making: &Making<'_>) -> Self {
        Self { config: config.clone() }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<NoState> {
        for object in std::iter::once(&self.config)
            .chain(route.levels().rev())
            .flat_map(|config| &config.objects)
        {
            let mut value = String::new();
            let headers = Headers::Live {
                request: request.head,
                response: None,
            };
            write_format(&object.value, request.info, headers, &mut value);
            if !value.is_empty() || !object.skip_if_empty {
                let notes = request.info.notes();
                notes.set_state(&object.name, StateValue::Text(value.into()));
            }
        }
        Next::go()
    }
}
