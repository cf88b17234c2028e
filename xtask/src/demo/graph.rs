//! Edges of the collector's graph, and the fault that the demo plants on one of them.

use serde_json::{Value, json};

/// Where version 2 answers 503: `--fail-percent` of the mesh file.
const FAULTY: (&str, &str) = ("caller", "callme-v2");
/// The page and the table draw an edge in red above this share.
pub(super) const RED_ABOVE: f64 = 0.05;
/// Who calls from outside the mesh has no name there.
const OUTSIDE: &str = "outside";

/// What is planted, and where to look.
pub(super) const PLANTED: &str = "\
demo: one fault is planted: version 2 of callme answers 503 to four in five requests under /flaky, each time once
demo: no client sees it, since the caller's sidecar tries again; the edge caller -> callme-v2 does, and no other one: look for its errors
demo: in the table below, in `meshctl graph` and on the page, red in the first and the last";

/// Calls from one workload to another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Edge {
    pub(super) source: String,
    pub(super) destination: String,
    /// Since the start.
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// Of the window that was asked for.
    pub(super) rps: f64,
    pub(super) error_rate: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// Since the start.
    pub(super) mtls_share: Option<f64>,
}

/// All edges, those nearest to the way in first.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub(super) edges: Vec<Edge>,
    /// Of requests between workloads: who calls the gateway from outside is not in the mesh.
    pub(super) mtls_share: Option<f64>,
}

// === impl Edge ===

impl Edge {
    fn read(edge: &Value) -> Self {
        let workload = |end: &str| match edge[end]["workload"].as_str() {
            None | Some("unknown" | "") => OUTSIDE.to_owned(),
            Some(name) => name.to_owned(),
        };
        let count = |field: &str| edge[field].as_u64().unwrap_or(0);
        let rate = |field: &str| edge[field].as_f64().unwrap_or(0.0);
        Self {
            source: workload("source"),
            destination: workload("destination"),
            requests: count("requests"),
            errors: count("errors"),
            rps: rate("rps"),
            error_rate: rate("error_rate"),
            p50_ms: edge["p50_ms"].as_f64(),
            p99_ms: edge["p99_ms"].as_f64(),
            mtls_share: edge["mtls_share"].as_f64(),
        }
    }

    /// `source -> destination`.
    pub(super) fn name(&self) -> String {
        format!("{} -> {}", self.source, self.destination)
    }

    pub(super) fn is_red(&self) -> bool {
        self.error_rate > RED_ABOVE
    }

    fn is_faulty(&self) -> bool {
        (self.source.as_str(), self.destination.as_str()) == FAULTY
    }

    /// The object on stdout.
    pub(super) fn json(&self) -> Value {
        json!({
            "source": self.source,
            "destination": self.destination,
            "requests": self.requests,
            "errors": self.errors,
            "error_rate": self.error_rate,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "mtls_share": self.mtls_share,
        })
    }
}

// === impl Graph ===

impl Graph {
    /// From `/api/graph`.
    pub(super) fn read(graph: &Value) -> Self {
        let edges = graph["edges"].as_array().into_iter().flatten().map(Edge::read);
        Self {
            edges: in_order(edges.collect()),
            mtls_share: graph["totals"]["mtls_share"].as_f64(),
        }
    }

    /// The edge with the planted fault.
    pub(super) fn faulty(&self) -> Option<&Edge> {
        self.edges.iter().find(|edge| edge.is_faulty())
    }

    /// Whether every request of clients and every failure that was retried has been counted.
    pub(super) fn has_all(&self, sent: u64, failed: u64) -> bool {
        let entered = self.edges.iter().filter(|edge| edge.source == OUTSIDE);
        let entered: u64 = entered.map(|edge| edge.requests).sum();
        entered >= sent && self.faulty().is_some_and(|edge| edge.errors >= failed)
    }

    /// What is wrong with where the graph shows the fault.
    pub(super) fn broken(&self) -> Option<String> {
        let (source, destination) = FAULTY;
        let Some(faulty) = self.faulty() else {
            return Some(format!("the graph has no edge {source} -> {destination}"));
        };
        if !faulty.is_red() {
            let percent = faulty.error_rate * 100.0;
            return Some(format!(
                "the planted fault is not seen: {} has {percent:.1}% errors",
                faulty.name()
            ));
        }
        let others = self.edges.iter().filter(|edge| !edge.is_faulty() && edge.errors > 0);
        let others: Vec<String> = others
            .map(|edge| format!("{} ({} errors)", edge.name(), edge.errors))
            .collect();
        (!others.is_empty()).then(|| format!("the fault is seen where it is not: {}", others.join(", ")))
    }
}

/// Edges whose source nobody calls come first, then those that they lead to; the rest of a circle last.
fn in_order(mut open: Vec<Edge>) -> Vec<Edge> {
    open.sort_by(|a, b| (&a.source, &a.destination).cmp(&(&b.source, &b.destination)));
    let mut ordered = Vec::new();
    while !open.is_empty() {
        let called: Vec<String> = open.iter().map(|edge| edge.destination.clone()).collect();
        let (next, rest): (Vec<Edge>, Vec<Edge>) = open.into_iter().partition(|edge| !called.contains(&edge.source));
        if next.is_empty() {
            ordered.extend(rest);
            break;
        }
        ordered.extend(next);
        open = rest;
    }
    ordered
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn edge(source: &str, destination: &str, errors: u64) -> Value {
        json!({
            "source": {"workload": source, "namespace": "default"},
            "destination": {"workload": destination, "namespace": "default"},
            "requests": 1000, "errors": errors, "rps": 50.0, "error_rate": errors as f64 / 1000.0,
            "p50_ms": 1.0, "p99_ms": 2.5, "mtls_share": 1.0,
        })
    }

    /// The demo's graph with some errors on each edge.
    pub(in crate::demo) fn graph(faulty: u64, v1: u64, entry: u64) -> Graph {
        let edges = [
            edge("caller", "callme-v2", faulty),
            edge("caller", "callme-v1", v1),
            edge("ingress", "caller", 0),
            edge("unknown", "ingress", entry),
        ];
        Graph::read(&json!({"edges": edges, "totals": {"mtls_share": 1.0}}))
    }

    #[test]
    fn edges_stand_in_the_order_of_calls() {
        let names: Vec<String> = graph(0, 0, 0).edges.iter().map(Edge::name).collect();
        let expected = [
            "outside -> ingress",
            "ingress -> caller",
            "caller -> callme-v1",
            "caller -> callme-v2",
        ];
        assert_eq!(names, expected);
        let circle = json!({"edges": [edge("b", "a", 0), edge("a", "b", 0)]});
        assert_eq!(Graph::read(&circle).edges.len(), 2);
    }

    #[test]
    fn the_fault_is_to_be_seen_on_one_edge() {
        assert_eq!(graph(110, 0, 0).broken(), None);
        let check = |graph: Graph, part: &str| {
            let broken = graph.broken().unwrap_or_default();
            assert!(broken.contains(part), "{part} is not in {broken:?}");
        };
        check(graph(50, 0, 0), "caller -> callme-v2 has 5.0% errors");
        check(graph(110, 1, 0), "not: caller -> callme-v1 (1 errors)");
        check(graph(110, 0, 3), "not: outside -> ingress (3 errors)");
        check(Graph::default(), "no edge caller -> callme-v2");
    }

    #[test]
    fn the_graph_is_complete_when_it_has_counted_what_was_sent() {
        assert!(graph(110, 0, 0).has_all(1000, 110));
        assert!(!graph(110, 0, 0).has_all(1001, 110));
        assert!(!graph(110, 0, 0).has_all(1000, 111));
    }
}
