//! Changes of headers, as configured (`envoy.filters.http.header_mutation`).

use std::sync::Arc;

use weft_proto::xds::envoy::config::common::mutation_rules::v3 as rules;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::filters::http::header_mutation::v3 as pb;
use weft_proto::xds::google::protobuf::{Any, value::Kind};

use crate::model::access_log::Format;
use crate::model::convert::format;
use crate::model::convert::matcher::string_matcher;
use crate::model::convert::route_headers::{header_add, removable};
use crate::model::convert::{Path, Result, enumeration, holds, required, text, unpack};
use crate::model::matcher::StringMatcher;
use crate::model::route::{AppendAction, HeaderAdd};

/// What changes (Envoy `header_mutation.v3.HeaderMutation`).
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Of every request and answer, before what routes say.
    pub mutations: Mutations,
    /// Of several levels the most specific is applied last instead of first.
    pub most_specific_wins: bool,
}

/// What changes on a route.
pub type RouteConfig = Mutations;

/// Changes, in order.
#[derive(Clone, Debug, Default)]
pub struct Mutations {
    pub request: Vec<Mutation>,
    /// Of the query of requests.
    pub query: Vec<QueryMutation>,
    /// Of trailers of requests.
    pub request_trailers: Vec<Mutation>,
    pub response: Vec<Mutation>,
    /// Of trailers of answers.
    pub response_trailers: Vec<Mutation>,
}

#[derive(Clone, Debug)]
pub enum Mutation {
    /// Adds or sets.
    Add(Box<HeaderAdd>),
    Remove(::http::HeaderName),
    /// Removes all headers whose names match.
    RemoveMatching(StringMatcher),
}

/// One change of a query parameter.
#[derive(Clone, Debug)]
pub enum QueryMutation {
    /// Adds or sets.
    Add {
        name: Arc<str>,
        /// Value, with format operators.
        value: Format,
        /// What happens to one that is there.
        action: AppendAction,
    },
    Remove(Arc<str>),
}

// === impl Mutations ===

impl Mutations {
    /// Formats of what is added to answers.
    pub fn answer_formats(&self) -> Vec<&Format> {
        let changes = self.response.iter().chain(&self.response_trailers);
        changes
            .filter_map(|mutation| match mutation {
                Mutation::Add(add) => Some(&add.value),
                Mutation::Remove(_) | Mutation::RemoveMatching(_) => None,
            })
            .collect()
    }
}

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::HeaderMutation>(any) {
        return Ok(None);
    }
    let source: pb::HeaderMutation = unpack(any, at)?;
    let none = pb::Mutations::default();
    let mutations = source.mutations.as_ref().unwrap_or(&none);
    Ok(Some(Config {
        mutations: all(mutations, &at.field("mutations"))?,
        most_specific_wins: source.most_specific_header_mutations_wins,
    }))
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    if !holds::<pb::HeaderMutationPerRoute>(any) {
        return Ok(None);
    }
    let source: pb::HeaderMutationPerRoute = unpack(any, at)?;
    let none = pb::Mutations::default();
    let mutations = source.mutations.as_ref().unwrap_or(&none);
    all(mutations, &at.field("mutations")).map(Some)
}

fn all(source: &pb::Mutations, at: &Path) -> Result<Mutations> {
    let headers = |list: &[rules::HeaderMutation], field: &str| {
        let at = at.field(field);
        let one = |(index, source): (usize, &rules::HeaderMutation)| header(source, &at.index(index));
        list.iter().enumerate().map(one).collect::<Result<Vec<_>>>()
    };
    let at_query = at.field("query_parameter_mutations");
    let query = source.query_parameter_mutations.iter().enumerate();
    Ok(Mutations {
        request: headers(&source.request_mutations, "request_mutations")?,
        query: query
            .map(|(index, source)| parameter(source, &at_query.index(index)))
            .collect::<Result<_>>()?,
        request_trailers: headers(&source.request_trailers_mutations, "request_trailers_mutations")?,
        response: headers(&source.response_mutations, "response_mutations")?,
        response_trailers: headers(&source.response_trailers_mutations, "response_trailers_mutations")?,
    })
}

fn header(source: &rules::HeaderMutation, at: &Path) -> Result<Mutation> {
    use rules::header_mutation::Action;
    Ok(match &source.action {
        Some(Action::Append(option)) => Mutation::Add(Box::new(header_add(option, &at.field("append"))?)),
        Some(Action::Remove(name)) => Mutation::Remove(removable(name, &at.field("remove"))?),
        Some(Action::RemoveOnMatch(matching)) => {
            let at = at.field("remove_on_match");
            let matcher = required(matching.key_matcher.as_ref(), &at, "key_matcher")?;
            Mutation::RemoveMatching(string_matcher(matcher, &at.field("key_matcher"))?)
        }
        None => return Err(at.error("needs append, remove or remove_on_match")),
    })
}

fn parameter(source: &core::KeyValueMutation, at: &Path) -> Result<QueryMutation> {
    use core::key_value_append::KeyValueAppendAction as Action;
    let append = match (&source.append, source.remove.as_str()) {
        (Some(append), "") => append,
        (None, name) if !name.is_empty() => return Ok(QueryMutation::Remove(text(name))),
        _ => return Err(at.error("needs append or remove, and not both")),
    };
    let at = at.field("append");
    let record = required(append.record.as_ref(), &at, "record")?;
    let at_record = at.field("record");
    let Some(Kind::StringValue(value)) = record.value.as_ref().and_then(|value| value.kind.as_ref()) else {
        return Err(at_record.field("value").error("must be a string"));
    };
    Ok(QueryMutation::Add {
        name: text(&record.key),
        value: format::parse(value, true).map_err(|error| at_record.field("value").error(error))?,
        action: match enumeration(append.action, &at, "action")? {
            Action::AppendIfExistsOrAdd => AppendAction::AppendOrAdd,
            Action::AddIfAbsent => AppendAction::AddIfAbsent,
            Action::OverwriteIfExistsOrAdd => AppendAction::OverwriteOrAdd,
            Action::OverwriteIfExists => AppendAction::OverwriteIfExists,
        },
    })
}
