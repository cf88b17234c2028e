//! Spans on their way to a collector over OTLP (`opentelemetry.proto.collector.trace.v1.TraceService`).
//!
//! They wait in a bounded queue; when it is full they are dropped and counted, so that a slow collector never slows traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use weft_base::shutdown::Shutdown;
use weft_proto::otlp::ExportTraceServiceRequest;
use weft_proto::otlp::InstrumentationScope;
use weft_proto::otlp::Resource;
use weft_proto::otlp::trace_service_client::TraceServiceClient;
use weft_proto::otlp::{ResourceSpans, ScopeSpans, Span};

use super::span::text;
use crate::observe::collector::{self, Collector};
use crate::upstream::directory::ClusterDirectory;

/// Spans that may wait to be sent.
const QUEUE_MAX: usize = 4096;

/// Spans of one message.
const BATCH_MAX: usize = 256;

/// Longest time that a span waits for others.
const BATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Longest time that a collector may take for a message.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends spans to one collector under one service name; clones share one queue.
#[derive(Clone, Debug)]
pub struct SpanExporter {
    queue: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
    node_id: Arc<str>,
}

/// All span exporters of the process, by cluster and service name; they go on over configuration changes.
#[derive(Debug)]
pub(crate) struct SpanExporters {
    node_id: Arc<str>,
    /// Service name where a configuration gives none.
    node_cluster: Arc<str>,
    clusters: Arc<ClusterDirectory>,
    shutdown: Shutdown,
    by_name: Mutex<HashMap<Name, SpanExporter>>,
}

/// Cluster and service name.
type Name = (Arc<str>, Arc<str>);

/// What one exporting task needs.
#[derive(Debug)]
struct Sending {
    collector: Collector,
    service: Arc<str>,
    dropped: Arc<AtomicU64>,
}

// === impl SpanExporters ===

impl SpanExporters {
    /// No exporter yet. The node's id and cluster name the proxy.
    pub(crate) fn new(
        node_id: Arc<str>,
        node_cluster: Arc<str>,
        clusters: Arc<ClusterDirectory>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            node_id,
            node_cluster,
            clusters,
            shutdown,
            by_name: Mutex::default(),
        }
    }

    /// The exporter to a cluster; started when it is first asked for.
    pub(crate) fn get(&self, cluster: &Arc<str>, service: Option<&Arc<str>>) -> SpanExporter {
        let service = service.unwrap_or(&self.node_cluster).clone();
        let key = (cluster.clone(), service.clone());
        let start = || {
            let (queue, spans) = mpsc::channel(QUEUE_MAX);
            let exporter = SpanExporter {
                queue,
                dropped: Arc::default(),
                node_id: self.node_id.clone(),
            };
            let sending = Sending {
                collector: Collector::new(cluster.clone(), self.clusters.clone()),
                service,
                dropped: exporter.dropped.clone(),
            };
            let stop = self.shutdown.token();
            self.shutdown.spawn(async move {
                stop.run_until_cancelled(sending.run(spans)).await;
            });
            exporter
        };
        self.by_name.lock().entry(key).or_insert_with(start).clone()
    }

    /// Spans dropped because collectors were behind, away, or refused them.
    pub(crate) fn dropped(&self) -> u64 {
        let exporters = self.by_name.lock();
        let dropped = exporters
            .values()
            .map(|exporter| exporter.dropped.load(Ordering::Relaxed));
        dropped.sum()
    }
}

// === impl SpanExporter ===

impl SpanExporter {
    /// Queues a span; `make` gets the node's id and is not called when there is no room.
    pub fn send(&self, make: impl FnOnce(&str) -> Span) {
        match self.queue.try_reserve() {
            Ok(place) => place.send(make(&self.node_id)),
            Err(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

// === impl Sending ===

impl Sending {
    async fn run(self, mut spans: mpsc::Receiver<Span>) {
        let mut failures = 0_u32;
        let mut client = None;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            if spans.recv_many(&mut batch, BATCH_MAX).await == 0 {
                return;
            }
            if batch.len() < BATCH_MAX {
                tokio::time::sleep(BATCH_INTERVAL).await;
                while batch.len() < BATCH_MAX
                    && let Ok(span) = spans.try_recv()
                {
                    batch.push(span);
                }
            }
            let count = batch.len() as u64;
            let request = self.request(std::mem::take(&mut batch));
            match self.send(&mut client, request).await {
                Ok(()) => failures = 0,
                Err(reason) => {
                    failures = failures.saturating_add(1);
                    self.dropped.fetch_add(count, Ordering::Relaxed);
                    tracing::debug!(cluster = %self.collector.cluster, reason, failures, "spans did not reach the collector");
                    client = None;
                    tokio::time::sleep(collector::BACKOFF.pause(failures, fastrand::u64(..))).await;
                }
            }
        }
    }

    async fn send(
        &self,
        client: &mut Option<TraceServiceClient<tonic::transport::Channel>>,
        request: ExportTraceServiceRequest,
    ) -> Result<(), String> {
        let client = match client {
            Some(client) => client,
            None => client.insert(TraceServiceClient::new(
                self.collector.dial().await.map_err(|error| error.to_string())?,
            )),
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.export(request)).await;
        let answer = answer.map_err(|_| "no answer in time".to_owned())?;
        let answer = answer.map_err(|status| status.to_string())?.into_inner();
        if let Some(partial) = answer.partial_success.filter(|partial| partial.rejected_spans > 0) {
            let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
            self.dropped.fetch_add(rejected, Ordering::Relaxed);
        }
        Ok(())
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "weft-proxy".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = ScopeSpans {
            scope: Some(scope),
            spans,
            ..ScopeSpans::default()
        };
        let resource = Resource {
            attributes: vec![text("service.name", &*self.service)],
            ..Resource::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![scope_spans],
                ..ResourceSpans::default()
            }],
        }
    }
}
