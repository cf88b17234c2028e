//! Retry policies.

use std::sync::Arc;
use std::time::Duration;

use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;

use super::matcher::{header_matcher, header_matchers};
use super::{Path, Result, duration, holds, optional_duration, status, uint32};
use crate::model::route as model;

pub(super) fn retry(source: Option<&route::RetryPolicy>, at: &Path) -> Result<Option<Arc<model::RetryPolicy>>> {
    let Some(source) = source else {
        return Ok(None);
    };
    let mut avoid_previous_hosts = false;
    for (index, predicate) in source.retry_host_predicate.iter().enumerate() {
        let at = at.field("retry_host_predicate").index(index);
        use route::retry_policy::retry_host_predicate::ConfigType;
        match &predicate.config_type {
            Some(ConfigType::TypedConfig(any)) if !holds::<PreviousHostsPredicate>(any) => {
                return Err(at
                    .field("typed_config")
                    .error(format!("{} is not supported", any.type_url)));
            }
            None if predicate.name != "envoy.retry_host_predicates.previous_hosts" => {
                return Err(at.field("name").error(format!("{:?} is not supported", predicate.name)));
            }
            Some(_) | None => avoid_previous_hosts = true,
        }
    }
    let codes = source
        .retriable_status_codes
        .iter()
        .map(|code| status(*code, &at.field("retriable_status_codes")));
    let backoff = source.retry_back_off.unwrap_or_default();
    let at_backoff = at.field("retry_back_off");
    let base = duration(
        backoff.base_interval.as_ref(),
        Duration::from_millis(25),
        &at_backoff.field("base_interval"),
    )?;
    let one = |(index, matcher): (usize, &route::HeaderMatcher)| {
        header_matcher(matcher, &at.field("retriable_headers").index(index))
    };
    Ok(Some(Arc::new(model::RetryPolicy {
        on: parse_retry_on(&source.retry_on),
        retries_max: uint32(source.num_retries.as_ref(), 1),
        per_try_timeout: optional_duration(source.per_try_timeout.as_ref(), &at.field("per_try_timeout"))?,
        per_try_idle_timeout: optional_duration(
            source.per_try_idle_timeout.as_ref(),
            &at.field("per_try_idle_timeout"),
        )?,
        status_codes: codes.collect::<Result<_>>()?,
        response_headers: source
            .retriable_headers
            .iter()
            .enumerate()
            .map(one)
            .collect::<Result<_>>()?,
        request_headers: header_matchers(
            &source.retriable_request_headers,
            &at.field("retriable_request_headers"),
        )?,
        avoid_previous_hosts,
        host_selection_attempts_max: u32::try_from(source.host_selection_retry_max_attempts)
            .unwrap_or(0)
            .max(1),
        backoff_base: base,
        backoff_max: duration(
            backoff.max_interval.as_ref(),
            base * 10,
            &at_backoff.field("max_interval"),
        )?,
    })))
}

/// The conditions of a `retry_on` list. Envoy ignores words that it does not know, and so must this: the same syntax comes in a
/// request header.
pub fn parse_retry_on(list: &str) -> model::RetryOn {
    let mut on = model::RetryOn::default();
    for word in list.split(',').map(str::trim) {
        match word {
            "5xx" => on.server_error = true,
            "gateway-error" => on.gateway_error = true,
            "reset" => on.reset = true,
            "reset-before-request" => on.reset_before_request = true,
            "connect-failure" => on.connect_failure = true,
            "envoy-ratelimited" => on.envoy_ratelimited = true,
            "retriable-4xx" => on.retriable_4xx = true,
            "refused-stream" => on.refused_stream = true,
            "retriable-status-codes" => on.retriable_status_codes = true,
            "retriable-headers" => on.retriable_headers = true,
            "http3-post-connect-failure" => on.http3_post_connect_failure = true,
            "cancelled" => on.grpc_cancelled = true,
            "deadline-exceeded" => on.grpc_deadline_exceeded = true,
            "internal" => on.grpc_internal = true,
            "resource-exhausted" => on.grpc_resource_exhausted = true,
            "unavailable" => on.grpc_unavailable = true,
            _ => {}
        }
    }
    on
}
