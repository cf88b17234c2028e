//! What the client of the demo has counted, and whether that is what the demo promises.

use serde_json::{Value, json};

use super::graph::{Edge, Graph};

/// Share of version 2 in percent, and how far from it the count may be.
const V2_PERCENT: f64 = 20.0;
const SPLIT_TOLERANCE: f64 = 3.0;
/// Requests that a second must bring at least.
const REQUESTS_PER_SECOND_MIN: u64 = 100;
/// From the first process to everything being ready.
const READY_SECONDS_MAX: f64 = 15.0;

/// Counts of one client, or of all together.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Requests that the weights split.
    pub(super) requests: u64,
    pub(super) v1: u64,
    pub(super) v2: u64,
    /// Answers other than 200 and broken connections, of any request.
    pub(super) client_errors: u64,
    /// Tries beyond the first one, as the answers tell.
    pub(super) retries: u64,
    /// Requests that the user agent sends to version 2, and those that did not get there.
    pub(super) canary: u64,
    pub(super) canary_lost: u64,
    /// Latencies in microseconds.
    pub(super) micros: Vec<u32>,
    /// The last error, for people.
    pub(super) last_error: Option<String>,
}

/// Everything that the demo found.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    pub(super) tally: Tally,
    pub(super) seconds: u64,
    pub(super) ready_seconds: f64,
    /// The collector's, when all had reached it.
    pub(super) graph: Graph,
}

// === impl Tally ===

impl Tally {
    /// Adds another client's counts.
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.v1 += other.v1;
        self.v2 += other.v2;
        self.client_errors += other.client_errors;
        self.retries += other.retries;
        self.canary += other.canary;
        self.canary_lost += other.canary_lost;
        self.micros.extend(other.micros);
        self.last_error = other.last_error.or_else(|| self.last_error.take());
    }

    /// Share of version 2 among the requests that are split, in percent.
    pub(super) fn v2_percent(&self) -> f64 {
        100.0 * self.v2 as f64 / (self.v1 + self.v2).max(1) as f64
    }

    /// A percentile in milliseconds.
    pub(super) fn percentile_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

// === impl Findings ===

impl Findings {
    /// The object on stdout.
    pub(super) fn json(&self) -> Value {
        let tally = &self.tally;
        json!({
            "requests": tally.requests,
            "versions": {"v1": tally.v1, "v2": tally.v2},
            "client_errors": tally.client_errors,
            "retries": tally.retries,
            "mtls_share": self.graph.mtls_share,
            "p50_ms": tally.percentile_ms(50),
            "p99_ms": tally.percentile_ms(99),
            "ready_seconds": self.ready_seconds,
            "edges": self.graph.edges.iter().map(Edge::json).collect::<Vec<_>>(),
            "fault": self.graph.faulty().map(|edge| json!({"edge": edge.name(), "error_rate": edge.error_rate})),
        })
    }

    /// Every promise that does not hold.
    pub(super) fn broken(&self) -> Vec<String> {
        let tally = &self.tally;
        let least = REQUESTS_PER_SECOND_MIN * self.seconds;
        let v2 = tally.v2_percent();
        let mtls = self.graph.mtls_share.unwrap_or(0.0);
        let fault = self.graph.broken();
        let last = tally.last_error.as_deref().unwrap_or_default();
        let promises = [
            (
                tally.requests >= least,
                format!("{} requests, at least {least} were to be sent", tally.requests),
            ),
            (
                (v2 - V2_PERCENT).abs() <= SPLIT_TOLERANCE,
                format!("version 2 got {v2:.1}% of the split requests, not {V2_PERCENT}%"),
            ),
            (
                tally.client_errors == 0,
                format!(
                    "{} errors reached the client, the last one: {last}",
                    tally.client_errors
                ),
            ),
            (
                tally.retries > 0,
                "no request was retried, although a route has injected failures".to_owned(),
            ),
            (
                tally.canary_lost == 0,
                format!(
                    "{} of {} canary requests missed version 2",
                    tally.canary_lost, tally.canary
                ),
            ),
            (tally.canary > 0, "no canary request was sent".to_owned()),
            (fault.is_none(), fault.unwrap_or_default()),
            (
                mtls >= 1.0,
                format!(
                    "{:.2}% of the mesh's requests were encrypted with mutual TLS",
                    mtls * 100.0
                ),
            ),
            (
                self.ready_seconds <= READY_SECONDS_MAX,
                format!(
                    "ready after {:.1} s, promised are {READY_SECONDS_MAX}",
                    self.ready_seconds
                ),
            ),
        ];
        promises
            .into_iter()
            .filter(|(holds, _)| !holds)
            .map(|(_, text)| text)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph;
    use super::*;

    fn good() -> Findings {
        let tally = Tally {
            requests: 2500,
            v1: 2000,
            v2: 500,
            retries: 9,
            canary: 5,
            micros: vec![1000, 2000, 9000],
            ..Tally::default()
        };
        Findings {
            tally,
            seconds: 20,
            ready_seconds: 4.0,
            graph: graph::tests::graph(110, 0, 0),
        }
    }

    #[test]
    fn the_object_has_the_documented_fields() {
        let expected = r#"{"requests":2500,"versions":{"v1":2000,"v2":500},"client_errors":0,"retries":9,"mtls_share":1.0,"p50_ms":2.0,"p99_ms":9.0,"ready_seconds":4.0,"fault":{"edge":"caller -> callme-v2","error_rate":0.11}}"#;
        let mut found = good().json();
        let edges = found
            .as_object_mut()
            .and_then(|object| object.shift_remove("edges"))
            .unwrap();
        assert_eq!(found.to_string(), expected);
        let edge = r#"{"source":"outside","destination":"ingress","requests":1000,"errors":0,"error_rate":0.0,"p50_ms":1.0,"p99_ms":2.5,"mtls_share":1.0}"#;
        assert_eq!(edges[0].to_string(), edge);
    }

    #[test]
    fn each_promise_can_break() {
        assert_eq!(good().broken(), Vec::<String>::new());
        let breaks: [fn(&mut Findings); 10] = [
            |f| f.tally.requests = 1999,
            |f| f.tally.v2 = 400,
            |f| f.tally.client_errors = 1,
            |f| f.tally.retries = 0,
            |f| f.tally.canary_lost = 1,
            |f| f.graph.mtls_share = Some(0.999),
            |f| f.graph.mtls_share = None,
            |f| f.graph = graph::tests::graph(0, 0, 0),
            |f| f.graph = graph::tests::graph(110, 9, 0),
            |f| f.ready_seconds = 15.1,
        ];
        for (index, change) in breaks.into_iter().enumerate() {
            let mut findings = good();
            change(&mut findings);
            assert_eq!(findings.broken().len(), 1, "change {index}: {:?}", findings.broken());
        }
    }
}
