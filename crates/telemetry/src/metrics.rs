//! `/metrics`: the edges of the graph as series, and the collector's own counters, read at each scrape.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::graph::{EdgeView, Graph};
use crate::traces::Traces;

/// What the series are made of. The graph and the store are bounded, and so is their number.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub graph: Arc<Mutex<Graph>>,
    pub traces: Arc<Mutex<Traces>>,
}

/// A figure of an edge.
type OfEdge = (&'static str, &'static str, fn(&EdgeView) -> u64);

/// Counters of every edge.
const OF_EDGES: [OfEdge; 8] = [
    ("weft_edge_requests", "requests from source to destination", |edge| {
        edge.total.requests
    }),
    ("weft_edge_errors", "requests that failed", |edge| edge.total.errors),
    (
        "weft_edge_mtls_requests",
        "requests that mutual TLS protected",
        |edge| edge.total.mtls,
    ),
    (
        "weft_edge_connections",
        "connections from source to destination that ended",
        |edge| edge.total.connections.count,
    ),
    (
        "weft_edge_connection_errors",
        "connections that reached nobody",
        |edge| edge.total.connections.errors,
    ),
    (
        "weft_edge_mtls_connections",
        "connections that mutual TLS protected",
        |edge| edge.total.connections.mtls,
    ),
    (
        "weft_edge_received_bytes",
        "bytes of connections from the source",
        |edge| edge.total.connections.received,
    ),
    ("weft_edge_sent_bytes", "bytes of connections to the source", |edge| {
        edge.total.connections.sent
    }),
];

// === impl Metrics ===

impl Metrics {
    /// Registers all series.
    pub(crate) fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }

    fn own(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (requests, overflowed) = {
            let graph = self.graph.lock();
            (graph.recorded(), graph.overflowed())
        };
        let (counts, bytes, kept) = {
            let traces = self.traces.lock();
            (traces.counts(), traces.bytes() as u64, traces.len() as u64)
        };
        for (name, help, value) in [
            (
                "weft_telemetry_requests",
                "requests and connections reported by proxies",
                requests,
            ),
            (
                "weft_telemetry_overflowed_requests",
                "requests and connections of edges that found no place",
                overflowed,
            ),
            ("weft_telemetry_spans", "spans taken in", counts.spans),
            (
                "weft_telemetry_dropped_spans",
                "spans that found no room in their trace",
                counts.dropped,
            ),
            (
                "weft_telemetry_evicted_traces",
                "traces that made room for newer ones",
                counts.evicted,
            ),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        for (name, help, value) in [
            ("weft_telemetry_traces", "traces kept", kept),
            ("weft_telemetry_trace_bytes", "memory of the traces kept", bytes),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let edges = self.graph.lock().totals();
        for (name, help, value) in OF_EDGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for edge in &edges {
                let labels = labels(edge);
                let mut series = metric.encode_family(&labels)?;
                series.encode_counter::<NoLabelSet, u64, u64>(&value(edge), None)?;
            }
        }
        let (name, help) = (
            "weft_edge_latency_milliseconds",
            "from the first byte of a request to the last of its answer",
        );
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for edge in &edges {
            let labels = labels(edge);
            let mut series = metric.encode_family(&labels)?;
            let buckets = edge.total.latency.coarse_buckets();
            series.encode_histogram::<NoLabelSet>(edge.total.latency_ms, edge.total.requests, &buckets, None)?;
        }
        self.own(&mut encoder)
    }
}

fn labels(edge: &EdgeView) -> impl EncodeLabelSet + use<'_> {
    [
        ("source_workload", &*edge.source.workload),
        ("source_workload_namespace", &*edge.source.namespace),
        ("destination_workload", &*edge.destination.workload),
        ("destination_workload_namespace", &*edge.destination.namespace),
    ]
}
