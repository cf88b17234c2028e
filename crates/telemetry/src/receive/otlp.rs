//! Spans over OTLP: the gRPC service, and the conversion that its HTTP form shares.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::{Request, Response, Status};
use weft_proto::otlp::any_value::Value;
use weft_proto::otlp::span::SpanKind as WireKind;
use weft_proto::otlp::status::StatusCode;
use weft_proto::otlp::trace_service_server::TraceService;
use weft_proto::otlp::{AnyValue, KeyValue};
use weft_proto::otlp::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse};
use weft_proto::otlp::{ResourceSpans, Span as WireSpan};

use crate::span::{Span, SpanKind, TraceId, short};
use crate::traces::Traces;

/// Service of spans whose resource names none (OpenTelemetry resource conventions, `service.name`).
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Nesting of a value that is shown; deeper ones are cut off.
const VALUE_DEPTH_MAX: usize = 4;

/// The service; clones share one store.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// Where spans are kept.
    pub traces: Arc<Mutex<Traces>>,
}

#[tonic::async_trait]
impl TraceService for Otlp {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(self.take(request.into_inner())))
    }
}

// === impl Otlp ===

impl Otlp {
    /// Takes in a message; spans without valid ids are refused, and the sender is told how many.
    pub fn take(&self, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse {
        let mut rejected = 0;
        let mut spans = Vec::new();
        for resource in request.resource_spans {
            let service = service_of(&resource);
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                match convert(span, &service) {
                    Some(span) => spans.push(span),
                    None => rejected += 1,
                }
            }
        }
        let mut traces = self.traces.lock();
        spans.into_iter().for_each(|span| traces.add(span));
        ExportTraceServiceResponse {
            partial_success: (rejected > 0).then(|| ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message: "spans need a trace id of 16 bytes and a span id of 8, not all zero".to_owned(),
            }),
        }
    }
}

fn service_of(resource: &ResourceSpans) -> Arc<str> {
    let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
    let name = { attributes }.find(|attribute| attribute.key == "service.name");
    let name = name
        .and_then(|attribute| attribute.value.as_ref())
        .map(|value| show(value, 0));
    match name.filter(|name| !name.is_empty()) {
        Some(name) => Arc::from(short(&name)),
        None => Arc::from(UNKNOWN_SERVICE),
    }
}

fn convert(source: WireSpan, service: &Arc<str>) -> Option<Span> {
    let trace = u128::from_be_bytes(source.trace_id.try_into().ok()?);
    let id = u64::from_be_bytes(source.span_id.try_into().ok()?);
    if trace == 0 || id == 0 {
        return None;
    }
    let parent = source.parent_span_id.try_into().map_or(0, u64::from_be_bytes);
    let kind = match WireKind::try_from(source.kind) {
        Ok(WireKind::Server) => SpanKind::Server,
        Ok(WireKind::Client) => SpanKind::Client,
        Ok(WireKind::Producer) => SpanKind::Producer,
        Ok(WireKind::Consumer) => SpanKind::Consumer,
        Ok(WireKind::Internal | WireKind::Unspecified) | Err(_) => SpanKind::Internal,
    };
    let mut span = Span {
        trace: TraceId(trace),
        id,
        parent: (parent != 0).then_some(parent),
        service: service.clone(),
        name: short(&source.name),
        kind,
        start_ns: source.start_time_unix_nano,
        duration_ns: source.end_time_unix_nano.saturating_sub(source.start_time_unix_nano),
        failed: source
            .status
            .is_some_and(|status| status.code == StatusCode::Error as i32),
        attributes: Vec::new(),
    };
    for KeyValue { key, value, .. } in &source.attributes {
        if let Some(value) = value {
            span.add(key, &show(value, 0));
        }
    }
    Some(span)
}

/// A value as text.
fn show(value: &AnyValue, depth: usize) -> String {
    if depth > VALUE_DEPTH_MAX {
        return "...".to_owned();
    }
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(Value::BytesValue(bytes)) => format!("{} bytes", bytes.len()),
        Some(Value::ArrayValue(list)) => {
            let values: Vec<String> = list.values.iter().map(|value| show(value, depth + 1)).collect();
            format!("[{}]", values.join(", "))
        }
        Some(Value::KvlistValue(list)) => {
            let entry = |entry: &KeyValue| {
                let value = entry.value.as_ref().map(|value| show(value, depth + 1));
                format!("{}: {}", entry.key, value.unwrap_or_default())
            };
            let entries: Vec<String> = list.values.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use weft_proto::otlp::ArrayValue;
    use weft_proto::otlp::ScopeSpans;

    use super::*;
    use crate::traces::Limits;

    fn wire(trace: Vec<u8>, id: Vec<u8>) -> WireSpan {
        WireSpan {
            trace_id: trace,
            span_id: id,
            name: "call".to_owned(),
            start_time_unix_nano: 10,
            end_time_unix_nano: 5,
            ..WireSpan::default()
        }
    }

    #[test]
    fn spans_without_ids_are_refused_and_the_others_kept() {
        let otlp = Otlp {
            traces: Arc::new(Mutex::new(Traces::new(Limits::default()))),
        };
        let spans = vec![
            wire(vec![1; 16], vec![2; 8]),
            wire(vec![1; 15], vec![2; 8]),
            wire(vec![0; 16], vec![2; 8]),
            wire(vec![1; 16], vec![0; 8]),
            wire(Vec::new(), Vec::new()),
        ];
        let resource = ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        };
        let answer = otlp.take(ExportTraceServiceRequest {
            resource_spans: vec![resource],
        });
        assert_eq!(answer.partial_success.map(|partial| partial.rejected_spans), Some(4));
        let traces = otlp.traces.lock();
        let trace = traces.get(TraceId(u128::from_be_bytes([1; 16]))).unwrap();
        // An end before its start is no length.
        assert_eq!(
            (&*trace.spans[0].service, trace.spans[0].duration_ns),
            (UNKNOWN_SERVICE, 0)
        );
    }

    #[test]
    fn values_that_contain_themselves_end() {
        let mut value = AnyValue {
            value: Some(Value::StringValue("deep".to_owned())),
        };
        for _ in 0..8 {
            value = AnyValue {
                value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })),
            };
        }
        assert_eq!(show(&value, 0), "[[[[[...]]]]]");
    }
}
