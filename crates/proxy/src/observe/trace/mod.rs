//! Spans of requests: the trace they belong to, whether they are sampled, and their way to a collector.

pub(crate) mod export;
pub(crate) mod sampling;
mod span;

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use self::export::SpanExporter;
use crate::model::http::{TagValue, Tracing};
use crate::stream_info::StreamInfo;
use crate::stream_info::header_names;
use crate::stream_info::trace_context::{Incoming, TraceContext};

/// `x-client-trace-id`, by which a client asks for a trace (Envoy, "x-client-trace-id").
const CLIENT_TRACE_ID: HeaderName = HeaderName::from_static("x-client-trace-id");

/// The tracing of one connection manager.
#[derive(Clone, Debug)]
pub struct Tracer {
    config: Tracing,
    exporter: SpanExporter,
    kept: Vec<HeaderName>,
}

// === impl Tracer ===

impl Tracer {
    /// A tracer that sends its spans through `exporter`. Tags that take their value from the environment take it now, by `lookup`.
    pub fn new(mut config: Tracing, exporter: SpanExporter, lookup: impl Fn(&str) -> Option<String>) -> Self {
        for tag in &mut config.tags {
            if let TagValue::Environment { name, default } = &tag.value {
                let value = lookup(name).map_or_else(|| default.clone(), Arc::from);
                tag.value = TagValue::Literal(value);
            }
        }
        let mut kept = vec![
            header_names::REQUEST_ID,
            header_names::ORIGINAL_PATH,
            http::header::USER_AGENT,
            CLIENT_TRACE_ID,
        ];
        for tag in &config.tags {
            if let TagValue::RequestHeader { name, .. } = &tag.value {
                kept.push(name.clone());
            }
        }
        Self { config, exporter, kept }
    }

    /// Request headers whose values the span of a request needs; none where the request is not sampled.
    pub fn kept_headers(&self, trace: Option<&TraceContext>) -> &[HeaderName] {
        if trace.is_some_and(|trace| trace.sampled) {
            &self.kept
        } else {
            &[]
        }
    }

    /// Continues the trace that the request is part of, or starts one; decides whether it is sampled, and tells upstream by the
    /// request's headers.
    pub fn begin(&self, headers: &mut HeaderMap, mut random: impl FnMut() -> u64) -> TraceContext {
        let incoming = Incoming::extract(headers);
        let shares = sampling::Shares {
            client: self.config.client_sampling,
            random: self.config.random_sampling,
            overall: self.config.overall_sampling,
        };
        let asked = headers.contains_key(CLIENT_TRACE_ID);
        let traced = sampling::decide(headers, asked, shares, &mut random);
        let context = TraceContext::start(&incoming, traced, random);
        context.inject(headers, &incoming);
        context
    }

    /// Hands the span of a finished request to the collector, where it is sampled.
    pub fn finish(&self, info: &StreamInfo) {
        if let Some(context) = info.trace.as_ref().filter(|context| context.sampled) {
            self.exporter.send(|node| span::of(info, context, &self.config, node));
        }
    }
}
