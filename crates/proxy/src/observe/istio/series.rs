//! The numbers of one label set on one worker. Only that worker writes, so a plain load and store does: no locked instruction.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of every histogram's buckets, as Istio's proxies have them (milliseconds or bytes); above the last is `+Inf`.
pub(crate) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// A number that one thread adds to and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

/// Values counted by size.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; BOUNDS.len() + 1],
    sum: Count,
}

/// Requests of one label set.
#[derive(Debug, Default)]
pub struct HttpSeries {
    /// `istio_requests_total`.
    pub requests: Count,
    /// `istio_request_duration_milliseconds`.
    pub duration: Histogram,
    /// `istio_request_bytes`.
    pub request_bytes: Histogram,
    /// `istio_response_bytes`.
    pub response_bytes: Histogram,
}

/// gRPC messages of one label set.
#[derive(Debug, Default)]
pub struct MessageSeries {
    /// `istio_request_messages_total`.
    pub requests: Count,
    /// `istio_response_messages_total`.
    pub responses: Count,
}

/// Connections of one label set.
#[derive(Debug, Default)]
pub struct TcpSeries {
    /// `istio_tcp_connections_opened_total`.
    pub opened: Count,
    /// `istio_tcp_connections_closed_total`.
    pub closed: Count,
    /// `istio_tcp_sent_bytes_total`.
    pub sent: Count,
    /// `istio_tcp_received_bytes_total`.
    pub received: Count,
}

// === impl Count ===

impl Count {
    /// Adds. Only one thread may.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

// === impl Histogram ===

impl Histogram {
    /// Counts a value.
    pub fn observe(&self, value: u64) {
        // Most values are small or much alike; a walk over the few bounds below beats a search.
        let exact = value as f64;
        let bucket = BOUNDS.iter().position(|bound| exact <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].add(1);
        self.sum.add(value);
    }

    /// Adds this histogram's buckets, not summed up, and its sum to `total`.
    pub fn add_to(&self, total: &mut ([u64; BOUNDS.len() + 1], u64)) {
        for (sum, bucket) in total.0.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        total.1 += self.sum.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_to_the_first_bucket_that_holds_them() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 5, 6, 3_600_000, 3_600_001] {
            histogram.observe(value);
        }
        let mut total = ([0; 20], 0);
        histogram.add_to(&mut total);
        histogram.add_to(&mut total);
        let (buckets, sum) = total;
        assert_eq!(buckets[..4], [2, 2, 4, 2]);
        assert_eq!((buckets[18], buckets[19], sum), (2, 2, 2 * 7_200_015));
    }
}
