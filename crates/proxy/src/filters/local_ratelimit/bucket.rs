//! Buckets of tokens that fill up steadily. Time is an argument: seconds since some fixed moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How a bucket fills up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filling {
    pub tokens_max: u32,
    /// Tokens a second.
    pub rate: f64,
}

/// A bucket. It remembers when it would have been empty, which is all that there is to know (as Envoy's does).
#[derive(Debug)]
pub struct Bucket {
    filling: Filling,
    /// Bits of the moment in seconds.
    empty_at: AtomicU64,
}

// === impl Bucket ===

impl Bucket {
    /// A full one.
    pub fn new(filling: Filling) -> Self {
        Self {
            filling,
            empty_at: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
        }
    }

    /// How it fills up.
    pub fn filling(&self) -> Filling {
        self.filling
    }

    /// Takes a token if there is one.
    pub fn take(&self, now: f64) -> bool {
        let take = |bits: u64| {
            let tokens = self.tokens_at(f64::from_bits(bits), now);
            (tokens >= 1.0).then(|| (now - (tokens - 1.0) / self.filling.rate).to_bits())
        };
        self.empty_at.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// Tokens that are there.
    pub fn tokens(&self, now: f64) -> f64 {
        self.tokens_at(f64::from_bits(self.empty_at.load(Relaxed)), now)
    }

    /// Seconds until there is a token, zero where there is one.
    pub fn next_token_secs(&self, now: f64) -> f64 {
        ((1.0 - self.tokens(now)) / self.filling.rate).max(0.0)
    }

    fn tokens_at(&self, empty_at: f64, now: f64) -> f64 {
        ((now - empty_at) * self.filling.rate).clamp(0.0, f64::from(self.filling.tokens_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_with_time() {
        let bucket = Bucket::new(Filling {
            tokens_max: 2,
            rate: 0.5,
        });
        for (now, taken, left) in [
            (10.0, true, 1.0),
            (10.0, true, 0.0),
            (10.0, false, 0.0),
            (11.0, false, 0.5),
            (12.0, true, 0.0),
            (1000.0, true, 1.0),
        ] {
            assert_eq!(bucket.take(now), taken, "at {now}");
            assert!(
                (bucket.tokens(now) - left).abs() < 1e-9,
                "{} at {now}",
                bucket.tokens(now)
            );
        }
        assert!(bucket.next_token_secs(1000.0).abs() < 1e-9);
    }
}
