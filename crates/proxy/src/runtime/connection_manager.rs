//! A compiled HTTP connection manager: everything a request needs of it, ready to use.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::routes::CompiledRoutes;
use crate::filters::{FilterList, answer_formats};
use crate::model::access_log::{AccessLog, Format, FormatPart, JsonValue, LogFormat, LogSink, Operator};
use crate::model::http::{HttpConnectionManager, ServerHeader};
use crate::model::matcher::HeaderKey;
use crate::observe::access_log::{CompiledLog, LineBuffers};
use crate::observe::http_stats::HttpStats;
use crate::observe::log_filter;
use crate::observe::trace::Tracer;
use crate::random::Random;
use crate::stream_info::{StreamInfo, header_names};

/// A connection manager of a filter chain.
#[derive(Debug)]
pub struct ConnectionManager {
    pub model: HttpConnectionManager,
    /// Routes; `None` until discovery delivered them.
    pub routes: Option<Arc<CompiledRoutes>>,
    pub logs: Vec<CompiledLog>,
    /// Traces requests, where it is configured.
    pub tracer: Option<Tracer>,
    /// Headers that logs, spans and header formats name.
    pub kept: KeptHeaders,
    /// Value of the `server` header, where one is set.
    pub server: Option<HeaderValue>,
    /// Value of `via`, where one is added.
    pub via: Option<HeaderValue>,
    /// Counters, shared by all chains of one `stat_prefix`.
    pub stats: Arc<HttpStats>,
    /// Filters before the router.
    pub filters: FilterList,
}

/// Headers whose values outlive the messages they came with.
#[derive(Clone, Debug, Default)]
pub struct KeptHeaders {
    pub request: Vec<HeaderName>,
    pub response: Vec<HeaderName>,
    /// Of response trailers.
    pub response_trailers: Vec<HeaderName>,
}

// === impl ConnectionManager ===

impl ConnectionManager {
    /// Compiles a connection manager.
    pub fn new(
        model: HttpConnectionManager,
        filters: FilterList,
        routes: Option<Arc<CompiledRoutes>>,
        logs: Vec<CompiledLog>,
        tracer: Option<Tracer>,
        stats: Arc<HttpStats>,
    ) -> Self {
        let mut kept = KeptHeaders::default();
        for log in &model.access_logs {
            kept.of_log(log);
        }
        if let Some(routes) = &routes {
            for format in routes.response_formats() {
                kept.of_format(format);
            }
        }
        let of_filters = model.filters.iter().flat_map(|listed| answer_formats(&listed.config));
        of_filters.for_each(|format| kept.of_format(format));
        for reply in &model.local_replies {
            add(&mut kept.request, log_filter::headers_of(Some(&reply.filter)));
            reply.headers.iter().for_each(|add| kept.of_format(&add.value));
        }
        let server = match &model.server_header {
            ServerHeader::Overwrite(name) | ServerHeader::AppendIfAbsent(name) => HeaderValue::from_str(name).ok(),
            ServerHeader::PassThrough => None,
        };
        let via = model.via.as_ref().and_then(|via| HeaderValue::from_str(via).ok());
        Self {
            model,
            routes,
            logs,
            tracer,
            kept,
            server,
            via,
            stats,
            filters,
        }
    }

    /// Reports the span of a request and writes its access logs.
    pub fn log(&self, info: &StreamInfo, lines: &LineBuffers, random: &Random) {
        if let Some(tracer) = &self.tracer {
            tracer.finish(info);
        }
        for log in &self.logs {
            log.write(info, lines, random);
        }
    }
}

// === impl KeptHeaders ===

impl KeptHeaders {
    fn of_log(&mut self, log: &AccessLog) {
        match &log.sink {
            LogSink::File { format, .. } | LogSink::Stream { format, .. } => match format {
                LogFormat::Text(format) => self.of_format(format),
                LogFormat::Json(value) => self.of_json(value),
            },
            LogSink::Grpc {
                request_headers,
                response_headers,
                response_trailers,
                ..
            } => {
                add(&mut self.request, request_headers.iter().cloned());
                add(&mut self.response, response_headers.iter().cloned());
                add(&mut self.response_trailers, response_trailers.iter().cloned());
            }
        }
        if log.filter.is_some() {
            add(&mut self.request, log_filter::headers_of(log.filter.as_ref()));
        }
    }

    fn of_json(&mut self, value: &JsonValue) {
        match value {
            JsonValue::Object(fields) => fields.iter().for_each(|(_, value)| self.of_json(value)),
            JsonValue::List(values) => values.iter().for_each(|value| self.of_json(value)),
            JsonValue::Text(format) => self.of_format(format),
            JsonValue::Number(_) | JsonValue::Bool(_) | JsonValue::Null => {}
        }
    }

    fn of_format(&mut self, format: &Format) {
        for part in &format.parts {
            let FormatPart::Operator { operator, .. } = part else {
                continue;
            };
            if matches!(operator, Operator::StreamId) {
                add(&mut self.request, std::iter::once(header_names::REQUEST_ID));
                continue;
            }
            let (list, first, second) = if let Operator::RequestHeader(first, second) = operator {
                (&mut self.request, first, second)
            } else if let Operator::ResponseHeader(first, second) = operator {
                (&mut self.response, first, second)
            } else if let Operator::ResponseTrailer(first, second) = operator {
                (&mut self.response_trailers, first, second)
            } else {
                continue;
            };
            let names = std::iter::once(first).chain(second).filter_map(|key| match key {
                HeaderKey::Name(name) => Some(name.clone()),
                HeaderKey::Method | HeaderKey::Path | HeaderKey::Authority | HeaderKey::Scheme | HeaderKey::Status => {
                    None
                }
            });
            add(list, names);
        }
    }
}

fn add(list: &mut Vec<HeaderName>, names: impl Iterator<Item = HeaderName>) {
    for name in names {
        if !list.contains(&name) {
            list.push(name);
        }
    }
}
