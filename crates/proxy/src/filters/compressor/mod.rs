//! Bodies are compressed on their way: answers as clients like them, requests where that is configured (`envoy.filters.http.compressor`).

mod accept;
mod encode;

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use self::accept::{Candidate, Choice, choose, is_listed};
pub(crate) use self::encode::Compress;
pub(crate) use self::encode::Sizes;
use super::{AnswerPass, HttpFilter, Making, Next, RequestPass, Route, Stage};
use crate::model::filters::compressor::{Config, Direction, Library, Response, RouteConfig};
use crate::stats::counters::Counter;

#[derive(Debug)]
pub(crate) struct Filter {
    library: Library,
    request: Option<Direction>,
    response: Arc<Response>,
    request_counts: Counts,
    response_counts: Counts,
    choices: Choices,
}

/// What is counted in one direction.
#[derive(Debug)]
struct Counts {
    compressed: Arc<Counter>,
    not_compressed: Arc<Counter>,
    too_short: Arc<Counter>,
    bytes: Arc<Sizes>,
}

/// What is counted of `accept-encoding`.
#[derive(Debug)]
struct Choices {
    missing: Arc<Counter>,
    identity: Arc<Counter>,
    used: Arc<Counter>,
    overshadowed: Arc<Counter>,
    wildcard: Arc<Counter>,
    not_valid: Arc<Counter>,
    etag: Arc<Counter>,
}

/// What the compressors of a list tell each other of one request.
#[derive(Clone, Debug, Default)]
struct Together {
    candidates: Vec<Candidate>,
    choice: Option<Choice>,
}

// === impl Filter ===

impl Filter {
    /// Whether this one is chosen, which the first to ask decides for all.
    fn is_chosen(&self, accepted: Option<&str>, answer: &mut AnswerPass<'_>) -> bool {
        let Some(accepted) = accepted else {
            self.choices.missing.increment();
            return false;
        };
        let media_type = media_type(answer.headers);
        let together = answer.info.notes().shared.get_or_insert_default::<Together>();
        let candidates = &together.candidates;
        let choice = *together
            .choice
            .get_or_insert_with(|| choose(accepted, media_type, candidates));
        let counter = match choice {
            Choice::Named(encoding) if encoding == self.library.encoding() => &self.choices.used,
            Choice::Named(_) => &self.choices.overshadowed,
            Choice::Any(_) => &self.choices.wildcard,
            Choice::Identity => &self.choices.identity,
            Choice::None => &self.choices.not_valid,
        };
        counter.increment();
        matches!(choice, Choice::Named(encoding) | Choice::Any(encoding) if encoding == self.library.encoding())
    }

    fn may_compress(&self, answer: &AnswerPass<'_>) -> bool {
        let response = &self.response;
        let headers = &*answer.headers;
        if response.codes_left.contains(&u32::from(answer.status.as_u16()))
            || !is_type_listed(headers, &response.direction)
            || no_transform(headers)
        {
            return false;
        }
        if response.not_with_etag && headers.contains_key(header::ETAG) {
            self.choices.etag.increment();
            return false;
        }
        !headers.contains_key(header::CONTENT_ENCODING)
    }
}

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    /// The client's `accept-encoding`.
    type State = Option<Box<str>>;

    fn new(config: &Config, making: &Making<'_>) -> Self {
        let prefix = format!("compressor.{}.{}.", config.name, config.library.name());
        let of_answers = if config.response.named {
            format!("{prefix}response.")
        } else {
            prefix.clone()
        };
        let counter = |name: &str| making.counter(&format!("{prefix}{name}"));
        Self {
            library: config.library,
            request: config.request.clone(),
            response: Arc::new(config.response.clone()),
            request_counts: Counts::new(&format!("{prefix}request."), making),
            response_counts: Counts::new(&of_answers, making),
            choices: Choices {
                missing: counter("no_accept_header"),
                identity: counter("header_identity"),
                used: counter("header_compressor_used"),
                overshadowed: counter("header_compressor_overshadowed"),
                wildcard: counter("header_wildcard"),
                not_valid: counter("header_not_valid"),
                etag: counter("not_compressed_etag"),
            },
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<Option<Box<str>>> {
        let together = request.info.notes().shared.get_or_insert_default::<Together>();
        together.candidates.push(Candidate {
            encoding: self.library.encoding(),
            response: self.response.clone(),
        });
        let headers = &mut request.head.headers;
        let accepted = joined(headers, &header::ACCEPT_ENCODING);
        let said = Said::new(&self.response, route);
        if said.enabled && said.removes {
            headers.remove(header::ACCEPT_ENCODING);
        }
        let direction = self.request.as_ref().filter(|direction| direction.enabled);
        let compresses = request.has_body()
            && direction.is_some_and(|direction| {
                let headers = &request.head.headers;
                self.request_counts.is_long(headers, direction)
                    && is_type_listed(headers, direction)
                    && !headers.contains_key(header::CONTENT_ENCODING)
            });
        match compresses.then(|| self.request_counts.stage(self.library)).flatten() {
            Some(stage) => {
                let headers = &mut request.head.headers;
                headers.remove(header::CONTENT_LENGTH);
                headers.insert(
                    header::CONTENT_ENCODING,
                    HeaderValue::from_static(self.library.encoding()),
                );
                request.body.through(stage);
            }
            None => self.request_counts.not_compressed.increment(),
        }
        Next::keep(accepted)
    }

    async fn on_answer(
        &self,
        state: Option<&mut Option<Box<str>>>,
        answer: &mut AnswerPass<'_>,
        route: Route<'_, RouteConfig>,
    ) {
        let accepted = state.and_then(|accepted| accepted.as_deref());
        let said = Said::new(&self.response, route);
        let wanted = said.enabled && self.response_counts.is_long(answer.headers, &self.response.direction);
        let may = wanted && self.may_compress(answer);
        let chosen = answer.has_body && wanted && self.is_chosen(accepted, answer);
        let library = said.library.unwrap_or(self.library);
        match (chosen && may).then(|| self.response_counts.stage(library)).flatten() {
            Some(stage) => {
                change_etag(answer.headers, self.response.weaken_etag);
                answer.headers.remove(header::CONTENT_LENGTH);
                answer
                    .headers
                    .insert(header::CONTENT_ENCODING, HeaderValue::from_static(library.encoding()));
                answer.stages.add(stage);
            }
            None => self.response_counts.not_compressed.increment(),
        }
        // Caches learn that the same may come compressed, also where this one does not.
        if may {
            add_vary(answer.headers);
        }
    }
}

/// What list and route say together.
#[derive(Debug)]
struct Said {
    enabled: bool,
    removes: bool,
    library: Option<Library>,
}

// === impl Said ===

impl Said {
    fn new(response: &Response, route: Route<'_, RouteConfig>) -> Self {
        let (enabled, removes) = (response.direction.enabled, response.remove_accept_encoding);
        match route.most_specific() {
            None => Self {
                enabled,
                removes,
                library: None,
            },
            Some(RouteConfig::Off) => Self {
                enabled: false,
                removes,
                library: None,
            },
            Some(RouteConfig::Instead {
                enabled: also,
                remove_accept_encoding,
                library,
            }) => Self {
                enabled: enabled || *also,
                removes: remove_accept_encoding.unwrap_or(removes),
                library: *library,
            },
        }
    }
}

// === impl Counts ===

impl Counts {
    fn new(prefix: &str, making: &Making<'_>) -> Self {
        let counter = |name: &str| making.counter(&format!("{prefix}{name}"));
        Self {
            compressed: counter("compressed"),
            not_compressed: counter("not_compressed"),
            too_short: counter("content_length_too_small"),
            bytes: Arc::new(Sizes {
                plain: counter("total_uncompressed_bytes"),
                compressed: counter("total_compressed_bytes"),
            }),
        }
    }

    fn is_long(&self, headers: &HeaderMap, direction: &Direction) -> bool {
        let Some(value) = headers.get(header::CONTENT_LENGTH) else {
            return true;
        };
        let length = value.to_str().ok().and_then(|value| value.parse::<u64>().ok());
        let is_long = length.is_some_and(|length| length >= direction.length_min);
        if !is_long {
            self.too_short.increment();
        }
        is_long
    }

    fn stage(&self, library: Library) -> Option<Stage> {
        match Compress::new(library, self.bytes.clone()) {
            Ok(stage) => {
                self.compressed.increment();
                Some(Stage::Compress(Box::new(stage)))
            }
            Err(error) => {
                tracing::warn!(%error, "a compressor cannot be made");
                None
            }
        }
    }
}

/// All lines of a field as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Box<str>> {
    let mut lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let first = lines.next()?.to_owned();
    Some(lines.fold(first, |all, line| all + "," + line).into_boxed_str())
}

/// The media type without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim())
}

fn is_type_listed(headers: &HeaderMap, direction: &Direction) -> bool {
    media_type(headers).is_none_or(|media_type| is_listed(media_type, &direction.types))
}

/// Whether intermediaries are forbidden to change the body (RFC 9111, section 5.2.2.6).
pub(super) fn no_transform(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CACHE_CONTROL).iter();
    lines.any(|line| {
        let mut tokens = line.as_bytes().split(|byte| *byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    })
}

/// A strong validator does not hold for a compressed body (RFC 9110, section 8.8.3.3).
fn change_etag(headers: &mut HeaderMap, weaken: bool) {
    let Some(etag) = headers.get(header::ETAG).map(HeaderValue::as_bytes) else {
        return;
    };
    if etag.len() < 2 || etag.starts_with(b"W/") || etag.starts_with(b"w/") {
        return;
    }
    let weak = weaken.then(|| HeaderValue::from_bytes(&[b"W/", etag].concat()));
    match weak {
        Some(Ok(weak)) => {
            headers.insert(header::ETAG, weak);
        }
        Some(Err(_)) | None => {
            headers.remove(header::ETAG);
        }
    }
}

fn add_vary(headers: &mut HeaderMap) {
    const NAME: &str = "Accept-Encoding";
    let Some(vary) = joined(headers, &header::VARY) else {
        headers.insert(header::VARY, HeaderValue::from_static(NAME));
        return;
    };
    let known = vary.split(',').any(|token| token.trim() == NAME);
    if !known && let Ok(value) = HeaderValue::try_from(format!("{vary}, {NAME}")) {
        headers.insert(header::VARY, value);
    }
}
