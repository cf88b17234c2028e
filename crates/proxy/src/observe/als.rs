//! Access logs to a collector over Envoy's access-log service, of requests and of connections.
//!
//! Entries wait in a bounded queue; when it is full they are dropped and counted, so that a slow collector never slows traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weft_base::shutdown::Shutdown;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::data::accesslog::v3 as accesslog;
use weft_proto::xds::envoy::service::accesslog::v3 as service;
use weft_proto::xds::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use weft_proto::xds::envoy::service::accesslog::v3::stream_access_logs_message as message;

use super::als_entry;
use super::collector::{self, Collector};
use crate::stream_info::StreamInfo;
use crate::upstream::directory::ClusterDirectory;

/// Entries that may wait to be sent.
const QUEUE_MAX: usize = 8192;

/// Entries of one message.
const BATCH_MAX: usize = 256;

/// Longest time that an entry waits for others.
const BATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Messages that may wait for the network.
const OUTGOING_MAX: usize = 16;

/// Sends entries to one collector; clones share one stream.
#[derive(Clone, Debug)]
pub struct Exporter {
    queue: mpsc::Sender<Entry>,
    dropped: Arc<AtomicU64>,
    kind: LogKind,
}

/// What the entries of a log are; a stream carries one kind, as Envoy's do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogKind {
    Http,
    Tcp,
}

/// An entry on its way.
#[derive(Debug)]
enum Entry {
    Request(Box<accesslog::HttpAccessLogEntry>),
    Connection(Box<accesslog::TcpAccessLogEntry>),
}

/// All exporters of the process, by cluster and log name; they go on over configuration changes.
#[derive(Debug)]
pub struct Exporters {
    node: core::Node,
    clusters: Arc<ClusterDirectory>,
    shutdown: Shutdown,
    by_name: Mutex<HashMap<Name, Exporter>>,
}

/// Cluster, log name and kind.
type Name = (Arc<str>, Arc<str>, LogKind);

/// What one exporting task needs.
#[derive(Debug)]
struct Stream {
    collector: Collector,
    log_name: Arc<str>,
    node: core::Node,
}

// === impl Exporters ===

impl Exporters {
    /// No exporter yet. `node` names the proxy to collectors.
    pub fn new(node: core::Node, clusters: Arc<ClusterDirectory>, shutdown: Shutdown) -> Self {
        Self {
            node,
            clusters,
            shutdown,
            by_name: Mutex::default(),
        }
    }

    /// The exporter to a cluster; started when it is first asked for.
    pub fn get(&self, cluster: &Arc<str>, log_name: &Arc<str>, kind: LogKind) -> Exporter {
        let key = (cluster.clone(), log_name.clone(), kind);
        let start = || {
            let (queue, entries) = mpsc::channel(QUEUE_MAX);
            let stream = Stream {
                collector: Collector::new(cluster.clone(), self.clusters.clone()),
                log_name: log_name.clone(),
                node: self.node.clone(),
            };
            let stop = self.shutdown.token();
            self.shutdown.spawn(async move {
                stop.run_until_cancelled(stream.run(entries)).await;
            });
            Exporter {
                queue,
                dropped: Arc::default(),
                kind,
            }
        };
        self.by_name.lock().entry(key).or_insert_with(start).clone()
    }

    /// Entries dropped because collectors were behind or away.
    pub fn dropped(&self) -> u64 {
        let exporters = self.by_name.lock();
        exporters
            .values()
            .map(|exporter| exporter.dropped.load(Ordering::Relaxed))
            .sum()
    }
}

// === impl Exporter ===

impl Exporter {
    /// Hands a finished request or connection over.
    pub fn write(&self, info: &StreamInfo) {
        let Ok(place) = self.queue.try_reserve() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        place.send(match self.kind {
            LogKind::Http => Entry::Request(Box::new(als_entry::http(info))),
            LogKind::Tcp => Entry::Connection(Box::new(als_entry::tcp(info))),
        });
    }
}

/// Entries of one kind as the body of a message.
fn gather(entries: Vec<Entry>) -> message::LogEntries {
    let (mut requests, mut connections) = (Vec::with_capacity(entries.len()), Vec::new());
    for entry in entries {
        match entry {
            Entry::Request(entry) => requests.push(*entry),
            Entry::Connection(entry) => connections.push(*entry),
        }
    }
    if connections.is_empty() {
        message::LogEntries::HttpLogs(message::HttpAccessLogEntries { log_entry: requests })
    } else {
        message::LogEntries::TcpLogs(message::TcpAccessLogEntries { log_entry: connections })
    }
}

// === impl Stream ===

impl Stream {
    async fn run(self, mut entries: mpsc::Receiver<Entry>) {
        let mut failures = 0_u32;
        loop {
            match self.export(&mut entries).await {
                Ok(()) => return,
                Err(reason) => {
                    failures = failures.saturating_add(1);
                    tracing::debug!(cluster = %self.collector.cluster, reason, failures, "no stream to the collector");
                }
            }
            tokio::time::sleep(collector::BACKOFF.pause(failures, fastrand::u64(..))).await;
        }
    }

    /// One stream until it breaks; `Ok` when nothing will come any more.
    async fn export(&self, entries: &mut mpsc::Receiver<Entry>) -> Result<(), String> {
        let channel = self.collector.dial().await.map_err(|error| error.to_string())?;
        let mut client = AccessLogServiceClient::new(channel);
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        let call = client.stream_access_logs(ReceiverStream::new(outgoing));
        tokio::pin!(call);
        let mut identifier = Some(message::Identifier {
            node: Some(self.node.clone()),
            log_name: self.log_name.to_string(),
        });
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let received = tokio::select! {
                // The server answers only when it ends the stream.
                answer = &mut call => return Err(answer.map_or_else(|status| status.to_string(), |_| "stream ended".to_owned())),
                received = entries.recv_many(&mut batch, BATCH_MAX) => received,
            };
            if received == 0 {
                return Ok(());
            }
            let message = service::StreamAccessLogsMessage {
                identifier: identifier.take(),
                log_entries: Some(gather(std::mem::take(&mut batch))),
            };
            tokio::select! {
                answer = &mut call => return Err(answer.map_or_else(|status| status.to_string(), |_| "stream ended".to_owned())),
                sent = sender.send(message) => sent.map_err(|error| error.to_string())?,
            }
            if received < BATCH_MAX {
                tokio::select! {
                    answer = &mut call => return Err(answer.map_or_else(|status| status.to_string(), |_| "stream ended".to_owned())),
                    () = tokio::time::sleep(BATCH_INTERVAL) => {}
                }
            }
        }
    }
}
