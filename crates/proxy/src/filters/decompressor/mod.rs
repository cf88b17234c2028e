//! Compressed bodies are decompressed on their way (`envoy.filters.http.decompressor`).

mod decode;

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub(crate) use self::decode::Decompress;
use super::compressor::{Sizes, no_transform};
use super::{AnswerPass, HttpFilter, Making, Next, NoState, RequestPass, Route, Stage};
use crate::model::filters::decompressor::{Config, Direction, RouteConfig};
use crate::stats::counters::Counter;

#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
    trailers: Arc<[HeaderName; 2]>,
    requests: Counts,
    answers: Counts,
}

/// What is counted in one direction.
#[derive(Debug)]
struct Counts {
    decompressed: Arc<Counter>,
    not_decompressed: Arc<Counter>,
    bytes: Arc<Sizes>,
}

// === impl Filter ===

impl Filter {
    /// What decompresses the body behind a head; the head says so then.
    fn stage(&self, headers: &mut HeaderMap, direction: Direction, counts: &Counts) -> Option<Stage> {
        let config = &self.config;
        let wanted = direction.enabled
            && (direction.ignores_no_transform || !no_transform(headers))
            && first_encoding(headers).is_some_and(|name| name.eq_ignore_ascii_case(config.library.encoding()));
        let stage = wanted.then(|| {
            let (bytes, trailers) = (counts.bytes.clone(), self.trailers.clone());
            Decompress::new(config.library, config.ratio_max, bytes, trailers)
        });
        match stage {
            Some(Ok(stage)) => {
                counts.decompressed.increment();
                headers.remove(header::CONTENT_LENGTH);
                remove_first_encoding(headers);
                Some(Stage::Decompress(Box::new(stage)))
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a decompressor cannot be made");
                None
            }
            None => {
                counts.not_decompressed.increment();
                None
            }
        }
    }
}

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn new(config: &Config, making: &Making<'_>) -> Self {
        let prefix = format!("decompressor.{}.{}.", config.name, config.library.name());
        let trailer = |what: &str| {
            let name = format!("x-envoy-decompressor-{}-{what}-bytes", config.name);
            HeaderName::try_from(name).unwrap_or(HeaderName::from_static("x-envoy-decompressor-bytes"))
        };
        Self {
            config: config.clone(),
            trailers: Arc::new([trailer("compressed"), trailer("uncompressed")]),
            requests: Counts::new(&format!("{prefix}request."), making),
            answers: Counts::new(&format!("{prefix}response."), making),
        }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, _route: Route<'_, RouteConfig>) -> Next<NoState> {
        if self.config.response.enabled && self.config.advertise {
            advertise(&mut request.head.headers, self.config.library.encoding());
        }
        if request.has_body()
            && let Some(stage) = self.stage(&mut request.head.headers, self.config.request, &self.requests)
        {
            request.body.through(stage);
        }
        Next::go()
    }

    async fn on_answer(
        &self,
        _state: Option<&mut NoState>,
        answer: &mut AnswerPass<'_>,
        _route: Route<'_, RouteConfig>,
    ) {
        if answer.has_body
            && let Some(stage) = self.stage(answer.headers, self.config.response, &self.answers)
        {
            answer.stages.add(stage);
        }
    }
}

// === impl Counts ===

impl Counts {
    fn new(prefix: &str, making: &Making<'_>) -> Self {
        let counter = |name: &str| making.counter(&format!("{prefix}{name}"));
        Self {
            decompressed: counter("decompressed"),
            not_decompressed: counter("not_decompressed"),
            bytes: Arc::new(Sizes {
                plain: counter("total_uncompressed_bytes"),
                compressed: counter("total_compressed_bytes"),
            }),
        }
    }
}

fn encodings(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_ENCODING)?.to_str().ok()
}

/// The encoding that Envoy looks at: the first in the list.
fn first_encoding(headers: &HeaderMap) -> Option<&str> {
    Some(encodings(headers)?.split(',').next()?.trim())
}

fn remove_first_encoding(headers: &mut HeaderMap) {
    let rest = encodings(headers).and_then(|all| Some(all.split_once(',')?.1.trim()));
    match rest.map(HeaderValue::from_str) {
        Some(Ok(rest)) => {
            headers.insert(header::CONTENT_ENCODING, rest);
        }
        Some(Err(_)) | None => {
            headers.remove(header::CONTENT_ENCODING);
        }
    }
}

/// Adds an encoding to what the client takes, once and without a quality.
fn advertise(headers: &mut HeaderMap, encoding: &'static str) {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let others = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    let others = others.filter(|token| !token.is_empty() && token.split(';').next().map(str::trim) != Some(encoding));
    let all: Vec<&str> = others.chain([encoding]).collect();
    if let Ok(value) = HeaderValue::try_from(all.join(",")) {
        headers.insert(header::ACCEPT_ENCODING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_advertised_once() {
        for (before, after) in [
            ("", "gzip"),
            ("gzip", "gzip"),
            ("gzip;q=0.3, br", "br,gzip"),
            ("br , zstd;q=1", "br,zstd;q=1,gzip"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(before));
            advertise(&mut headers, "gzip");
            assert_eq!(headers[header::ACCEPT_ENCODING], after, "{before}");
        }
    }

    #[test]
    fn the_first_encoding_is_taken_off() {
        for (before, after) in [("gzip", None), ("gzip, br", Some("br")), ("a,b , c", Some("b , c"))] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(before));
            remove_first_encoding(&mut headers);
            assert_eq!(encodings(&headers), after, "{before}");
        }
    }
}
