//! The report: medians of rounds, ratios last, as a table or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::case::Case;
use super::subject::Kind;

/// Names of the measured values, in the order of the report; the last ones exist in the TCP case only.
const METRICS: [&str; 8] = [
    "cpu_us_per_request",
    "rps",
    "p50_ms",
    "p99_ms",
    "rss_mib",
    "mib_per_s",
    "cpu_ms_per_gib",
    "cpu_us_per_connection",
];
/// Metrics of which a smaller value of ours is better, and that ratios are printed for.
const RATIOS: [&str; 3] = ["cpu_us_per_request", "p99_ms", "rss_mib"];

/// One round's values by name.
pub(super) type Round = BTreeMap<&'static str, f64>;

/// Everything a run found.
#[derive(Default)]
pub(super) struct Report {
    cases: Vec<(Case, Vec<(Kind, Round)>)>,
    skipped: Vec<(Case, String, String)>,
}

// === impl Report ===

impl Report {
    /// Adds a case with the rounds of each subject.
    pub(super) fn add(&mut self, case: Case, rounds: Vec<(Kind, Vec<Round>)>) {
        let medians = rounds
            .into_iter()
            .map(|(kind, rounds)| (kind, medians(&rounds)))
            .collect();
        self.cases.push((case, medians));
    }

    /// Notes what was not measured and why; `subject` is a proxy's name, or `all`.
    pub(super) fn skip(&mut self, case: Case, subject: &str, reason: String) {
        self.skipped.push((case, subject.to_owned(), reason));
    }

    /// `{"cases": [...], "ratios": {...}, "skipped": [...]}`.
    pub(super) fn json(&self) -> Value {
        let cases = self.cases.iter().map(|(case, subjects)| {
            let subjects: Map<String, Value> = subjects
                .iter()
                .map(|(kind, values)| {
                    let values = METRICS
                        .iter()
                        .filter_map(|name| Some(((*name).to_owned(), json!(rounded(*values.get(name)?)))));
                    (kind.name().to_owned(), Value::Object(values.collect()))
                })
                .collect();
            json!({"name": case.name(), "subjects": subjects})
        });
        let ratios: Map<String, Value> = self
            .ratios()
            .map(|(case, metric, peer, ratio)| (format!("{case}/{metric}/weft:{peer}"), json!(rounded(ratio))))
            .collect();
        let skipped = self.skipped.iter();
        let skipped =
            skipped.map(|(case, subject, reason)| json!({"case": case.name(), "subject": subject, "reason": reason}));
        json!({
            "cases": cases.collect::<Vec<_>>(),
            "skipped": skipped.collect::<Vec<_>>(),
            "machine": machine(),
            "ratios": ratios,
        })
    }

    /// The same for people.
    pub(super) fn table(&self) -> String {
        let mut text = format!("{}\n", machine());
        for (case, subjects) in &self.cases {
            let columns: Vec<&str> = METRICS
                .into_iter()
                .filter(|name| subjects.iter().any(|(_, values)| values.contains_key(name)))
                .collect();
            let _ = write!(text, "\n{:<10}", case.name());
            for name in &columns {
                let _ = write!(text, " {name:>21}");
            }
            for (kind, values) in subjects {
                let _ = write!(text, "\n{:<10}", kind.name());
                for name in &columns {
                    let value = values
                        .get(name)
                        .map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
                    let _ = write!(text, " {value:>21}");
                }
            }
            text.push('\n');
        }
        for (case, subject, reason) in &self.skipped {
            let _ = write!(text, "\nskipped: {} {subject}: {reason}", case.name());
        }
        let _ = write!(text, "\nratios (weft / peer):\n");
        for (case, metric, peer, ratio) in self.ratios() {
            let _ = writeln!(text, "{case:<10} {metric:<20} weft/{peer:<8} {ratio:>7.2}");
        }
        text
    }

    fn ratios(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str, f64)> + '_ {
        self.cases.iter().flat_map(|(case, subjects)| {
            let ours = subjects
                .iter()
                .find(|(kind, _)| *kind == Kind::Weft)
                .map(|(_, values)| values);
            let peers = subjects.iter().filter(|(kind, _)| *kind != Kind::Weft);
            peers.flat_map(move |(kind, values)| {
                RATIOS.into_iter().filter_map(move |metric| {
                    let (ours, theirs) = (*ours?.get(metric)?, *values.get(metric)?);
                    (theirs > 0.0).then_some((case.name(), metric, kind.name(), ours / theirs))
                })
            })
        })
    }
}

fn medians(rounds: &[Round]) -> Round {
    let mut columns: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for (name, value) in rounds.iter().flatten() {
        columns.entry(*name).or_default().push(*value);
    }
    columns
        .into_iter()
        .map(|(name, values)| (name, median(values)))
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Processor, cores and kernel.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{}, {cores} cores, Linux {}",
        processor.trim_start_matches(['\t', ' ', ':']),
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_medians_and_ratios() {
        let round = |cpu: f64| Round::from([("cpu_us_per_request", cpu), ("rps", 1000.0)]);
        let mut report = Report::default();
        report.add(
            Case::Http1,
            vec![
                (Kind::Weft, vec![round(30.0), round(20.0), round(25.0)]),
                (Kind::Envoy, vec![round(90.0), round(110.0)]),
            ],
        );
        report.skip(Case::Tcp, "nginx", "no stream module".to_owned());
        let json = report.json();
        assert_eq!(json["cases"][0]["name"], "http1");
        assert_eq!(json["cases"][0]["subjects"]["weft"]["cpu_us_per_request"], 25.0);
        assert_eq!(json["cases"][0]["subjects"]["envoy"]["cpu_us_per_request"], 100.0);
        assert_eq!(json["ratios"]["http1/cpu_us_per_request/weft:envoy"], 0.25);
        assert_eq!(json["skipped"][0]["reason"], "no stream module");
        assert!(report.table().contains("weft/envoy"));
    }
}
