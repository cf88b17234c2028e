//! What the collector is told by proxies and applications.

use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message;
use weft_proto::otlp::ExportTraceServiceRequest;
use weft_proto::xds::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use weft_proto::xds::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use weft_telemetry::receive::otlp::Otlp;
use weft_telemetry::receive::zipkin;
use weft_telemetry::record::{End, Record};
use weft_telemetry::span::Span;
use weft_telemetry::traces::{Limits, Query, Traces};

const LIMITS: Limits = Limits {
    traces: 10,
    bytes: 64 << 10,
};

/// However many come, no more are kept than may be.
fn within(traces: &Traces) {
    assert!(traces.bytes() <= LIMITS.bytes, "{} bytes are kept", traces.bytes());
    traces.search(&Query::default());
}

pub(crate) fn otlp(bytes: &[u8]) {
    let Ok(request) = ExportTraceServiceRequest::decode(bytes) else {
        return;
    };
    let traces = Arc::new(Mutex::new(Traces::new(LIMITS)));
    let otlp = Otlp {
        traces: Arc::clone(&traces),
    };
    otlp.take(request);
    within(&traces.lock());
}

pub(crate) fn zipkin(bytes: &[u8]) {
    let spans: Vec<Span> = zipkin::read(bytes).unwrap_or_default();
    let mut traces = Traces::new(LIMITS);
    spans.into_iter().for_each(|span| traces.add(span));
    within(&traces);
}

pub(crate) fn access_log_stream(bytes: &[u8]) {
    let Ok(message) = StreamAccessLogsMessage::decode(bytes) else {
        return;
    };
    let node = message.identifier.and_then(|identifier| identifier.node);
    let (proxy, gateway) = node
        .and_then(|node| End::of_node(&node))
        .unwrap_or_else(|| (End::unknown(), false));
    match message.log_entries {
        Some(LogEntries::HttpLogs(logs)) => {
            logs.log_entry
                .iter()
                .for_each(|entry| drop(Record::of_http(&proxy, gateway, entry)));
        }
        Some(LogEntries::TcpLogs(logs)) => {
            logs.log_entry
                .iter()
                .for_each(|entry| drop(Record::of_tcp(&proxy, gateway, entry)));
        }
        None => {}
    }
}
