//! All series of the process: which label sets there are, and each worker's numbers of them, summed up when somebody asks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::peer::{self, OwnHeaders};
use super::series::{BOUNDS, Count, Histogram, HttpSeries, MessageSeries, TcpSeries};
use crate::model::bootstrap::Node;
use crate::model::metadata::WorkloadRef;
use crate::stats::prometheus::{Type, head, label, sample};

/// Most label sets; what comes later is counted together, with every label `overflow`.
pub(crate) const SERIES_MAX: usize = 2_000;

/// The labels of what is counted together.
const OVERFLOW: &str = "overflow";

/// The series of a process.
#[derive(Debug)]
pub struct Registry {
    /// The workload of this proxy.
    pub local: WorkloadRef,
    /// What tells peers of it.
    pub own_headers: Option<OwnHeaders>,
    version: String,
    series_max: usize,
    count: AtomicUsize,
    overflowed: AtomicU64,
    http: Mutex<Table<HttpSeries>>,
    messages: Mutex<Table<MessageSeries>>,
    tcp: Mutex<Table<TcpSeries>>,
}

/// Series by their labels; of each label set one per worker that has counted something.
type Table<S> = BTreeMap<Arc<str>, Vec<Option<Arc<S>>>>;

/// A moment's rows of a table.
type Rows<S> = Vec<(Arc<str>, Vec<Arc<S>>)>;

/// All rows of a moment, ready to be written.
#[derive(Debug)]
pub struct Exposition {
    http: Arc<Rows<HttpSeries>>,
    messages: Arc<Rows<MessageSeries>>,
    tcp: Arc<Rows<TcpSeries>>,
    overflowed: u64,
    version: String,
}

// === impl Registry ===

impl Registry {
    /// An empty registry of the proxy that a node describes.
    pub fn new(node: &Node) -> Self {
        let local = peer::local(node);
        let version = node.metadata.get("ISTIO_VERSION").and_then(|version| version.as_str());
        Self {
            own_headers: peer::own_headers(&local, &node.id),
            local,
            version: version.unwrap_or(env!("CARGO_PKG_VERSION")).to_owned(),
            series_max: SERIES_MAX,
            count: AtomicUsize::new(0),
            overflowed: AtomicU64::new(0),
            http: Mutex::default(),
            messages: Mutex::default(),
            tcp: Mutex::default(),
        }
    }

    /// A worker's series of requests.
    pub fn http(&self, worker: usize, labels: &str) -> Arc<HttpSeries> {
        self.find(&self.http, worker, labels)
    }

    /// A worker's series of gRPC messages.
    pub fn messages(&self, worker: usize, labels: &str) -> Arc<MessageSeries> {
        self.find(&self.messages, worker, labels)
    }

    /// A worker's series of connections.
    pub fn tcp(&self, worker: usize, labels: &str) -> Arc<TcpSeries> {
        self.find(&self.tcp, worker, labels)
    }

    fn find<S: Default>(&self, table: &Mutex<Table<S>>, worker: usize, labels: &str) -> Arc<S> {
        let mut table = table.lock();
        if !table.contains_key(labels) {
            if self.count.load(Relaxed) >= self.series_max {
                self.overflowed.fetch_add(1, Relaxed);
                let labels = overflow_labels(labels);
                return of_worker(table.entry(labels.into()).or_default(), worker);
            }
            self.count.fetch_add(1, Relaxed);
        }
        if let Some(row) = table.get_mut(labels) {
            return of_worker(row, worker);
        }
        of_worker(table.entry(Arc::from(labels)).or_default(), worker)
    }

    /// What there is now.
    pub fn exposition(&self) -> Exposition {
        Exposition {
            http: Arc::new(rows(&self.http)),
            messages: Arc::new(rows(&self.messages)),
            tcp: Arc::new(rows(&self.tcp)),
            overflowed: self.overflowed.load(Relaxed),
            version: self.version.clone(),
        }
    }
}

fn of_worker<S: Default>(row: &mut Vec<Option<Arc<S>>>, worker: usize) -> Arc<S> {
    if row.len() <= worker {
        row.resize_with(worker + 1, || None);
    }
    row[worker].get_or_insert_default().clone()
}

fn rows<S>(table: &Mutex<Table<S>>) -> Rows<S> {
    let table = table.lock();
    let row =
        |(labels, row): (&Arc<str>, &Vec<Option<Arc<S>>>)| (labels.clone(), row.iter().flatten().cloned().collect());
    table.iter().map(row).collect()
}

/// The same label names, so that queries still find them, with the reporter's value alone kept.
fn overflow_labels(labels: &str) -> String {
    let mut out = String::new();
    // Values may have any character, but a name is always after the quote and comma that end the value before it.
    for (index, part) in labels.split("\",").enumerate() {
        let Some((name, value)) = part.split_once("=\"") else {
            continue;
        };
        let value = if index == 0 {
            value.trim_end_matches('"')
        } else {
            OVERFLOW
        };
        if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            label(&mut out, name, value);
        }
    }
    out
}

// === impl Exposition ===

impl Exposition {
    /// The page in pieces, made while it is read.
    pub fn pieces(self) -> impl Iterator<Item = String> + Send {
        let Self {
            http,
            messages,
            tcp,
            overflowed,
            version,
        } = self;
        let mut build = String::new();
        head(&mut build, "istio_build", "Version of the proxy.", Type::Gauge);
        let mut labels = String::new();
        label(&mut labels, "component", "proxy");
        label(&mut labels, "tag", &version);
        sample(&mut build, "istio_build", &labels, 1);
        let name = "weft_proxy_istio_series_overflow_total";
        head(
            &mut build,
            name,
            "Label sets beyond the limit, counted as overflow.",
            Type::Counter,
        );
        sample(&mut build, name, "", overflowed);
        let requests = counters("istio_requests_total", "Requests.", http.clone(), |s| &s.requests);
        let durations = histograms(
            "istio_request_duration_milliseconds",
            "Duration of requests in milliseconds.",
            http.clone(),
            |s| &s.duration,
        );
        let request_bytes = histograms("istio_request_bytes", "Size of request bodies.", http.clone(), |s| {
            &s.request_bytes
        });
        let response_bytes = histograms("istio_response_bytes", "Size of response bodies.", http, |s| {
            &s.response_bytes
        });
        let sent_messages = counters(
            "istio_request_messages_total",
            "gRPC messages of clients.",
            messages.clone(),
            |s| &s.requests,
        );
        let received_messages = counters(
            "istio_response_messages_total",
            "gRPC messages of servers.",
            messages,
            |s| &s.responses,
        );
        let opened = counters(
            "istio_tcp_connections_opened_total",
            "Connections opened.",
            tcp.clone(),
            |s| &s.opened,
        );
        let closed = counters(
            "istio_tcp_connections_closed_total",
            "Connections closed.",
            tcp.clone(),
            |s| &s.closed,
        );
        let sent = counters("istio_tcp_sent_bytes_total", "Bytes to clients.", tcp.clone(), |s| {
            &s.sent
        });
        let received = counters("istio_tcp_received_bytes_total", "Bytes from clients.", tcp, |s| {
            &s.received
        });
        std::iter::once(build)
            .chain(requests)
            .chain(durations)
            .chain(request_bytes)
            .chain(response_bytes)
            .chain(sent_messages)
            .chain(received_messages)
            .chain(opened)
            .chain(closed)
            .chain(sent)
            .chain(received)
    }
}

/// A family of counters, one piece per label set.
fn counters<S: Send + Sync + 'static>(
    name: &'static str,
    help: &'static str,
    rows: Arc<Rows<S>>,
    count: fn(&S) -> &Count,
) -> impl Iterator<Item = String> + Send {
    family(name, help, Type::Counter, rows, move |out, labels, workers| {
        let value = workers.iter().map(|series| count(series).get()).sum();
        sample(out, name, labels, value);
    })
}

/// A family of histograms, one piece per label set.
fn histograms<S: Send + Sync + 'static>(
    name: &'static str,
    help: &'static str,
    rows: Arc<Rows<S>>,
    histogram: fn(&S) -> &Histogram,
) -> impl Iterator<Item = String> + Send {
    family(name, help, Type::Histogram, rows, move |out, labels, workers| {
        let mut total = ([0; BOUNDS.len() + 1], 0);
        for series in workers {
            histogram(series).add_to(&mut total);
        }
        let mut count = 0;
        for (index, bucket) in total.0.iter().enumerate() {
            count += bucket;
            let _ = match BOUNDS.get(index) {
                Some(bound) => writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}"),
                None => writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}"),
            };
        }
        let _ = writeln!(
            out,
            "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {count}",
            total.1
        );
    })
}

/// Head and rows of a family; nothing where there is no row.
fn family<S: Send + Sync>(
    name: &'static str,
    help: &'static str,
    kind: Type,
    rows: Arc<Rows<S>>,
    write: impl Fn(&mut String, &str, &[Arc<S>]) + Send,
) -> impl Iterator<Item = String> + Send {
    (0..rows.len()).map(move |index| {
        let mut out = String::new();
        if index == 0 {
            head(&mut out, name, help, kind);
        }
        let (labels, workers) = &rows[index];
        write(&mut out, labels, workers);
        out
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn workers_are_summed_up() {
        let registry = Registry::new(&Node::default());
        for worker in [0, 2, 2] {
            let series = registry.http(worker, "reporter=\"source\",source_app=\"a\"");
            series.requests.add(1);
            series.duration.observe(7);
        }
        registry.tcp(1, "reporter=\"source\"").sent.add(9);
        let page: String = registry.exposition().pieces().collect();
        let start: Vec<&str> = page.lines().filter(|line| !line.contains("_bytes_")).take(24).collect();
        expect![[r##"
            # HELP istio_build Version of the proxy.
            # TYPE istio_build gauge
            istio_build{component="proxy",tag="0.1.0"} 1
            # HELP weft_proxy_istio_series_overflow_total Label sets beyond the limit, counted as overflow.
            # TYPE weft_proxy_istio_series_overflow_total counter
            weft_proxy_istio_series_overflow_total 0
            # HELP istio_requests_total Requests.
            # TYPE istio_requests_total counter
            istio_requests_total{reporter="source",source_app="a"} 3
            # HELP istio_request_duration_milliseconds Duration of requests in milliseconds.
            # TYPE istio_request_duration_milliseconds histogram
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="0.5"} 0
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="1"} 0
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="5"} 0
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="10"} 3
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="25"} 3
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="50"} 3
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="100"} 3
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="250"} 3
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="500"} 3
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="1000"} 3
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="2500"} 3
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="5000"} 3
            istio_request_duration_milliseconds_bucket{reporter="source",source_app="a",le="10000"} 3"##]]
        .assert_eq(&start.join("\n"));
        assert!(page.contains("istio_request_duration_milliseconds_sum{reporter=\"source\",source_app=\"a\"} 21\n"));
        assert!(page.contains("istio_tcp_sent_bytes_total{reporter=\"source\"} 9\n"));
    }

    #[test]
    fn label_sets_beyond_the_limit_are_one() {
        let registry = Registry {
            series_max: 2,
            ..Registry::new(&Node::default())
        };
        for host in ["a", "b", "c", "d\\\",x=\\\"", "a"] {
            let labels = format!("reporter=\"source\",host=\"{host}\",code=\"200\"");
            registry.http(0, &labels).requests.add(1);
        }
        let page: String = registry.exposition().pieces().collect();
        let requests: Vec<&str> = page.lines().filter(|line| line.starts_with("istio_requests")).collect();
        assert_eq!(
            requests,
            [
                "istio_requests_total{reporter=\"source\",host=\"a\",code=\"200\"} 2",
                "istio_requests_total{reporter=\"source\",host=\"b\",code=\"200\"} 1",
                "istio_requests_total{reporter=\"source\",host=\"overflow\",code=\"overflow\"} 2",
            ]
        );
        assert!(page.contains("weft_proxy_istio_series_overflow_total 2\n"), "{page}");
    }
}
