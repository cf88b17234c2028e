//! A latency histogram of fixed size: buckets that grow by a quarter, from a tenth of a millisecond to minutes.

use std::time::Duration;

const BUCKETS: usize = 64;

/// Upper bound of the first bucket in milliseconds.
const FIRST_MS: f64 = 0.1;

/// Buckets that become one in series.
const COARSE: usize = 4;

/// Each bucket's bound over the one before.
const GROWTH: f64 = 1.25;

/// Counts of latencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    counts: [u32; BUCKETS],
}

// === impl Sketch ===

impl Default for Sketch {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

impl Sketch {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let ms = latency.as_secs_f64() * 1000.0;
        let bucket = if ms <= FIRST_MS {
            0.0
        } else {
            (ms / FIRST_MS).ln() / GROWTH.ln()
        };
        let at = (bucket.ceil() as usize).min(BUCKETS - 1);
        self.counts[at] = self.counts[at].saturating_add(1);
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    /// Counts by the upper bound in milliseconds, four buckets in one, for series: the last is without bound.
    pub fn coarse_buckets(&self) -> Vec<(f64, u64)> {
        let group = |(index, counts): (usize, &[u32])| {
            let last = index * COARSE + counts.len() - 1;
            let bound = if last == BUCKETS - 1 { f64::MAX } else { bound_ms(last) };
            (bound, counts.iter().map(|count| u64::from(*count)).sum())
        };
        self.counts.chunks(COARSE).enumerate().map(group).collect()
    }

    /// The latency in milliseconds below which a share of all lies (0 to 1), to the bucket's bound; `None` where nothing was counted.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return None;
        }
        let wanted = (share * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        Some(bound_ms(at.unwrap_or(BUCKETS - 1)))
    }
}

/// Upper bound of a bucket.
fn bound_ms(bucket: usize) -> f64 {
    FIRST_MS * GROWTH.powi(i32::try_from(bucket).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_quarter() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.quantile_ms(0.5), None);
        for ms in 1..=100 {
            sketch.record(Duration::from_millis(ms));
        }
        for (share, exact) in [(0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (0.0, 1.0)] {
            let got = sketch.quantile_ms(share).unwrap();
            assert!(got >= exact * 0.99 && got <= exact * 1.26, "{share}: {got}");
        }
        sketch.record(Duration::from_secs(1_000_000));
        assert!(sketch.quantile_ms(1.0).unwrap() > 60_000.0);
    }
}
