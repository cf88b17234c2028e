//! The HTTP filters of a connection manager: an ordered list. A request runs down it, its answer runs up it.
//!
//! Each filter has a folder: `config.rs` says what it is told and how that is read (a module of `crate::model`), `mod.rs` what it does.
//! The table below joins it. Filters are plain async functions behind an enum; what a filter remembers of a request until its answer is
//! its `State`.

pub(crate) mod ask;
pub(crate) mod buffer;
pub(crate) mod client_body;
pub(crate) mod compressor;
pub(crate) mod cors;
pub(crate) mod csrf;
pub(crate) mod decompressor;
pub(crate) mod ext_authz;
pub(crate) mod fault;
pub(crate) mod grpc_stats;
pub(crate) mod grpc_web;
pub(crate) mod header_mutation;
pub(crate) mod health_check;
pub(crate) mod istio_stats;
pub(crate) mod local_ratelimit;
mod pass;
pub(crate) mod peer_metadata;
pub(crate) mod rbac;
mod routes;
pub(crate) mod set_filter_state;
pub(crate) mod set_metadata;
pub(crate) mod stages;

use std::sync::Arc;

use smallvec::SmallVec;

pub(crate) use self::pass::{Answer, AnswerPass, End, Making, Next, RequestPass};
pub(crate) use self::routes::{FilterRoutes, Route, Slot, Slots};
use crate::journal::say;
use crate::model::access_log::Format;
use crate::model::filters::istio_stats::Config as IstioStats;
use crate::model::filters::{FilterConfig, ListedFilter, RouteFilterConfig};

/// What a filter does. What is not written does nothing.
pub(crate) trait HttpFilter: Sized {
    /// What it is told.
    type Config;
    /// What routes tell it.
    type RouteConfig;
    /// What it remembers of a request until its answer; `NoState` where that is nothing.
    type State;

    /// Formats of what it adds to answers: the request headers that they name are kept until then.
    fn answer_formats(_config: &Self::Config) -> Vec<&Format> {
        Vec::new()
    }

    /// The same of what routes tell it.
    fn route_answer_formats(_config: &Self::RouteConfig) -> Vec<&Format> {
        Vec::new()
    }

    /// Made once for each configuration.
    fn new(config: &Self::Config, making: &Making<'_>) -> Self;

    /// A request comes by, on its way down.
    async fn on_request(
        &self,
        _request: &mut RequestPass<'_>,
        _route: Route<'_, Self::RouteConfig>,
    ) -> Next<Self::State> {
        Next::go()
    }

    /// An answer comes by, on its way up: also one that the request did not come this far for.
    async fn on_answer(
        &self,
        _state: Option<&mut Self::State>,
        _answer: &mut AnswerPass<'_>,
        _route: Route<'_, Self::RouteConfig>,
    ) {
    }

    /// All is over, and the log is about to be written.
    fn on_end(&self, _state: Option<Self::State>, _end: &mut End<'_>) {}
}

/// The state of a filter that remembers nothing.
pub(crate) type NoState = std::convert::Infallible;

/// The filters of a connection manager, in order.
#[derive(Debug, Default)]
pub struct FilterList {
    entries: Box<[Entry]>,
    /// The filter that tells endpoints of this workload, as far as one does.
    propagates: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    disabled: bool,
    filter: Filter,
}

/// One request's way through a list.
#[derive(Debug, Default)]
pub struct Passage {
    /// What its route says; `None` where that is nothing.
    slots: Option<Arc<Slots>>,
    /// What filters remember, by their positions.
    states: SmallVec<[(usize, State); 2]>,
}

/// Every filter: a variant and its module, whose `Filter` is an [`HttpFilter`].
macro_rules! table {
    ($($kind:ident($module:ident)),* $(,)?) => {
        #[derive(Debug)]
        enum Filter {
            $($kind($module::Filter),)*
        }

        #[derive(Debug)]
        #[allow(clippy::enum_variant_names, reason = "they are named as filters are")]
        enum State {
            $($kind(<$module::Filter as HttpFilter>::State),)*
        }

        /// Formats of what a filter adds to answers.
        pub(crate) fn answer_formats(config: &FilterConfig) -> Vec<&Format> {
            match config {
                $(FilterConfig::$kind(config) => <$module::Filter as HttpFilter>::answer_formats(config),)*
            }
        }

        /// The same of what routes tell it.
        pub(crate) fn route_answer_formats(config: &RouteFilterConfig) -> Vec<&Format> {
            match config {
                $(RouteFilterConfig::$kind(config) => <$module::Filter as HttpFilter>::route_answer_formats(config),)*
            }
        }

        impl Filter {
            fn new(config: &FilterConfig, making: &Making<'_>) -> Self {
                match config {
                    $(FilterConfig::$kind(config) => Self::$kind(HttpFilter::new(config, making)),)*
                }
            }

            async fn on_request(&self, request: &mut RequestPass<'_>, slot: Option<&Slot>) -> Next<State> {
                match self {
                    $(Self::$kind(filter) => {
                        let route = Route::new(slot, |config| match config {
                            RouteFilterConfig::$kind(config) => Some(config),
                            #[allow(unreachable_patterns, clippy::wildcard_enum_match_arm)]
                            _ => None,
                        });
                        filter.on_request(request, route).await.map(State::$kind)
                    })*
                }
            }

            async fn on_answer(&self, state: Option<&mut State>, answer: &mut AnswerPass<'_>, slot: Option<&Slot>) {
                match self {
                    $(Self::$kind(filter) => {
                        let route = Route::new(slot, |config| match config {
                            RouteFilterConfig::$kind(config) => Some(config),
                            #[allow(unreachable_patterns, clippy::wildcard_enum_match_arm)]
                            _ => None,
                        });
                        let state = state.and_then(|state| match state {
                            State::$kind(state) => Some(state),
                            #[allow(unreachable_patterns, clippy::wildcard_enum_match_arm)]
                            _ => None,
                        });
                        filter.on_answer(state, answer, route).await;
                    })*
                }
            }

            fn on_end(&self, state: Option<State>, end: &mut End<'_>) {
                match self {
                    $(Self::$kind(filter) => {
                        let state = state.and_then(|state| match state {
                            State::$kind(state) => Some(state),
                            #[allow(unreachable_patterns, clippy::wildcard_enum_match_arm)]
                            _ => None,
                        });
                        filter.on_end(state, end);
                    })*
                }
            }
        }
    };
}

table! {
    Buffer(buffer),
    Compressor(compressor),
    Cors(cors),
    Csrf(csrf),
    Decompressor(decompressor),
    ExtAuthz(ext_authz),
    Fault(fault),
    GrpcStats(grpc_stats),
    GrpcWeb(grpc_web),
    HeaderMutation(header_mutation),
    HealthCheck(health_check),
    IstioStats(istio_stats),
    LocalRateLimit(local_ratelimit),
    PeerMetadata(peer_metadata),
    Rbac(rbac),
    SetFilterState(set_filter_state),
    SetMetadata(set_metadata),
}

stages::stage_table! {
    Compress(Box<compressor::Compress>),
    Decompress(Box<decompressor::Decompress>),
    GrpcWebDecode(grpc_web::Decode),
    GrpcWebEncode(grpc_web::Encode),
    Trailers(header_mutation::Trailers),
}

// === impl FilterList ===

impl FilterList {
    /// Compiles a list.
    pub fn new(filters: &[ListedFilter], making: &Making<'_>) -> Self {
        let entry = |listed: &ListedFilter| Entry {
            name: listed.name.clone(),
            disabled: listed.disabled,
            filter: Filter::new(&listed.config, making),
        };
        let entries: Box<[Entry]> = filters.iter().map(entry).collect();
        let propagates = |entry: &Entry| matches!(&entry.filter, Filter::PeerMetadata(filter) if filter.propagates());
        Self {
            propagates: entries.iter().position(propagates),
            entries,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().map(|entry| &entry.name)
    }

    /// Sends a request down the list, until a filter answers it.
    pub async fn on_request(&self, passage: &mut Passage, request: &mut RequestPass<'_>) -> Option<Answer> {
        for (at, entry) in self.entries.iter().enumerate() {
            let slot = passage.slot(at);
            if is_off(entry, slot) {
                continue;
            }
            let Next { keep, answer } = entry.filter.on_request(request, slot).await;
            passage.states.extend(keep.map(|state| (at, state)));
            if answer.is_some() {
                say!(request.info.journal, filter = %entry.name, "a filter answers");
                return answer;
            }
        }
        None
    }

    /// Sends an answer up the list. As in Envoy, an answer of a filter's own comes by all of them, too.
    pub async fn on_answer(&self, passage: &mut Passage, answer: &mut AnswerPass<'_>) {
        for (at, entry) in self.entries.iter().enumerate().rev() {
            let slot = passage.slots.as_deref().and_then(|slots| slots.get(at));
            if is_off(entry, slot) {
                continue;
            }
            let state = passage.states.iter_mut().find(|(of, _)| *of == at);
            let state = state.map(|(_, state)| state);
            entry.filter.on_answer(state, answer, slot).await;
        }
    }

    /// Tells every filter that a request is over.
    pub fn on_end(&self, passage: &mut Passage, end: &mut End<'_>) {
        for (at, entry) in self.entries.iter().enumerate() {
            if is_off(entry, passage.slot(at)) {
                continue;
            }
            let state = passage.states.iter().position(|(of, _)| *of == at);
            let state = state.map(|state| passage.states.swap_remove(state).1);
            entry.filter.on_end(state, end);
        }
    }

    /// Whether endpoints are told of this workload.
    pub fn propagates(&self, passage: &Passage) -> bool {
        self.propagates
            .is_some_and(|at| !is_off(&self.entries[at], passage.slot(at)))
    }

    /// What Istio's metrics of a request are told, where the request is counted in them.
    pub fn istio_stats(&self, passage: &Passage) -> Option<&IstioStats> {
        self.entries.iter().enumerate().find_map(|(at, entry)| {
            let Filter::IstioStats(filter) = &entry.filter else {
                return None;
            };
            (!is_off(entry, passage.slot(at))).then_some(filter.config())
        })
    }
}

/// Whether a filter is left out: as the route says, else as the list does.
fn is_off(entry: &Entry, slot: Option<&Slot>) -> bool {
    slot.and_then(Slot::is_off).unwrap_or(entry.disabled)
}

// === impl Passage ===

impl Passage {
    /// The way of a request on a route that says this.
    pub fn new(slots: Option<Arc<Slots>>) -> Self {
        Self {
            slots,
            states: SmallVec::new(),
        }
    }

    fn slot(&self, at: usize) -> Option<&Slot> {
        self.slots.as_deref()?.get(at)
    }
}
