//! Prometheus' text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>): escaping, samples, and output in
//! pieces, so that a page of any size takes little memory.

use std::fmt::Write;

/// Size from which a piece of a page is handed on.
const PIECE_BYTES: usize = 32 << 10;

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// A number that only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

/// Joins small pieces of text into larger ones.
#[derive(Debug)]
pub(crate) struct Pieces<I> {
    inner: I,
}

// === impl Pieces ===

impl<I> Pieces<I> {
    /// The same text in fewer pieces.
    pub(crate) fn new(inner: I) -> Self {
        Self { inner }
    }
}

impl<I: Iterator<Item = String>> Iterator for Pieces<I> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut piece = self.inner.next()?;
        while piece.len() < PIECE_BYTES {
            let Some(next) = self.inner.next() else {
                break;
            };
            piece.push_str(&next);
        }
        Some(piece)
    }
}

/// The two lines that head a family.
pub(crate) fn head(out: &mut String, name: &str, help: &str, kind: Type) {
    let kind = match kind {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
        Type::Histogram => "histogram",
    };
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One line; `labels` are already in their form.
pub(crate) fn sample(out: &mut String, name: &str, labels: &str, value: u64) {
    if labels.is_empty() {
        let _ = writeln!(out, "{name} {value}");
    } else {
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    }
}

/// Adds a label to a list of them.
pub(crate) fn label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            other => labels.push(other),
        }
    }
    labels.push('"');
}

/// A metric name of what Envoy calls a statistic: every byte that names may not have becomes `_`.
pub(crate) fn name(stat: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    stat.chars().map(|c| if valid(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut labels = String::new();
        label(&mut labels, "a", "plain");
        label(&mut labels, "b", "q\"b\\n\nz");
        label(&mut labels, "c", "");
        assert_eq!(labels, "a=\"plain\",b=\"q\\\"b\\\\n\\nz\",c=\"\"");
        let mut out = String::new();
        head(&mut out, "m_total", "what", Type::Counter);
        sample(&mut out, "m_total", &labels[..9], 3);
        sample(&mut out, "m_total", "", 4);
        assert_eq!(
            out,
            "# HELP m_total what\n# TYPE m_total counter\nm_total{a=\"plain\"} 3\nm_total 4\n"
        );
        assert_eq!(name("cluster.a-b.upstream|x"), "cluster_a_b_upstream_x");
    }

    #[test]
    fn pieces_join_to_the_same_text() {
        let lines: Vec<String> = (0..20_000).map(|n| format!("line {n}\n")).collect();
        let pieces: Vec<String> = Pieces::new(lines.clone().into_iter()).collect();
        assert_eq!(pieces.concat(), lines.concat());
        assert!(pieces.len() < 20 && pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 64));
    }
}
