//! Header changes of a route configuration, virtual host, route and weighted cluster.

use http::header::HeaderMap;

use http::{HeaderName, HeaderValue};

use crate::model::access_log::{Format, FormatPart};
use crate::model::matcher::HeaderKey;
use crate::model::route::{AppendAction, HeaderAdd, HeaderMutations};
use crate::stream_info::StreamInfo;
use crate::stream_info::operators::{Headers, write_format};
use crate::stream_info::path::RequestPath;
use crate::stream_info::request::RequestHead;

/// The levels of changes in the order in which they apply: by default the most specific first, so that the least specific wins
/// (Envoy API, `RouteConfiguration.most_specific_header_mutations_wins`).
pub(crate) fn ordered<const N: usize>(
    most_specific_first: [Option<&HeaderMutations>; N],
    specific_wins: bool,
) -> [Option<&HeaderMutations>; N] {
    let mut levels = most_specific_first;
    if specific_wins {
        levels.reverse();
    }
    levels
}

/// Applies the request changes of one level.
pub(crate) fn apply_to_request(changes: &HeaderMutations, request: &mut RequestHead, info: &StreamInfo) {
    for name in &changes.request_remove {
        request.headers.remove(name);
    }
    for add in &changes.request_add {
        add_to_request(add, request, info);
    }
}

/// Adds one header, or replaces what a pseudo header stands for.
pub(crate) fn add_to_request(add: &HeaderAdd, request: &mut RequestHead, info: &StreamInfo) {
    let live = Headers::Live {
        request,
        response: None,
    };
    let Some(value) = evaluate(add, info, live) else {
        return;
    };
    match &add.name {
        HeaderKey::Name(name) => put(&mut request.headers, name, value, add.action),
        HeaderKey::Authority => {
            if add.action == AppendAction::OverwriteOrAdd || add.action == AppendAction::OverwriteIfExists {
                request.authority = value;
            }
        }
        HeaderKey::Path => {
            if let Some(path) = value.to_str().ok().and_then(|path| path.parse::<RequestPath>().ok()) {
                request.path = path;
            }
        }
        HeaderKey::Method => {
            if let Ok(method) = value.as_bytes().try_into() {
                request.method = method;
            }
        }
        HeaderKey::Scheme | HeaderKey::Status => {}
    }
}

/// Applies the response changes of one level. `request` is the request as it went upstream.
pub(crate) fn apply_to_response(changes: &HeaderMutations, response: &mut HeaderMap, info: &StreamInfo) {
    for name in &changes.response_remove {
        response.remove(name);
    }
    add_to_response(&changes.response_add, response, info);
}

/// Adds headers to an answer, in this order.
pub(crate) fn add_to_response(additions: &[HeaderAdd], response: &mut HeaderMap, info: &StreamInfo) {
    for add in additions {
        let HeaderKey::Name(name) = &add.name else {
            continue;
        };
        if let Some(value) = evaluate(add, info, Headers::Kept) {
            put(response, name, value, add.action);
        }
    }
}

/// The value of a header to add; `None` where it is empty and an empty one is not wanted.
pub(crate) fn evaluate(add: &HeaderAdd, info: &StreamInfo, headers: Headers<'_>) -> Option<HeaderValue> {
    let value = match constant(&add.value) {
        Some(text) => HeaderValue::from_str(text).ok()?,
        None => {
            let mut text = String::new();
            write_format(&add.value, info, headers, &mut text);
            HeaderValue::from_str(&text).ok()?
        }
    };
    (!value.is_empty() || add.keep_empty_value).then_some(value)
}

fn constant(format: &Format) -> Option<&str> {
    match format.parts.as_slice() {
        [] => Some(""),
        [FormatPart::Literal(text)] => Some(text),
        _ => None,
    }
}

/// Puts a value among others, as the action says.
pub(crate) fn put(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue, action: AppendAction) {
    match action {
        AppendAction::AppendOrAdd => {
            headers.append(name, value);
        }
        AppendAction::AddIfAbsent => {
            headers.entry(name).or_insert(value);
        }
        AppendAction::OverwriteOrAdd => {
            headers.insert(name, value);
        }
        AppendAction::OverwriteIfExists => {
            if headers.contains_key(name) {
                headers.insert(name, value);
            }
        }
    }
}
