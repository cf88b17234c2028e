//! Objects of the filter state of a connection, for later filters, for what connects upstream and for the log
//! (`envoy.filters.network.set_filter_state`).

use std::sync::Arc;

use super::{Counting, Decision, NetworkFilter, NoState};
use crate::model::network_filters::set_filter_state::{Config, Object, UPSTREAM_PROTOCOLS};
use crate::stream_info::StreamInfo;
use crate::stream_info::notes::StateValue;
use crate::stream_info::operators::{Headers, write_format};

#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    protocols: Arc<str>,
}

// === impl Filter ===

impl NetworkFilter for Filter {
    type Config = Config;
    type State = NoState;

    fn new(config: &Config, _counting: &Counting<'_>) -> Self {
        Self {
            config: config.clone(),
            protocols: UPSTREAM_PROTOCOLS.into(),
        }
    }

    fn on_connection(&self, info: &mut StreamInfo) -> Decision<NoState> {
        for object in &self.config.objects {
            match object {
                Object::UpstreamProtocols(list) => {
                    info.notes()
                        .set_state(&self.protocols, StateValue::Protocols(list.clone()));
                }
                Object::Text(object) => {
                    let mut value = String::new();
                    write_format(&object.value, info, Headers::Kept, &mut value);
                    if !value.is_empty() || !object.skip_if_empty {
                        info.notes().set_state(&object.name, StateValue::Text(value.into()));
                    }
                }
            }
        }
        Decision::Pass(None)
    }
}
