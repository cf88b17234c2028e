//! The live table on stderr: redrawn in place on a terminal; elsewhere one line a time, and the edges now and then.

use std::fmt::Write;
use std::io::IsTerminal;

use super::graph::{Edge, Graph};
use super::tally::Tally;

/// Without a terminal, edges are shown once in so many lines.
const EDGES_EVERY: u64 = 10;

/// What has been drawn.
#[derive(Debug)]
pub(super) struct Table {
    terminal: bool,
    /// Whether edges with errors are red.
    coloured: bool,
    /// Lines of the last drawing on a terminal, or how many there were elsewhere.
    lines: usize,
    times: u64,
}

// === impl Table ===

impl Table {
    pub(super) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            terminal,
            coloured: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            lines: 0,
            times: 0,
        }
    }

    /// Shows the counts so far; `recent` are those of the last second.
    pub(super) fn draw(&mut self, total: &Tally, recent: &Tally, graph: &Graph) {
        self.times += 1;
        if !self.terminal {
            eprintln!("{}", line(total, recent, graph));
            if self.times.is_multiple_of(EDGES_EVERY) {
                eprint!("{}", edges(graph, false));
            }
            return;
        }
        let text = format!("{}\n{}", counts(total, recent, graph), edges(graph, self.coloured));
        let mut drawn = String::new();
        if self.lines > 0 {
            // Up to the first line, and nothing of the last drawing below.
            let _ = write!(drawn, "\x1b[{}A\x1b[J", self.lines);
        }
        self.lines = text.lines().count();
        eprint!("{drawn}{text}");
    }

    /// The edges at the end, where they were not drawn all the time.
    pub(super) fn finish(&self, graph: &Graph) {
        if !self.terminal {
            eprint!("{}", edges(graph, false));
        }
    }
}

/// Everything but the edges in one line.
fn line(total: &Tally, recent: &Tally, graph: &Graph) -> String {
    let v2 = total.v2_percent();
    format!(
        "demo: {} requests, {}/s, v1 {:.1}%, v2 {v2:.1}%, errors {}, retries {}, mTLS {}, p50 {:.1} ms, p99 {:.1} ms",
        total.requests,
        recent.requests,
        100.0 - v2,
        total.client_errors,
        total.retries,
        percent(graph.mtls_share),
        recent.percentile_ms(50),
        recent.percentile_ms(99),
    )
}

fn counts(total: &Tally, recent: &Tally, graph: &Graph) -> String {
    let v2 = total.v2_percent();
    let rows = [
        ("requests", format!("{} ({}/s)", total.requests, recent.requests)),
        ("v1 / v2", format!("{:.1}% / {v2:.1}%", 100.0 - v2)),
        ("errors seen by the client", total.client_errors.to_string()),
        ("retries that hid a failure", total.retries.to_string()),
        ("mutual TLS", percent(graph.mtls_share)),
        (
            "p50 / p99",
            format!("{:.1} / {:.1} ms", recent.percentile_ms(50), recent.percentile_ms(99)),
        ),
    ];
    rows.map(|(name, value)| format!("  {name:<28}{value}\n")).concat()
}

/// A row for each edge.
fn edges(graph: &Graph, coloured: bool) -> String {
    let row = |cells: [String; 7]| {
        let [source, destination, rate, errors, p50, p99, mtls] = cells;
        format!("  {source:<12}{destination:<14}{rate:>9}{errors:>9}{p50:>11}{p99:>11}{mtls:>9}")
    };
    let head = ["SOURCE", "DESTINATION", "RATE", "ERRORS", "P50", "P99", "MTLS"].map(str::to_owned);
    let milliseconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} ms"));
    let mut text = format!("{}\n", row(head));
    for edge in &graph.edges {
        let Edge {
            source, destination, ..
        } = edge;
        let row = row([
            source.clone(),
            destination.clone(),
            format!("{:.1}/s", edge.rps),
            percent(Some(edge.error_rate)),
            milliseconds(edge.p50_ms),
            milliseconds(edge.p99_ms),
            percent(edge.mtls_share),
        ]);
        let (before, after) = if coloured && edge.is_red() {
            ("\x1b[31m", "\x1b[0m")
        } else {
            ("", "")
        };
        let _ = writeln!(text, "{before}{row}{after}");
    }
    text
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::super::graph;
    use super::*;

    #[test]
    fn each_edge_is_a_row_and_the_faulty_one_is_red() {
        let graph = graph::tests::graph(110, 0, 0);
        let plain = "  \
  SOURCE      DESTINATION        RATE   ERRORS        P50        P99     MTLS
  outside     ingress          50.0/s     0.0%     1.0 ms     2.5 ms   100.0%
  ingress     caller           50.0/s     0.0%     1.0 ms     2.5 ms   100.0%
  caller      callme-v1        50.0/s     0.0%     1.0 ms     2.5 ms   100.0%
  caller      callme-v2        50.0/s    11.0%     1.0 ms     2.5 ms   100.0%
";
        assert_eq!(edges(&graph, false), plain);
        let red: Vec<bool> = edges(&graph, true)
            .lines()
            .map(|line| line.contains("\x1b[31m"))
            .collect();
        assert_eq!(red, [false, false, false, false, true]);
    }
}
