//! Which requests an access log takes.

use http::HeaderName;

use crate::error::ResponseFlags;
use crate::model::access_log::{Comparison, ComparisonOp, LogFilter};
use crate::model::matcher::{HeaderKey, HeaderMatcher, HeaderValueMatcher};
use crate::stream_info::StreamInfo;

/// Whether a finished request passes. `random` is uniform over all 64-bit numbers.
pub(crate) fn passes(filter: &LogFilter, info: &StreamInfo, random: u64) -> bool {
    match filter {
        LogFilter::Status(comparison) => compare(*comparison, u64::from(info.response_code)),
        LogFilter::Duration(comparison) => compare(*comparison, info.millis_to(info.finished_at).unwrap_or(0)),
        LogFilter::NotHealthCheck => !info.health_check,
        LogFilter::Fraction(share) => random % 1_000_000 < u64::from(share.parts_per_million),
        LogFilter::Header(matcher) => header_passes(matcher, info),
        LogFilter::ResponseFlags(names) if names.is_empty() => !info.flags.is_empty(),
        LogFilter::ResponseFlags(names) => {
            let flags = names.iter().filter_map(|name| ResponseFlags::from_short_name(name));
            flags.into_iter().any(|flag| info.flags.contains(flag))
        }
        LogFilter::GrpcStatus { codes, exclude } => {
            let status = info.grpc_status.unwrap_or(0);
            codes.iter().any(|code| u32::try_from(*code) == Ok(status)) != *exclude
        }
        LogFilter::And(filters) => filters.iter().all(|filter| passes(filter, info, random)),
        LogFilter::Or(filters) => filters.iter().any(|filter| passes(filter, info, random)),
    }
}

/// Request headers that a filter reads.
pub(crate) fn headers_of(filter: Option<&LogFilter>) -> Box<dyn Iterator<Item = HeaderName> + '_> {
    match filter {
        Some(LogFilter::Header(HeaderMatcher {
            name: HeaderKey::Name(name),
            ..
        })) => Box::new(std::iter::once(name.clone())),
        Some(LogFilter::And(filters) | LogFilter::Or(filters)) => {
            Box::new(filters.iter().flat_map(|filter| headers_of(Some(filter))))
        }
        _ => Box::new(std::iter::empty()),
    }
}

fn compare(comparison: Comparison, value: u64) -> bool {
    let wanted = u64::from(comparison.value);
    match comparison.op {
        ComparisonOp::Eq => value == wanted,
        ComparisonOp::Ge => value >= wanted,
        ComparisonOp::Le => value <= wanted,
        ComparisonOp::Ne => value != wanted,
    }
}

fn header_passes(matcher: &HeaderMatcher, info: &StreamInfo) -> bool {
    let Some(request) = &info.request else {
        return false;
    };
    let value = match &matcher.name {
        HeaderKey::Method => Some(request.method.as_str().as_bytes()),
        HeaderKey::Path => Some(request.path.as_str().as_bytes()),
        HeaderKey::Authority => Some(request.authority.as_bytes()),
        HeaderKey::Scheme => Some(request.scheme.as_str().as_bytes()),
        HeaderKey::Status => None,
        HeaderKey::Name(name) => request
            .headers
            .iter()
            .find(|(kept, _)| kept == name)
            .map(|(_, value)| value.as_bytes()),
    };
    let text = value.map(String::from_utf8_lossy);
    let fits = match (&matcher.value, text.as_deref()) {
        (HeaderValueMatcher::Present(present), text) => text.is_some() == *present,
        (HeaderValueMatcher::String(string), Some(text)) => string.matches(text),
        (HeaderValueMatcher::Range { start, end }, Some(text)) => {
            text.parse::<i64>().is_ok_and(|number| (*start..*end).contains(&number))
        }
        (HeaderValueMatcher::String(_) | HeaderValueMatcher::Range { .. }, None) => return false,
    };
    fits != matcher.invert
}
