//! Counts of the `load` role.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::Protocol;

/// Failures that are told one by one; later ones are only counted.
const TOLD: usize = 20;
/// Versions that are told apart; an answer is whatever the other side says.
const VERSIONS: usize = 16;
/// Buckets of latency: each is a fifth longer than the one before, from 0.1 ms to over an hour.
const BUCKETS: usize = 96;
const FIRST_MS: f64 = 0.1;
const STEP: f64 = 1.2;

/// The version that answered, or what went wrong.
pub(crate) type Outcome = Result<String, String>;

/// All requests so far, in memory that does not grow with them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    protocols: BTreeMap<Protocol, Counts>,
    versions: BTreeMap<String, u64>,
    failures: Vec<Value>,
}

#[derive(Debug)]
struct Counts {
    requests: u64,
    failures: u64,
    buckets: [u64; BUCKETS],
}

// === impl Tally ===

impl Tally {
    /// `at` is the time since the start at which the answer came, `took` how long it took.
    pub(crate) fn add(&mut self, protocol: Protocol, at: Duration, took: Duration, outcome: Outcome) {
        let counts = self.protocols.entry(protocol).or_default();
        counts.requests += 1;
        match outcome {
            Ok(version) => {
                counts.buckets[bucket(took)] += 1;
                let known = self.versions.contains_key(&version) || self.versions.len() < VERSIONS;
                let version = if known { version } else { "other".to_owned() };
                *self.versions.entry(version).or_default() += 1;
            }
            Err(reason) => {
                counts.failures += 1;
                if self.failures.len() < TOLD {
                    let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
                    self.failures
                        .push(json!({"at_ms": at_ms, "protocol": protocol.name(), "reason": reason}));
                }
            }
        }
    }

    /// One object; latencies are of requests that succeeded, rounded up by at most a fifth.
    pub(crate) fn json(&self) -> Value {
        let sum = |of: fn(&Counts) -> u64| self.protocols.values().map(of).sum::<u64>();
        let protocols: serde_json::Map<String, Value> = self
            .protocols
            .iter()
            .map(|(protocol, counts)| (protocol.name().to_owned(), counts.json()))
            .collect();
        json!({
            "requests": sum(|counts| counts.requests),
            "failures": sum(|counts| counts.failures),
            "protocols": protocols,
            "versions": self.versions,
            "first_failures": self.failures,
        })
    }
}

fn bucket(took: Duration) -> usize {
    let ms = took.as_secs_f64() * 1000.0;
    (0..BUCKETS - 1)
        .find(|index| ms <= bound(*index))
        .unwrap_or(BUCKETS - 1)
}

/// The longest time in a bucket, in milliseconds.
fn bound(index: usize) -> f64 {
    FIRST_MS * STEP.powi(i32::try_from(index).unwrap_or(i32::MAX))
}

// === impl Counts ===

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: 0,
            failures: 0,
            buckets: [0; BUCKETS],
        }
    }
}

impl Counts {
    fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "failures": self.failures,
            "p50_ms": self.percentile(50),
            "p99_ms": self.percentile(99),
            "max_ms": self.percentile(100),
        })
    }

    fn percentile(&self, percent: u64) -> Option<f64> {
        let total: u64 = self.buckets.iter().sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut below = 0;
        let index = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some((bound(index) * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_the_first_ones_told() {
        let mut tally = Tally::default();
        for n in 0..100 {
            let outcome = if n % 2 == 0 {
                Ok("v1".to_owned())
            } else {
                Err("status 503".to_owned())
            };
            tally.add(
                Protocol::Http2,
                Duration::from_millis(n),
                Duration::from_millis(2),
                outcome,
            );
        }
        let json = tally.json();
        assert_eq!((&json["requests"], &json["failures"]), (&json!(100), &json!(50)));
        assert_eq!(json["versions"], json!({"v1": 50}));
        let told = json["first_failures"].as_array().unwrap();
        assert_eq!(told.len(), TOLD);
        assert_eq!(
            told[0],
            json!({"at_ms": 1, "protocol": "http2", "reason": "status 503"})
        );
    }

    #[test]
    fn percentiles_are_right_to_a_fifth() {
        let mut counts = Counts::default();
        for ms in 1..=100 {
            counts.buckets[bucket(Duration::from_millis(ms))] += 1;
        }
        for (percent, exact) in [(50, 50.0), (99, 99.0), (100, 100.0)] {
            let found = counts.percentile(percent).unwrap();
            assert!(found >= exact && found <= exact * STEP, "{percent}: {found}");
        }
        assert_eq!(Counts::default().percentile(50), None);
    }
}
