//! The network filters of a filter chain: an ordered list that a connection passes before `tcp_proxy` or a connection manager serves it.
//!
//! Each filter has a folder: `config.rs` says what it is told and how that is read (a module of `crate::model`), `mod.rs` what it does. The
//! table below joins it. Filters are plain functions behind an enum; what a filter remembers of a connection until its end is its `State`.

pub(crate) mod istio_stats;
pub(crate) mod rbac;
pub(crate) mod set_filter_state;

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::model::network_filters::NetworkFilterConfig;
use crate::observe::istio::shard::Shard;
use crate::stats::Scope;
use crate::stats::counters::{Counter, Counters};
use crate::stream_info::StreamInfo;

/// What a filter does. What is not written does nothing.
pub(crate) trait NetworkFilter: Sized {
    /// What it is told.
    type Config;
    /// What it remembers of a connection; dropped when that ends. `NoState` where that is nothing.
    type State;

    /// Made once for each configuration.
    fn new(config: &Self::Config, counting: &Counting<'_>) -> Self;

    /// A connection comes by.
    fn on_connection(&self, info: &mut StreamInfo) -> Decision<Self::State>;

    /// How often it wants to hear of bytes; zero is at the end only.
    fn period(&self) -> Duration {
        Duration::ZERO
    }

    /// It is known where the bytes go, or that they go nowhere. May be told twice.
    fn on_upstream(&self, _state: &mut Self::State, _info: &StreamInfo, _istio: &Shard) {}

    /// So many have passed since the beginning.
    fn on_bytes(&self, _state: &mut Self::State, _passed: Passed) {}
}

/// Where filters count.
#[derive(Debug)]
pub struct Counting<'a> {
    pub counters: &'a Counters,
}

/// What becomes of a connection that comes by.
#[derive(Debug)]
pub(crate) enum Decision<S> {
    /// It goes on; what the filter remembers of it.
    Pass(Option<S>),
    /// It ends, and nothing of it goes on.
    Deny,
}

/// The state of a filter that remembers nothing.
pub(crate) type NoState = std::convert::Infallible;

/// Bytes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From the client.
    pub to_upstream: u64,
    /// To the client.
    pub to_client: u64,
}

/// The filters of a chain, in order.
#[derive(Debug, Default)]
pub struct NetworkFilters {
    entries: Box<[Filter]>,
    period: Option<Duration>,
}

/// One connection's way through a list.
#[derive(Debug)]
pub struct Passage<'a> {
    filters: &'a NetworkFilters,
    /// What filters remember, by their positions.
    states: SmallVec<[(usize, State); 1]>,
    denied: bool,
}

/// Every filter: a variant and its module, whose `Filter` is a [`NetworkFilter`].
macro_rules! table {
    ($($kind:ident($module:ident)),* $(,)?) => {
        #[derive(Debug)]
        enum Filter {
            $($kind($module::Filter),)*
        }

        #[derive(Debug)]
        #[allow(clippy::enum_variant_names, reason = "they are named as filters are")]
        enum State {
            $($kind(<$module::Filter as NetworkFilter>::State),)*
        }

        impl Filter {
            fn new(config: &NetworkFilterConfig, counting: &Counting<'_>) -> Self {
                match config {
                    $(NetworkFilterConfig::$kind(config) => Self::$kind(NetworkFilter::new(config, counting)),)*
                }
            }

            fn on_connection(&self, info: &mut StreamInfo) -> Decision<State> {
                match self {
                    $(Self::$kind(filter) => match filter.on_connection(info) {
                        Decision::Pass(state) => Decision::Pass(state.map(State::$kind)),
                        Decision::Deny => Decision::Deny,
                    },)*
                }
            }

            fn period(&self) -> Duration {
                match self {
                    $(Self::$kind(filter) => filter.period(),)*
                }
            }

            fn on_upstream(&self, state: &mut State, info: &StreamInfo, istio: &Shard) {
                match (self, state) {
                    $((Self::$kind(filter), State::$kind(state)) => filter.on_upstream(state, info, istio),)*
                    #[allow(unreachable_patterns, clippy::wildcard_enum_match_arm)]
                    _ => {}
                }
            }

            fn on_bytes(&self, state: &mut State, passed: Passed) {
                match (self, state) {
                    $((Self::$kind(filter), State::$kind(state)) => filter.on_bytes(state, passed),)*
                    #[allow(unreachable_patterns, clippy::wildcard_enum_match_arm)]
                    _ => {}
                }
            }
        }
    };
}

table! {
    IstioStats(istio_stats),
    Rbac(rbac),
    SetFilterState(set_filter_state),
}

// === impl Counting ===

impl Counting<'_> {
    /// A counter of what there is of one name.
    pub(crate) fn counter(&self, scope: &Scope, name: &str) -> Arc<Counter> {
        self.counters.get(scope, name)
    }
}

// === impl NetworkFilters ===

impl NetworkFilters {
    /// Compiles a list.
    pub fn new(filters: &[NetworkFilterConfig], counting: &Counting<'_>) -> Self {
        let entries: Box<[Filter]> = filters.iter().map(|config| Filter::new(config, counting)).collect();
        let periods = entries.iter().map(Filter::period);
        Self {
            period: periods.filter(|period| !period.is_zero()).min(),
            entries,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sends a connection down the list, until a filter denies it.
    pub fn on_connection(&self, info: &mut StreamInfo) -> Passage<'_> {
        let mut passage = Passage {
            filters: self,
            states: SmallVec::new(),
            denied: false,
        };
        for (at, filter) in self.entries.iter().enumerate() {
            match filter.on_connection(info) {
                Decision::Pass(state) => passage.states.extend(state.map(|state| (at, state))),
                Decision::Deny => {
                    passage.denied = true;
                    break;
                }
            }
        }
        passage
    }
}

// === impl Passage ===

impl Passage<'_> {
    /// Whether a filter has denied the connection: it ends at once.
    pub fn is_denied(&self) -> bool {
        self.denied
    }

    /// How often filters want to hear of bytes; `None` is at the end only.
    pub fn period(&self) -> Option<Duration> {
        self.filters.period
    }

    /// It is known where the bytes go, or that they go nowhere.
    pub fn on_upstream(&mut self, info: &StreamInfo, istio: &Shard) {
        for (at, state) in &mut self.states {
            self.filters.entries[*at].on_upstream(state, info, istio);
        }
    }

    /// So many have passed since the beginning.
    pub fn on_bytes(&mut self, passed: Passed) {
        for (at, state) in &mut self.states {
            self.filters.entries[*at].on_bytes(state, passed);
        }
    }
}
