//! The service graph: who calls whom, over a sliding window and in all, in fixed memory.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::history::{History, Point};
use crate::record::{End, Record, What};
use crate::sketch::Sketch;

/// Edges kept; what comes after is counted in one edge from and to `overflow`.
pub(crate) const EDGES_MAX: usize = 2048;

/// Slots of the sliding window.
const SLOTS: usize = 12;

/// Time that one slot covers.
pub(crate) const SLOT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Graph {
    edges: BTreeMap<(End, End), Edge>,
    started: Instant,
    recorded: u64,
    overflowed: u64,
}

#[derive(Clone, Debug, Default)]
struct Edge {
    total: Counts,
    slots: [Slot; SLOTS],
    history: History,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// Number of the slot's time since the start; old content is cleared when its turn comes again.
    number: u64,
    counts: Counts,
}

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that mutual TLS protected.
    pub mtls: u64,
    pub connections: ConnectionCounts,
    pub latency: Sketch,
    /// Sum of the latencies in milliseconds.
    pub latency_ms: f64,
}

/// Connections of bytes, counted when they end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    pub count: u64,
    /// Those that reached nobody.
    pub errors: u64,
    /// Those that mutual TLS protected.
    pub mtls: u64,
    /// Bytes from the caller.
    pub received: u64,
    /// Bytes to the caller.
    pub sent: u64,
}

/// One edge of a snapshot.
#[derive(Clone, Debug)]
pub struct EdgeView {
    pub source: End,
    pub destination: End,
    /// Since the start.
    pub total: Counts,
    /// Within the window.
    pub recent: Counts,
}

// === impl Graph ===

impl Graph {
    /// An empty graph.
    pub fn new(now: Instant) -> Self {
        Self {
            edges: BTreeMap::new(),
            started: now,
            recorded: 0,
            overflowed: 0,
        }
    }

    /// Counts a request or a connection.
    pub fn record(&mut self, record: Record, now: Instant) {
        self.recorded += 1;
        let number = self.slot(now);
        let mut key = (record.source.clone(), record.destination.clone());
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&key) {
            self.overflowed += 1;
            let overflow = || End {
                workload: "overflow".into(),
                namespace: "".into(),
            };
            key = (overflow(), overflow());
        }
        let edge = self.edges.entry(key).or_default();
        let slot = &mut edge.slots[(number % SLOTS as u64) as usize];
        if slot.number != number {
            if slot.counts.any() > 0 {
                edge.history.add(slot.point());
            }
            *slot = Slot {
                number,
                counts: Counts::default(),
            };
        }
        for counts in [&mut edge.total, &mut slot.counts] {
            counts.count(&record);
        }
    }

    /// All edges, with what the last `window` brought (at most a minute).
    pub fn edges(&self, window: Duration, now: Instant) -> Vec<EdgeView> {
        let current = self.slot(now);
        let wanted = (window.as_secs_f64() / SLOT.as_secs_f64())
            .ceil()
            .clamp(1.0, SLOTS as f64) as u64;
        let view = |((source, destination), edge): (&(End, End), &Edge)| {
            let mut recent = Counts::default();
            for slot in edge
                .slots
                .iter()
                .filter(|slot| slot.number + wanted > current && slot.number <= current)
            {
                recent.add(&slot.counts);
            }
            EdgeView {
                source: source.clone(),
                destination: destination.clone(),
                total: edge.total.clone(),
                recent,
            }
        };
        self.edges.iter().map(view).collect()
    }

    /// All edges with what they had since the start.
    pub fn totals(&self) -> Vec<EdgeView> {
        let view = |((source, destination), edge): (&(End, End), &Edge)| EdgeView {
            source: source.clone(),
            destination: destination.clone(),
            total: edge.total.clone(),
            recent: Counts::default(),
        };
        self.edges.iter().map(view).collect()
    }

    /// The last quarter of an hour of an edge, with the number of the slot that is now; `None` where there is no such edge.
    pub fn history(&self, source: &End, destination: &End, now: Instant) -> Option<(u64, Vec<Point>)> {
        let edge = self.edges.get(&(source.clone(), destination.clone()))?;
        let current = self.slot(now);
        let latest = edge.slots.iter().filter(|slot| slot.counts.any() > 0).map(Slot::point);
        Some((current, edge.history.until(current, latest)))
    }

    /// Requests and connections that were reported.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Requests and connections of edges that found no place.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    fn slot(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs() / SLOT.as_secs()
    }
}

// === impl Slot ===

impl Slot {
    fn point(&self) -> Point {
        Point {
            slot: self.number,
            requests: self.counts.requests,
            errors: self.counts.errors,
            connections: self.counts.connections.count,
            connection_errors: self.counts.connections.errors,
            bytes: self
                .counts
                .connections
                .received
                .saturating_add(self.counts.connections.sent),
            p50_ms: self.counts.latency.quantile_ms(0.5),
            p99_ms: self.counts.latency.quantile_ms(0.99),
        }
    }
}

// === impl Counts ===

impl Counts {
    fn count(&mut self, record: &Record) {
        let (failed, mtls) = (u64::from(record.failed()), u64::from(record.mtls));
        match record.what {
            What::Request { duration, .. } => {
                self.requests += 1;
                self.errors += failed;
                self.mtls += mtls;
                self.latency.record(duration);
                self.latency_ms += duration.as_secs_f64() * 1000.0;
            }
            What::Connection { received, sent, .. } => self.connections.add(&ConnectionCounts {
                count: 1,
                errors: failed,
                mtls,
                received,
                sent,
            }),
        }
    }

    /// Requests and connections together.
    pub fn any(&self) -> u64 {
        self.requests + self.connections.count
    }

    /// The share of them that failed, and the share that mutual TLS protected; `None` where there are none.
    pub fn shares(&self) -> Option<(f64, f64)> {
        let of_all = |part: u64| part as f64 / self.any() as f64;
        let (errors, mtls) = (self.errors + self.connections.errors, self.mtls + self.connections.mtls);
        (self.any() > 0).then(|| (of_all(errors), of_all(mtls)))
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.mtls += other.mtls;
        self.latency.merge(&other.latency);
        self.latency_ms += other.latency_ms;
        self.connections.add(&other.connections);
    }
}

// === impl ConnectionCounts ===

impl ConnectionCounts {
    /// A sender that reports more bytes than there can be changes no more than its own edge.
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.mtls += other.mtls;
        self.received = self.received.saturating_add(other.received);
        self.sent = self.sent.saturating_add(other.sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(source: &str, status: u16) -> Record {
        let end = |name: &str| End {
            workload: name.into(),
            namespace: "default".into(),
        };
        Record {
            source: end(source),
            destination: end("callme"),
            what: What::Request {
                status,
                duration: Duration::from_millis(10),
            },
            mtls: true,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_slides() {
        let start = Instant::now();
        let mut graph = Graph::new(start);
        graph.record(record("a", 200), start);
        graph.record(record("a", 503), start + Duration::from_secs(30));
        let at = |seconds: u64, window: u64| {
            let edges = graph.edges(Duration::from_secs(window), start + Duration::from_secs(seconds));
            (
                edges[0].total.requests,
                edges[0].recent.requests,
                edges[0].recent.errors,
            )
        };
        assert_eq!(at(31, 60), (2, 2, 1));
        assert_eq!(at(31, 10), (2, 1, 1));
        assert_eq!(at(80, 60), (2, 1, 1));
        assert_eq!(at(200, 60), (2, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn history_goes_on_when_slots_are_used_again() {
        let start = Instant::now();
        let mut graph = Graph::new(start);
        for minute in 0..3 {
            graph.record(record("a", 200), start + Duration::from_secs(minute * 60));
        }
        let end = |name: &str| End {
            workload: name.into(),
            namespace: "default".into(),
        };
        let at = start + Duration::from_secs(150);
        let (current, points) = graph.history(&end("a"), &end("callme"), at).unwrap();
        let slots: Vec<(u64, u64)> = points.iter().map(|point| (point.slot, point.requests)).collect();
        assert_eq!((current, slots), (30, vec![(0, 1), (12, 1), (24, 1)]));
        assert!(graph.history(&end("b"), &end("callme"), at).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_counted_beside_requests() {
        let now = Instant::now();
        let mut graph = Graph::new(now);
        graph.record(record("a", 200), now);
        let what = What::Connection {
            failed: true,
            received: u64::MAX,
            sent: 5,
        };
        for _ in 0..3 {
            graph.record(Record { what, ..record("a", 0) }, now);
        }
        let edges = graph.edges(SLOT, now);
        let counts = &edges[0].total;
        assert_eq!((counts.requests, counts.errors, counts.any()), (1, 0, 4));
        assert_eq!((counts.connections.received, counts.connections.sent), (u64::MAX, 15));
        assert_eq!(counts.shares(), Some((0.75, 1.0)));
        let (_, points) = graph.history(&edges[0].source, &edges[0].destination, now).unwrap();
        assert_eq!(
            (points[0].connections, points[0].connection_errors, points[0].bytes),
            (3, 3, u64::MAX)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_callers_do_not_grow_it() {
        let now = Instant::now();
        let mut graph = Graph::new(now);
        for caller in 0..20_000 {
            graph.record(record(&format!("c{caller}"), 200), now);
        }
        assert!(graph.edges(SLOT, now).len() <= EDGES_MAX + 1);
        assert_eq!(graph.overflowed(), 20_000 - EDGES_MAX as u64);
    }
}
