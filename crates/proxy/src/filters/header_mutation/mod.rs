//! Changes of headers and trailers on the way down and up, and of query parameters (`envoy.filters.http.header_mutation`).

mod query;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::stages::Transform;
use super::{AnswerPass, HttpFilter, Making, Next, NoState, RequestPass, Route, Stage};
use crate::body::BodyError;
use crate::model::access_log::Format;
use crate::model::filters::header_mutation::{Config, Mutation, Mutations, RouteConfig};
use crate::model::matcher::{HeaderKey, StringMatcher};
use crate::model::route::AppendAction;
use crate::route::headers::{add_to_request, add_to_response, evaluate, put};
use crate::stream_info::StreamInfo;
use crate::stream_info::operators::Headers;

#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
}

/// Changes trailers: what is added is written out when the head passes.
#[derive(Debug)]
pub struct Trailers {
    changes: Vec<TrailerChange>,
    passing: Option<Bytes>,
}

#[derive(Debug)]
enum TrailerChange {
    Add(HeaderName, HeaderValue, AppendAction),
    Remove(HeaderName),
    RemoveMatching(StringMatcher),
}

// === impl Filter ===

impl Filter {
    /// What applies, in order: the listener's changes, then those of every level of the route.
    fn levels<'a>(&'a self, route: Route<'a, RouteConfig>) -> impl Iterator<Item = &'a Mutations> {
        let mut levels: SmallVec<[&Mutations; 4]> = route.levels().collect();
        if self.config.most_specific_wins {
            levels.reverse();
        }
        std::iter::once(&self.config.mutations).chain(levels)
    }
}

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn answer_formats(config: &Config) -> Vec<&Format> {
        config.mutations.answer_formats()
    }

    fn route_answer_formats(config: &RouteConfig) -> Vec<&Format> {
        config.answer_formats()
    }

    fn new(config: &Config, _making: &Making<'_>) -> Self {
        Self { config: config.clone() }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<NoState> {
        for mutations in self.levels(route) {
            for mutation in &mutations.request {
                match mutation {
                    Mutation::Add(add) => add_to_request(add, request.head, request.info),
                    Mutation::Remove(name) => {
                        request.head.headers.remove(name);
                    }
                    Mutation::RemoveMatching(matcher) => remove_matching(&mut request.head.headers, matcher),
                }
            }
            query::change(&mutations.query, request.head, request.info);
        }
        if request.has_body() {
            let headers = Headers::Live {
                request: request.head,
                response: None,
            };
            let mutations = self.levels(route).flat_map(|level| &level.request_trailers);
            if let Some(stage) = Trailers::stage(mutations, request.info, headers) {
                request.body.through(stage);
            }
        }
        Next::go()
    }

    async fn on_answer(
        &self,
        _state: Option<&mut NoState>,
        answer: &mut AnswerPass<'_>,
        route: Route<'_, RouteConfig>,
    ) {
        for mutation in self.levels(route).flat_map(|level| &level.response) {
            change(mutation, answer.headers, answer.info);
        }
        if answer.has_body {
            let mutations = self.levels(route).flat_map(|level| &level.response_trailers);
            if let Some(stage) = Trailers::stage(mutations, answer.info, Headers::Kept) {
                answer.stages.add(stage);
            }
        }
    }
}

fn change(mutation: &Mutation, headers: &mut HeaderMap, info: &StreamInfo) {
    match mutation {
        Mutation::Add(add) => add_to_response(std::slice::from_ref(&**add), headers, info),
        Mutation::Remove(name) => {
            headers.remove(name);
        }
        Mutation::RemoveMatching(matcher) => remove_matching(headers, matcher),
    }
}

fn remove_matching(headers: &mut HeaderMap, matcher: &StringMatcher) {
    let matching = headers.keys().filter(|name| matcher.matches(name.as_str()));
    let matching: SmallVec<[HeaderName; 4]> = matching.cloned().collect();
    for name in matching {
        headers.remove(name);
    }
}

// === impl Trailers ===

impl Trailers {
    /// The stage that makes some changes; nothing where there are none.
    fn stage<'a>(
        mutations: impl Iterator<Item = &'a Mutation>,
        info: &StreamInfo,
        headers: Headers<'_>,
    ) -> Option<Stage> {
        let change = |mutation: &Mutation| match mutation {
            Mutation::Add(add) => {
                let HeaderKey::Name(name) = &add.name else {
                    return None;
                };
                Some(TrailerChange::Add(
                    name.clone(),
                    evaluate(add, info, headers)?,
                    add.action,
                ))
            }
            Mutation::Remove(name) => Some(TrailerChange::Remove(name.clone())),
            Mutation::RemoveMatching(matcher) => Some(TrailerChange::RemoveMatching(matcher.clone())),
        };
        let changes: Vec<_> = mutations.filter_map(change).collect();
        (!changes.is_empty()).then(|| Stage::Trailers(Self { changes, passing: None }))
    }
}

impl Transform for Trailers {
    fn push(&mut self, chunk: Bytes) -> Result<(), BodyError> {
        self.passing = Some(chunk);
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<Bytes>, BodyError> {
        Ok(self.passing.take())
    }

    fn end(&mut self, trailers: &mut Option<HeaderMap>) -> Result<(), BodyError> {
        let Some(trailers) = trailers else {
            return Ok(());
        };
        for change in &self.changes {
            match change {
                TrailerChange::Add(name, value, action) => put(trailers, name, value.clone(), *action),
                TrailerChange::Remove(name) => {
                    trailers.remove(name);
                }
                TrailerChange::RemoveMatching(matcher) => remove_matching(trailers, matcher),
            }
        }
        Ok(())
    }

    fn keeps_length(&self) -> bool {
        true
    }
}
