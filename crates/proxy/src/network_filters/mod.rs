//! The network filters of a filter chain: an ordered list that a connection passes before `tcp_proxy` or a connection manager serves it.
//!
//! Each filter has a folder: `config.rs` says what it is told and how that is read (a module of `crate::model`), `mod.rs` what it does. The
//! table below joins it. Filters are plain functions behind an enum; what a filter remembers of a connection until its end is its `State`.

pub(crate) mod istio_stats;
pub(crate) mod set_filter_state;

use std::time::Duration;

use smallvec::SmallVec;

use crate::model::network_filters::NetworkFilterConfig;
use crate::observe::istio::shard::Shard;
use crate::stream_info::StreamInfo;

/// What a filter does. What is not written does nothing.
pub(crate) trait NetworkFilter: Sized {
    /// What it is told.
    type Config;
    /// What it remembers of a connection; dropped when that ends. `NoState` where that is nothing.
    type State;

    /// Made once for each configuration.
    fn new(config: &Self::Config) -> Self;

    /// A connection comes by.
    fn on_connection(&self, info: &mut StreamInfo) -> Option<Self::State>;

    /// How often it wants to hear of bytes; zero is at the end only.
    fn period(&self) -> Duration {
        Duration::ZERO
    }

    /// It is known where the bytes go, or that they go nowhere. May be told twice.
    fn on_upstream(&self, _state: &mut Self::State, _info: &StreamInfo, _istio: &Shard) {}

    /// So many have passed since the beginning.
    fn on_bytes(&self, _state: &mut Self::State, _passed: Passed) {}
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
}

/// Every filter: a variant and its module, whose `Filter` is a [`NetworkFilter`].
macro_rules! table {
    ($($kind:ident($module:ident)),* $(,)?) => {
        #[derive(Debug)]
        enum Filter {
            $($kind($module::Filter),)*
        }

        #[derive(Debug)]
        enum State {
            $($kind(<$module::Filter as NetworkFilter>::State),)*
        }

        impl Filter {
            fn new(config: &NetworkFilterConfig) -> Self {
                match config {
                    $(NetworkFilterConfig::$kind(config) => Self::$kind(NetworkFilter::new(config)),)*
                }
            }

            fn on_connection(&self, info: &mut StreamInfo) -> Option<State> {
                match self {
                    $(Self::$kind(filter) => filter.on_connection(info).map(State::$kind),)*
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
    SetFilterState(set_filter_state),
}

// === impl NetworkFilters ===

impl NetworkFilters {
    /// Compiles a list.
    pub fn new(filters: &[NetworkFilterConfig]) -> Self {
        let entries: Box<[Filter]> = filters.iter().map(Filter::new).collect();
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

    /// Sends a connection down the list.
    pub fn on_connection(&self, info: &mut StreamInfo) -> Passage<'_> {
        let mut states = SmallVec::new();
        for (at, filter) in self.entries.iter().enumerate() {
            states.extend(filter.on_connection(info).map(|state| (at, state)));
        }
        Passage { filters: self, states }
    }
}

// === impl Passage ===

impl Passage<'_> {
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
