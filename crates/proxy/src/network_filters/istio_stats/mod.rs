//! Istio's standard metrics of connections of bytes (`istio.stats`): opened once it leads somewhere, its bytes every few seconds,
//! closed at its end.

use std::sync::Arc;
use std::time::Duration;

use super::{Counting, Decision, NetworkFilter, Passed};
use crate::model::network_filters::istio_stats::Config;
use crate::observe::istio::series::TcpSeries;
use crate::observe::istio::shard::Shard;
use crate::stream_info::StreamInfo;

#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
}

/// One connection, counted as closed when this is dropped; it leads nowhere yet where it has no series.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    series: Option<Arc<TcpSeries>>,
    reported: Passed,
}

// === impl Filter ===

impl NetworkFilter for Filter {
    type Config = Config;
    type State = Counted;

    fn new(config: &Config, _counting: &Counting<'_>) -> Self {
        Self { config: *config }
    }

    fn on_connection(&self, _info: &mut StreamInfo) -> Decision<Counted> {
        Decision::Pass(Some(Counted::default()))
    }

    fn period(&self) -> Duration {
        self.config.tcp_interval
    }

    fn on_upstream(&self, counted: &mut Counted, info: &StreamInfo, istio: &Shard) {
        if counted.series.is_none() {
            let series = istio.connection(&self.config, info);
            series.opened.add(1);
            counted.series = Some(series);
        }
    }

    fn on_bytes(&self, counted: &mut Counted, passed: Passed) {
        if let Some(series) = &counted.series {
            series.sent.add(passed.to_client - counted.reported.to_client);
            series.received.add(passed.to_upstream - counted.reported.to_upstream);
            counted.reported = passed;
        }
    }
}

// === impl Counted ===

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(series) = &self.series {
            series.closed.add(1);
        }
    }
}
