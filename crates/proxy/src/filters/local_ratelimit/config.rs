//! Limits on requests that this proxy keeps by itself, as configured (`envoy.filters.http.local_ratelimit`).

pub mod bucket;
pub mod limiter;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, StatusCode};
use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::extensions::common::ratelimit::v3 as common;
use weft_proto::xds::envoy::extensions::filters::http::local_ratelimit::v3 as pb;
use weft_proto::xds::envoy::r#type::v3::TokenBucket;
use weft_proto::xds::google::protobuf::Any;

use self::bucket::Filling;
use self::limiter::{Configured, Limiter};
use crate::model::convert::matcher::header_matchers;
use crate::model::convert::route_headers::additions;
use crate::model::convert::{
    Path, Result, boolean, enumeration, header_name, holds, optional_duration, required, runtime_share, text, uint32,
    unpack,
};
use crate::model::matcher::{Fraction, HeaderMatcher};
use crate::model::route::HeaderAdd;

/// Shortest time between two fillings, Envoy's.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// Most buckets for values that are not named where nothing is said, Envoy's.
const DYNAMIC_MAX: u32 = 20;

/// How many requests (Envoy `LocalRateLimit`). The buckets belong to what is configured: they live as long as it does not change.
#[derive(Clone, Debug)]
pub struct Config {
    /// Heads the names of statistics.
    pub stat_prefix: Arc<str>,
    pub limiter: Arc<Limiter>,
    /// What requests are, for their descriptors.
    pub policies: Vec<Vec<Action>>,
    /// Requests that are looked at.
    pub enabled: Fraction,
    /// Of those that are too many, the ones that are refused.
    pub enforced: Fraction,
    /// Status of a refusal.
    pub status: StatusCode,
    /// gRPC clients are told that a resource is exhausted.
    pub as_exhausted: bool,
    /// Added to requests that are too many and go on.
    pub request_headers: Vec<HeaderAdd>,
    /// Added to refusals.
    pub response_headers: Vec<HeaderAdd>,
    /// Clients are told what is left.
    pub tells_limits: bool,
    /// Refused clients are told when to come again.
    pub tells_retry: bool,
}

/// A part of a descriptor.
#[derive(Clone, Debug)]
pub enum Action {
    Constant(Arc<str>, Arc<str>),
    /// A request header.
    Header {
        name: HeaderName,
        key: Arc<str>,
        /// A request without it goes without the key, instead of without a descriptor.
        optional: bool,
    },
    /// A query parameter.
    Query {
        name: Arc<str>,
        key: Arc<str>,
        /// As of a header.
        optional: bool,
    },
    Client,
    /// The network that the client is in.
    Network {
        /// Bits of IPv4.
        v4: u8,
        /// Bits of IPv6.
        v6: u8,
    },
    /// This where headers match.
    Match {
        key: Arc<str>,
        value: Arc<str>,
        /// Whether they must or must not.
        expected: bool,
        /// All of these.
        headers: Vec<HeaderMatcher>,
    },
    /// The cluster of the route.
    Destination,
    /// What the bootstrap calls the proxies of this one's kind.
    Source,
}

/// What a route says stands instead of the list.
pub type RouteConfig = Config;

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::LocalRateLimit>(any) {
        return Ok(None);
    }
    config(&unpack(any, at)?, at).map(Some)
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    if !holds::<pb::LocalRateLimit>(any) {
        return Ok(None);
    }
    let source: pb::LocalRateLimit = unpack(any, at)?;
    required(source.token_bucket.as_ref(), at, "token_bucket")?;
    config(&source, at).map(Some)
}

fn config(source: &pb::LocalRateLimit, at: &Path) -> Result<Config> {
    if source.stat_prefix.is_empty() {
        return Err(at.field("stat_prefix").error("is required"));
    }
    let none = Fraction { parts_per_million: 0 };
    let share = |share: Option<_>, field: &str| -> Result<Fraction> {
        Ok(runtime_share(share, &at.field(field))?.unwrap_or(none))
    };
    let code = source.status.as_ref().map_or(0, |status| status.code);
    let code = u16::try_from(code).ok().filter(|code| *code >= 400);
    let tells: common::XRateLimitHeadersRfcVersion =
        enumeration(source.enable_x_ratelimit_headers, at, "enable_x_ratelimit_headers")?;
    Ok(Config {
        stat_prefix: text(&source.stat_prefix),
        limiter: Arc::new(limiter(source, at)?),
        policies: policies(&source.rate_limits, &at.field("rate_limits"))?,
        enabled: share(source.filter_enabled.as_ref(), "filter_enabled")?,
        enforced: share(source.filter_enforced.as_ref(), "filter_enforced")?,
        status: code
            .and_then(|code| StatusCode::from_u16(code).ok())
            .unwrap_or(StatusCode::TOO_MANY_REQUESTS),
        as_exhausted: source.rate_limited_as_resource_exhausted,
        request_headers: additions(
            &source.request_headers_to_add_when_not_enforced,
            &at.field("request_headers_to_add_when_not_enforced"),
        )?,
        response_headers: additions(&source.response_headers_to_add, &at.field("response_headers_to_add"))?,
        tells_limits: tells == common::XRateLimitHeadersRfcVersion::DraftVersion03,
        tells_retry: source.enable_retry_after_header,
    })
}

fn limiter(source: &pb::LocalRateLimit, at: &Path) -> Result<Limiter> {
    let at_bucket = at.field("token_bucket");
    let default = source.token_bucket.as_ref();
    let default = default.map(|bucket| filling(bucket, &at_bucket)).transpose()?;
    let mut described: Vec<Configured> = Vec::with_capacity(source.descriptors.len());
    for (index, descriptor) in source.descriptors.iter().enumerate() {
        let at = at.field("descriptors").index(index);
        let bucket = required(descriptor.token_bucket.as_ref(), &at, "token_bucket")?;
        if descriptor.entries.is_empty() {
            return Err(at.field("entries").error("needs at least one"));
        }
        let entries = descriptor.entries.iter();
        let entries: Vec<_> = entries
            .map(|entry| (text(&entry.key), (!entry.value.is_empty()).then(|| text(&entry.value))))
            .collect();
        if described.iter().any(|(known, _)| *known == entries) {
            return Err(at.error("is there already"));
        }
        described.push((entries, filling(bucket, &at.field("token_bucket"))?));
    }
    let dynamic_max = uint32(source.max_dynamic_descriptors.as_ref(), DYNAMIC_MAX) as usize;
    let always = boolean(source.always_consume_default_token_bucket.as_ref(), true);
    Ok(Limiter::new(default, described, always, dynamic_max))
}

fn filling(source: &TokenBucket, at: &Path) -> Result<Filling> {
    let interval = required(source.fill_interval.as_ref(), at, "fill_interval")?;
    let interval = optional_duration(Some(interval), &at.field("fill_interval"))?.unwrap_or_default();
    if interval < INTERVAL_MIN {
        return Err(at.field("fill_interval").error("must be at least 0.05s"));
    }
    if source.max_tokens == 0 {
        return Err(at.field("max_tokens").error("must be above 0"));
    }
    let tokens = uint32(source.tokens_per_fill.as_ref(), 1);
    if tokens == 0 {
        return Err(at.field("tokens_per_fill").error("must be above 0"));
    }
    Ok(Filling {
        tokens_max: source.max_tokens,
        rate: f64::from(tokens) / interval.as_secs_f64(),
    })
}

fn policies(source: &[route::RateLimit], at: &Path) -> Result<Vec<Vec<Action>>> {
    let one = |(index, policy): (usize, &route::RateLimit)| {
        let at = at.index(index).field("actions");
        if policy.actions.is_empty() {
            return Err(at.error("needs at least one"));
        }
        let actions = policy.actions.iter().enumerate();
        actions
            .map(|(index, source)| action(source, &at.index(index)))
            .collect()
    };
    source.iter().enumerate().map(one).collect()
}

fn action(source: &route::rate_limit::Action, at: &Path) -> Result<Action> {
    use route::rate_limit::action::ActionSpecifier as Specifier;
    let key = |key: &str, default: &str| text(if key.is_empty() { default } else { key });
    Ok(match &source.action_specifier {
        Some(Specifier::GenericKey(generic)) => Action::Constant(
            key(&generic.descriptor_key, "generic_key"),
            text(&generic.descriptor_value),
        ),
        Some(Specifier::RequestHeaders(header)) => Action::Header {
            name: header_name(&header.header_name, &at.field("request_headers").field("header_name"))?,
            key: text(&header.descriptor_key),
            optional: header.skip_if_absent,
        },
        Some(Specifier::QueryParameters(query)) => Action::Query {
            name: text(&query.query_parameter_name),
            key: text(&query.descriptor_key),
            optional: query.skip_if_absent,
        },
        Some(Specifier::RemoteAddress(_)) => Action::Client,
        Some(Specifier::MaskedRemoteAddress(masked)) => {
            let bits = |value: Option<_>, most: u32, field: &str| {
                let bits = uint32(value, most);
                u8::try_from(bits).ok().filter(|_| bits <= most).ok_or_else(|| {
                    at.field("masked_remote_address")
                        .field(field)
                        .error("has too many bits")
                })
            };
            Action::Network {
                v4: bits(masked.v4_prefix_mask_len.as_ref(), 32, "v4_prefix_mask_len")?,
                v6: bits(masked.v6_prefix_mask_len.as_ref(), 128, "v6_prefix_mask_len")?,
            }
        }
        Some(Specifier::HeaderValueMatch(matched)) => Action::Match {
            key: key(&matched.descriptor_key, "header_match"),
            value: text(&matched.descriptor_value),
            expected: boolean(matched.expect_match.as_ref(), true),
            headers: header_matchers(&matched.headers, &at.field("header_value_match").field("headers"))?,
        },
        Some(Specifier::DestinationCluster(_)) => Action::Destination,
        Some(Specifier::SourceCluster(_)) => Action::Source,
        _ => return Err(at.error("is not a supported action")),
    })
}
