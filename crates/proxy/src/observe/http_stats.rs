//! Counters of an HTTP connection manager, by its `stat_prefix`; plain atomics, resolved when the chain is compiled.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::stream_info::StreamInfo;

/// Counters with Envoy's names (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/stats>).
#[derive(Debug, Default)]
pub struct HttpStats {
    connections_total: AtomicU64,
    connections_active: AtomicU64,
    requests_total: AtomicU64,
    requests_active: AtomicU64,
    by_class: [AtomicU64; 5],
    retries: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
}

// === impl HttpStats ===

impl HttpStats {
    /// A connection was taken.
    pub fn connection_opened(&self) {
        self.connections_total.fetch_add(1, Relaxed);
        self.connections_active.fetch_add(1, Relaxed);
    }

    /// A connection ended.
    pub fn connection_closed(&self) {
        self.connections_active.fetch_sub(1, Relaxed);
    }

    /// A request began.
    pub fn begin(&self) {
        self.requests_total.fetch_add(1, Relaxed);
        self.requests_active.fetch_add(1, Relaxed);
    }

    /// A request is tried again.
    pub fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// A request ended.
    pub fn finish(&self, info: &StreamInfo) {
        self.requests_active.fetch_sub(1, Relaxed);
        let class = usize::from(info.response_code / 100).wrapping_sub(1);
        if let Some(counter) = self.by_class.get(class) {
            counter.fetch_add(1, Relaxed);
        }
        self.bytes_received.fetch_add(info.bytes_received, Relaxed);
        self.bytes_sent.fetch_add(info.bytes_sent, Relaxed);
    }

    /// Names below `http.<stat_prefix>.` with their values; true marks gauges.
    pub fn values(&self) -> Vec<(&'static str, u64, bool)> {
        let mut values = vec![
            ("downstream_cx_total", self.connections_total.load(Relaxed), false),
            ("downstream_cx_active", self.connections_active.load(Relaxed), true),
            ("downstream_rq_total", self.requests_total.load(Relaxed), false),
            ("downstream_rq_active", self.requests_active.load(Relaxed), true),
            ("rq_retry", self.retries.load(Relaxed), false),
            ("rq_bytes_received", self.bytes_received.load(Relaxed), false),
            ("rs_bytes_sent", self.bytes_sent.load(Relaxed), false),
        ];
        const CLASSES: [&str; 5] = [
            "downstream_rq_1xx",
            "downstream_rq_2xx",
            "downstream_rq_3xx",
            "downstream_rq_4xx",
            "downstream_rq_5xx",
        ];
        values.extend(
            CLASSES
                .into_iter()
                .zip(&self.by_class)
                .map(|(name, counter)| (name, counter.load(Relaxed), false)),
        );
        values
    }
}
