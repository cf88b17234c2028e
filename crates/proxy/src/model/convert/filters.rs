//! HTTP filters before the router, and what routes say about them.

use std::collections::HashMap;

use weft_proto::xds::envoy::extensions::filters::common::fault::v3 as common;
use weft_proto::xds::envoy::extensions::filters::http::cors::v3 as cors;
use weft_proto::xds::envoy::extensions::filters::http::fault::v3 as fault;
use weft_proto::xds::google::protobuf::Any;

use super::matcher::string_matcher;
use super::{Path, Result, duration, fraction, holds, status, unpack};
use crate::model::filters as model;
use crate::model::matcher::Fraction;

/// Adds what a filter in the connection manager's list says; `false` where it is of another type.
pub(super) fn listed(any: &Any, rules: &mut model::FilterRules, at: &Path) -> Result<bool> {
    if holds::<fault::HttpFault>(any) {
        rules.fault = Some(Box::new(http_fault(&unpack(any, at)?, at)?));
        return Ok(true);
    }
    if holds::<cors::Cors>(any) {
        // It has no rules of its own and does nothing where no route has a policy.
        rules.cors = Some(Box::default());
        return Ok(true);
    }
    Ok(false)
}

/// What a route or virtual host says, by the types of its configurations: their names are free.
pub(super) fn per_route(configs: &HashMap<String, Any>, at: &Path) -> Result<model::FilterRules> {
    let mut rules = model::FilterRules::default();
    for (name, any) in configs {
        let at = at.field("typed_per_filter_config").key(name);
        if holds::<fault::HttpFault>(any) {
            rules.fault = Some(Box::new(http_fault(&unpack(any, &at)?, &at)?));
        } else if holds::<cors::CorsPolicy>(any) {
            rules.cors = Some(Box::new(cors_policy(&unpack(any, &at)?, &at)?));
        } else {
            return Err(at.error(format!("{} is not supported", any.type_url)));
        }
    }
    Ok(rules)
}

fn http_fault(source: &fault::HttpFault, at: &Path) -> Result<model::Fault> {
    use common::fault_delay::FaultDelaySecifier as Delay;
    use fault::fault_abort::ErrorType;
    // Without a percentage no request is hit (Envoy: the runtime's default is 0).
    let share = |percentage: Option<_>, at: &Path| match &percentage {
        Some(percentage) => fraction(percentage, &at.field("percentage")),
        None => Ok(Fraction { parts_per_million: 0 }),
    };
    let mut made = model::Fault::default();
    if let Some(delay) = &source.delay {
        let at = at.field("delay");
        let Some(Delay::FixedDelay(time)) = &delay.fault_delay_secifier else {
            return Err(at.field("fixed_delay").error("is required"));
        };
        let time = duration(Some(time), std::time::Duration::ZERO, &at.field("fixed_delay"))?;
        made.delay = Some((time, share(delay.percentage, &at)?));
    }
    if let Some(abort) = &source.abort {
        let at = at.field("abort");
        let answer = match &abort.error_type {
            Some(ErrorType::HttpStatus(code)) => model::AbortStatus::Http(status(*code, &at.field("http_status"))?),
            Some(ErrorType::GrpcStatus(code)) => model::AbortStatus::Grpc(*code),
            _ => return Err(at.error("needs http_status or grpc_status")),
        };
        made.abort = Some((answer, share(abort.percentage, &at)?));
    }
    Ok(made)
}

fn cors_policy(source: &cors::CorsPolicy, at: &Path) -> Result<model::Cors> {
    let mut origins = Vec::with_capacity(source.allow_origin_string_match.len());
    for (index, matcher) in source.allow_origin_string_match.iter().enumerate() {
        origins.push(string_matcher(
            matcher,
            &at.field("allow_origin_string_match").index(index),
        )?);
    }
    let value = |text: &str, field: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        let value = ::http::HeaderValue::from_str(text);
        value
            .map(Some)
            .map_err(|_| at.field(field).error("is not a header value"))
    };
    Ok(model::Cors {
        origins,
        methods: value(&source.allow_methods, "allow_methods")?,
        headers: value(&source.allow_headers, "allow_headers")?,
        expose: value(&source.expose_headers, "expose_headers")?,
        max_age: value(&source.max_age, "max_age")?,
        credentials: source.allow_credentials.map(|value| value.value),
        forward_unmatched_preflights: source.forward_not_matching_preflights.map(|value| value.value),
    })
}
